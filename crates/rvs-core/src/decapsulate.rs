//! The real server's side of tunnelling, for kernels without tunnel devices: the outer headers of a
//! packet whose inner destination is one of the host's virtual addresses come off, whether it came bare in IP,
//! in GUE or in GRE, and whichever families are in which.
//!
//! Outer checksums are not looked at: what is inside has its own, and the host does.

use rvs_abi::{Counter, family, protocol};

use crate::{
    Action, Flow, Packet, checksum,
    forward::direct::age_word,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, half, ipv4, ipv6},
};

/// What the decapsulator needs to know beside the packet.
pub trait Decapsulator: Packet {
    /// Whether `address` (IP version `family`, packet byte order) is a virtual address of this host.
    fn is_virtual(&self, family: u8, address: &[u32; 4]) -> bool;

    /// Whether UDP packets to `port` (as it lies in a packet) are GUE's.
    fn is_gue(&self, port: u16) -> bool;

    /// Counts one packet.
    fn count_decapsulated(&self, counter: Counter);
}

/// Unwraps a tunnelled packet and lets the host go on with what was inside; anything else passes.
/// Congestion marks are carried inwards (RFC 6040 section 4.2).
#[inline(always)]
pub fn decapsulate<P: Decapsulator>(packet: &mut P) -> Action {
    let network = packet.network_offset();
    let (outer_length, outer_protocol, outer_tos) = match packet.ethertype() {
        ETHERTYPE_IPV4 => {
            let Some(header) = packet.read_words::<5>(network) else {
                return Action::Pass;
            };
            if header[0] & 0xff != 0x45 || half(header[1], 1) & 0x3fff != 0 {
                return Action::Pass;
            }
            (20, (header[2] >> 8) as u8, (header[0] >> 8) as u8)
        }
        ETHERTYPE_IPV6 => {
            let Some(header) = packet.read_words::<2>(network) else {
                return Action::Pass;
            };
            (
                40,
                (header[1] >> 16) as u8,
                (u32::from_be(header[0]) >> 20) as u8,
            )
        }
        _ => return Action::Pass,
    };
    let (between, inner_protocol) = match outer_protocol {
        protocol::IPIP | protocol::IPV6 => (0, outer_protocol),
        protocol::UDP => gue(packet, network + outer_length),
        protocol::GRE => gre(packet, network + outer_length),
        _ => (0, 0),
    };
    let headers = outer_length + between;
    let inner = network + headers;
    let congested = outer_tos & 3 == 3;
    let mut flow = Flow {
        network: inner,
        ..Flow::default()
    };
    let first;
    let ethertype = match inner_protocol {
        protocol::IPIP => {
            let Some(header) = packet.read_words::<5>(inner) else {
                return Action::Pass;
            };
            first = header[0];
            if first >> 4 & 0xf != 4 {
                return Action::Pass;
            }
            ipv4::fill(&mut flow, &header);
            ETHERTYPE_IPV4
        }
        protocol::IPV6 => {
            let Some(header) = packet.read_words::<10>(inner) else {
                return Action::Pass;
            };
            first = header[0];
            if first >> 4 & 0xf != 6 {
                return Action::Pass;
            }
            ipv6::fill(&mut flow, &header);
            ETHERTYPE_IPV6
        }
        _ => return Action::Pass,
    };
    if !packet.is_virtual(flow.family, &flow.destination) {
        return Action::Pass;
    }
    if congested && !mark(packet, &flow, first) {
        packet.count_decapsulated(Counter::DropMalformed);
        return Action::Drop;
    }
    if !packet.decapsulate(headers, ethertype) {
        packet.count_decapsulated(Counter::DropNoRoom);
        return Action::Drop;
    }
    Action::Pass
}

/// Length of UDP's and GUE's headers at `at`, and the inner protocol; 0 where it is none of ours. Of GUE's options
/// only their length is known: none of them changes what is inside but those that nobody asked for.
#[inline(always)]
fn gue<P: Decapsulator>(packet: &P, at: u32) -> (u32, u8) {
    let Some([ports, _, header]) = packet.read_words::<3>(at) else {
        return (0, 0);
    };
    // Version 0, a data packet, no flags.
    if !packet.is_gue((ports >> 16) as u16) || header & 0xe0 != 0 || header >> 16 != 0 {
        return (0, 0);
    }
    let options = (header & 0x1f) * 4;
    (8 + 4 + options, (header >> 8) as u8)
}

/// Length of GRE's header at `at`, and the inner protocol's number; 0 where it has what we do not know.
#[inline(always)]
fn gre<P: Packet>(packet: &P, at: u32) -> (u32, u8) {
    let Some([header]) = packet.read_words::<1>(at) else {
        return (0, 0);
    };
    // Version 0; a checksum, but neither routing, key nor sequence number (RFC 2784, RFC 2890).
    let length = match header & 0xffff {
        0 => 4,
        0x80 => 8,
        _ => return (0, 0),
    };
    match half(header, 1) {
        ETHERTYPE_IPV4 => (length, protocol::IPIP),
        ETHERTYPE_IPV6 => (length, protocol::IPV6),
        _ => (0, 0),
    }
}

/// Writes "congestion experienced" into the inner header, whose first word is `first`; `false` where
/// its sender does not do ECN.
#[inline(always)]
fn mark<P: Packet>(packet: &mut P, flow: &Flow, first: u32) -> bool {
    if flow.tos & 3 == 0 {
        return false;
    }
    if flow.family == family::V6 {
        return packet.write_words(flow.network, &[(u32::from_be(first) | 3 << 20).to_be()]);
    }
    let marked = first | 3 << 8;
    let sum = checksum::update(flow.header_checksum, checksum::difference(first, marked));
    packet.write_words(flow.network, &[marked])
        && packet.write_words(flow.network + 8, &[age_word(flow.ttl, flow.protocol, sum)])
}
