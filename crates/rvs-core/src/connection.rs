//! Connections: found by what a packet shows, made for a server that was chosen.

use rvs_abi::{
    Counter, Method, Role, Server, TcpState,
    slot::{Link, State},
};
use rvs_table::{Hash, Inserted, Key, Record, Store, pair_of, tag};

use crate::{
    Flow, NONE, Tables,
    flow::first_words,
    state,
    tables::{Connections4, Connections6, Traffic},
};

/// The index of the slot that the packet's own tuple names, or [`NONE`].
#[inline(always)]
pub fn find<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    if flow.is_v6() {
        find_in(&Connections6(tables), &flow.key())
    } else {
        find_in(&Connections4(tables), &flow.key())
    }
}

/// The index of the *request* slot of which the packet is the other direction, or [`NONE`]: a
/// direct-routing or tunnel server answers from the virtual address.
#[inline(always)]
pub fn find_returning<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    if flow.is_v6() {
        find_in(&Connections6(tables), &flow.key().reversed())
    } else {
        find_in(&Connections4(tables), &flow.key().reversed())
    }
}

/// The slot of `key` in one family's table.
#[inline(always)]
pub(crate) fn find_in<const N: usize, const PAD: usize, S: Store<N, PAD>>(
    store: &S,
    key: &Key<N>,
) -> u32 {
    rvs_table::find(store, key, Hash::of(key, store.hash_key())).unwrap_or(NONE)
}

/// The slot's role and method, for the caller who only has its index: [`Link`] as a number.
#[inline(always)]
pub fn link_of<T: Tables>(tables: &T, flow: &Flow, index: u32) -> Link {
    let head = if flow.is_v6() {
        tables.slot6(index).map(|slot| &slot.head)
    } else {
        tables.slot4(index).map(|slot| &slot.head)
    };
    Link(head.map_or(0, |head| head.link.load()))
}

/// Made, or found made by another CPU: the low half is the request slot's index.
pub const OPENED: u32 = 0;
/// The server already has a connection with this client address and port.
pub const REPLY_TAKEN: u32 = 1;
/// No room.
pub const FULL: u32 = 2;
/// Another CPU was making the same connection.
pub const RACE: u32 = 3;

/// Makes the connection that `flow` begins, at `server`. The result's high half is one of
/// [`OPENED`], [`REPLY_TAKEN`], [`FULL`], [`RACE`].
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, flow: &Flow, server: u32) -> u64 {
    if flow.is_v6() {
        insert_in(tables, &Connections6(tables), flow, server)
    } else {
        insert_in(tables, &Connections4(tables), flow, server)
    }
}

#[inline(always)]
fn insert_in<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    flow: &Flow,
    index: u32,
) -> u64 {
    let outcome = |code: u32, index: u32| u64::from(code) << 32 | u64::from(index);
    let Some(server) = tables.server(index) else {
        return outcome(RACE, NONE);
    };
    let Some(method) = Server::method_of(server.flags.load()) else {
        return outcome(RACE, NONE);
    };
    let now = tables.now();
    let first = state::first_state(flow, method);
    let record = Record {
        client: first_words(&flow.source),
        virtual_address: first_words(&flow.destination),
        server_address: address_of(server),
        ports: flow.ports,
        server_port: server.port.load(),
        protocol: u32::from(flow.protocol),
        method: method as u32,
        server: index,
        state: first,
        packets: 1,
        stamp: now,
    };
    match rvs_table::insert(store, &record, now) {
        Inserted::New {
            index: slot,
            spilled,
        } => {
            state::acquire(server, first);
            tables.account(index, Traffic::Connection);
            if spilled {
                tables.count(Counter::Spilled);
            }
            outcome(OPENED, slot)
        }
        Inserted::Exists(slot) => outcome(OPENED, slot),
        Inserted::ReplyTaken => {
            make_way(tables, store, &record.reply_key(), now);
            outcome(REPLY_TAKEN, NONE)
        }
        Inserted::Full => outcome(FULL, NONE),
        Inserted::Race => outcome(RACE, NONE),
    }
}

/// Ends the connection that holds `reply` if it is closed and only waits for its time-out: the
/// client that uses the port again has forgotten it too.
#[inline(always)]
fn make_way<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    reply: &Key<N>,
    now: u32,
) {
    let Some(slot) = store.slot(find_in(store, reply)) else {
        return;
    };
    let Some((_, request, seen)) = pair_of(store, slot) else {
        return;
    };
    let link = Link(request.head.link.load());
    let number = State(request.head.state.load()).number();
    let closed = number == TcpState::TimeWait as u32 || number == TcpState::Close as u32;
    if tag::readable(seen)
        && link.role() == Role::Request
        && link.method() == Method::Nat as u32
        && link.protocol() == rvs_abi::protocol::TCP
        && closed
        && state::end(tables, store, request, seen, now)
    {
        tables.count(Counter::Reused);
    }
}

#[inline(always)]
fn address_of<const N: usize>(server: &Server) -> [u32; N] {
    let mut words = [0; N];
    let mut i = 0;
    while i < N && i < 4 {
        words[i] = server.address[i].load();
        i += 1;
    }
    words
}
