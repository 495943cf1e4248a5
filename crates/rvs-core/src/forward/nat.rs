//! Network address translation: one side's address and port become another's.

use super::{Rewrite, direct::aged_checksum};
use crate::{ChecksumChange, Flow, Packet, checksum};

/// Which side of the packet changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A reply's source becomes the virtual service.
    Source,
    /// A request's destination becomes the real server.
    Destination,
}

/// Rewrites address, ports, time to live and checksums.
#[inline(always)]
pub(super) fn rewrite<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    side: Side,
) -> bool {
    let old = match side {
        Side::Source => &flow.source,
        Side::Destination => &flow.destination,
    };
    let is_udp = !flow.is_tcp();
    let pseudo = checksum::address_difference(old, &rewrite.address, flow.is_v6());
    let change = ChecksumChange {
        offset: flow.transport + if is_udp { 6 } else { 16 },
        pseudo,
        old_ports: flow.ports,
        new_ports: rewrite.ports,
        is_udp,
    };
    packet.change_checksum(&change)
        && packet.write(flow.transport, &rewrite.ports.to_ne_bytes())
        && if flow.is_v6() {
            write_v6(packet, flow, rewrite, side)
        } else {
            write_v4(packet, flow, rewrite, side, pseudo)
        }
}

/// Time to live, protocol, checksum and both addresses, which lie together.
#[inline(always)]
fn write_v4<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    side: Side,
    difference: u32,
) -> bool {
    let ttl = flow.ttl.wrapping_sub(1);
    let sum = checksum::update(aged_checksum(flow, ttl), difference).to_ne_bytes();
    let (source, destination) = match side {
        Side::Source => (rewrite.address[0], flow.destination[0]),
        Side::Destination => (flow.source[0], rewrite.address[0]),
    };
    let (s, d) = (source.to_ne_bytes(), destination.to_ne_bytes());
    packet.write(
        flow.network + 8,
        &[
            ttl,
            flow.protocol,
            sum[0],
            sum[1],
            s[0],
            s[1],
            s[2],
            s[3],
            d[0],
            d[1],
            d[2],
            d[3],
        ],
    )
}

#[inline(always)]
fn write_v6<P: Packet>(packet: &mut P, flow: &Flow, rewrite: &Rewrite, side: Side) -> bool {
    let offset = match side {
        Side::Source => 8,
        Side::Destination => 24,
    };
    packet.write(flow.network + 7, &[flow.ttl.wrapping_sub(1)])
        && packet.write(flow.network + offset, &bytes_of(&rewrite.address))
}

/// An IPv6 address as it lies in a packet.
#[inline(always)]
pub(crate) fn bytes_of(address: &[u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (i, word) in address.iter().enumerate() {
        let word = word.to_ne_bytes();
        bytes[i * 4] = word[0];
        bytes[i * 4 + 1] = word[1];
        bytes[i * 4 + 2] = word[2];
        bytes[i * 4 + 3] = word[3];
    }
    bytes
}
