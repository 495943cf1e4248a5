//! Network address translation: one side's address and port become another's.

use super::{
    Rewrite,
    direct::{age_word, aged_checksum},
};
use crate::{ChecksumChange, Flow, Packet, checksum};

/// Which side of the packet changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A reply's source becomes the virtual service.
    Source,
    /// A request's destination becomes the real server.
    Destination,
}

/// Rewrites address, ports, time to live and checksums of a TCP or UDP packet.
#[inline(always)]
pub(super) fn rewrite<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    side: Side,
) -> bool {
    mend_checksum(packet, flow, rewrite, side) && write(packet, flow, rewrite, side)
}

/// Makes TCP's or UDP's checksum that of the packet to be.
#[inline(always)]
pub(super) fn mend_checksum<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    side: Side,
) -> bool {
    // The transport header, with ports and checksum, is in the first fragment.
    if flow.flags & Flow::LATER_FRAGMENT != 0 {
        return true;
    }
    let is_udp = !flow.is_tcp();
    packet.change_checksum(&ChecksumChange {
        offset: flow.transport + if is_udp { 6 } else { 16 },
        pseudo: checksum::address_difference(
            old_address(flow, side),
            &rewrite.address,
            flow.is_v6(),
        ),
        old_ports: flow.ports,
        new_ports: rewrite.ports,
        is_udp,
    })
}

/// Writes address, ports, time to live and IPv4's checksum.
#[inline(always)]
pub(super) fn write<P: Packet>(packet: &mut P, flow: &Flow, rewrite: &Rewrite, side: Side) -> bool {
    if flow.is_v6() {
        write_v6(packet, flow, rewrite, side)
    } else {
        let old = old_address(flow, side);
        let difference = checksum::address_difference(old, &rewrite.address, false);
        write_v4(packet, flow, rewrite, side, difference)
    }
}

/// The address that is replaced.
#[inline(always)]
fn old_address(flow: &Flow, side: Side) -> &[u32; 4] {
    match side {
        Side::Source => &flow.source,
        Side::Destination => &flow.destination,
    }
}

/// Time to live, protocol, checksum and both addresses, which lie together; and where there are no
/// options, so do the ports.
#[inline(always)]
fn write_v4<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    side: Side,
    difference: u32,
) -> bool {
    let ttl = flow.ttl.wrapping_sub(rewrite.hops);
    let sum = checksum::update(aged_checksum(flow, ttl), difference);
    let (source, destination) = match side {
        Side::Source => (rewrite.address[0], flow.destination[0]),
        Side::Destination => (flow.source[0], rewrite.address[0]),
    };
    let age = age_word(ttl, flow.protocol, sum);
    if flow.flags & Flow::LATER_FRAGMENT != 0 {
        return packet.write_words(flow.network + 8, &[age, source, destination]);
    }
    if flow.transport == flow.network + 20 {
        return packet.write_words(flow.network + 8, &[age, source, destination, rewrite.ports]);
    }
    packet.write_words(flow.network + 8, &[age, source, destination])
        && packet.write_words(flow.transport, &[rewrite.ports])
}

#[inline(always)]
fn write_v6<P: Packet>(packet: &mut P, flow: &Flow, rewrite: &Rewrite, side: Side) -> bool {
    let offset = match side {
        Side::Source => 8,
        Side::Destination => 24,
    };
    packet.write(flow.network + 7, &[flow.ttl.wrapping_sub(rewrite.hops)])
        && packet.write_words(flow.network + offset, &rewrite.address)
        && (flow.flags & Flow::LATER_FRAGMENT != 0
            || packet.write_words(flow.transport, &[rewrite.ports]))
}
