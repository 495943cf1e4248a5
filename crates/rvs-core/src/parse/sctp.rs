//! SCTP packets (RFC 9260 section 3): the common header and what the first chunk says.

use super::{MALFORMED_TRANSPORT, TRANSPORT, half};
use crate::{
    Flow, Packet,
    state::sctp::{Event, event},
};

/// Length of the common header.
pub(crate) const HEADER: u32 = 12;

/// The `gso_size` of a super-packet whose pieces have sizes of their own (`GSO_BY_FRAGS`).
const BY_FRAGMENTS: u32 = 0xffff;

/// Reads the common header and the first chunk's; `payload` is how many bytes of the IP packet lie behind
/// the IP headers.
#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, flow: &mut Flow, payload: u32) -> u32 {
    let Some([ports, _, _, chunk]) = packet.read_words::<4>(flow.transport) else {
        return MALFORMED_TRANSPORT;
    };
    if payload < HEADER + 4 {
        return MALFORMED_TRANSPORT;
    }
    flow.ports = ports;
    let mut event = event(chunk as u8);
    if event == Event::CookieEcho || event == Event::CookieAck {
        // An ABORT behind these two is what counts (IPVS: `set_sctp_state`).
        let length = u32::from(half(chunk, 1));
        let second = HEADER + ((length + 3) & !3);
        if length >= 4
            && second + 4 <= payload
            && let Some([kind]) = packet.read::<1>(flow.transport + second)
            && crate::state::sctp::event(kind) == Event::Abort
        {
            event = Event::Abort;
        }
    }
    flow.tcp_flags = event as u8;
    measure(packet, flow);
    TRANSPORT
}

/// Reads the ports and the first chunk of a first fragment.
#[inline(always)]
pub(super) fn first<P: Packet>(packet: &P, flow: &mut Flow) -> bool {
    let Some([ports, _, _, chunk]) = packet.read_words::<4>(flow.transport) else {
        return false;
    };
    flow.ports = ports;
    flow.tcp_flags = event(chunk as u8) as u8;
    true
}

/// Corrects a super-packet's counts. Its pieces are packets that the sender has made to fit; how large the
/// largest is cannot be seen, only what they are on average.
#[inline(always)]
fn measure<P: Packet>(packet: &P, flow: &mut Flow) {
    if flow.flags & Flow::SEGMENTED == 0 {
        return;
    }
    let (segments, size) = packet.segments();
    if size != BY_FRAGMENTS {
        super::measure_segments(packet, flow, HEADER);
        return;
    }
    let headers = flow
        .transport
        .wrapping_sub(flow.network)
        .wrapping_add(HEADER);
    let chunks = flow.bytes.saturating_sub(headers);
    flow.bytes = flow
        .bytes
        .wrapping_add(segments.saturating_sub(1).wrapping_mul(headers));
    flow.largest = headers.wrapping_add(chunks.checked_div(segments).unwrap_or(chunks));
}
