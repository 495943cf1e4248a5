//! What a packet does to its connection: is it still served, and in which state is it now?

pub mod counts;
mod fate;
pub mod sctp;
pub mod tcp;

use rvs_abi::{
    Role, SctpState, Server, Settings, Slot, TcpState, protocol,
    slot::{Link, State},
    sweep::Insertion,
};
use rvs_table::{Store, elapsed, kill_connection, pair_of, tag};

use crate::{
    Direction, Flow, Tables, director,
    flow::tcp as flags,
    tables::{Connections4, Connections6},
};
use fate::Fate;
pub(crate) use fate::expires;
use rvs_abi::Method;

/// The connection serves this packet.
pub const SERVE: u32 = 0;
/// The connection is gone; go on as if it had not been found.
pub const GONE: u32 = 1;
/// The connection waits for the return of its server, which was removed.
pub const HELD: u32 = 2;
/// The connection serves this packet, of which more is to be known: see [`crate::ftp`].
pub const CONTROL: u32 = 3;

/// The state word of a connection whose counts were released.
pub(crate) const RELEASED: u32 = u32::MAX;

/// How often a packet tries to move its connection on while others do. Nobody waits.
const TRIES: u32 = 2;

/// Lets the connection at `index` see the packet; the result is [`SERVE`], [`GONE`] or [`HELD`].
///
/// A slot of a removed server ends here (IPVS: `expire_nodest_conn`), and so does a closed
/// connection whose ports a SYN uses again (IPVS: `conn_reuse_mode`): see `fate`.
#[inline(always)]
pub fn advance<T: Tables>(tables: &T, flow: &Flow, index: u32, direction: Direction) -> u32 {
    if flow.is_v6() {
        let Some(slot) = tables.slot6(index) else {
            return GONE;
        };
        advance_in(tables, &Connections6(tables), slot, flow, direction)
    } else {
        let Some(slot) = tables.slot4(index) else {
            return GONE;
        };
        advance_in(tables, &Connections4(tables), slot, flow, direction)
    }
}

#[inline(always)]
fn advance_in<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &Slot<N, PAD>,
    flow: &Flow,
    direction: Direction,
) -> u32 {
    let now = tables.now();
    let seen = slot.head.tag.load();
    let Some(server) = tables.server(slot.head.server.load()) else {
        return GONE;
    };
    let is_reply = Link(slot.head.link.load()).role() == Role::Reply;

    // The slot that holds the connection's state.
    let (request, request_tag) = if is_reply {
        match pair_of(store, slot) {
            Some((_, request, tag)) => (request, tag),
            None => return GONE,
        }
    } else {
        (slot, seen)
    };
    if !tag::readable(request_tag) {
        return GONE;
    }
    // It may yet give way to a twin: its server does not count it, so nothing may move or release counts.
    if tag::state(request_tag) == tag::FRESH {
        return SERVE;
    }
    let removed = !Server::is_there(server.flags.load());
    if removed || direction == Direction::Input && flow.opens() {
        match fate::of(tables, server, removed, flow, direction, &slot.head) {
            Fate::Stays => {}
            Fate::Waits => return HELD,
            Fate::Ends(reason) => {
                if end(tables, store, request, request_tag, now) {
                    tables.count(reason);
                }
                return GONE;
            }
        }
    }

    let own = slot.head.state.load();
    let is_settled = settled(flow, own, direction);
    // Another table may have another connection of the same ports, which this packet belongs to.
    if !is_settled
        && is_closed(Link(slot.head.link.load()).protocol(), State(own))
        && !flow.opens()
        && director::is_takeover(tables)
    {
        return GONE;
    }
    if slot.head.stamp.load() != now {
        slot.head.stamp.store(now);
    }
    slot.head
        .packets
        .store(slot.head.packets.load().saturating_add(1));
    if !is_settled {
        let new = change_state(tables, server, request, flow, direction);
        // The reply slot's copy. The request slot's own state only changes together with the counts.
        if is_reply && slot.head.state.load() != new {
            slot.head.state.store(new);
        }
    }
    if slot.head.state.load() & (State::FTP | State::SEQUENCE) != 0 {
        return CONTROL;
    }
    SERVE
}

