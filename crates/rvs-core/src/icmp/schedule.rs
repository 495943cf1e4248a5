//! ICMP errors about packets of connections that are not known here (`schedule_icmp`).
//!
//! Where several directors share the clients' packets, an error about a reply may come to one that does not know the
//! connection. With a scheduler that depends on addresses alone it would choose the same server as the director that
//! does: so a connection is made for what is quoted, reversed, and the error follows it.

use rvs_abi::{Counter, Settings};

use super::READ;
use crate::{Flow, Path, director::pass, ipsec};

/// Makes a connection for what the error quotes, if a service listens there, and goes on to follow the error;
/// else leaves the error to the host. The result is an [`crate::Action`] as a number.
#[inline(always)]
pub(crate) fn schedule<P: Path>(path: &mut P, flow: &mut Flow, quoted: &mut Flow) -> u32 {
    let schedules = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::SCHEDULE_ICMP != 0);
    // Who was scheduled already, and still is not known, has met another CPU.
    if !schedules || flow.is_quoted() {
        return pass(path, Counter::PassIcmp);
    }
    *quoted = Flow::default();
    if path.read_quoted(flow, quoted) != READ
        || flow.destination != quoted.source
        || ipsec::is_ipsec(quoted.protocol)
    {
        return pass(path, Counter::PassIcmp);
    }
    flow.source = quoted.destination;
    flow.ports = quoted.ports.rotate_left(16);
    flow.protocol = quoted.protocol;
    flow.tcp_flags = 0;
    flow.flags = flow.flags & Flow::LOCAL | Flow::QUOTED;
    path.newcomer(flow)
}
