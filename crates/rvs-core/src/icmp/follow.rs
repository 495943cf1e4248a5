//! ICMP errors about a connection's packets (IPVS: `ip_vs_in_icmp`, `ip_vs_out_icmp`).
//!
//! The error quotes the packet that caused it. Reversed, the quoted tuple is the connection's:
//! - a quoted *reply* (virtual service to client): the error is for the server that sent it. NAT: the
//!   quoted source becomes the server; the error is sent on by the connection's method;
//! - a quoted *request* behind NAT (client to server): the error is for the client. The quoted
//!   destination, and the error's own source, become the virtual service.

use rvs_abi::{Counter, Method, Role, protocol, slot::Link};

use crate::{
    Action, Flow, Hop, NONE, Path, checksum,
    connection::{self},
    director::{drop, pass},
    forward::{self, Rewrite, Side, nat::bytes_of},
    parse::word,
};

/// Follows the error to its connection, or leaves it to the host. The result is an [`Action`] as a
/// number.
#[inline(always)]
pub fn follow<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let quoted_at = flow.transport + 8;
    let mut quoted = Flow::default();
    let read = if flow.is_v6() {
        read_v6(path, quoted_at, &mut quoted)
    } else {
        read_v4(path, quoted_at, &mut quoted)
    };
    if !read {
        return pass(path, Counter::PassIcmp);
    }
    let index = path.find_returning(&quoted);
    if index == NONE || flow.destination != quoted.source {
        return pass(path, Counter::PassIcmp);
    }
    let Some(rewrite) = forward::rewrite_of(path, flow, index) else {
        return pass(path, Counter::PassIcmp);
    };
    if flow.ttl <= 1 {
        return drop(path, Counter::DropTtl);
    }
    let side = match connection::link_of(path, flow, index).role() {
        Role::Request => Side::Destination,
        Role::Reply => Side::Source,
    };
    let outcome = match (side, Method::from_number(Link(rewrite.link).method())) {
        (Side::Destination, Some(Method::Direct | Method::Tunnel)) => {
            path.count(Counter::IcmpForward);
            return path.request(flow, index);
        }
        (Side::Destination, Some(Method::Nat)) => to_server(path, flow, &quoted, &rewrite),
        (Side::Source, Some(Method::Nat)) => to_client(path, flow, &quoted, &rewrite),
        _ => return pass(path, Counter::PassLocal),
    };
    if outcome == Action::Transmit as u32 {
        path.count(Counter::IcmpForward);
    }
    outcome
}

#[inline(always)]
fn to_server<P: Path>(path: &mut P, flow: &Flow, quoted: &Flow, rewrite: &Rewrite) -> u32 {
    let now = path.now();
    let Some(server) = path.server(rewrite.server) else {
        return drop(path, Counter::DropNoRoute);
    };
    let mut hop = forward::hop_to(server, now, path);
    if hop.ifindex == 0
        && !path.route(
            u32::from(flow.family),
            &rewrite.address,
            &flow.source,
            &mut hop,
        )
    {
        return drop(path, Counter::DropNoRoute);
    }
    send(path, flow, quoted, rewrite, Side::Destination, &hop)
}

#[inline(always)]
fn to_client<P: Path>(path: &mut P, flow: &Flow, quoted: &Flow, rewrite: &Rewrite) -> u32 {
    let mut hop = Hop::default();
    if !path.route(
        u32::from(flow.family),
        &flow.destination,
        &rewrite.address,
        &mut hop,
    ) {
        return drop(path, Counter::DropNoRoute);
    }
    send(path, flow, quoted, rewrite, Side::Source, &hop)
}

/// Rewrites and sends; `side` is that of the error, and the other one of what it quotes.
#[inline(always)]
fn send<P: Path>(
    path: &mut P,
    flow: &Flow,
    quoted: &Flow,
    rewrite: &Rewrite,
    side: Side,
    hop: &Hop,
) -> u32 {
    if flow.largest > hop.mtu {
        return drop(path, Counter::DropTooBig);
    }
    // The quoted packet went the other way.
    let ports = rewrite.ports.rotate_left(16);
    let written = if flow.is_v6() {
        rewrite_v6(path, flow, quoted, &rewrite.address, ports, side)
    } else {
        rewrite_v4(path, flow, quoted, rewrite.address[0], ports, side)
    };
    if !written {
        return drop(path, Counter::DropNoRoom);
    }
    path.transmit(hop) as u32
}

