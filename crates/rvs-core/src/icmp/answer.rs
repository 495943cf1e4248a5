//! ICMP errors that the director sends: fragmentation needed, packet too big, time exceeded, port
//! unreachable (RFC 792, RFC 1191, RFC 4443).
//!
//! The packet is turned into its own answer: cut to what is quoted, its link addresses exchanged.

use rvs_abi::{Counter, Settings, protocol};

use super::{OF_SERVER, TOO_BIG, TTL};
use crate::{
    Action, Flow, NONE, Path, checksum, connection, director::drop, forward::direct::age_word,
};

/// How many bytes behind the transport header are quoted where there are as many.
const BEYOND: u32 = 40;
/// The most bytes that are quoted; only many IPv6 extension headers need more.
const QUOTE: u32 = 136;

/// Sends the error `what` about the packet to its source. `what` is a kind of this module's parent, with
/// the MTU above bit 8. The error comes from the packet's destination; or, where that is a client and
/// not the director, from the director's own address on the side of the server of slot `index`
/// (else [`NONE`]), or of the server itself where [`OF_SERVER`] is set. The result is an [`Action`] as a number.
#[inline(always)]
pub fn answer<P: Path>(path: &mut P, flow: &Flow, what: u32, index: u32) -> u32 {
    let kind = what & 0xff;
    let unanswered = match kind {
        TOO_BIG => Counter::DropTooBig,
        TTL => Counter::DropTtl,
        _ => Counter::AnswerUnreachable,
    };
    if !allowed(path) {
        path.count(Counter::IcmpLimited);
        return if kind == TOO_BIG || kind == TTL {
            drop(path, unanswered)
        } else {
            Action::Drop as u32
        };
    }
    let quoted = quote(flow);
    let mut sum = 0;
    for word in 0..QUOTE / 4 {
        if word * 4 >= quoted {
            break;
        }
        let Some(quote) = path.read_words::<1>(flow.network + word * 4) else {
            return drop(path, Counter::DropNoRoom);
        };
        sum = checksum::add(sum, quote[0]);
    }
    let from = source(path, flow, index);
    let written = path.resize(flow.network + quoted)
        && if flow.is_v6() {
            write_v6(path, flow, what, quoted, sum, &from)
        } else {
            write_v4(path, flow, what, quoted, sum, from[0])
        };
    if !written {
        return drop(path, Counter::DropNoRoom);
    }
    path.count(match kind {
        TOO_BIG => Counter::AnswerTooBig,
        TTL => Counter::AnswerTtl,
        _ => Counter::AnswerUnreachable,
    });
    if flow.is_local() {
        path.deliver() as u32
    } else {
        path.bounce() as u32
    }
}

/// How many bytes of the packet are quoted, in whole words: all of its headers, since the kernel
/// refuses to cut a packet before a checksum that is still to be filled in, and what is behind them
/// only where there is enough of it.
#[inline(always)]
fn quote(flow: &Flow) -> u32 {
    let transport = match flow.protocol {
        protocol::TCP => 20,
        protocol::SCTP => 12,
        _ => 8,
    };
    let headers = flow.transport.wrapping_sub(flow.network) + transport;
    if flow.largest >= headers + BEYOND {
        headers + BEYOND
    } else {
        headers
    }
    .min(QUOTE)
}

/// Where the error comes from.
#[inline(always)]
fn source<P: Path>(path: &P, flow: &Flow, index: u32) -> [u32; 4] {
    if index == NONE {
        return flow.destination;
    }
    let number = if index & OF_SERVER != 0 {
        index & !OF_SERVER
    } else {
        connection::head(path, flow, index).map_or(NONE, |head| head.server.load())
    };
    path.server(number).map_or(flow.destination, |server| {
        core::array::from_fn(|i| server.own_address[i].load())
    })
}

/// Takes one from this window's allowance.
#[inline(always)]
fn allowed<P: Path>(path: &P) -> bool {
    let Some(settings) = path.settings() else {
        return false;
    };
    let now = path.now() >> Settings::ICMP_WINDOW_BITS;
    let window = settings.icmp_window.load();
    if window != now && settings.icmp_window.cas(window, now) == window {
        settings.icmp_sent.store(0);
    }
    settings.icmp_sent.add(1) < settings.icmp_burst.load()
}

/// Puts IPv4 and ICMP headers before the quote, whose sum is `sum`.
#[inline(always)]
fn write_v4<P: Path>(
    path: &mut P,
    flow: &Flow,
    what: u32,
    quoted: u32,
    sum: u32,
    from: u32,
) -> bool {
    let (kind, code, mtu) = match what & 0xff {
        TOO_BIG => (3, 4, (what >> 8) as u16),
        TTL => (11, 0, 0),
        _ => (3, 3, 0),
    };
    let length = (20 + 8 + quoted) as u16;
    let icmp = [kind | code << 8, u32::from(mtu.to_be()) << 16];
    // Precedence "internetwork control" (RFC 1812 section 4.3.2.5); DF; 64 hops.
    let mut header = [
        0x45 | 0xc0 << 8 | u32::from(length.to_be()) << 16,
        0x40 << 16,
        age_word(64, protocol::ICMP, 0),
        from,
        flow.source[0],
        icmp[0],
        icmp[1],
    ];
    let own = [header[0], header[1], header[2], header[3], header[4]];
    header[2] |= u32::from(!checksum::fold(checksum::sum_words(&own))) << 16;
    header[5] |= u32::from(!checksum::fold(checksum::add(
        sum,
        checksum::sum_words(&icmp),
    ))) << 16;
    path.push(&header)
}

/// Puts IPv6 and ICMPv6 headers before the quote, whose sum is `sum`.
#[inline(always)]
fn write_v6<P: Path>(
    path: &mut P,
    flow: &Flow,
    what: u32,
    quoted: u32,
    sum: u32,
    from: &[u32; 4],
) -> bool {
    let (kind, code, mtu) = match what & 0xff {
        TOO_BIG => (2, 0, what >> 8),
        TTL => (3, 0, 0),
        _ => (1, 4, 0),
    };
    let length = u32::from(((8 + quoted) as u16).to_be());
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (*from, flow.source);
    let mut icmp = kind | code << 8;
    // The pseudo-header: addresses, length, next header (RFC 8200 section 8.1).
    let pseudo = [
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
        length,
        u32::from(u16::from(protocol::ICMPV6).to_be()),
    ];
    let mut sum = checksum::add(sum, checksum::sum_words(&pseudo));
    sum = checksum::add(sum, checksum::add(icmp, mtu.to_be()));
    icmp |= u32::from(!checksum::fold(sum)) << 16;
    let second = length | u32::from(protocol::ICMPV6) << 16 | 64 << 24;
    path.push(&[
        0x60,
        second,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
        icmp,
        mtu.to_be(),
    ])
}
