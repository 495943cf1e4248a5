//! Direct routing: the packet stays as it is, one hop older; only its link addresses change.

use crate::{Flow, Packet, checksum};

/// Decrements the time to live.
#[inline(always)]
pub(super) fn age<P: Packet>(packet: &mut P, flow: &Flow) -> bool {
    let ttl = flow.ttl.wrapping_sub(1);
    if flow.is_v6() {
        return packet.write(flow.network + 7, &[ttl]);
    }
    packet.write_words(
        flow.network + 8,
        &[age_word(ttl, flow.protocol, aged_checksum(flow, ttl))],
    )
}

/// The word of an IPv4 header that holds time to live, protocol and checksum.
#[inline(always)]
pub(crate) fn age_word(ttl: u8, protocol: u8, checksum: u16) -> u32 {
    u32::from(ttl) | u32::from(protocol) << 8 | u32::from(checksum) << 16
}

/// The IPv4 header's checksum with another time to live.
#[inline(always)]
pub(crate) fn aged_checksum(flow: &Flow, ttl: u8) -> u16 {
    let old = u32::from(u16::from_ne_bytes([flow.ttl, flow.protocol]));
    let new = u32::from(u16::from_ne_bytes([ttl, flow.protocol]));
    checksum::update(flow.header_checksum, checksum::difference(old, new))
}
