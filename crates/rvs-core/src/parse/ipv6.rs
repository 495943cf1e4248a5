//! IPv6 headers (RFC 8200), extension headers walked.

use rvs_abi::{family, protocol};

use super::{FRAGMENT, ICMP_ERROR, ICMP_OTHER, MALFORMED, OTHER, measure, transport, word};
use crate::{Flow, Packet};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION: u8 = 60;

/// The most extension headers that are walked; the RFC's recommended order has five.
const EXTENSIONS: u32 = 6;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow) -> u32 {
    let network = packet.network_offset();
    let Some(header) = packet.read::<40>(network) else {
        return MALFORMED;
    };
    if header[0] >> 4 != 6 {
        return MALFORMED;
    }
    flow.family = family::V6;
    flow.network = network;
    flow.tos = header[0] << 4 | header[1] >> 4;
    flow.ttl = header[7];
    for i in 0..4 {
        flow.source[i] = word([
            header[8 + i * 4],
            header[9 + i * 4],
            header[10 + i * 4],
            header[11 + i * 4],
        ]);
        flow.destination[i] = word([
            header[24 + i * 4],
            header[25 + i * 4],
            header[26 + i * 4],
            header[27 + i * 4],
        ]);
    }
    if !measure(
        packet,
        flow,
        40 + u32::from(u16::from_be_bytes([header[4], header[5]])),
    ) {
        return MALFORMED;
    }
    let mut next = header[6];
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
                    let switched = next == protocol::TCP || next == protocol::UDP;
                    if place & 0xfff8 == 0 && switched && transport::ports(packet, flow) {
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
        protocol::TCP | protocol::UDP => transport::parse(packet, flow, payload),
        // Errors are the types below 128 (RFC 4443 section 2.1).
        protocol::ICMPV6 => match packet.read::<1>(flow.transport) {
            Some([0..128]) if payload >= 8 => ICMP_ERROR,
            _ => ICMP_OTHER,
        },
        _ => OTHER,
    }
}
