//! Tunnelling: the packet, one hop older, inside another IP packet: bare (RFC 2003, RFC 2473), in GUE
//! (draft-ietf-intarea-gue, version 0) or in GRE (RFC 2784). Inner and outer family may differ.

use rvs_abi::{Counter, Encapsulation, Server, Settings, protocol};

use super::direct::{self, age_word};
use crate::{Flow, NONE, Path, checksum, parse};

/// Bytes of UDP's and GUE's headers.
const GUE: u32 = 8 + 4;
/// Bytes of GRE's header, and of its checksum with what is reserved behind.
const GRE: u32 = 4;
const GRE_CHECKSUM: u32 = 4;

/// Ports from which GUE packets are sent: the upper quarter, chosen by flow.
const FIRST_PORT: u32 = 0xc000;

/// Bytes that go before a packet in the tunnel to `server`.
#[inline(always)]
pub(super) fn overhead(server: &Server) -> u32 {
    let outer = if is_v6(server) { 40 } else { 20 };
    let tunnel = server.tunnel.load();
    outer
        + match tunnel & 0xff {
            GUE_KIND => GUE,
            GRE_KIND if tunnel & Server::CHECKSUM != 0 => GRE + GRE_CHECKSUM,
            GRE_KIND => GRE,
            _ => 0,
        }
}

const GUE_KIND: u32 = Encapsulation::Gue as u32;
const GRE_KIND: u32 = Encapsulation::Gre as u32;

/// Whether the tunnel is IP in IP, both of one family.
#[inline(always)]
pub(super) fn is_plain(flow: &Flow, server: &Server) -> bool {
    server.tunnel.load() & 0xff == Encapsulation::Ipip as u32 && is_v6(server) == flow.is_v6()
}

#[inline(always)]
fn is_v6(server: &Server) -> bool {
    server.flags.load() & Server::V6 != 0
}

/// Whether a packet that is too large for what is known of the path still goes to `server`, since routers may
/// fragment what it is in, and only the route itself has to take it.
#[inline(always)]
pub(super) fn may_be_cut<P: Path>(path: &P, flow: &Flow, server: &Server) -> bool {
    !is_v6(server)
        && !is_whole(path, flow)
        && server.path_mtu.load() != 0
        && flow.largest.wrapping_add(overhead(server)) <= server.route_mtu.load()
}

/// Whether the outer IPv4 header forbids fragments. DF is the inner packet's, and set for IPv6, which routers do not
/// fragment.
#[inline(always)]
fn is_whole<P: Path>(path: &P, flow: &Flow) -> bool {
    path.settings()
        .is_some_and(|settings| settings.flags.load() & Settings::PMTU_DISC != 0)
        && (flow.is_v6() || flow.flags & Flow::DONT_FRAGMENT != 0)
}

/// Ages the packet and puts the outer header of its own family before it.
#[inline(always)]
pub(super) fn wrap_plain<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    if !direct::age(path, flow) {
        return false;
    }
    // The outer header is all that stays on the stack while the packet grows.
    let length = length_of(path, flow);
    if flow.is_v6() {
        let header = match path.server(server) {
            Some(server) => header_v6(flow, server, protocol::IPV6, length),
            None => return false,
        };
        path.encapsulate(&header)
    } else {
        let header = match path.server(server) {
            Some(server) => header_v4(path, flow, server, protocol::IPIP, length),
            None => return false,
        };
        path.encapsulate(&header)
    }
}

