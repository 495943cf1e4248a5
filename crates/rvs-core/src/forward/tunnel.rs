//! IP tunnelling: the packet, one hop older, inside another IP header (RFC 2003, RFC 2473).

use rvs_abi::{Server, protocol};

use super::direct::{self, age_word};
use crate::{Flow, Path, checksum};

/// Bytes that the outer header takes.
#[inline(always)]
pub(super) fn overhead(flow: &Flow) -> u32 {
    if flow.is_v6() { 40 } else { 20 }
}

/// Ages the packet and puts the outer header before it.
#[inline(always)]
pub(super) fn wrap<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    if !direct::age(path, flow) {
        return false;
    }
    // The outer header is all that stays on the stack while the packet grows.
    if flow.is_v6() {
        let header = match path.server(server) {
            Some(server) => header_v6(path, flow, server),
            None => return false,
        };
        path.encapsulate(&header)
    } else {
        let header = match path.server(server) {
            Some(server) => header_v4(path, flow, server),
            None => return false,
        };
        path.encapsulate(&header)
    }
}

#[inline(always)]
fn header_v4<P: Path>(path: &P, flow: &Flow, server: &Server) -> [u32; 5] {
    let length = (length_of(path, flow) + 20) as u16;
    // DF is the inner packet's (IPVS: pmtu_disc). Only what may be fragmented needs an identification.
    let dont_fragment = flow.flags & Flow::DONT_FRAGMENT != 0;
    let mut header = [
        0x45 | u32::from(outer_tos(flow.tos)) << 8 | u32::from(length.to_be()) << 16,
        if dont_fragment {
            0x40 << 16
        } else {
            path.random() & 0xffff
        },
        age_word(flow.ttl.wrapping_sub(1), protocol::IPIP, 0),
        server.own_address[0].load(),
        server.address[0].load(),
    ];
    header[2] |= u32::from(!checksum::fold(checksum::sum_words(&header))) << 16;
    header
}

#[inline(always)]
fn header_v6<P: Path>(path: &P, flow: &Flow, server: &Server) -> [u32; 10] {
    let length = length_of(path, flow) as u16;
    let ttl = u32::from(flow.ttl.wrapping_sub(1));
    let first = (6 << 28 | u32::from(outer_tos(flow.tos)) << 20).to_be();
    let second = u32::from(length.to_be()) | u32::from(protocol::IPV6) << 16 | ttl << 24;
    let [s0, s1, s2, s3] = &server.own_address;
    let [d0, d1, d2, d3] = &server.address;
    [
        first,
        second,
        s0.load(),
        s1.load(),
        s2.load(),
        s3.load(),
        d0.load(),
        d1.load(),
        d2.load(),
        d3.load(),
    ]
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
