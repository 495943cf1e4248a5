//! The sweep over the connection table: what was idle for too long ends, what has no server ends,
//! tombstones become usable again, and servers that still have connections are noted.

use rvs_abi::{
    Role, Server, Service, Settings, Slot, family, protocol,
    settings::{SCTP_TIMEOUT, UDP_TIMEOUT},
    slot::{Link, State},
    sweep::Sweep,
};
use rvs_table::{Store, clear, elapsed, kill, pair_of, tag};

use crate::{
    Tables,
    defend::defend,
    room::is_idle,
    state,
    tables::{Connections4, Connections6, Step},
};

/// A [`Sweep`] in progress.
pub struct Sweeper {
    /// The slice, and what was found.
    pub sweep: Sweep,
}

impl<T: Tables> Step<T> for Sweeper {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        // Downwards, so that runs of tombstones before a never-used slot all become never-used.
        let index = self
            .sweep
            .first
            .wrapping_add(self.sweep.count)
            .wrapping_sub(1)
            .wrapping_sub(round);
        if self.sweep.family == u32::from(family::V6) {
            if let Some(slot) = tables.slot6(index) {
                visit(tables, &Connections6(tables), slot, index, &mut self.sweep);
            }
        } else if let Some(slot) = tables.slot4(index) {
            visit(tables, &Connections4(tables), slot, index, &mut self.sweep);
        }
        true
    }
}

/// Sweeps one slice.
#[inline(always)]
pub fn sweep<T: Tables>(tables: &T, slice: Sweep) -> Sweep {
    let mut sweeper = Sweeper { sweep: slice };
    tables.repeat(slice.count.min(rvs_abi::sweep::SWEEP_MAX), &mut sweeper);
    sweeper.sweep
}

#[inline(always)]
fn visit<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &Slot<N, PAD>,
    index: u32,
    sweep: &mut Sweep,
) {
    let seen = slot.head.tag.load();
    let now = tables.now();
    keep_in_reach(slot, now);
    if tag::state(seen) == tag::DEAD {
        if clear(store, index, now) {
            sweep.cleared += 1;
        } else {
            sweep.dead += 1;
        }
        return;
    }
    if tag::state(seen) != tag::LIVE {
        return;
    }
    sweep.live += 1;
    let link = Link(slot.head.link.load());
    if link.role() == Role::Reply {
        // A reply slot without its request, and not one that is being made at this moment.
        if pair_of(store, slot).is_none()
            && elapsed(now, slot.head.stamp.load(), store.quarantine())
            && kill(store, slot, seen, now)
        {
            sweep.orphaned += 1;
        }
        return;
    }
    let Some(server) = tables.server(slot.head.server.load()) else {
        return;
    };
    let removed = !Server::is_there(server.flags.load());
    let director = tables
        .settings()
        .map_or(0, |settings| settings.flags.load());
    if removed && state::expires(tables, director, server, link.protocol()) {
        if state::end(tables, store, slot, seen, now) {
            sweep.orphaned += 1;
        }
        return;
    }
    if server.seen.load() != sweep.pass {
        server.seen.store(sweep.pass);
    }
    if is_idle(tables, store, slot, now) {
        if state::end(tables, store, slot, seen, now) {
            sweep.expired += 1;
        }
        return;
    }
    if sweep.flags & Sweep::DEFEND != 0 {
        sweep.dropped += defend(tables, store, slot, seen);
    }
}

/// Ages near half the clock's range, beyond which they would count as the future ([`elapsed`]): a slot that no packet
/// touches may lie for as long as its other one is in use.
const OLD: u32 = (1 << 31) - (1 << 24);
/// The age that they become, and the longest time-out, in ticks. There is time enough for every sweep from the one to the other.
pub const LONGEST: u32 = (1 << 31) - (1 << 25);

/// Sees to it that what is old stays old.
#[inline(always)]
fn keep_in_reach<const N: usize, const PAD: usize>(slot: &Slot<N, PAD>, now: u32) {
    let stamp = slot.head.stamp.load();
    let age = now.wrapping_sub(stamp);
    if (OLD..u32::MAX - (1 << 24)).contains(&age) {
        slot.head.stamp.cas(stamp, now.wrapping_sub(LONGEST));
    }
}

const EXPECTED: u8 = protocol::of_expected(protocol::TCP);

/// The idle time-out, in ticks, of a connection in this state. `own` is its service, where that has time-outs of
/// its own, or where the connection is a template.
#[inline(always)]
pub fn timeout_of(settings: &Settings, own: Option<&Service>, protocol: u8, state: State) -> u32 {
    if state.has(State::TEMPLATE) {
        return own.map_or(0, |service| service.persistence.load());
    }
    let place = match protocol {
        // Those that are expected are in TCP's states too.
        protocol::TCP | EXPECTED => state.number() as usize,
        protocol::SCTP => SCTP_TIMEOUT + state.number() as usize,
        _ => UDP_TIMEOUT,
    };
    if let Some(timeout) = own.and_then(|service| service.timeouts.get(place))
        && timeout.load() != 0
    {
        return timeout.load();
    }
    settings
        .timeouts
        .get(place)
        .map_or(u32::MAX, rvs_abi::Word32::load)
}
