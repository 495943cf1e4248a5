//! IPv6 headers (RFC 8200), extension headers walked.

use rvs_abi::{family, protocol};

use super::{
    FRAGMENT, ICMP_ERROR, ICMP_OTHER, IPSEC, MALFORMED, OTHER, half, is_switched, measure, sctp,
    transport,
};
use crate::{Flow, Packet, ipsec};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
pub(crate) const FRAGMENT_HEADER: u8 = 44;
const DESTINATION: u8 = 60;

/// The most extension headers that are walked; the RFC's recommended order has five.
const EXTENSIONS: u32 = 6;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow) -> u32 {
    let network = packet.network_offset();
    let Some(header) = packet.read_words::<10>(network) else {
        return MALFORMED;
    };
    if header[0] >> 4 & 0xf != 6 {
        return MALFORMED;
    }
    flow.network = network;
    fill(flow, &header);
    if !measure(packet, flow, 40 + u32::from(half(header[1], 0))) {
        return MALFORMED;
    }
    let mut next = (header[1] >> 16) as u8;
    let mut skipped = 40;
    for _ in 0..EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let Some(extension) = packet.read::<2>(network + skipped) else {
                    return MALFORMED;
                };
                next = extension[0];
                8 + u32::from(extension[1]) * 8
            }
            FRAGMENT_HEADER => {
                let Some(extension) = packet.read::<4>(network + skipped) else {
                    return MALFORMED;
                };
                next = extension[0];
                let place = u16::from_be_bytes([extension[2], extension[3]]);
                // An atomic fragment is whole (RFC 6946).
                if place & 0xfff9 != 0 {
                    flow.protocol = next;
                    flow.transport = network + skipped + 8;
                    if ipsec::is_ipsec(next) {
                        ipsec::mark(flow);
                        return IPSEC;
                    }
                    let switched = is_switched(next);
                    if place & 0xfff8 != 0 {
                        flow.flags |= Flow::LATER_FRAGMENT;
                    } else if switched && transport::first(packet, flow) {
                        flow.flags |= Flow::FIRST_FRAGMENT;
                    }
                    return FRAGMENT;
                }
                8
            }
            _ => break,
        };
        skipped += length;
        if skipped > flow.largest {
            return MALFORMED;
        }
    }
    flow.protocol = next;
    flow.transport = network + skipped;
    let payload = flow.largest.saturating_sub(skipped);
    match next {
        protocol::TCP | protocol::UDP => transport::parse(packet, flow, payload, None),
        protocol::SCTP => sctp::parse(packet, flow, payload),
        protocol::AH | protocol::ESP => {
            ipsec::mark(flow);
            IPSEC
        }
        // Errors are the types below 128 (RFC 4443 section 2.1).
        protocol::ICMPV6 => match packet.read::<1>(flow.transport) {
            Some([0..128]) if payload >= 8 => ICMP_ERROR,
            _ => ICMP_OTHER,
        },
        _ => OTHER,
    }
}

/// Whether another header follows the one of this number.
#[inline(always)]
pub(crate) fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | DESTINATION)
}

/// Takes what does not depend on lengths or extension headers from a header's words.
#[inline(always)]
pub(crate) fn fill(flow: &mut Flow, header: &[u32; 10]) {
    flow.family = family::V6;
    flow.tos = (u32::from_be(header[0]) >> 20) as u8;
    flow.ttl = (header[1] >> 24) as u8;
    flow.source = [header[2], header[3], header[4], header[5]];
    flow.destination = [header[6], header[7], header[8], header[9]];
}
