//! ICMP errors about a connection's packets (IPVS: `ip_vs_in_icmp`, `ip_vs_out_icmp`).
//!
//! The error quotes the packet that caused it. Reversed, the quoted tuple is the connection's:
//! - a quoted *reply* (virtual service to client): the error is for the server that sent it. NAT: the
//!   quoted source becomes the server; the error is sent on by the connection's method;
//! - a quoted *request* behind NAT (client to server): the error is for the client. The quoted
//!   destination, and the error's own source, become the virtual service.

use rvs_abi::{
    Counter, Head, Role,
    device::LOOPBACK,
    slot::{Link, State},
};

use super::quote;
use crate::{
    Action, Flow, Hop, NONE, Path, Tables, checksum, connection,
    director::drop,
    forward::{
        self, Side,
        direct::{age_word, aged_checksum},
    },
    ipsec,
};

/// The quoted packet was understood, or the error rewritten.
pub const READ: u32 = 1;

/// The index of the connection's slot that the quoted packet names when reversed, or [`NONE`].
#[inline(always)]
pub fn follow<P: Path>(path: &P, flow: &Flow) -> u32 {
    let mut quoted = Flow::default();
    if path.read_quoted(flow, &mut quoted) != READ || flow.destination != quoted.source {
        return NONE;
    }
    ipsec::find(path, &mut quoted, connection::REVERSED)
}

/// Sends an error about a NAT connection, which [`mend`] has rewritten, to whom it is for. The result is an [`Action`] as a number.
#[inline(always)]
pub fn relay<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(head) = connection::head(path, flow, index) else {
        return drop(path, Counter::DropNoRoute);
    };
    let (number, role) = (head.server.load(), Link(head.link.load()).role());
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    let known = match role {
        // As for a reply: the error will come from the virtual service.
        Role::Reply if is_to_local_client(path, flow, index) => {
            return path.deliver() as u32;
        }
        Role::Reply if flow.is_local() => return path.let_go() as u32,
        Role::Reply => forward::rewrite_of(path, flow, index).is_some_and(|rewrite| {
            path.route(
                u32::from(flow.family),
                &flow.destination,
                &rewrite.address,
                &mut hop,
            )
        }),
        Role::Request => {
            let now = path.now();
            let Some(server) = path.server(number) else {
                return drop(path, Counter::DropNoRoute);
            };
            hop = forward::hop_to(server, now);
            if hop.ifindex == LOOPBACK {
                return if flow.is_local() {
                    path.deliver() as u32
                } else {
                    Action::Pass as u32
                };
            }
            hop.ifindex != 0 || path.ask(flow, number, &mut hop) == READ
        }
    };
    if !known {
        return drop(path, Counter::DropNoRoute);
    }
    if flow.largest > hop.mtu {
        return drop(path, Counter::DropTooBig);
    }
    path.transmit(&hop) as u32
}

#[inline(always)]
fn is_to_local_client<P: Path>(path: &P, flow: &Flow, index: u32) -> bool {
    connection::head(path, flow, index)
        .is_some_and(|head| State(head.state.load()).has(State::LOCAL_CLIENT))
}

/// Reads the addresses and ports of the packet that the ICMP error `flow` quotes; [`READ`] or 0.
#[inline(always)]
pub fn read_quoted<P: Path>(path: &P, flow: &Flow, quoted: &mut Flow) -> u32 {
    let at = flow.transport + 8;
    u32::from(quote::read(path, at, flow.is_v6(), quoted))
}

/// What the error loses of its time to live on the way that the slot of `head` leads: nothing to a server on the director.
#[inline(always)]
pub(crate) fn hops<T: Tables>(tables: &T, head: &Head) -> u8 {
    match Link(head.link.load()).role() {
        Role::Request => forward::hops_to(tables, head.server.load()),
        Role::Reply => 1,
    }
}

