//! What an ICMP error quotes: the beginning of the packet that caused it, at least the IP header and eight bytes
//! more (RFC 792), of which only addresses, ports and lengths are of interest.

use rvs_abi::protocol;

use crate::{
    Flow, Path, ipsec,
    parse::{half, ipv4, ipv6, is_switched},
};

/// The most IPv6 extension headers that are walked, as in a packet itself.
const EXTENSIONS: u32 = 6;

/// Reads the quoted packet at `at`, of IP version 6 or else 4. Its [`Flow::largest`] becomes what its header says
/// of its length.
#[inline(always)]
pub(super) fn read<P: Path>(path: &P, at: u32, is_v6: bool, quoted: &mut Flow) -> bool {
    if is_v6 {
        read_v6(path, at, quoted)
    } else {
        read_v4(path, at, quoted)
    }
}

#[inline(always)]
fn read_v4<P: Path>(path: &P, at: u32, quoted: &mut Flow) -> bool {
    let Some(header) = path.read_words::<5>(at) else {
        return false;
    };
    let length = (header[0] & 0xf) * 4;
    let fragment = half(header[1], 1);
    if header[0] >> 4 & 0xf != 4 || length < 20 || fragment & 0x1fff != 0 {
        return false;
    }
    ipv4::fill(quoted, &header);
    if fragment & 0x4000 != 0 {
        quoted.flags |= Flow::DONT_FRAGMENT;
    }
    quoted.largest = u32::from(half(header[0], 1));
    read_ports(path, quoted, at, length)
}

#[inline(always)]
fn read_v6<P: Path>(path: &P, at: u32, quoted: &mut Flow) -> bool {
    let Some(header) = path.read_words::<10>(at) else {
        return false;
    };
    if header[0] >> 4 & 0xf != 6 {
        return false;
    }
    ipv6::fill(quoted, &header);
    quoted.largest = 40 + u32::from(half(header[1], 0));
    let mut next = (header[1] >> 16) as u8;
    let mut skipped = 40;
    for _ in 0..EXTENSIONS {
        if !ipv6::is_extension(next) {
            break;
        }
        let Some([word]) = path.read_words::<1>(at + skipped) else {
            return false;
        };
        if next == ipv6::FRAGMENT_HEADER {
            // Of a fragment, only the first has ports.
            if half(word, 1) & 0xfff8 != 0 {
                return false;
            }
            skipped += 8;
        } else {
            skipped += 8 + (word >> 8 & 0xff) * 8;
        }
        next = word as u8;
    }
    quoted.protocol = next;
    read_ports(path, quoted, at, skipped)
}

#[inline(always)]
fn read_ports<P: Path>(path: &P, quoted: &mut Flow, at: u32, header: u32) -> bool {
    quoted.network = at;
    quoted.transport = at + header;
    if ipsec::is_ipsec(quoted.protocol) {
        ipsec::mark(quoted);
        return true;
    }
    if !is_switched(quoted.protocol) {
        return false;
    }
    let Some(ports) = path.read_words::<1>(quoted.transport) else {
        return false;
    };
    quoted.ports = ports[0];
    true
}

/// Where the IP packet begins that the tunnel packet at `at` carries, and whether that is IPv6. `source` is whom
/// the tunnel packet must come from; `is_v6` its own version. The tunnels are those that [`crate::forward`] makes.
#[inline(always)]
pub(super) fn tunneled<P: Path>(
    path: &P,
    at: u32,
    is_v6: bool,
    source: &[u32; 4],
) -> Option<(u32, bool)> {
    let (next, behind) = if is_v6 {
        let [first, second, a, b, c, d] = path.read_words::<6>(at)?;
        if first >> 4 & 0xf != 6 || [a, b, c, d] != *source {
            return None;
        }
        ((second >> 16) as u8, at + 40)
    } else {
        let header = path.read_words::<4>(at)?;
        let length = (header[0] & 0xf) * 4;
        if header[0] >> 4 & 0xf != 4
            || length < 20
            || half(header[1], 1) & 0x1fff != 0
            || header[3] != source[0]
        {
            return None;
        }
        ((header[2] >> 8) as u8, at + length)
    };
    match next {
        protocol::IPIP => Some((behind, false)),
        protocol::IPV6 => Some((behind, true)),
        protocol::GRE => {
            let [word] = path.read_words::<1>(behind)?;
            // Version 0, with a checksum or without.
            let inside = match word & 0xffff {
                0 => behind + 4,
                0x80 => behind + 8,
                _ => return None,
            };
            match half(word, 1) {
                crate::parse::ETHERTYPE_IPV4 => Some((inside, false)),
                crate::parse::ETHERTYPE_IPV6 => Some((inside, true)),
                _ => None,
            }
        }
        protocol::UDP => {
            // GUE version 0: a data packet without options.
            let [word] = path.read_words::<1>(behind + 8)?;
            if word & 0xffff_00ff != 0 {
                return None;
            }
            match (word >> 8) as u8 {
                protocol::IPIP => Some((behind + 12, false)),
                protocol::IPV6 => Some((behind + 12, true)),
                _ => None,
            }
        }
        _ => None,
    }
}
