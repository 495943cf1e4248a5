//! Fragments (RFC 791, RFC 8200 section 4.5): each is forwarded by itself, and nothing is put together.
//!
//! The first one shows the ports: it finds or makes its connection as any packet does, and leaves a
//! *note* under what all fragments of a packet have in common. The later ones go the way that the note
//! says. One that comes before its first is given to the daemon, which waits for the note and sends it in
//! again; while the daemon is away it is dropped.
//!
//! ```text
//! first ─► find, advance | newcomer ─► note ─► forward
//! later ─► note? ─ yes ─► forward: addresses and time to live only
//!            └ no ─► daemon ─ (the note is there) ─► later
//! ```
//!
//! NAT changes the transport checksum in the first fragment by difference, which needs no other fragment.
//! That cannot be done to SCTP's CRC32c, for which the length of the whole packet would have to be known: where NAT
//! changes a port, SCTP's fragments are dropped. (Addresses are not in that checksum.)
//!
//! **What a stranger can do.** Who can guess addresses, protocol and identification of a packet on its way can
//! spoil it at its destination, whoever forwards it; a forged first fragment here does no more: it
//! overwrites a note, whose packet's later fragments then go by another connection of the *same* client
//! address and virtual address. Notes are in an LRU map: a flood of first fragments pushes honest notes out only if
//! [`rvs_abi::fragment::NOTES`] of them come between a packet's first fragment and its last. A limit for each
//! source would not help, since sources can be forged, and would cost a lookup. Fragments that wait at the daemon
//! do have one: they cost memory for a while.

use rvs_abi::{
    AddressKey, Counter, FragmentKey, FragmentNote, Method, Role, Settings, Ticket,
    fragment::{NOTE_SECONDS, way},
    protocol,
    service::address,
    slot::{Link, State},
};
use rvs_table::{elapsed, tag};

use crate::{
    Direction, Flow, NONE, Packet, Path, Tables, connection,
    detour::detour,
    director::{drop, finish, pass},
    forward::Outcome,
    icmp,
    state::{HELD, SERVE},
};

/// What becomes of a fragment. The result is an [`crate::Action`] as a number.
#[inline(always)]
pub fn fragment<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let ours = path.is_ours(flow) != 0;
    let marks = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::HAS_MARKS != 0);
    if !ours && !marks {
        return pass(path, Counter::PassFragment);
    }
    if flow.flags & Flow::LATER_FRAGMENT != 0 {
        later(path, flow, ours)
    } else if flow.flags & Flow::FIRST_FRAGMENT != 0 {
        first(path, flow)
    } else {
        stray(path, ours)
    }
}

/// Whether the fragment may be to or from a virtual service, by what every fragment shows; 1 or 0.
#[inline(always)]
pub fn is_ours<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    let meaning = |address: &[u32; 4]| {
        tables.find_address(&AddressKey {
            address: *address,
            protocol: flow.protocol,
            family: flow.family,
            port: 0,
        })
    };
    u32::from(
        meaning(&flow.destination) & address::VIRTUAL != 0
            || meaning(&flow.source) & (address::NAT_SERVER | address::VIRTUAL) != 0,
    )
}

/// As any packet, and a note for those that follow.
#[inline(always)]
fn first<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let index = path.find(flow);
    if index != NONE {
        let Some(head) = connection::head(path, flow, index) else {
            return drop(path, Counter::DropFragment);
        };
        let link = Link(head.link.load());
        // What an FTP control connection says could hide in fragments.
        if head.state.load() & (State::FTP | State::SEQUENCE) != 0 && flow.is_tcp() {
            return drop(path, Counter::DropFragment);
        }
        if flow.protocol == protocol::SCTP
            && link.method() == Method::Nat as u32
            && head.rewrite_ports.load() != flow.ports
        {
            return drop(path, Counter::DropFragment);
        }
        let fate = if link.role() == Role::Reply {
            let fate = path.advance(flow, index, Direction::Output);
            if fate == SERVE {
                path.note(flow, index, way::REPLY);
                let outcome = path.reply(flow, index);
                return finish(path, flow, index, outcome);
            }
            fate
        } else {
            let fate = path.advance(flow, index, Direction::Input);
            if fate == SERVE {
                path.note(flow, index, way::REQUEST);
                let outcome = path.request(flow, index);
                return finish(path, flow, index, outcome);
            }
            fate
        };
        if fate == HELD {
            return drop(path, Counter::DropServerGone);
        }
    }
    path.newcomer(flow)
}

