//! Which server takes a new connection. One file a scheduler.
//!
//! They come in five kinds, each with an engine that the schedulers of the kind share: by turns (rr, wrr),
//! by load (lc, wlc, sed, nq, fo, ovf), by chance (twos), by hash (dh, sh, mh) and by locality (lblc, lblcr).
//! Each kind is a method of [`Tables`], so that the kernel side can verify it once, on its own.
//!
//! A service with [`Service::EXACT`] is scheduled to the letter of IPVS; the oddities that are
//! mended otherwise are named in the schedulers' files.

#[cfg(not(target_arch = "bpf"))]
pub mod build;
mod dh;
mod fo;
mod hash;
mod lblc;
mod lblcr;
mod lc;
mod load;
mod locality;
mod mh;
mod nq;
mod ovf;
mod rr;
mod sed;
mod sh;
mod table;
mod twos;
mod wlc;
mod wrr;

use rvs_abi::{Scheduler, Server, Service, protocol, service::Region};

use crate::{Flow, NONE, Tables};

pub use lblcr::look;
pub use load::by_load;
pub use locality::{by_locality, is_overburdened};
pub use table::by_hash;
pub use twos::by_chance;

/// How often a scheduler with a cursor chooses anew where another CPU moved the cursor meanwhile; the
/// last choice stands, so that nobody waits.
const TRIES: u32 = 4;

/// The index of the server that the service's scheduler chooses, [`NONE`] where none is eligible.
/// `flow` is the packet as a client sends it: source the client, destination the service. `avoid` is a server that
/// has been tried already.
///
/// Members are listed newest first, as IPVS lists destinations, so that order-sensitive schedulers
/// choose alike.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, flow: &Flow, service: u32, avoid: u32) -> u32 {
    let Some(entry) = tables.service(service) else {
        return NONE;
    };
    match Scheduler::from_number(entry.scheduler.load()) {
        Some(Scheduler::Rr | Scheduler::Wrr) => {
            let mut chosen = NONE;
            for _ in 0..TRIES {
                let turn = tables.by_turns(service, avoid);
                chosen = turn as u32;
                if turn >> 32 != 0 {
                    break;
                }
            }
            chosen
        }
        Some(
            Scheduler::Lc
            | Scheduler::Wlc
            | Scheduler::Sed
            | Scheduler::Nq
            | Scheduler::Fo
            | Scheduler::Ovf,
        ) => tables.by_load(flow, service, avoid),
        Some(Scheduler::Twos) => tables.by_chance(service, avoid),
        Some(Scheduler::Dh | Scheduler::Sh | Scheduler::Mh) => tables.by_hash(flow, service, avoid),
        Some(Scheduler::Lblc | Scheduler::Lblcr) => tables.by_locality(flow, service, avoid),
        Some(Scheduler::Unscheduled) | None => NONE,
    }
}

/// The choice of rr and wrr; the high half says whether it stands, or another CPU chose at the same time.
#[inline(always)]
pub fn by_turns<T: Tables>(tables: &T, service: u32, avoid: u32) -> u64 {
    const STANDS: u64 = 1 << 32;
    let nobody = u64::from(NONE) | STANDS;
    let Some(service) = tables.service(service) else {
        return nobody;
    };
    let region = Region::unpack(service.members.load());
    if region.length == 0 {
        return nobody;
    }
    let (chosen, moved) = if service.scheduler.load() == Scheduler::Rr as u32 {
        rr::choose(tables, service, region, avoid)
    } else {
        wrr::choose(tables, service, region, avoid)
    };
    u64::from(chosen) | u64::from(moved) << 32
}

/// A member and its weight, if it is eligible and not to be avoided.
#[inline(always)]
fn eligible<T: Tables>(tables: &T, place: u32, avoid: u32) -> Option<(u32, &Server, u32)> {
    let index = tables.member(place)?;
    if index == avoid {
        return None;
    }
    let (server, weight) = usable(tables, index)?;
    Some((index, server, weight))
}

/// A server and its weight, if it is eligible: in use, not removed, weight above zero, not overloaded.
#[inline(always)]
fn usable<T: Tables>(tables: &T, index: u32) -> Option<(&Server, u32)> {
    let server = tables.server(index)?;
    let weight = server.weight.load();
    (weight != 0 && is_serving(server)).then_some((server, weight))
}

/// In use, not removed, not overloaded. (The last is on the line that a new connection writes anyway; and one question for
/// all is one way less for the verifier to follow.)
#[inline(always)]
fn is_serving(server: &Server) -> bool {
    let available = server.flags.load() & (Server::IN_USE | Server::REMOVED);
    (available ^ Server::IN_USE) | server.overloaded.load() == 0
}

/// How connections are counted. Numbers of which the verifier knows nothing, so that it follows a walk once, and not once
/// for each way of counting.
#[derive(Clone, Copy)]
struct Counting {
    /// How many inactive connections an active one costs.
    cost: u32,
    /// Which bits of the inactive connections' number count as active: all where the protocol has no active state.
    /// IPVS's sed, nq, ovf and lblc see none at all there.
    inactive: u32,
    /// Not 0: as IPVS.
    exact: u32,
}

impl Counting {
    #[inline(always)]
    fn of<T: Tables>(tables: &T, service: &Service, flow: &Flow) -> Self {
        let exact = is_exact(service);
        let stateful = flow.protocol == protocol::TCP || flow.protocol == protocol::SCTP;
        Self {
            inactive: tables.veiled(if exact || stateful { 0 } else { u32::MAX }),
            ..Self::by_state(tables, exact)
        }
    }

    /// Whatever the protocol, connections count as their states say.
    #[inline(always)]
    fn by_state<T: Tables>(tables: &T, exact: bool) -> Self {
        Self {
            // `ip_vs_dest_conn_overhead` counts the active ones once more among all.
            cost: tables.veiled(if exact { 257 } else { 256 }),
            inactive: tables.veiled(0),
            exact: tables.veiled(u32::from(exact)),
        }
    }

    /// The connections that a server works for.
    #[inline(always)]
    fn active(self, server: &Server) -> u64 {
        let inactive = settled(server.inactive.load()) & u64::from(self.inactive);
        settled(server.active.load()) + inactive
    }

    /// What all connections cost.
    #[inline(always)]
    fn overhead(self, server: &Server) -> u64 {
        let (active, inactive) = (
            settled(server.active.load()),
            settled(server.inactive.load()),
        );
        active * u64::from(self.cost) + inactive
    }

    /// What wlc compares.
    #[inline(always)]
    fn measure(self, server: &Server, weight: u32) -> load::Measure {
        load::Measure {
            load: self.overhead(server),
            weight: u64::from(weight),
        }
    }
}

#[inline(always)]
fn is_exact(service: &Service) -> bool {
    service.flags.load() & Service::EXACT != 0
}

/// A count that is being moved on another CPU may be below zero for a moment.
#[inline(always)]
fn settled(count: u32) -> u64 {
    if count >> 31 != 0 {
        0
    } else {
        u64::from(count)
    }
}