/// Whether the packet cannot change anything: it belongs to a connection in steady state, of which
/// the slot's own copy of the state knows enough.
#[inline(always)]
pub(crate) fn settled(flow: &Flow, state: u32, direction: Direction) -> bool {
    let state = State(state);
    if direction == Direction::Output && state.has(State::NO_OUTPUT) {
        return false;
    }
    if !flow.is_tcp() {
        return !flow.is_sctp()
            || flow.tcp_flags == sctp::Event::Data as u8
                && state.number() == SctpState::Established as u32;
    }
    let interesting = flow.tcp_flags & (flags::SYN | flags::FIN | flags::RST | flags::ACK);
    interesting == flags::ACK && state.number() == TcpState::Established as u32
}

/// Moves the connection on, and its server's counts with it. Gives the state that it has now.
#[inline(always)]
fn change_state<const N: usize, const PAD: usize, T: Tables>(
    tables: &T,
    server: &Server,
    request: &Slot<N, PAD>,
    flow: &Flow,
    direction: Direction,
) -> u32 {
    let secured = is_secured(tables);
    let mut old = request.head.state.load();
    // Where another CPU was quicker, its packet came first, and ours moves the connection on from there.
    for _ in 0..TRIES {
        if old == RELEASED {
            return old;
        }
        let new = next_state(old, flow, direction, secured);
        if new == old {
            return old;
        }
        let found = request.head.state.cas(old, new);
        if found == old {
            move_counts(server, old, new);
            if new & State::CONTROLLED != 0 && assures(flow, old, new, direction) {
                counts::assure::<T>(tables, &request.head, N as u32);
            }
            return new;
        }
        old = found;
    }
    old
}

/// Whether the connection has just shown that it is one: it is established, or, where there are no states, was answered.
#[inline(always)]
fn assures(flow: &Flow, old: u32, new: u32, direction: Direction) -> bool {
    if flow.is_stateful() {
        counts::is_established(new) && !counts::is_established(old)
    } else {
        direction == Direction::Output
    }
}

#[inline(always)]
fn next_state(old: u32, flow: &Flow, direction: Direction, secured: bool) -> u32 {
    let old = State(old);
    let mut word = old.0;
    let table = match direction {
        Direction::Output => {
            word &= !State::NO_OUTPUT;
            tcp::Table::Output
        }
        Direction::Input if old.has(State::NO_OUTPUT) => tcp::Table::InputOnly,
        Direction::Input => tcp::Table::Input,
    };
    let (number, is_active) = if flow.is_tcp() {
        let event = tcp::event(flow.tcp_flags);
        let number = if secured {
            tcp::next_secured(table, event, old.number())
        } else {
            tcp::next(table, event, old.number())
        };
        (number, tcp::is_active(number))
    } else if flow.is_sctp() {
        let number = sctp::next(table, flow.tcp_flags, old.number());
        (number, sctp::is_active(number))
    } else {
        return word;
    };
    let word = State(word).with_number(number).0;
    if is_active {
        word & !State::INACTIVE
    } else {
        word | State::INACTIVE
    }
}

/// Whether `secure_tcp` is in force.
#[inline(always)]
fn is_secured<T: Tables>(tables: &T) -> bool {
    tables
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::SECURE_TCP != 0)
}

#[inline(always)]
fn move_counts(server: &Server, old: u32, new: u32) {
    if (old ^ new) & State::INACTIVE == 0 {
        return;
    }
    let (from, to) = if new & State::INACTIVE != 0 {
        (&server.active, &server.inactive)
    } else {
        (&server.inactive, &server.active)
    };
    from.add(u32::MAX);
    to.add(1);
}

