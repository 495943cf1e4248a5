//! Connections: found by what a packet shows, made for a server that was chosen.

use rvs_abi::{
    Counter, Head, Method, Role, Server, Slot,
    slot::{Link, State},
};
use rvs_table::{Hash, Inserted, Key, Record, Store, pair_of, tag};

use crate::{
    Flow, Intent, NONE, Tables,
    flow::first_words,
    persist,
    state::{self, counts},
    tables::{Connections4, Connections6, Traffic},
};

/// The index of the slot that the packet's own tuple names, or [`NONE`].
#[inline(always)]
pub fn find<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    lookup(tables, flow, OWN)
}

/// The index of the *request* slot of which the packet is the other direction, or [`NONE`]: a
/// direct-routing or tunnel server answers from the virtual address.
#[inline(always)]
pub fn find_returning<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    lookup(tables, flow, REVERSED)
}

/// Look the packet's own tuple up.
pub const OWN: u32 = 0;
/// Look the tuple of the other direction up.
pub const REVERSED: u32 = 1;

/// [`find`] or [`find_returning`], by [`OWN`] or [`REVERSED`].
#[inline(always)]
pub fn lookup<T: Tables>(tables: &T, flow: &Flow, way: u32) -> u32 {
    if flow.is_v6() {
        let key = if way == OWN {
            flow.key()
        } else {
            flow.key().reversed()
        };
        find_in(&Connections6(tables), &key)
    } else {
        let key = if way == OWN {
            flow.key()
        } else {
            flow.key().reversed()
        };
        find_in(&Connections4(tables), &key)
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

/// What both families' slots begin with, of the slot at `index`.
#[inline(always)]
pub(crate) fn head<'a, T: Tables>(tables: &'a T, flow: &Flow, index: u32) -> Option<&'a Head> {
    if flow.is_v6() {
        tables.slot6(index).map(|slot| &slot.head)
    } else {
        tables.slot4(index).map(|slot| &slot.head)
    }
}

/// The role of the slot at `index`.
#[inline(always)]
pub fn role_of<T: Tables>(tables: &T, flow: &Flow, index: u32) -> Role {
    Link(head(tables, flow, index).map_or(0, |head| head.link.load())).role()
}

/// Made, or found made by another CPU: the low half is the request slot's index.
pub const OPENED: u32 = 0;
/// The server already has a connection with this client address and port.
pub const REPLY_TAKEN: u32 = 1;
/// No room.
pub const FULL: u32 = 2;
/// Another CPU was making the same connection.
pub const RACE: u32 = 3;

/// Makes the connection that `flow` begins, as `intent` says. The result's high half is one of
/// [`OPENED`], [`REPLY_TAKEN`], [`FULL`], [`RACE`].
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, flow: &Flow, intent: &Intent) -> u64 {
    if flow.is_v6() {
        insert6(tables, flow, intent)
    } else {
        insert4(tables, flow, intent)
    }
}

/// [`insert`] for IPv4.
#[inline(always)]
pub fn insert4<T: Tables>(tables: &T, flow: &Flow, intent: &Intent) -> u64 {
    insert_in(tables, &Connections4(tables), flow, intent)
}

/// [`insert`] for IPv6.
#[inline(always)]
pub fn insert6<T: Tables>(tables: &T, flow: &Flow, intent: &Intent) -> u64 {
    insert_in(tables, &Connections6(tables), flow, intent)
}