/// Ages the packet and puts it into the tunnel to `server`, of whatever kind. Step by step, so that no stack holds
/// them all.
#[inline(always)]
pub(super) fn wrap<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    if !direct::age(path, flow) {
        return 0;
    }
    let Some((tunnel, outer_v6)) = path
        .server(server)
        .map(|server| (server.tunnel.load(), is_v6(server)))
    else {
        return 0;
    };
    let mut sum = NONE;
    if tunnel & (Server::CHECKSUM | Server::REMOTE_CHECKSUM) != 0 {
        sum = path.inner_sum(flow, server);
        if sum == NONE {
            path.count(Counter::TunnelUnchecked);
        }
    }
    match (tunnel & 0xff, outer_v6) {
        (GUE_KIND, false) => path.gue_v4(flow, server, sum),
        (GUE_KIND, true) => path.gue_v6(flow, server, sum),
        (GRE_KIND, false) if sum != NONE => path.gre_checked_v4(flow, server, sum),
        (GRE_KIND, true) if sum != NONE => path.gre_checked_v6(flow, server, sum),
        (GRE_KIND, false) => path.gre_v4(flow, server),
        (GRE_KIND, true) => path.gre_v6(flow, server),
        (_, false) => path.bare_v4(flow, server),
        (_, true) => path.bare_v6(flow, server),
    }
}

/// IP in IP, the outer header being IPv4.
#[inline(always)]
pub(super) fn bare_v4<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    let length = length_of(path, flow);
    let Some([a, b, c, d, e]) = outer_v4(path, flow, server, protocol_of(flow), length) else {
        return false;
    };
    path.encapsulate(&[a, b, c, d, e])
}

/// IP in IP, the outer header being IPv6.
#[inline(always)]
pub(super) fn bare_v6<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    let length = length_of(path, flow);
    let header = match path.server(server) {
        Some(server) => header_v6(flow, server, protocol_of(flow), length),
        None => return false,
    };
    path.encapsulate(&header)
}

/// GUE, the outer header being IPv4.
#[inline(always)]
pub(super) fn gue_v4<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> bool {
    let length = length_of(path, flow) + GUE;
    let Some([a, b, c, d, e]) = outer_v4(path, flow, server, protocol::UDP, length) else {
        return false;
    };
    let [x, y, z] = gue(path, flow, server, length, sum);
    path.encapsulate(&[a, b, c, d, e, x, y, z])
}

/// GUE, the outer header being IPv6.
#[inline(always)]
pub(super) fn gue_v6<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> bool {
    let length = length_of(path, flow) + GUE;
    let mut header = [0; 13];
    let Some((ip, behind)) = header.split_first_chunk_mut() else {
        return false;
    };
    match path.server(server) {
        Some(server) => fill_v6(ip, flow, server, protocol::UDP, length),
        None => return false,
    }
    if let [x, y, z] = behind {
        [*x, *y, *z] = gue(path, flow, server, length, sum);
    }
    path.encapsulate(&header)
}

/// UDP's and GUE's headers. `length` is what UDP says, `sum` what [`inner_sum`] found.
#[inline(always)]
fn gue<P: Path>(path: &P, flow: &Flow, server: u32, length: u32, sum: u32) -> [u32; 3] {
    let port = path
        .server(server)
        .map_or(0, |server| server.tunnel.load() >> 16);
    let source = (FIRST_PORT | hash_of(flow) >> 18) as u16;
    let length = u32::from((length as u16).to_be());
    let header = [
        u32::from(source.to_be()) | port << 16,
        length,
        // Version 0, a data packet without options: the inner protocol alone.
        u32::from(protocol_of(flow)) << 8,
    ];
    if sum == NONE {
        return header;
    }
    let mut sum = checksum::add(sum, checksum::sum_words(&header));
    // The rest of the pseudo-header, whose addresses are in the sum already.
    let protocol = u32::from(u16::from(protocol::UDP).to_be());
    sum = checksum::add(sum, checksum::add(protocol, length));
    let checksum = match !checksum::fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    [header[0], header[1] | u32::from(checksum) << 16, header[2]]
}

/// GRE, the outer header being IPv4.
#[inline(always)]
pub(super) fn gre_v4<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    let length = length_of(path, flow) + GRE;
    let Some([a, b, c, d, e]) = outer_v4(path, flow, server, protocol::GRE, length) else {
        return false;
    };
    path.encapsulate(&[a, b, c, d, e, gre(flow)])
}

