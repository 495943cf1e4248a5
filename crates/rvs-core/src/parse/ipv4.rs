//! IPv4 headers (RFC 791), options skipped.

use rvs_abi::{family, protocol};

use super::{FRAGMENT, ICMP_ERROR, ICMP_OTHER, MALFORMED, OTHER, measure, transport, word};
use crate::{Flow, Packet};

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow) -> u32 {
    let network = packet.network_offset();
    let Some(header) = packet.read::<20>(network) else {
        return MALFORMED;
    };
    let header_length = u32::from(header[0] & 0xf) * 4;
    let length = u32::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_length < 20 {
        return MALFORMED;
    }
    flow.family = family::V4;
    flow.network = network;
    flow.transport = network + header_length;
    flow.tos = header[1];
    flow.ttl = header[8];
    flow.protocol = header[9];
    flow.header_checksum = u16::from_ne_bytes([header[10], header[11]]);
    flow.source[0] = word([header[12], header[13], header[14], header[15]]);
    flow.destination[0] = word([header[16], header[17], header[18], header[19]]);
    if !measure(packet, flow, length)
        || (flow.flags & Flow::SEGMENTED == 0 && length < header_length)
    {
        return MALFORMED;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x4000 != 0 {
        flow.flags |= Flow::DONT_FRAGMENT;
    }
    let switched = flow.protocol == protocol::TCP || flow.protocol == protocol::UDP;
    if fragment & 0x3fff != 0 {
        if fragment & 0x1fff == 0 && switched && transport::ports(packet, flow) {
            flow.flags |= Flow::FIRST_FRAGMENT;
        }
        return FRAGMENT;
    }
    let payload = flow.largest.saturating_sub(header_length);
    if switched {
        return transport::parse(packet, flow, payload);
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
