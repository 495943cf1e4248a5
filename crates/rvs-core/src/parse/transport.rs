//! TCP (RFC 9293) and UDP (RFC 768) headers.

use super::{MALFORMED_TRANSPORT, TRANSPORT, measure_segments, word};
use crate::{Flow, Packet};

/// Reads the header; `payload` is how many bytes of the IP packet lie behind the IP headers.
#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow, payload: u32) -> u32 {
    let header_length;
    if flow.is_tcp() {
        let Some(header) = packet.read::<20>(flow.transport) else {
            return MALFORMED_TRANSPORT;
        };
        flow.ports = word([header[0], header[1], header[2], header[3]]);
        flow.tcp_flags = header[13];
        header_length = u32::from(header[12] >> 4) * 4;
        if header_length < 20 {
            return MALFORMED_TRANSPORT;
        }
    } else {
        let Some(header) = packet.read::<8>(flow.transport) else {
            return MALFORMED_TRANSPORT;
        };
        flow.ports = word([header[0], header[1], header[2], header[3]]);
        header_length = 8;
        let length = u32::from(u16::from_be_bytes([header[4], header[5]]));
        // A super-packet's length field is that of the whole, or none.
        if flow.flags & Flow::SEGMENTED == 0 && (length < 8 || length > payload) {
            return MALFORMED_TRANSPORT;
        }
    }
    if header_length > payload {
        return MALFORMED_TRANSPORT;
    }
    measure_segments(packet, flow, header_length);
    TRANSPORT
}

/// Reads only the ports.
#[inline(always)]
pub(super) fn ports<P: Packet>(packet: &P, flow: &mut Flow) -> bool {
    let Some(ports) = packet.read::<4>(flow.transport) else {
        return false;
    };
    flow.ports = word(ports);
    true
}
