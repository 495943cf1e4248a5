//! IP tunnelling: the packet, one hop older, inside another IP header (RFC 2003, RFC 2473).

use rvs_abi::protocol;

use super::{direct, nat::bytes_of};
use crate::{Flow, Path, checksum};

/// Bytes that the outer header takes.
#[inline(always)]
pub(super) fn overhead(flow: &Flow) -> u32 {
    if flow.is_v6() { 40 } else { 20 }
}

/// Ages the packet and puts the outer header before it.
#[inline(always)]
pub(super) fn wrap<P: Path>(
    path: &mut P,
    flow: &Flow,
    source: &[u32; 4],
    destination: &[u32; 4],
) -> bool {
    if !direct::age(path, flow) {
        return false;
    }
    if flow.is_v6() {
        wrap_v6(path, flow, source, destination)
    } else {
        wrap_v4(path, flow, source, destination)
    }
}

#[inline(always)]
fn wrap_v4<P: Path>(path: &mut P, flow: &Flow, source: &[u32; 4], destination: &[u32; 4]) -> bool {
    let length = (length_of(path, flow) + 20).to_be_bytes();
    let (s, d) = (source[0].to_ne_bytes(), destination[0].to_ne_bytes());
    // DF is the inner packet's (IPVS: pmtu_disc). Only what may be fragmented needs an identification.
    let dont_fragment = flow.flags & Flow::DONT_FRAGMENT != 0;
    let id = if dont_fragment {
        [0, 0]
    } else {
        (path.random() as u16).to_ne_bytes()
    };
    let mut header = [
        0x45,
        outer_tos(flow.tos),
        length[2],
        length[3],
        id[0],
        id[1],
        if dont_fragment { 0x40 } else { 0 },
        0,
        flow.ttl.wrapping_sub(1),
        protocol::IPIP,
        0,
        0,
        s[0],
        s[1],
        s[2],
        s[3],
        d[0],
        d[1],
        d[2],
        d[3],
    ];
    let sum = (!checksum::fold(checksum::sum(&header))).to_ne_bytes();
    header[10] = sum[0];
    header[11] = sum[1];
    path.encapsulate(&header)
}

#[inline(always)]
fn wrap_v6<P: Path>(path: &mut P, flow: &Flow, source: &[u32; 4], destination: &[u32; 4]) -> bool {
    let length = length_of(path, flow).to_be_bytes();
    let tos = outer_tos(flow.tos);
    let mut header = [0; 40];
    header[0] = 0x60 | tos >> 4;
    header[1] = tos << 4;
    header[4] = length[2];
    header[5] = length[3];
    header[6] = protocol::IPV6;
    header[7] = flow.ttl.wrapping_sub(1);
    header[8..24].copy_from_slice(&bytes_of(source));
    header[24..40].copy_from_slice(&bytes_of(destination));
    path.encapsulate(&header)
}

/// The inner IP packet's length as it lies in the frame, super-packets whole: segmentation writes
/// each segment's own.
#[inline(always)]
fn length_of<P: Path>(path: &P, flow: &Flow) -> u32 {
    if flow.flags & Flow::SEGMENTED == 0 {
        flow.largest
    } else {
        path.length().saturating_sub(flow.network)
    }
}

/// The inner packet's class; "congestion experienced" is not carried outwards but becomes ECT(0)
/// (full functionality, RFC 3168 section 9.1.1).
#[inline(always)]
fn outer_tos(tos: u8) -> u8 {
    if tos & 3 == 3 { tos & !3 | 2 } else { tos }
}
