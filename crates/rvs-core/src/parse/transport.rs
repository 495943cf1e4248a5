//! TCP (RFC 9293) and UDP (RFC 768) headers.

use super::{MALFORMED_TRANSPORT, TRANSPORT, half, measure_segments, sctp};
use crate::{Flow, Packet};

/// Reads the header; `payload` is how many bytes of the IP packet lie behind the IP headers. `ahead`
/// are the header's first words where the caller has read them already.
#[inline(always)]
pub(super) fn parse<P: Packet>(
    packet: &P,
    flow: &mut Flow,
    payload: u32,
    ahead: Option<[u32; 5]>,
) -> u32 {
    let header_length;
    if flow.is_tcp() {
        let header = match ahead {
            Some(header) => header,
            None => match packet.read_words::<5>(flow.transport) {
                Some(header) => header,
                None => return MALFORMED_TRANSPORT,
            },
        };
        flow.ports = header[0];
        flow.tcp_flags = (header[3] >> 8) as u8;
        header_length = (header[3] >> 4 & 0xf) * 4;
        if header_length < 20 {
            return MALFORMED_TRANSPORT;
        }
    } else {
        let header = match ahead {
            Some(header) => [header[0], header[1]],
            None => match packet.read_words::<2>(flow.transport) {
                Some(header) => header,
                None => return MALFORMED_TRANSPORT,
            },
        };
        flow.ports = header[0];
        header_length = 8;
        let length = u32::from(half(header[1], 0));
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

/// Reads what a first fragment shows of its header, which must be the whole of it (RFC 1858, RFC 7112).
///
/// What lies behind the fragment in its frame is padding, of the sender's choice.
#[inline(always)]
pub(super) fn first<P: Packet>(packet: &P, flow: &mut Flow) -> bool {
    let ahead = flow.transport.wrapping_sub(flow.network);
    let payload = flow.largest.saturating_sub(ahead);
    if flow.is_tcp() {
        let Some(header) = packet.read_words::<5>(flow.transport) else {
            return false;
        };
        flow.ports = header[0];
        flow.tcp_flags = (header[3] >> 8) as u8;
        let length = (header[3] >> 4 & 0xf) * 4;
        return length >= 20 && length <= payload;
    }
    if flow.is_sctp() {
        return payload >= sctp::HEADER + 4 && sctp::first(packet, flow);
    }
    let Some(header) = packet.read_words::<2>(flow.transport) else {
        return false;
    };
    flow.ports = header[0];
    payload >= 8
}
