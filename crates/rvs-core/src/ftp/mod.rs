//! FTP through NAT (RFC 959, RFC 2428): control connections whose words name addresses, the data connections that
//! they announce, and the numbers of what was changed.
//!
//! A new NAT connection to an FTP service gets [`State::FTP`]. Its packets take a program of their own:
//!
//! ```text
//!   PORT, EPRT (client), 227, 229 (server) ─► daemon: data connection made ahead, 227's words changed ─┐
//!   others ────────────────────────────────────────────────────────────────────────────────────────────┴─► adjust ─► forward
//! ```
//!
//! The daemon only changes words; numbers are adjusted here, on the packet's way back too. While the daemon is away
//! such a packet is dropped, and its sender repeats it.
//!
//! Selective acknowledgements would name numbers in options. They are not adjusted: the director takes the option that
//! permits them out of the server's SYN, so that neither side uses them on a control connection, which carries lines.
//!
//! A passive data connection is *expected*: its client's port is not known yet. It lies in the table under a
//! protocol number of its own until the client's SYN has made the connection.

pub mod text;

use rvs_abi::{
    Counter, Method, Role, Sequence, SequenceKey, Server, Settings, TcpState, Ticket, protocol,
    slot::{Link, State},
};
use rvs_table::{Store, tag};

use crate::{
    ChecksumChange, Flow, Intent, NONE, Packet, Path, Tables, connection,
    detour::{detour, is_back},
    director::{drop, finish},
    flow::tcp,
    forward::WRITTEN,
    state,
    tables::{Connections4, Connections6},
};

/// FTP's control port as it lies in a packet.
const PORT: u16 = 21_u16.to_be();

/// The bits that a new connection of `flow` begins with.
#[inline(always)]
pub fn state_of(flow: &Flow, method: Method) -> u32 {
    if method == Method::Nat && flow.is_tcp() && (flow.ports >> 16) as u16 == PORT {
        State::FTP
    } else {
        0
    }
}

/// A packet of a connection with [`State::FTP`] or [`State::SEQUENCE`], which has been advanced. The result is an
/// [`crate::Action`] as a number.
#[inline(always)]
pub fn control<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let action = path.prepare_ftp(flow);
    if action != GOES_ON {
        return action;
    }
    let index = path.find(flow);
    let outcome = if connection::role_of(path, flow, index) == Role::Reply {
        path.reply(flow, index)
    } else {
        path.request(flow, index)
    };
    finish(path, flow, index, outcome)
}

/// The packet may be forwarded; no action has this number.
pub const GOES_ON: u32 = 15;

/// What comes before the packet is forwarded: it goes to the daemon, or its numbers are adjusted. The result is
/// [`GOES_ON`] or an [`crate::Action`] as a number.
#[inline(always)]
pub fn prepare<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let index = path.find(flow);
    let Some(head) = connection::head(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    let (state, seen) = (State(head.state.load()), head.tag.load());
    let link = Link(head.link.load());
    let (pair, pair_generation) = (head.pair.load(), head.pair_generation.load());
    let is_reply = link.role() == Role::Reply;
    if state.has(State::FTP)
        && state.number() == TcpState::Established as u32
        && !is_back(path)
        && path.names_address(flow, u32::from(is_reply)) != 0
    {
        let ticket = Ticket {
            kind: Ticket::FTP,
            index,
            generation: tag::generation(seen),
        };
        let action = detour(path, ticket);
        if action == NONE {
            return drop(path, Counter::DropFtp);
        }
        path.count(Counter::FtpDetour);
        return action;
    }
    if state.has(State::SEQUENCE) {
        let (index, generation) = if is_reply {
            (pair, pair_generation)
        } else {
            (index, tag::generation(seen))
        };
        if path.adjust(flow, index, generation << 1 | u32::from(is_reply)) != WRITTEN {
            return drop(path, Counter::DropSequence);
        }
    }
    if is_reply && flow.tcp_flags & tcp::SYN != 0 && path.forbid_sack(flow) != WRITTEN {
        return drop(path, Counter::DropNoRoom);
    }
    GOES_ON
}

/// Whether what the packet says begins with a word that names an address; 1 or 0.
#[inline(always)]
pub fn names_address<P: Packet>(packet: &P, flow: &Flow, is_reply: u32) -> u32 {
    let Some(offset) = packet.read::<1>(flow.transport + 12) else {
        return 0;
    };
    let Some([a, b, c, d]) = packet.read::<4>(flow.transport + u32::from(offset[0] >> 4) * 4)
    else {
        return 0;
    };
    let word = u32::from_be_bytes([a, b, c, d]);
    u32::from(if is_reply != 0 {
        word == u32::from_be_bytes(*b"227 ") || word == u32::from_be_bytes(*b"229 ")
    } else {
        // Without the bit that tells small letters from capital ones.
        let word = word & 0xdfdf_dfdf;
        word == u32::from_be_bytes(*b"PORT") || word == u32::from_be_bytes(*b"EPRT")
    })
}