/// GRE, the outer header being IPv6.
#[inline(always)]
pub(super) fn gre_v6<P: Path>(path: &mut P, flow: &Flow, server: u32) -> bool {
    let length = length_of(path, flow) + GRE;
    let mut header = [0; 11];
    let Some((ip, behind)) = header.split_first_chunk_mut() else {
        return false;
    };
    match path.server(server) {
        Some(server) => fill_v6(ip, flow, server, protocol::GRE, length),
        None => return false,
    }
    if let [x] = behind {
        *x = gre(flow);
    }
    path.encapsulate(&header)
}

/// GRE with its checksum, the outer header being IPv4.
#[inline(always)]
pub(super) fn gre_checked_v4<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> bool {
    let length = length_of(path, flow) + GRE + GRE_CHECKSUM;
    let Some([a, b, c, d, e]) = outer_v4(path, flow, server, protocol::GRE, length) else {
        return false;
    };
    let [x, y] = gre_checked(flow, sum);
    path.encapsulate(&[a, b, c, d, e, x, y])
}

/// GRE with its checksum, the outer header being IPv6.
#[inline(always)]
pub(super) fn gre_checked_v6<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> bool {
    let length = length_of(path, flow) + GRE + GRE_CHECKSUM;
    let mut header = [0; 12];
    let Some((ip, behind)) = header.split_first_chunk_mut() else {
        return false;
    };
    match path.server(server) {
        Some(server) => fill_v6(ip, flow, server, protocol::GRE, length),
        None => return false,
    }
    if let [x, y] = behind {
        [*x, *y] = gre_checked(flow, sum);
    }
    path.encapsulate(&header)
}

/// GRE's header without options.
#[inline(always)]
fn gre(flow: &Flow) -> u32 {
    let ethertype = if flow.is_v6() {
        parse::ETHERTYPE_IPV6
    } else {
        parse::ETHERTYPE_IPV4
    };
    u32::from(ethertype.to_be()) << 16
}

/// GRE's header with a checksum over itself and the packet, whose sum is `sum`.
#[inline(always)]
fn gre_checked(flow: &Flow, sum: u32) -> [u32; 2] {
    let first = gre(flow) | 0x80;
    let checksum = !checksum::fold(checksum::add(sum, first));
    [first, u32::from(checksum)]
}

/// The outer IPv4 header of server number `server` before `length` bytes.
#[inline(always)]
fn outer_v4<P: Path>(
    path: &P,
    flow: &Flow,
    server: u32,
    protocol: u8,
    length: u32,
) -> Option<[u32; 5]> {
    path.server(server)
        .map(|server| header_v4(path, flow, server, protocol, length))
}

#[inline(always)]
fn header_v4<P: Path>(
    path: &P,
    flow: &Flow,
    server: &Server,
    protocol: u8,
    length: u32,
) -> [u32; 5] {
    let length = (length + 20) as u16;
    // Only what may be fragmented needs an identification.
    let dont_fragment = is_whole(path, flow);
    let mut header = [
        0x45 | u32::from(outer_tos(flow.tos)) << 8 | u32::from(length.to_be()) << 16,
        if dont_fragment {
            0x40 << 16
        } else {
            path.random() & 0xffff
        },
        age_word(flow.ttl.wrapping_sub(1), protocol, 0),
        server.own_address[0].load(),
        server.address[0].load(),
    ];
    header[2] |= u32::from(!checksum::fold(checksum::sum_words(&header))) << 16;
    header
}

/// The outer IPv6 header before `length` bytes.
#[inline(always)]
fn header_v6(flow: &Flow, server: &Server, protocol: u8, length: u32) -> [u32; 10] {
    let mut header = [0; 10];
    fill_v6(&mut header, flow, server, protocol, length);
    header
}

