//! ICMP errors that the director sends: fragmentation needed, packet too big, time exceeded, port
//! unreachable (RFC 792, RFC 1191, RFC 4443).
//!
//! The packet is turned into its own answer: cut to what is quoted, its link addresses exchanged.

use rvs_abi::{Counter, protocol};

use super::{TOO_BIG, TTL};
use crate::{Action, Flow, Path, checksum, director::drop, forward::nat::bytes_of};

/// What IPv4 answers quote at most: a header with all options, and eight bytes.
const QUOTE4: usize = 68;
/// What IPv6 answers quote at most: a header, room for extension headers, and a TCP header.
const QUOTE6: usize = 104;
/// The least: a header and eight bytes.
const SHORT4: usize = 28;
const SHORT6: usize = 48;

/// Sends the error `what` about the packet, from the packet's destination to its source. `what` is a
/// kind of this module's parent, with the MTU above bit 8. The result is an [`Action`] as a number.
#[inline(always)]
pub fn answer<P: Path>(path: &mut P, flow: &Flow, what: u32) -> u32 {
    let kind = what & 0xff;
    let unanswered = match kind {
        TOO_BIG => Counter::DropTooBig,
        TTL => Counter::DropTtl,
        _ => Counter::AnswerUnreachable,
    };
    // Who allows fragmenting does not expect an answer.
    let due = kind != TOO_BIG || flow.is_v6() || flow.flags & Flow::DONT_FRAGMENT != 0;
    if !due {
        return drop(path, unanswered);
    }
    if !allowed(path) {
        path.count(Counter::IcmpLimited);
        return if kind == TOO_BIG || kind == TTL {
            drop(path, unanswered)
        } else {
            Action::Drop as u32
        };
    }
    let written = match (flow.is_v6(), flow.largest as usize) {
        (false, QUOTE4..) => write_v4::<QUOTE4, P>(path, flow, what),
        (false, _) => write_v4::<SHORT4, P>(path, flow, what),
        (true, QUOTE6..) => write_v6::<QUOTE6, P>(path, flow, what),
        (true, _) => write_v6::<SHORT6, P>(path, flow, what),
    };
    if !written {
        return drop(path, Counter::DropNoRoom);
    }
    path.count(match kind {
        TOO_BIG => Counter::AnswerTooBig,
        TTL => Counter::AnswerTtl,
        _ => Counter::AnswerUnreachable,
    });
    path.bounce() as u32
}

/// Takes one from this tick's allowance.
#[inline(always)]
fn allowed<P: Path>(path: &P) -> bool {
    let Some(settings) = path.settings() else {
        return false;
    };
    let now = path.now();
    let tick = settings.icmp_tick.load();
    if tick != now && settings.icmp_tick.cas(tick, now) == tick {
        settings.icmp_sent.store(0);
    }
    settings.icmp_sent.add(1) < settings.icmp_per_tick.load()
}

#[inline(always)]
fn write_v4<const N: usize, P: Path>(path: &mut P, flow: &Flow, what: u32) -> bool {
    let Some(quote) = path.read::<N>(flow.network) else {
        return false;
    };
    let (kind, code, mtu) = match what & 0xff {
        TOO_BIG => (3, 4, ((what >> 8) as u16).to_be_bytes()),
        TTL => (11, 0, [0, 0]),
        _ => (3, 3, [0, 0]),
    };
    let length = (20 + 8 + N as u16).to_be_bytes();
    let (s, d) = (
        flow.destination[0].to_ne_bytes(),
        flow.source[0].to_ne_bytes(),
    );
    let mut header = [
        0x45,
        0xc0,
        length[0],
        length[1],
        0,
        0,
        0x40,
        0,
        64,
        protocol::ICMP,
        0,
        0, // RFC 1812 4.3.2.5: precedence 6
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
    let mut icmp = [kind, code, 0, 0, 0, 0, mtu[0], mtu[1]];
    let sum =
        (!checksum::fold(checksum::add(checksum::sum(&icmp), checksum::sum(&quote)))).to_ne_bytes();
    icmp[2] = sum[0];
    icmp[3] = sum[1];
    path.resize(flow.network + 28 + N as u32)
        && path.write(flow.network, &header)
        && path.write(flow.network + 20, &icmp)
        && path.write(flow.network + 28, &quote)
}

#[inline(always)]
fn write_v6<const N: usize, P: Path>(path: &mut P, flow: &Flow, what: u32) -> bool {
    let Some(quote) = path.read::<N>(flow.network) else {
        return false;
    };
    let (kind, code, mtu) = match what & 0xff {
        TOO_BIG => (2, 0, (what >> 8).to_be_bytes()),
        TTL => (3, 0, [0; 4]),
        _ => (1, 4, [0; 4]),
    };
    let length = 8 + N as u16;
    let [high, low] = length.to_be_bytes();
    let front = [0x60, 0, 0, 0, high, low, protocol::ICMPV6, 64];
    let mut icmp = [kind, code, 0, 0, mtu[0], mtu[1], mtu[2], mtu[3]];
    // The pseudo-header: addresses, length, next header (RFC 8200 section 8.1).
    let mut sum = checksum::sum(&icmp);
    sum = checksum::add(sum, checksum::sum(&quote));
    for i in 0..4 {
        sum = checksum::add(sum, flow.source[i]);
        sum = checksum::add(sum, flow.destination[i]);
    }
    sum = checksum::add(sum, u32::from(length.to_be()));
    sum = checksum::add(sum, u32::from(u16::from(protocol::ICMPV6).to_be()));
    let sum = (!checksum::fold(sum)).to_ne_bytes();
    icmp[2] = sum[0];
    icmp[3] = sum[1];
    path.resize(flow.network + 48 + N as u32)
        && path.write(flow.network, &front)
        && path.write(flow.network + 8, &bytes_of(&flow.destination))
        && path.write(flow.network + 24, &bytes_of(&flow.source))
        && path.write(flow.network + 40, &icmp)
        && path.write(flow.network + 48, &quote)
}
