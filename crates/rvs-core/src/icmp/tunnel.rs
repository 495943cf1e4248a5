//! ICMP errors about the director's own tunnel packets (IPVS: the `ipip`, `gue` and `gre` branches of `ip_vs_in_icmp`).
//!
//! The error comes to the director, which sent the packet that it quotes; but it concerns the client, whose packet is
//! inside. So what is inside is dug out, and becomes the quote of an error that the client gets from the virtual
//! service:
//!
//! ```text
//! IP │ ICMP │ outer IP │ GUE, GRE │ IP │ ...      from a router, to the director
//!                                 ▼
//!                      IP │ ICMP │ IP │ ...       from the virtual service, to the client
//! ```
//!
//! Only a packet of a known connection through a tunnel to that server, from that address of the director, is
//! believed. Of "fragmentation needed" and "packet too big" the MTU is remembered for the server, so that what is too
//! large from now on is answered by the director itself.

use rvs_abi::{
    Counter, Method, Role, Server,
    slot::{Link, State},
};

use super::{READ, RELAYED, quote, too_big};
use crate::{
    Action, Flow, Hop, NONE, Path, connection,
    connection::OWN,
    director::{drop, pass},
    forward, ipsec, parse,
    tables::Traffic,
};

/// Who reports less than these is not believed, but that it is less: the least that every host takes, and what Linux
/// goes down to (`net.ipv4.route.min_pmtu`; RFC 8200 section 5).
const LEAST_MTU_V4: u32 = 552;
const LEAST_MTU_V6: u32 = 1280;

/// Seconds for which a path's MTU is remembered (`net.ipv4.route.mtu_expires`; RFC 1191 section 6.3).
const REMEMBERED: u32 = 600;

/// Nothing more is to be told.
const SILENT: u32 = 0;

/// An ICMP error about no known connection: perhaps about a tunnel packet of ours. `inner` is a cleared flow. The
/// result is an [`Action`] as a number.
#[inline(always)]
pub fn unfollowed<P: Path>(path: &mut P, flow: &mut Flow, inner: &mut Flow) -> u32 {
    if path.read_tunneled(flow, inner) != READ {
        return super::schedule(path, flow, inner);
    }
    let index = ipsec::find(path, inner, OWN);
    let what = if index == NONE {
        NONE
    } else {
        path.learn(flow, inner, index)
    };
    if what == NONE {
        return pass(path, Counter::PassIcmp);
    }
    path.count(Counter::IcmpForward);
    if what == SILENT {
        return Action::Drop as u32;
    }
    let ethertype = if inner.is_v6() {
        parse::ETHERTYPE_IPV6
    } else {
        parse::ETHERTYPE_IPV4
    };
    let before = inner.network.wrapping_sub(flow.network);
    if !path.decapsulate(before, ethertype) {
        return drop(path, Counter::DropNoRoom);
    }
    inner.network = flow.network;
    inner.transport = inner.transport.wrapping_sub(before);
    let outcome = path.answer(inner, what | super::ROUTED, NONE);
    if outcome == super::BUILT {
        path.lead(inner, index)
    } else {
        outcome
    }
}

/// Reads the packet inside the tunnel packet that the error quotes; [`READ`] or 0. [`Flow::largest`] is how much of
/// it is there.
#[inline(always)]
pub fn read_tunneled<P: Path>(path: &P, flow: &Flow, inner: &mut Flow) -> u32 {
    let tunneled = quote::tunneled(path, flow.transport + 8, flow.is_v6(), &flow.destination);
    let Some((at, is_v6)) = tunneled else {
        return 0;
    };
    if !quote::read(path, at, is_v6, inner) {
        return 0;
    }
    let end = flow.network.wrapping_add(flow.largest);
    inner.largest = inner.largest.min(end.saturating_sub(at));
    READ
}