/// The first state of a connection that `flow` begins, [`State`] as a number. Only NAT shows the
/// director what the server says (IPVS: `IP_VS_CONN_F_NOOUTPUT`).
#[inline(always)]
pub fn first_state<T: Tables>(tables: &T, flow: &Flow, method: Method) -> u32 {
    let blind = if method == Method::Nat {
        0
    } else {
        State::NO_OUTPUT
    };
    // What an ICMP error quotes does not say in which state the connection is.
    if flow.is_quoted() && flow.is_stateful() {
        return blind | State::INACTIVE;
    }
    if !flow.is_tcp() && !flow.is_sctp() {
        return blind
            | State::INACTIVE
            | if method == Method::Nat {
                State::NO_OUTPUT
            } else {
                0
            };
    }
    // No state yet: 0 with TCP and SCTP.
    let start = blind | State::INACTIVE;
    next_state(start, flow, Direction::Input, is_secured(tables))
}

/// Whether the connection in `slot`, a request slot, came to its end where `insertion` comes from, and the
/// client used its port again there: the insertion is open and later than `latest`, the connection's last packet here, and
/// the slot is closed or goes to another server. Where only copies can have brought the slot here, its last packet may as well
/// have been one of the other connection's. What is expected stays with the server that said so first.
#[inline(always)]
pub(crate) fn is_outdated<const N: usize, const PAD: usize>(
    slot: &Slot<N, PAD>,
    latest: u32,
    insertion: &Insertion,
) -> bool {
    let protocol = insertion.protocol as u8;
    let state = State(slot.head.state.load());
    let is_request = Link(slot.head.link.load()).role() == Role::Request;
    let is_later = elapsed(insertion.stamp, latest, 1);
    let another = slot.head.server.load() != insertion.server;
    let was_copied = insertion.late != 0 && state.has(State::COPIED);
    let open = !is_closed(protocol, State(insertion.state))
        && insertion.state & State::NO_CLIENT_PORT == 0;
    let ended = another && (was_copied || is_later) || is_closed(protocol, state) && is_later;
    is_request && open && ended
}

/// Whether a connection of `protocol` is over. Where the TCP server's FIN goes another way, FIN_WAIT is the
/// last state that is seen.
#[inline(always)]
pub(crate) fn is_closed(protocol: u8, state: State) -> bool {
    let number = state.number();
    match protocol {
        protocol::TCP => {
            number == TcpState::TimeWait as u32
                || number == TcpState::Close as u32
                || number == TcpState::FinWait as u32 && state.has(State::NO_OUTPUT)
        }
        protocol::SCTP => number == SctpState::Closed as u32,
        _ => false,
    }
}

/// Moves a connection on to the state that it has elsewhere, if more packets of the client were seen there, or as
/// many and something of the server later than `latest`, the last packet here.
#[inline(always)]
pub(crate) fn catch_up<const N: usize, const PAD: usize>(
    server: &Server,
    slot: &Slot<N, PAD>,
    latest: u32,
    insertion: &Insertion,
) {
    let (old, packets) = (slot.head.state.load(), slot.head.packets.load());
    let is_later = elapsed(insertion.stamp, latest, 1);
    let is_news = insertion.packets > packets || insertion.packets == packets && is_later;
    if !is_news || old == RELEASED {
        return;
    }
    slot.head.packets.store(insertion.packets);
    let new = insertion.state | old & State::COPIED;
    if old != new && slot.head.state.cas(old, new) == old {
        move_counts(server, old, new);
    }
}

/// Ends the connection whose request slot is `request`, and takes it out of its server's counts.
/// Says whether this call did it.
#[inline(always)]
pub(crate) fn end<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    request: &Slot<N, PAD>,
    seen: u32,
    now: u32,
) -> bool {
    let paired = Link(request.head.link.load()).method() == Method::Nat as u32;
    if !kill_connection(store, request, seen, paired, now) {
        return false;
    }
    let state = request.head.state.swap(RELEASED);
    let head = &request.head;
    tables.leave(
        head.server.load(),
        state,
        counts::control(head.control.load(), head.control_generation.load()),
        N as u32,
    );
    true
}
