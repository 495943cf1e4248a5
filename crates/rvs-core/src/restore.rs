//! Making connections as another table, or another director, had them.
//!
//! The other table may still be in use while it is copied. What is found here from an earlier copy can have come to
//! its end there since, and its client's port have been used again: the later connection is the one to keep.

use rvs_abi::{
    Server, Slot, family,
    slot::{NO_CONTROL, State},
    sweep::Insertion,
};
use rvs_table::{Inserted, Key, Record, Store, elapsed, pair_of};

use crate::{
    Tables,
    connection::{address_of, end_closed, find_in},
    flow::first_words,
    persist,
    state::{self, counts},
    tables::{Connections4, Connections6},
};

/// [`Insertion::outcome`]: no room, no such server, or a race.
pub const REFUSED: u32 = 0;
/// [`Insertion::outcome`]: inserted.
pub const MADE: u32 = 1;
/// [`Insertion::outcome`]: was there already.
pub const EXISTS: u32 = 2;
/// Another connection holds its reply tuple.
pub const HELD: u32 = 3;
/// It is not there.
pub const ABSENT: u32 = 4;

/// The parts of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`settle4`]
    Settle,
    /// [`insert4`]
    Insert,
    /// [`make_way4`]
    MakeWay,
}

/// Makes a connection. The result is [`Insertion::outcome`].
#[inline(always)]
pub fn restore<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    let is_v6 = insertion.family == u32::from(family::V6);
    restore_by(|part| match (part, is_v6) {
        (Part::Settle, false) => settle4(tables, insertion),
        (Part::Settle, true) => settle6(tables, insertion),
        (Part::Insert, false) => insert4(tables, insertion),
        (Part::Insert, true) => insert6(tables, insertion),
        (Part::MakeWay, false) => make_way4(tables, insertion),
        (Part::MakeWay, true) => make_way6(tables, insertion),
    })
}

/// [`restore`] by parts, which the kernel side overrides.
#[inline(always)]
pub fn restore_by(run: impl Fn(Part) -> u32) -> u32 {
    // An insertion would find it too, but the slots that it takes to look rest for a while: a second copy of
    // a whole table would take the room of another table.
    let found = run(Part::Settle);
    if found != ABSENT {
        return found;
    }
    let made = run(Part::Insert);
    if made != HELD {
        return made;
    }
    if run(Part::MakeWay) != 0 && run(Part::Insert) == MADE {
        MADE
    } else {
        REFUSED
    }
}

/// Lets a connection that is there catch up, or give way; [`EXISTS`], [`REFUSED`] or [`ABSENT`].
#[inline(always)]
pub fn settle4<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    settle(tables, &Connections4(tables), insertion)
}

/// [`settle4`] for IPv6.
#[inline(always)]
pub fn settle6<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    settle(tables, &Connections6(tables), insertion)
}

#[inline(always)]
fn settle<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    insertion: &Insertion,
) -> u32 {
    let key = Key {
        source: first_words(&insertion.client),
        destination: first_words(&insertion.virtual_address),
        ports: insertion.ports,
        protocol: insertion.protocol,
    };
    let Some(slot) = store.slot(find_in(store, &key)) else {
        return ABSENT;
    };
    let seen = slot.head.tag.load();
    let latest = latest(store, slot);
    if state::is_outdated(slot, latest, insertion) {
        return if state::end(tables, store, slot, seen, tables.now()) {
            ABSENT
        } else {
            REFUSED
        };
    }
    // One that goes to another server here has a life of its own.
    if slot.head.server.load() == insertion.server
        && let Some(server) = tables.server(insertion.server)
    {
        state::catch_up(server, slot, latest, insertion);
        // Asked for again, a connection that is expected may take as long as at first.
        if insertion.state & State::NO_CLIENT_PORT != 0 {
            slot.head.stamp.store(insertion.stamp);
        }
    }
    EXISTS
}

/// The tick of the connection's last packet, either way.
#[inline(always)]
fn latest<const N: usize, const PAD: usize, S: Store<N, PAD>>(
    store: &S,
    request: &Slot<N, PAD>,
) -> u32 {
    let stamp = request.head.stamp.load();
    let other = pair_of(store, request).map_or(stamp, |(_, reply, _)| reply.head.stamp.load());
    if elapsed(other, stamp, 0) {
        other
    } else {
        stamp
    }
}

/// Makes the connection; [`MADE`], [`EXISTS`], [`HELD`] or [`REFUSED`].
#[inline(always)]
pub fn insert4<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    insert(tables, &Connections4(tables), insertion)
}

/// [`insert4`] for IPv6.
#[inline(always)]
pub fn insert6<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    insert(tables, &Connections6(tables), insertion)
}

#[inline(always)]
fn insert<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    insertion: &Insertion,
) -> u32 {
    let Some(server) = tables.server(insertion.server) else {
        return REFUSED;
    };
    let flags = server.flags.load();
    let (Some(method), true) = (Server::method_of(flags), Server::is_there(flags)) else {
        return REFUSED;
    };
    let record = Record {
        client: first_words(&insertion.client),
        virtual_address: first_words(&insertion.virtual_address),
        server_address: address_of(server),
        ports: insertion.ports,
        server_port: server_port(server, insertion),
        protocol: insertion.protocol,
        method: match insertion.method.checked_sub(1) {
            Some(method) => method & 15,
            None => persist::method_of(method, insertion.state),
        },
        server: insertion.server,
        state: insertion.state | State::COPIED,
        packets: insertion.packets,
        stamp: insertion.stamp,
        control: insertion.control,
        control_generation: control_generation(insertion),
    };
    match rvs_table::insert(store, &record, tables.now()) {
        Inserted::New { .. } => {
            let control = counts::control(insertion.control, control_generation(insertion));
            tables.enter(insertion.server, insertion.state, control, N as u32);
            MADE
        }
        Inserted::Exists(_) => EXISTS,
        Inserted::ReplyTaken => HELD,
        Inserted::Full | Inserted::Race => REFUSED,
    }
}

#[inline(always)]
fn control_generation(insertion: &Insertion) -> u32 {
    if insertion.state & State::CONTROLLED != 0 {
        insertion.control_generation
    } else {
        NO_CONTROL
    }
}

/// Ends the closed connection that holds the reply tuple which the one to be made needs: the
/// same client used the port again. 1 if it did, else 0.
#[inline(always)]
pub fn make_way4<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    make_way(tables, &Connections4(tables), insertion)
}

/// [`make_way4`] for IPv6.
#[inline(always)]
pub fn make_way6<T: Tables>(tables: &T, insertion: &Insertion) -> u32 {
    make_way(tables, &Connections6(tables), insertion)
}

#[inline(always)]
fn make_way<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    insertion: &Insertion,
) -> u32 {
    let Some(server) = tables.server(insertion.server) else {
        return 0;
    };
    let reply = Key {
        source: address_of(server),
        destination: first_words(&insertion.client),
        ports: server_port(server, insertion) & 0xffff | insertion.ports << 16,
        protocol: insertion.protocol,
    };
    u32::from(
        store
            .slot(find_in(store, &reply))
            .is_some_and(|slot| end_closed(tables, store, slot)),
    )
}

/// The port that the server's packets show.
#[inline(always)]
fn server_port(server: &Server, insertion: &Insertion) -> u32 {
    if insertion.server_port != 0 {
        insertion.server_port
    } else {
        server.port.load()
    }
}