/// Whether the error is about the connection of slot `index`, and what the client is to be told, as
/// [`super::answer`] takes it; `SILENT`, or [`NONE`] where it is not. Remembers how much the path takes.
#[inline(always)]
pub fn learn<P: Path>(path: &P, flow: &Flow, inner: &Flow, index: u32) -> u32 {
    let Some(head) = connection::head(path, inner, index) else {
        return NONE;
    };
    let (number, link) = (head.server.load(), Link(head.link.load()));
    if link.role() != Role::Request || link.method() != Method::Tunnel as u32 {
        return NONE;
    }
    let Some(server) = path.server(number) else {
        return NONE;
    };
    if !is_about(path, flow, server) {
        return NONE;
    }
    let Some([first, second]) = path.read_words::<2>(flow.transport) else {
        return NONE;
    };
    path.account(number, Traffic::Out(1, inner.largest));
    let (kind, code) = (first & 0xff, first >> 8 & 0xff);
    match (flow.is_v6(), kind, code) {
        (false, 3, 4) => remember(
            path,
            inner,
            server,
            u32::from(parse::half(second, 1)).max(LEAST_MTU_V4),
        ),
        (true, 2, _) => remember(path, inner, server, u32::from_be(second).max(LEAST_MTU_V6)),
        (is_v6, ..) if is_v6 == inner.is_v6() => RELAYED | kind << 8 | code << 16,
        // What the other family calls it: host or address unreachable, time exceeded.
        (false, 3, _) => RELAYED | 1 << 8 | 3 << 16,
        (false, 11, _) => RELAYED | 3 << 8,
        (true, 1, _) => RELAYED | 3 << 8 | 1 << 16,
        (true, 3, _) => RELAYED | 11 << 8,
        _ => SILENT,
    }
}

/// Whether the quoted outer header is one that the director puts before packets to the server.
#[inline(always)]
fn is_about<P: Path>(path: &P, flow: &Flow, server: &Server) -> bool {
    let is_v6 = server.flags.load() & Server::V6 != 0;
    if is_v6 != flow.is_v6() {
        return false;
    }
    let at = flow.transport + 8;
    let to = if is_v6 {
        path.read_words::<4>(at + 24)
    } else {
        path.read_words::<1>(at + 16).map(|[word]| [word, 0, 0, 0])
    };
    let Some(to) = to else {
        return false;
    };
    let address: [u32; 4] = core::array::from_fn(|i| server.address[i].load());
    let own: [u32; 4] = core::array::from_fn(|i| server.own_address[i].load());
    address == to && own == flow.destination
}

/// Notes that no more than `mtu` bytes go to the server at once; what fits into its tunnel then, as an answer.
#[inline(always)]
fn remember<P: Path>(path: &P, inner: &Flow, server: &Server, mtu: u32) -> u32 {
    let known = server.hop_mtu.load();
    let second = path
        .settings()
        .map_or(0, |settings| settings.ticks_per_second.load());
    if known == 0 || mtu <= known {
        let until = path.now().wrapping_add(REMEMBERED.wrapping_mul(second));
        server.path_mtu_until.store(until);
        server.path_mtu.store(mtu);
        server.hop_mtu.store(mtu);
        if mtu != known {
            path.count(Counter::PathMtu);
        }
    }
    // Who allows fragmenting does not expect an answer.
    if !inner.is_v6() && inner.flags & Flow::DONT_FRAGMENT == 0 {
        return SILENT;
    }
    let fits = if known == 0 { mtu } else { mtu.min(known) };
    too_big(fits.saturating_sub(forward::tunnel_overhead(server)))
}

/// Sends an answer, which was built out of the client's packet `inner` of slot `index`, to the client. The result is
/// an [`Action`] as a number.
#[inline(always)]
pub fn lead<P: Path>(path: &mut P, inner: &Flow, index: u32) -> u32 {
    let is_here = connection::head(path, inner, index)
        .is_some_and(|head| State(head.state.load()).has(State::LOCAL_CLIENT));
    if is_here {
        return path.deliver() as u32;
    }
    let mut hop = Hop {
        mtu: LEAST_MTU_V4,
        ..Hop::default()
    };
    let family = u32::from(inner.family);
    if !path.route(family, &inner.source, &inner.destination, &mut hop) {
        return drop(path, Counter::DropNoRoute);
    }
    path.transmit(&hop) as u32
}