#[inline(always)]
fn read_v4<P: Path>(path: &P, at: u32, quoted: &mut Flow) -> bool {
    let Some(header) = path.read::<20>(at) else {
        return false;
    };
    let length = u32::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4
        || length < 20
        || u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0
    {
        return false;
    }
    quoted.family = rvs_abi::family::V4;
    quoted.source[0] = word([header[12], header[13], header[14], header[15]]);
    quoted.destination[0] = word([header[16], header[17], header[18], header[19]]);
    quoted.header_checksum = u16::from_ne_bytes([header[10], header[11]]);
    read_ports(path, quoted, at, length, header[9])
}

#[inline(always)]
fn read_v6<P: Path>(path: &P, at: u32, quoted: &mut Flow) -> bool {
    let Some(header) = path.read::<40>(at) else {
        return false;
    };
    if header[0] >> 4 != 6 {
        return false;
    }
    quoted.family = rvs_abi::family::V6;
    for i in 0..4 {
        quoted.source[i] = word([
            header[8 + i * 4],
            header[9 + i * 4],
            header[10 + i * 4],
            header[11 + i * 4],
        ]);
        quoted.destination[i] = word([
            header[24 + i * 4],
            header[25 + i * 4],
            header[26 + i * 4],
            header[27 + i * 4],
        ]);
    }
    read_ports(path, quoted, at, 40, header[6])
}

#[inline(always)]
fn read_ports<P: Path>(path: &P, quoted: &mut Flow, at: u32, header: u32, protocol: u8) -> bool {
    quoted.network = at;
    quoted.transport = at + header;
    quoted.protocol = protocol;
    if protocol != protocol::TCP && protocol != protocol::UDP {
        return false;
    }
    let Some(ports) = path.read::<4>(quoted.transport) else {
        return false;
    };
    quoted.ports = word(ports);
    true
}

#[inline(always)]
fn rewrite_v4<P: Path>(
    path: &mut P,
    flow: &Flow,
    quoted: &Flow,
    address: u32,
    ports: u32,
    side: Side,
) -> bool {
    let ttl = flow.ttl.wrapping_sub(1);
    let (outer_old, inner_old) = match side {
        Side::Destination => (flow.destination[0], quoted.source[0]),
        Side::Source => (flow.source[0], quoted.destination[0]),
    };
    let aged = checksum::difference(
        u32::from(u16::from_ne_bytes([flow.ttl, flow.protocol])),
        u32::from(u16::from_ne_bytes([ttl, flow.protocol])),
    );
    let outer_sum = checksum::update(
        flow.header_checksum,
        checksum::add(aged, checksum::difference(outer_old, address)),
    );
    let inner_sum = checksum::update(
        quoted.header_checksum,
        checksum::difference(inner_old, address),
    );
    let (outer_at, inner_at) = match side {
        Side::Destination => (16, 12),
        Side::Source => (12, 16),
    };
    let Some(sum) = path.read::<2>(flow.transport + 2) else {
        return false;
    };
    // The quoted header's address and its checksum cancel out: only the ports show in ICMP's sum.
    let icmp_sum = checksum::update(
        u16::from_ne_bytes(sum),
        checksum::difference(quoted.ports, ports),
    );
    let s = outer_sum.to_ne_bytes();
    path.write(flow.network + 8, &[ttl, flow.protocol, s[0], s[1]])
        && path.write(flow.network + outer_at, &address.to_ne_bytes())
        && path.write(quoted.network + 10, &inner_sum.to_ne_bytes())
        && path.write(quoted.network + inner_at, &address.to_ne_bytes())
        && path.write(quoted.transport, &ports.to_ne_bytes())
        && path.write(flow.transport + 2, &icmp_sum.to_ne_bytes())
}

#[inline(always)]
fn rewrite_v6<P: Path>(
    path: &mut P,
    flow: &Flow,
    quoted: &Flow,
    address: &[u32; 4],
    ports: u32,
    side: Side,
) -> bool {
    let (outer_at, inner_at, outer_old, inner_old) = match side {
        Side::Destination => (24, 8, &flow.destination, &quoted.source),
        Side::Source => (8, 24, &flow.source, &quoted.destination),
    };
    let Some(sum) = path.read::<2>(flow.transport + 2) else {
        return false;
    };
    let mut change = checksum::address_difference(outer_old, address, true);
    change = checksum::add(
        change,
        checksum::address_difference(inner_old, address, true),
    );
    change = checksum::add(change, checksum::difference(quoted.ports, ports));
    let icmp_sum = checksum::update(u16::from_ne_bytes(sum), change);
    let bytes = bytes_of(address);
    path.write(flow.network + 7, &[flow.ttl.wrapping_sub(1)])
        && path.write(flow.network + outer_at, &bytes)
        && path.write(quoted.network + inner_at, &bytes)
        && path.write(quoted.transport, &ports.to_ne_bytes())
        && path.write(flow.transport + 2, &icmp_sum.to_ne_bytes())
}
