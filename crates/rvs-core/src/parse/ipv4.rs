//! IPv4 headers (RFC 791), options skipped.

use rvs_abi::{family, protocol};

use super::{
    FRAGMENT, ICMP_ERROR, ICMP_OTHER, IPSEC, MALFORMED, OTHER, half, is_switched, measure, sctp,
    transport,
};
use crate::{Flow, Packet, ipsec};

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow) -> u32 {
    let network = packet.network_offset();
    // Nearly every packet has no options and is long enough for one read to get both headers. (Zeros instead of
    // an `Option`: the compiler may move words that nobody set, which the verifier refuses.)
    let (header, ahead, is_ahead) = match packet.read_words::<10>(network) {
        Some([a, b, c, d, e, f, g, h, i, j]) => ([a, b, c, d, e], [f, g, h, i, j], true),
        None => match packet.read_words::<5>(network) {
            Some(header) => (header, [0; 5], false),
            None => return MALFORMED,
        },
    };
    let header_length = (header[0] & 0xf) * 4;
    let length = u32::from(half(header[0], 1));
    if header[0] >> 4 & 0xf != 4 || header_length < 20 {
        return MALFORMED;
    }
    let fragment = half(header[1], 1);
    flow.network = network;
    flow.transport = network + header_length;
    fill(flow, &header);
    if !measure(packet, flow, length)
        || (flow.flags & Flow::SEGMENTED == 0 && length < header_length)
    {
        return MALFORMED;
    }
    if fragment & 0x4000 != 0 {
        flow.flags |= Flow::DONT_FRAGMENT;
    }
    if ipsec::is_ipsec(flow.protocol) {
        ipsec::mark(flow);
        return IPSEC;
    }
    let switched = is_switched(flow.protocol);
    if fragment & 0x3fff != 0 {
        if fragment & 0x1fff != 0 {
            flow.flags |= Flow::LATER_FRAGMENT;
        } else if switched && transport::first(packet, flow) {
            flow.flags |= Flow::FIRST_FRAGMENT;
        }
        return FRAGMENT;
    }
    let payload = flow.largest.saturating_sub(header_length);
    if flow.is_sctp() {
        return sctp::parse(packet, flow, payload);
    }
    if switched {
        let ahead = (is_ahead && header_length == 20).then_some(ahead);
        return transport::parse(packet, flow, payload, ahead);
    }
    if flow.protocol != protocol::ICMP {
        return OTHER;
    }
    // Destination unreachable, source quench, time exceeded: what IPVS follows.
    match packet.read::<1>(flow.transport) {
        Some([3 | 4 | 11]) if payload >= 8 => ICMP_ERROR,
        _ => ICMP_OTHER,
    }
}

/// Takes what does not depend on lengths from a header's words.
#[inline(always)]
pub(crate) fn fill(flow: &mut Flow, header: &[u32; 5]) {
    flow.family = family::V4;
    flow.tos = (header[0] >> 8) as u8;
    flow.ttl = header[2] as u8;
    flow.protocol = (header[2] >> 8) as u8;
    flow.header_checksum = (header[2] >> 16) as u16;
    flow.source[0] = header[3];
    flow.destination[0] = header[4];
}
