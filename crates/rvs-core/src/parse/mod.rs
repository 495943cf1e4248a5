//! From a frame to a [`Flow`].
//!
//! Contract: nothing here panics or loops without bound on any bytes; every field of the flow is
//! inside the packet when the result is [`TRANSPORT`] or [`ICMP_ERROR`].

pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod sctp;
mod transport;

use rvs_abi::protocol;

use crate::{Flow, Packet};

/// A whole TCP, UDP or SCTP header; the flow is complete.
pub const TRANSPORT: u32 = 0;
/// An ICMP or ICMPv6 error; the flow has addresses, and `transport` is where ICMP begins.
pub const ICMP_ERROR: u32 = 1;
/// Any other ICMP.
pub const ICMP_OTHER: u32 = 2;
/// A fragment; ports are known where [`Flow::FIRST_FRAGMENT`] is set. One with neither that nor
/// [`Flow::LATER_FRAGMENT`] is a first one that hides them.
pub const FRAGMENT: u32 = 3;
/// Not IP, or a transport that is not switched.
pub const OTHER: u32 = 4;
/// The IP header contradicts itself or ends too early.
pub const MALFORMED: u32 = 5;
/// The transport header does.
pub const MALFORMED_TRANSPORT: u32 = 6;
/// AH or ESP, whole or a fragment; the flow is complete, and its ports are those of IKE.
pub const IPSEC: u32 = 7;

/// Whether the director switches this protocol.
#[inline(always)]
pub(crate) fn is_switched(protocol: u8) -> bool {
    protocol == protocol::TCP || protocol == protocol::UDP || protocol == protocol::SCTP
}

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Fills `flow` from the packet; the result is one of this module's constants.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, flow: &mut Flow) -> u32 {
    match packet.ethertype() {
        ETHERTYPE_IPV4 => ipv4::parse(packet, flow),
        ETHERTYPE_IPV6 => ipv6::parse(packet, flow),
        _ => OTHER,
    }
}

/// The first (`place` 0) or second (1) half of a word that was read from a packet, in host order.
#[inline(always)]
pub(crate) const fn half(word: u32, place: u32) -> u16 {
    u16::from_be((word >> (place * 16)) as u16)
}

/// Sets what both families learn from lengths: `length` is the IP packet's by its header, `present`
/// what the frame holds of it. A super-packet's header may not know its length.
#[inline(always)]
pub(crate) fn measure<P: Packet>(packet: &P, flow: &mut Flow, length: u32) -> bool {
    let present = packet.length().saturating_sub(flow.network);
    let (segments, _) = packet.segments();
    if segments > 1 {
        flow.flags |= Flow::SEGMENTED;
        flow.packets = segments;
        flow.bytes = present;
        flow.largest = present;
        return true;
    }
    flow.packets = 1;
    flow.bytes = length;
    flow.largest = length;
    length <= present
}

/// Corrects a super-packet's counts once the length of its headers is known.
#[inline(always)]
pub(crate) fn measure_segments<P: Packet>(packet: &P, flow: &mut Flow, header: u32) {
    if flow.flags & Flow::SEGMENTED != 0 {
        let (segments, payload) = packet.segments();
        let headers = flow
            .transport
            .wrapping_sub(flow.network)
            .wrapping_add(header);
        flow.bytes = flow
            .bytes
            .wrapping_add(segments.saturating_sub(1).wrapping_mul(headers));
        flow.largest = headers.wrapping_add(payload);
    }
}