/// [`header_v6`], written where it will lie: words that wait in registers would take the double on the stack.
#[inline(always)]
fn fill_v6(header: &mut [u32; 10], flow: &Flow, server: &Server, protocol: u8, length: u32) {
    let length = length as u16;
    let ttl = u32::from(flow.ttl.wrapping_sub(1));
    header[0] = (6 << 28 | u32::from(outer_tos(flow.tos)) << 20).to_be();
    header[1] = u32::from(length.to_be()) | u32::from(protocol) << 16 | ttl << 24;
    let (own, address) = (&server.own_address, &server.address);
    header[2] = own[0].load();
    header[3] = own[1].load();
    header[4] = own[2].load();
    header[5] = own[3].load();
    header[6] = address[0].load();
    header[7] = address[1].load();
    header[8] = address[2].load();
    header[9] = address[3].load();
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

/// The inner packet's protocol number.
#[inline(always)]
fn protocol_of(flow: &Flow) -> u8 {
    if flow.is_v6() {
        protocol::IPV6
    } else {
        protocol::IPIP
    }
}

/// The inner packet's class; "congestion experienced" is not carried outwards but becomes ECT(0)
/// (full functionality, RFC 3168 section 9.1.1).
#[inline(always)]
fn outer_tos(tos: u8) -> u8 {
    if tos & 3 == 3 { tos & !3 | 2 } else { tos }
}

/// A number that packets of one flow share, spread over all bits. Nothing depends on it but by which of several
/// equal ways, and to which CPU, a packet goes.
#[inline(always)]
fn hash_of(flow: &Flow) -> u32 {
    let (s, d) = (&flow.source, &flow.destination);
    let words = [s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3], flow.ports];
    words.iter().fold(u32::from(flow.protocol), |hash, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b1)
    })
}

/// The sum of the whole packet, and of GUE's outer addresses, for a checksum around it; [`NONE`] where it is not known without reading the packet.
///
/// A checksum that is right, or will be, makes its part sum up to nothing: IPv4's header whole, TCP's and UDP's
/// packets less the pseudo-header (Linux: "local checksum offload"). So a packet need not be read, and it does
/// not matter that hardware has yet to fill the inner checksum in.
#[inline(always)]
pub fn inner_sum<P: Path>(path: &P, flow: &Flow, server: u32) -> u32 {
    let payload = flow
        .largest
        .saturating_sub(flow.transport.wrapping_sub(flow.network));
    if flow.flags & Flow::SEGMENTED != 0 || !is_checked(path, flow, payload) {
        return NONE;
    }
    let mut pseudo = checksum::add(
        u32::from((payload as u16).to_be()),
        u32::from(u16::from(flow.protocol).to_be()),
    );
    pseudo = checksum::add(pseudo, checksum::sum_words(&flow.source));
    pseudo = checksum::add(pseudo, checksum::sum_words(&flow.destination));
    let header = if flow.is_v6() {
        match path.read_words::<10>(flow.network) {
            Some(header) => checksum::sum_words(&header),
            None => return NONE,
        }
    } else {
        0
    };
    let mut sum = checksum::add(header, !pseudo);
    if let Some(server) = path.server(server)
        && server.tunnel.load() & 0xff == GUE_KIND
    {
        let ([a, b, c, d], [e, f, g, h]) = (&server.own_address, &server.address);
        sum = checksum::add(sum, checksum::add(a.load(), b.load()));
        sum = checksum::add(sum, checksum::add(c.load(), d.load()));
        sum = checksum::add(sum, checksum::add(e.load(), f.load()));
        sum = checksum::add(sum, checksum::add(g.load(), h.load()));
    }
    // Folded, so that it is not `NONE`.
    u32::from(checksum::fold(sum))
}

/// Whether the packet has a checksum of TCP's or UDP's kind over all that is behind plain IP headers.
#[inline(always)]
fn is_checked<P: Path>(path: &P, flow: &Flow, payload: u32) -> bool {
    let fragment = flow.flags & (Flow::FIRST_FRAGMENT | Flow::LATER_FRAGMENT) != 0;
    if fragment || flow.is_v6() && flow.transport.wrapping_sub(flow.network) != 40 {
        return false;
    }
    match flow.protocol {
        protocol::TCP => true,
        // Without a checksum, or with bytes behind the datagram.
        protocol::UDP => path
            .read_words::<1>(flow.transport + 4)
            .is_some_and(|[word]| word >> 16 != 0 && u32::from(parse::half(word, 0)) == payload),
        _ => false,
    }
}
