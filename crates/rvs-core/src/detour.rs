//! The long way round: packets that the kernel side can neither hold nor rewrite go to the daemon, by a
//! device of its own, and come back by it.
//!
//! The packet keeps its bytes; a [`Ticket`] in the place of its link addresses says why it goes. While the
//! daemon is not there, which shows in a tick that it keeps ahead of the clock, nothing is sent.

use rvs_abi::Ticket;
use rvs_table::elapsed;

use crate::{NONE, Path};

/// Sends the packet to the daemon. The result is an [`crate::Action`] as a number; or [`NONE`] where the daemon
/// is not there, or the packet came from it.
#[inline(always)]
pub fn detour<P: Path>(path: &mut P, ticket: Ticket) -> u32 {
    let Some(settings) = path.settings() else {
        return NONE;
    };
    let (ifindex, until) = (settings.detour_ifindex.load(), settings.detour_until.load());
    if ifindex == 0 || elapsed(path.now(), until, 1) || path.came_by() == ifindex {
        return NONE;
    }
    path.detour(ifindex, &ticket.words()) as u32
}

/// Whether the packet comes back from the daemon.
#[inline(always)]
pub fn is_back<P: Path>(path: &P) -> bool {
    path.settings().is_some_and(|settings| {
        settings.detour_ifindex.load() == path.came_by() && path.came_by() != 0
    })
}