/// Adjusts the packet's numbers; `what` is the request slot's generation, and in the lowest bit whether it is a
/// reply. [`WRITTEN`] or 0.
#[inline(always)]
pub fn adjust<P: Packet + Tables>(packet: &mut P, flow: &Flow, index: u32, what: u32) -> u32 {
    let key = SequenceKey::new(index, what >> 1, flow.family);
    let Some(Sequence { requests, replies }) = packet.sequence(&key) else {
        return 0;
    };
    let (own, other) = if what & 1 != 0 {
        (replies, requests)
    } else {
        (requests, replies)
    };
    let Some([sequence, acknowledged]) = packet.read_words::<2>(flow.transport + 4) else {
        return 0;
    };
    let new = own.shifted(u32::from_be(sequence)).to_be();
    let new_acknowledged = if flow.tcp_flags & tcp::ACK != 0 {
        other.unshifted(u32::from_be(acknowledged)).to_be()
    } else {
        acknowledged
    };
    if new == sequence && new_acknowledged == acknowledged {
        return WRITTEN;
    }
    let change = |old_ports, new_ports| ChecksumChange {
        offset: flow.transport + 16,
        pseudo: 0,
        old_ports,
        new_ports,
        is_udp: false,
    };
    let done = packet.change_checksum(&change(sequence, new))
        && packet.change_checksum(&change(acknowledged, new_acknowledged))
        && packet.write_words(flow.transport + 4, &[new, new_acknowledged]);
    if done { WRITTEN } else { 0 }
}

/// The most options that fit into a TCP header, if each takes but two bytes.
const OPTIONS: u32 = 20;
const SACK_PERMITTED: [u8; 2] = [4, 2];

/// Takes "SACK permitted" out of a SYN's options; [`WRITTEN`] also where there is none, else 0.
#[inline(always)]
pub fn forbid_sack<P: Packet>(packet: &mut P, flow: &Flow) -> u32 {
    let Some(offset) = packet.read::<1>(flow.transport + 12) else {
        return 0;
    };
    let end = flow.transport + u32::from(offset[0] >> 4) * 4;
    let mut at = flow.transport + 20;
    for _ in 0..OPTIONS * 2 {
        if at + 2 > end {
            break;
        }
        let Some(option) = packet.read::<2>(at) else {
            return 0;
        };
        if option[0] == 0 {
            break;
        }
        if option[0] == 1 {
            at += 1;
            continue;
        }
        if option[1] < 2 {
            break;
        }
        if option == SACK_PERMITTED {
            // Two of "no operation". At an odd place the bytes lie in two words' other halves.
            let old = if (at - flow.transport) & 1 == 0 {
                u16::from_ne_bytes([4, 2])
            } else {
                u16::from_ne_bytes([2, 4])
            };
            let change = ChecksumChange {
                offset: flow.transport + 16,
                pseudo: 0,
                old_ports: u32::from(old),
                new_ports: u32::from(u16::from_ne_bytes([1, 1])),
                is_udp: false,
            };
            if !packet.change_checksum(&change) || !packet.write(at, &[1, 1]) {
                return 0;
            }
        }
        at += u32::from(option[1]);
    }
    WRITTEN
}

/// Somebody expects this connection.
pub const EXPECTED: u32 = 1;
/// Somebody expects it, but the server was removed.
pub const SERVER_GONE: u32 = 2;

/// If somebody expects this connection: fills `intent` for it, [`EXPECTED`]; or [`SERVER_GONE`]; else 0.
#[inline(always)]
pub fn expected<T: Tables>(
    tables: &T,
    flow: &Flow,
    intent: &mut Intent,
    find: impl Fn(&Flow) -> u32,
) -> u32 {
    let index = find(&expectation(flow));
    let Some(head) = connection::head(tables, flow, index) else {
        return 0;
    };
    let (server, state) = (head.server.load(), head.state.load());
    let (port, control) = (head.rewrite_ports.load() >> 16, head.control.load());
    let generation = head.control_generation.load();
    if tag::state(head.tag.load()) != tag::LIVE {
        return 0;
    }
    let is_there = tables
        .server(server)
        .is_some_and(|server| Server::is_there(server.flags.load()));
    if !is_there {
        return SERVER_GONE;
    }
    intent.server = server;
    intent.server_port = port;
    if state & State::CONTROLLED != 0 {
        intent.control = control;
        intent.control_generation = generation;
        intent.state |= State::CONTROLLED;
    }
    EXPECTED
}

/// The connection of `flow` is there and no longer expected; 1 if it was, else 0.
#[inline(always)]
pub fn fulfil<T: Tables>(tables: &T, flow: &Flow, find: impl Fn(&Flow) -> u32) -> u32 {
    let index = find(&expectation(flow));
    u32::from(if flow.is_v6() {
        tables
            .slot6(index)
            .is_some_and(|slot| forget(tables, &Connections6(tables), slot))
    } else {
        tables
            .slot4(index)
            .is_some_and(|slot| forget(tables, &Connections4(tables), slot))
    })
}

#[inline(always)]
fn forget<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &rvs_abi::Slot<N, PAD>,
) -> bool {
    let seen = slot.head.tag.load();
    tag::state(seen) == tag::LIVE && state::end(tables, store, slot, seen, tables.now())
}

/// What the expectation of this connection is found by: all but its client's port.
#[inline(always)]
fn expectation(flow: &Flow) -> Flow {
    Flow {
        protocol: protocol::of_expected(flow.protocol),
        ports: flow.ports & !0xffff,
        ..*flow
    }
}

/// Whether any connection is expected.
#[inline(always)]
pub fn any_expected<T: Tables>(tables: &T) -> bool {
    tables
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::HAS_EXPECTED != 0)
}
