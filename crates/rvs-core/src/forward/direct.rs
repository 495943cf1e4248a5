//! Direct routing: the packet stays as it is, one hop older; only its link addresses change.

use crate::{Flow, Packet, checksum};

/// Decrements the time to live.
#[inline(always)]
pub(super) fn age<P: Packet>(packet: &mut P, flow: &Flow) -> bool {
    let ttl = flow.ttl.wrapping_sub(1);
    if flow.is_v6() {
        return packet.write(flow.network + 7, &[ttl]);
    }
    let header_checksum = aged_checksum(flow, ttl).to_ne_bytes();
    packet.write(
        flow.network + 8,
        &[ttl, flow.protocol, header_checksum[0], header_checksum[1]],
    )
}

/// The IPv4 header's checksum with another time to live.
#[inline(always)]
pub(super) fn aged_checksum(flow: &Flow, ttl: u8) -> u16 {
    let old = u32::from(u16::from_ne_bytes([flow.ttl, flow.protocol]));
    let new = u32::from(u16::from_ne_bytes([ttl, flow.protocol]));
    checksum::update(flow.header_checksum, checksum::difference(old, new))
}
