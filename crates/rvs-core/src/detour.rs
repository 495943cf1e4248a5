//! The long way round: packets that the kernel side can neither hold nor rewrite go to the daemon, by a
//! device of its own, and come back by it.
//!
//! The packet keeps its bytes; a [`Ticket`] in the place of its link addresses says why it goes. While the
//! daemon is not there, which shows in a tick that it keeps ahead of the clock, nothing is sent.

use rvs_abi::{Counter, Ticket, detour::back};
use rvs_table::is_ahead;

use crate::{Action, Flow, NONE, Path};

/// Sends the packet to the daemon. The result is an [`crate::Action`] as a number; or [`NONE`] where the daemon
/// is not there, or the packet came from it.
#[inline(always)]
pub fn detour<P: Path>(path: &mut P, ticket: Ticket) -> u32 {
    let Some(settings) = path.settings() else {
        return NONE;
    };
    let (ifindex, until) = (settings.detour_ifindex.load(), settings.detour_until.load());
    if ifindex == 0 || !is_ahead(path.now(), until) {
        return NONE;
    }
    // What waited there for its first fragment may still be too long.
    if path.came_by() == ifindex && (ticket.kind != Ticket::CUT || was_cut(path)) {
        return NONE;
    }
    path.detour(ifindex, &ticket.words()) as u32
}

/// Has a packet that is longer than the `room` bytes of its way cut into fragments, or drops it. The fragments come
/// back as any fragments of the client's or the server's, which each go the way of the first. The result is an
/// [`crate::Action`] as a number.
#[inline(always)]
pub fn cut<P: Path>(path: &mut P, flow: &Flow, room: u32) -> u32 {
    let ticket = Ticket {
        kind: Ticket::CUT,
        index: room,
        ..Ticket::default()
    };
    // No link of IPv4 takes less (RFC 791 section 3.2).
    let action = if room < LEAST_MTU || flow.is_v6() {
        NONE
    } else {
        detour(path, ticket)
    };
    let counter = if action == NONE {
        Counter::DropTooBig
    } else {
        Counter::CutDetour
    };
    path.count(counter);
    if action == NONE {
        Action::Drop as u32
    } else {
        action
    }
}

const LEAST_MTU: u32 = 68;

/// Whether a packet that came back is a fragment that was made there: its way has become narrower since.
#[inline(always)]
fn was_cut<P: Path>(path: &P) -> bool {
    let [_, _, third, fourth, fifth, sixth] = back::CUT;
    path.read_words::<1>(8) == Some([u32::from_ne_bytes([third, fourth, fifth, sixth])])
}

/// Whether the packet comes back from the daemon.
#[inline(always)]
pub fn is_back<P: Path>(path: &P) -> bool {
    path.settings().is_some_and(|settings| {
        settings.detour_ifindex.load() == path.came_by() && path.came_by() != 0
    })
}
