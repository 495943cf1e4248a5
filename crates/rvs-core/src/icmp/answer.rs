//! ICMP errors that the director sends: fragmentation needed, packet too big, time exceeded, port
//! unreachable (RFC 792, RFC 1191, RFC 4443).
//!
//! The packet is turned into its own answer: cut to what is quoted, its link addresses exchanged.

use rvs_abi::{Counter, Settings, protocol};

use super::{BUILT, OF_SERVER, RELAYED, ROUTED, TOO_BIG, TTL, UNREACHABLE};
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
    let kind = what & 0x7f;
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
    let mut quoted = quote(flow);
    let end = flow.network + quoted;
    let mut sum = path.sum(flow, flow.network, end);
    if sum == NONE {
        return drop(path, Counter::DropNoRoom);
    }
    let balance = if what & ROUTED == 0 {
        balance(path, flow, end)
    } else {
        NONE
    };
    if balance == NONE {
        if !path.resize(end) {
            return drop(path, Counter::DropNoRoom);
        }
    } else {
        if !path.resize(end + 4) || !path.write_words(end, &[balance]) {
            return drop(path, Counter::DropNoRoom);
        }
        sum = checksum::add(sum, balance);
        quoted += 4;
    }
    let from = source(path, flow, index);
    let written = if flow.is_v6() {
        write_v6(path, flow, what, quoted, sum, &from)
    } else {
        write_v4(path, flow, what, quoted, sum, from[0])
    };
    if !written {
        return drop(path, Counter::DropNoRoom);
    }
    match kind {
        TOO_BIG => path.count(Counter::AnswerTooBig),
        TTL => path.count(Counter::AnswerTtl),
        UNREACHABLE => path.count(Counter::AnswerUnreachable),
        // Whoever relays counts.
        _ => {}
    }
    if what & ROUTED != 0 {
        return BUILT;
    }
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
    .min(flow.largest & !3)
}

/// A word behind the quote's `end` that makes a checksum in it come out as it is, or [`NONE`] where there is none
/// to be kept.
///
/// Where hardware was yet to fill the packet's TCP or UDP checksum in, the kernel keeps the note that it should, and it
/// will sum up what is quoted and write into the quote, under the feet of ICMP's own checksum. Who fills in writes
/// the complement of the sum of all from the transport header on, what lies in the checksum's place included. So if that
/// sum is the complement of what lies there, the same is written, and nothing changes, filled in or not.
#[inline(always)]
fn balance<P: Path>(path: &P, flow: &Flow, end: u32) -> u32 {
    let place = match flow.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return NONE,
    };
    if flow.flags & Flow::LATER_FRAGMENT != 0 {
        return NONE;
    }
    let Some(checksum) = path.read::<2>(flow.transport + place) else {
        return NONE;
    };
    let sum = path.sum(flow, flow.transport, end);
    if sum == NONE {
        return NONE;
    }
    let missing = checksum::add(u32::from(!u16::from_ne_bytes(checksum)), !sum);
    u32::from(checksum::fold(missing))
}

/// The folded sum of the packet's words from offset `from` to `end`, no more than are ever quoted; [`NONE`] where they are
/// not there. On its own, since a loop's every way out is one more way through what follows it.
#[inline(always)]
pub fn sum<P: Path>(path: &P, flow: &Flow, from: u32, end: u32) -> u32 {
    let mut sum = 0;
    for word in 0..QUOTE / 4 {
        let at = from.wrapping_add(word * 4);
        if at >= end {
            break;
        }
        let Some(word) = path.read_words::<1>(at.max(flow.network)) else {
            return NONE;
        };
        sum = checksum::add(sum, word[0]);
    }
    u32::from(checksum::fold(sum))
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
    let (kind, code, mtu) = match what & 0x7f {
        TOO_BIG => (3, 4, (what >> 8) as u16),
        TTL => (11, 0, 0),
        RELAYED => (what >> 8 & 0xff, what >> 16 & 0xff, 0),
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
    let (kind, code, mtu) = match what & 0x7f {
        TOO_BIG => (2, 0, what >> 8),
        TTL => (3, 0, 0),
        RELAYED => (what >> 8 & 0xff, what >> 16 & 0xff, 0),
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