/// The way that the first one went.
#[inline(always)]
fn later<P: Path>(path: &mut P, flow: &Flow, ours: bool) -> u32 {
    let found = path.recall(flow);
    if found == UNKNOWN {
        // What the host itself sends is in order.
        if !ours || flow.is_local() {
            return stray(path, ours);
        }
        let ticket = Ticket {
            kind: Ticket::FRAGMENT,
            ..Ticket::default()
        };
        let action = detour(path, ticket);
        if action == NONE {
            return stray(path, ours);
        }
        path.count(Counter::FragmentDetour);
        return action;
    }
    let index = found & INDEX;
    let outcome = match found >> WAY_SHIFT {
        way::REQUEST => path.request(flow, index),
        way::REPLY => path.reply(flow, index),
        way::RETURNING => path.returning(flow, index),
        _ => return pass(path, Counter::PassFragment),
    };
    path.count(Counter::FragmentForward);
    // No error is sent about a fragment other than the first (RFC 1122 section 3.2.2).
    match outcome & 15 {
        Outcome::ANSWER_CLIENT | Outcome::ANSWER_SERVER => {
            let why = if (outcome >> 4) & 0xff == icmp::TTL {
                Counter::DropTtl
            } else {
                Counter::DropTooBig
            };
            drop(path, why)
        }
        Outcome::CUT => path.cut(flow, outcome >> 4),
        _ => outcome,
    }
}

#[inline(always)]
fn stray<T: Tables>(tables: &T, ours: bool) -> u32 {
    if ours {
        drop(tables, Counter::DropFragment)
    } else {
        pass(tables, Counter::PassFragment)
    }
}

/// There is no note, or none that counts.
pub const UNKNOWN: u32 = u32::MAX;
const WAY_SHIFT: u32 = 30;
const INDEX: u32 = (1 << WAY_SHIFT) - 1;

/// What the first fragment of this packet left: the slot, of which no table has as many, and in the two highest bits
/// the way; or [`UNKNOWN`].
#[inline(always)]
pub fn recall<P: Packet + Tables>(packet: &P, flow: &Flow) -> u32 {
    let Some(key) = key_of(packet, flow) else {
        return UNKNOWN;
    };
    let (Some(note), Some(settings)) = (packet.find_note(&key), packet.settings()) else {
        return UNKNOWN;
    };
    let life = settings.ticks_per_second.load().wrapping_mul(NOTE_SECONDS);
    if elapsed(packet.now(), note.stamp, life) {
        return UNKNOWN;
    }
    if note.way != way::PASS && generation(packet, flow, note.index) != note.generation {
        return UNKNOWN;
    }
    if note.way == way::PASS {
        return way::PASS << WAY_SHIFT;
    }
    note.index & INDEX | note.way << WAY_SHIFT
}

/// Leaves a note for the later fragments: they go by slot `index`, and the way `way`. Gives 0.
#[inline(always)]
pub fn note<P: Packet + Tables>(packet: &P, flow: &Flow, index: u32, way: u32) -> u32 {
    if let Some(key) = key_of(packet, flow) {
        let note = FragmentNote {
            index,
            generation: generation(packet, flow, index),
            stamp: packet.now(),
            way,
        };
        packet.put_note(&key, &note);
    }
    0
}

/// The generation of the slot at `index` while it may be used, else [`NONE`], which no slot has.
#[inline(always)]
fn generation<T: Tables>(tables: &T, flow: &Flow, index: u32) -> u32 {
    let seen = connection::head(tables, flow, index).map_or(0, |head| head.tag.load());
    if tag::readable(seen) {
        tag::generation(seen)
    } else {
        NONE
    }
}

/// What all fragments of the packet have in common.
#[inline(always)]
fn key_of<P: Packet>(packet: &P, flow: &Flow) -> Option<FragmentKey> {
    let identification = if flow.is_v6() {
        // The last word of the fragment header, which ends where the transport header begins.
        packet.read_words::<1>(flow.transport.wrapping_sub(4))?[0]
    } else {
        packet.read_words::<1>(flow.network.wrapping_add(4))?[0] & 0xffff
    };
    Some(FragmentKey {
        source: flow.source,
        destination: flow.destination,
        identification,
        kind: FragmentKey::kind_of(flow.protocol, flow.family),
    })
}
