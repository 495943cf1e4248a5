//! The real server's side of tunnelling, for kernels without an ipip device: the outer header of a
//! packet whose inner destination is one of the host's virtual addresses comes off.

use rvs_abi::{Counter, family, protocol};

use crate::{
    Action, Flow, Packet, checksum,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, word},
};

/// What the decapsulator needs to know beside the packet.
pub trait Decapsulator: Packet {
    /// Whether `address` (IP version `family`, packet byte order) is a virtual address of this host.
    fn is_virtual(&self, family: u8, address: &[u32; 4]) -> bool;

    /// Counts one packet.
    fn count_decapsulated(&self, counter: Counter);
}

/// Unwraps a tunnelled packet and lets the host go on with what was inside; anything else passes.
/// Congestion marks are carried inwards (RFC 6040 section 4.2).
#[inline(always)]
pub fn decapsulate<P: Decapsulator>(packet: &mut P) -> Action {
    let network = packet.network_offset();
    let (outer_length, inner_protocol, outer_tos) = match packet.ethertype() {
        ETHERTYPE_IPV4 => {
            let Some(header) = packet.read::<20>(network) else {
                return Action::Pass;
            };
            let length = u32::from(header[0] & 0xf) * 4;
            let fragmented = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            if length != 20 || fragmented {
                return Action::Pass;
            }
            (length, header[9], header[1])
        }
        ETHERTYPE_IPV6 => {
            let Some(header) = packet.read::<40>(network) else {
                return Action::Pass;
            };
            (40, header[6], header[0] << 4 | header[1] >> 4)
        }
        _ => return Action::Pass,
    };
    let inner = network + outer_length;
    let congested = outer_tos & 3 == 3;
    let mut flow = Flow {
        network: inner,
        ..Flow::default()
    };
    let ethertype = match inner_protocol {
        protocol::IPIP => {
            let Some(header) = packet.read::<20>(inner) else {
                return Action::Pass;
            };
            flow.family = family::V4;
            flow.tos = header[1];
            flow.header_checksum = u16::from_ne_bytes([header[10], header[11]]);
            flow.protocol = header[0];
            flow.destination[0] = word([header[16], header[17], header[18], header[19]]);
            ETHERTYPE_IPV4
        }
        protocol::IPV6 => {
            let Some(header) = packet.read::<40>(inner) else {
                return Action::Pass;
            };
            flow.family = family::V6;
            flow.tos = header[0] << 4 | header[1] >> 4;
            flow.protocol = header[1];
            for i in 0..4 {
                flow.destination[i] = word([
                    header[24 + i * 4],
                    header[25 + i * 4],
                    header[26 + i * 4],
                    header[27 + i * 4],
                ]);
            }
            ETHERTYPE_IPV6
        }
        _ => return Action::Pass,
    };
    if !packet.is_virtual(flow.family, &flow.destination) {
        return Action::Pass;
    }
    if congested && !mark(packet, &flow) {
        packet.count_decapsulated(Counter::DropMalformed);
        return Action::Drop;
    }
    if !packet.decapsulate(outer_length, ethertype) {
        packet.count_decapsulated(Counter::DropNoRoom);
        return Action::Drop;
    }
    Action::Pass
}

/// Writes "congestion experienced" into the inner header; `false` where its sender does not do ECN.
#[inline(always)]
fn mark<P: Packet>(packet: &mut P, flow: &Flow) -> bool {
    if flow.tos & 3 == 0 {
        return false;
    }
    let tos = flow.tos | 3;
    if flow.family == family::V6 {
        return packet.write(flow.network + 1, &[flow.protocol & 0xf | tos << 4]);
    }
    // `protocol` holds the header's first byte, with which the class shares a checksum word.
    let old = u32::from(u16::from_ne_bytes([flow.protocol, flow.tos]));
    let new = u32::from(u16::from_ne_bytes([flow.protocol, tos]));
    let sum = checksum::update(flow.header_checksum, checksum::difference(old, new));
    packet.write(flow.network + 1, &[tos]) && packet.write(flow.network + 10, &sum.to_ne_bytes())
}