/// Rewrites the error and what it quotes by the NAT slot at `index`; [`READ`] or 0.
#[inline(always)]
pub fn mend<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let mut quoted = Flow::default();
    if path.read_quoted(flow, &mut quoted) != READ {
        return 0;
    }
    let Some(head) = connection::head(path, flow, index) else {
        return 0;
    };
    let side = match Link(head.link.load()).role() {
        Role::Request => Side::Destination,
        Role::Reply => Side::Source,
    };
    let ttl = flow.ttl.wrapping_sub(hops(path, head));
    // The quoted packet went the other way.
    let ports = if ipsec::is_ipsec(quoted.protocol) {
        quoted.ports
    } else {
        head.rewrite_ports.load().rotate_left(16)
    };
    u32::from(if flow.is_v6() {
        let Some(slot) = path.slot6(index) else {
            return 0;
        };
        let address = core::array::from_fn(|i| slot.rewrite[i].load());
        rewrite_v6(path, flow, &quoted, (&address, ports), side, ttl)
    } else {
        let Some(slot) = path.slot4(index) else {
            return 0;
        };
        let address = slot.rewrite[0].load();
        rewrite_v4(path, flow, &quoted, (address, ports), side, ttl)
    })
}

#[inline(always)]
fn rewrite_v4<P: Path>(
    path: &mut P,
    flow: &Flow,
    quoted: &Flow,
    (address, ports): (u32, u32),
    side: Side,
    ttl: u8,
) -> bool {
    let (outer_old, inner_old, outer_at, inner_at) = match side {
        Side::Destination => (flow.destination[0], quoted.source[0], 16, 12),
        Side::Source => (flow.source[0], quoted.destination[0], 12, 16),
    };
    let outer_sum = checksum::update(
        aged_checksum(flow, ttl),
        checksum::difference(outer_old, address),
    );
    let inner_sum = checksum::update(
        quoted.header_checksum,
        checksum::difference(inner_old, address),
    );
    let Some(icmp) = path.read_words::<1>(flow.transport) else {
        return false;
    };
    // The quoted header's address and its checksum cancel out: only the ports show in ICMP's sum.
    let icmp_sum = checksum::update(
        (icmp[0] >> 16) as u16,
        checksum::difference(quoted.ports, ports),
    );
    let inner_age = age_word(quoted.ttl, quoted.protocol, inner_sum);
    path.write_words(flow.network + 8, &[age_word(ttl, flow.protocol, outer_sum)])
        && path.write_words(flow.network + outer_at, &[address])
        && path.write_words(quoted.network + 8, &[inner_age])
        && path.write_words(quoted.network + inner_at, &[address])
        && (ports == quoted.ports || path.write_words(quoted.transport, &[ports]))
        && path.write_words(
            flow.transport,
            &[icmp[0] & 0xffff | u32::from(icmp_sum) << 16],
        )
}

#[inline(always)]
fn rewrite_v6<P: Path>(
    path: &mut P,
    flow: &Flow,
    quoted: &Flow,
    (address, ports): (&[u32; 4], u32),
    side: Side,
    ttl: u8,
) -> bool {
    let (outer_at, inner_at, outer_old, inner_old) = match side {
        Side::Destination => (24, 8, &flow.destination, &quoted.source),
        Side::Source => (8, 24, &flow.source, &quoted.destination),
    };
    let Some(icmp) = path.read_words::<1>(flow.transport) else {
        return false;
    };
    let mut change = checksum::address_difference(outer_old, address, true);
    change = checksum::add(
        change,
        checksum::address_difference(inner_old, address, true),
    );
    change = checksum::add(change, checksum::difference(quoted.ports, ports));
    let icmp_sum = checksum::update((icmp[0] >> 16) as u16, change);
    path.write(flow.network + 7, &[ttl])
        && path.write_words(flow.network + outer_at, address)
        && path.write_words(quoted.network + inner_at, address)
        && (ports == quoted.ports || path.write_words(quoted.transport, &[ports]))
        && path.write_words(
            flow.transport,
            &[icmp[0] & 0xffff | u32::from(icmp_sum) << 16],
        )
}
