//! Room in a full table: connections that the sweep would end when it came by, ended early.
//!
//! The sweep is driven by the daemon. While there is none, or while it cannot keep up, a new
//! connection that finds no free slot ends what lies idle in its way; where nothing does, what is closed and only
//! waits for its time-out, since a client that is turned away is worse than a late packet that goes to nobody. The
//! slots rest like all dead ones, so it is the client's next try that finds them free. Unless the defence
//! `drop_entry` is off, half-open connections make way as well: a flood of them fills the table faster than any
//! lottery empties it.

use rvs_abi::{
    Counter, Role, Server, Slot, TcpState, protocol,
    slot::{Link, State},
};
use rvs_table::{Hash, Store, WINDOW, elapsed, pair_of, tag};

use crate::{
    Flow, Tables,
    connection::reply_of,
    defend, state, sweep,
    tables::{Connections4, Connections6, Step},
};

/// Ends idle connections, or else closed ones, in the first windows of the tuples that a connection of `flow` with
/// `server` would have, at `port` where that is not 0. How many.
#[inline(always)]
pub fn make_room<T: Tables>(tables: &T, flow: &Flow, server: u32, port: u32) -> u32 {
    let Some(server) = tables.server(server) else {
        return 0;
    };
    let reply = reply_of(flow, server, port);
    let (own, others) = if flow.is_v6() {
        let key = Connections6(tables).hash_key();
        (
            Hash::of(&flow.key::<4>(), key),
            Hash::of(&reply.key::<4>(), key),
        )
    } else {
        let key = Connections4(tables).hash_key();
        (
            Hash::of(&flow.key::<1>(), key),
            Hash::of(&reply.key::<1>(), key),
        )
    };
    let mut room = Room {
        request: own.home(0),
        reply: others.home(0),
        is_v6: u32::from(flow.is_v6()),
        closed: 0,
        ended: 0,
    };
    tables.repeat(WINDOW * 2, &mut room);
    if room.ended == 0 {
        room.closed = 1;
        tables.repeat(WINDOW * 2, &mut room);
    }
    room.ended
}

/// The search, window by window.
struct Room {
    request: u32,
    reply: u32,
    is_v6: u32,
    /// Not 0: what is closed is ended too.
    closed: u32,
    ended: u32,
}

impl<T: Tables> Step<T> for Room {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let home = if round < WINDOW {
            self.request
        } else {
            self.reply
        };
        let place = home.wrapping_add(round % WINDOW);
        let ended = if self.is_v6 != 0 {
            end_at(tables, &Connections6(tables), place, self.closed != 0)
        } else {
            end_at(tables, &Connections4(tables), place, self.closed != 0)
        };
        if ended {
            tables.count(Counter::MadeRoom);
            self.ended += 1;
        }
        true
    }
}

/// Ends the connection that holds the slot, if it is idle or makes way, or is closed where that `counts`.
#[inline(always)]
fn end_at<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    place: u32,
    counts: bool,
) -> bool {
    let Some(slot) = store.slot(place & store.mask()) else {
        return false;
    };
    let now = tables.now();
    let seen = slot.head.tag.load();
    let request = match Link(slot.head.link.load()).role() {
        Role::Request => Some((slot, seen)),
        Role::Reply => pair_of(store, slot).map(|(_, request, tag)| (request, tag)),
    };
    request.is_some_and(|(request, request_seen)| {
        tag::state(seen) == tag::LIVE
            && (is_idle(tables, store, request, now)
                || defend::makes_way(tables, request, now)
                || counts && is_closed(tables, request, now))
            && state::end(tables, store, request, request_seen, now)
    })
}

#[inline(always)]
fn is_closed<const N: usize, const PAD: usize, T: Tables>(
    tables: &T,
    request: &Slot<N, PAD>,
    now: u32,
) -> bool {
    let protocol = Link(request.head.link.load()).protocol();
    let state = State(request.head.state.load());
    let over = request.head.controlled.load() == 0 && state::is_closed(protocol, state);
    // Who has said all there is to say may still be listening where the server's words go another way, and acknowledges.
    let may_listen = protocol == protocol::TCP && state.number() == TcpState::FinWait as u32;
    over && (!may_listen || is_silent(tables, request, now))
}

/// Whether nothing came from the client for a second.
#[inline(always)]
pub(crate) fn is_silent<const N: usize, const PAD: usize, T: Tables>(
    tables: &T,
    request: &Slot<N, PAD>,
    now: u32,
) -> bool {
    tables.settings().is_some_and(|settings| {
        elapsed(
            now,
            request.head.stamp.load(),
            settings.ticks_per_second.load(),
        )
    })
}

/// Whether neither direction of the connection was used within its state's time-out, and it controls no other.
#[inline(always)]
pub(crate) fn is_idle<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    request: &Slot<N, PAD>,
    now: u32,
) -> bool {
    let Some(settings) = tables.settings() else {
        return false;
    };
    let protocol = Link(request.head.link.load()).protocol();
    let state = State(request.head.state.load());
    let own = tables
        .server(request.head.server.load())
        .filter(|server| {
            state.has(State::TEMPLATE) || server.flags.load() & Server::OWN_TIMEOUTS != 0
        })
        .and_then(|server| tables.service(server.service.load()));
    let timeout = sweep::timeout_of(settings, own, protocol, state);
    request.head.controlled.load() == 0
        && elapsed(now, request.head.stamp.load(), timeout)
        && pair_of(store, request)
            .is_none_or(|(_, reply, _)| elapsed(now, reply.head.stamp.load(), timeout))
}