#[inline(always)]
fn insert_in<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    flow: &Flow,
    intent: &Intent,
) -> u64 {
    let index = intent.server;
    let outcome = |code: u32, index: u32| u64::from(code) << 32 | u64::from(index);
    let Some(server) = tables.server(index) else {
        return outcome(RACE, NONE);
    };
    let Some(method) = Server::method_of(server.flags.load()) else {
        return outcome(RACE, NONE);
    };
    let now = tables.now();
    let first = if intent.state & State::TEMPLATE != 0 {
        intent.state
    } else {
        state::first_state(tables, flow, method) | intent.state | crate::ftp::state_of(flow, method)
    };
    let record = Record {
        client: first_words(&flow.source),
        virtual_address: first_words(&flow.destination),
        server_address: address_of(server),
        ports: flow.ports,
        server_port: server_port(flow, server, intent),
        protocol: u32::from(flow.protocol),
        method: persist::method_of(method, first),
        server: index,
        state: first,
        // A template has those alone that leave no connection (`persist::by_template`).
        packets: u32::from(first & State::TEMPLATE == 0),
        stamp: now,
        control: intent.control,
        control_generation: intent.control_generation,
    };
    match rvs_table::insert(store, &record, now) {
        Inserted::New {
            index: slot,
            spilled,
        } => {
            let control = counts::control(intent.control, intent.control_generation);
            tables.enter(index, first, control, N as u32);
            // What a control connection announced was not scheduled (IPVS: `ip_vs_ftp_out` counts nothing).
            if first & State::TEMPLATE == 0 && intent.service != NONE {
                tables.account(index, Traffic::Connection);
            }
            if spilled {
                tables.count(Counter::Spilled);
            }
            outcome(OPENED, slot)
        }
        Inserted::Exists(slot) => outcome(OPENED, slot),
        Inserted::ReplyTaken => outcome(REPLY_TAKEN, NONE),
        Inserted::Full => outcome(FULL, NONE),
        Inserted::Race => outcome(RACE, NONE),
    }
}

/// The port, as it lies in a packet, at which `server` serves `flow`.
#[inline(always)]
pub(crate) fn server_port(flow: &Flow, server: &Server, intent: &Intent) -> u32 {
    let mut port = intent.server_port;
    if port == 0 {
        port = server.port.load();
    }
    if port == 0 {
        port = flow.ports >> 16;
    }
    port & 0xffff
}

/// Ends the connection that holds the reply tuple which `flow` would need at `server`, if that
/// connection is closed and only waits for its time-out: the client that uses the port again has
/// forgotten it too. `port` is [`Intent::server_port`]'s, `find` is [`find`]. 1 if it did, else 0.
#[inline(always)]
pub fn make_way<T: Tables>(
    tables: &T,
    flow: &Flow,
    server: u32,
    port: u32,
    find: impl Fn(&Flow) -> u32,
) -> u32 {
    let Some(server) = tables.server(server) else {
        return 0;
    };
    let reply = reply_of(flow, server, port);
    let index = find(&reply);
    u32::from(if flow.is_v6() {
        tables
            .slot6(index)
            .is_some_and(|slot| end_closed(tables, &Connections6(tables), slot))
    } else {
        tables
            .slot4(index)
            .is_some_and(|slot| end_closed(tables, &Connections4(tables), slot))
    })
}

/// What of a packet the connection table needs to know, of the packet that `server` would answer
/// `flow` with if it were NAT's.
#[inline(always)]
pub(crate) fn reply_of(flow: &Flow, server: &Server, port: u32) -> Flow {
    let intent = Intent {
        server_port: port,
        ..Intent::NEW
    };
    Flow {
        source: address_of(server),
        destination: flow.source,
        ports: server_port(flow, server, &intent) | flow.ports << 16,
        protocol: flow.protocol,
        family: flow.family,
        ..Flow::default()
    }
}

/// Ends the connection whose reply slot is `reply` if it is closed.
#[inline(always)]
pub(crate) fn end_closed<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    reply: &Slot<N, PAD>,
) -> bool {
    let Some((_, request, seen)) = pair_of(store, reply) else {
        return false;
    };
    let link = Link(request.head.link.load());
    let state = State(request.head.state.load());
    let ended = tag::readable(seen)
        && link.role() == Role::Request
        && link.method() == Method::Nat as u32
        && state::is_closed(link.protocol(), state)
        && state::end(tables, store, request, seen, tables.now());
    if ended {
        tables.count(Counter::Reused);
    }
    ended
}

#[inline(always)]
pub(crate) fn address_of<const N: usize>(server: &Server) -> [u32; N] {
    let mut words = [0; N];
    let mut i = 0;
    while i < N && i < 4 {
        words[i] = server.address[i].load();
        i += 1;
    }
    words
}
