//! Which server takes a new connection. One file a scheduler.

mod least;
mod rr;
mod wrr;

use rvs_abi::{Scheduler, Server, service::Region};

use crate::{Flow, NONE, Tables};

/// How often a scheduler with a cursor chooses anew where another CPU moved the cursor meanwhile; the
/// last choice stands, so that nobody waits.
const TRIES: u32 = 4;

/// The index of the server that the service's scheduler chooses, [`NONE`] where none is eligible.
/// `avoid` is a server that has been tried already.
///
/// Members are listed newest first, as IPVS lists destinations, so that order-sensitive schedulers
/// choose alike.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, _flow: &Flow, service: u32, avoid: u32) -> u32 {
    let Some(service) = tables.service(service) else {
        return NONE;
    };
    let region = Region::unpack(service.members.load());
    if region.length == 0 {
        return NONE;
    }
    let scheduler = Scheduler::from_number(service.scheduler.load());
    let mut chosen = NONE;
    for _ in 0..TRIES {
        let moved;
        (chosen, moved) = match scheduler {
            Some(Scheduler::Rr) => rr::choose(tables, service, region, avoid),
            Some(Scheduler::Wrr) => wrr::choose(tables, service, region, avoid),
            Some(Scheduler::Lc) => (
                least::choose(tables, region, avoid, least::Measure::Connections),
                true,
            ),
            Some(Scheduler::Wlc) => (
                least::choose(tables, region, avoid, least::Measure::PerWeight),
                true,
            ),
            Some(_) | None => (NONE, true),
        };
        if moved {
            break;
        }
    }
    chosen
}

/// A member and its weight, if it is eligible: in use, weight above zero, not to be avoided.
#[inline(always)]
fn eligible<T: Tables>(tables: &T, place: u32, avoid: u32) -> Option<(u32, &Server, u32)> {
    let index = tables.member(place)?;
    let server = tables.server(index)?;
    let weight = server.weight.load();
    let usable = server.flags.load() & (Server::IN_USE | Server::REMOVED) == Server::IN_USE;
    (usable && weight > 0 && index != avoid).then_some((index, server, weight))
}
