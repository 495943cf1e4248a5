//! What parsing learned of a packet: flat, so that one BPF function can hand it to another.

use rvs_abi::{family, protocol};
use rvs_table::Key;

use crate::state::sctp::Event;

/// A parsed packet. Addresses and ports in packet byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Source address; IPv4 in the first word.
    pub source: [u32; 4],
    /// Destination address; IPv4 in the first word.
    pub destination: [u32; 4],
    /// Source and destination port.
    pub ports: u32,
    /// IP bytes, summed over the segments of a super-packet as they will leave.
    pub bytes: u32,
    /// Segments of a super-packet, 1 for an ordinary packet.
    pub packets: u32,
    /// Bytes of the largest IP packet among the segments.
    pub largest: u32,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of the transport header.
    pub transport: u32,
    /// The transport protocol.
    pub protocol: u8,
    /// IP version.
    pub family: u8,
    /// TCP's flag byte; of SCTP, a [`crate::state::sctp::Event`]; else 0.
    pub tcp_flags: u8,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// Type of service, traffic class.
    pub tos: u8,
    /// [`Flow::DONT_FRAGMENT`] and others.
    pub flags: u8,
    /// IPv4: the header checksum, as it lies in the packet.
    pub header_checksum: u16,
}

const _: () = assert!(size_of::<Flow>() == 64);

impl Flow {
    /// IPv4: DF is set.
    pub const DONT_FRAGMENT: u8 = 1;
    /// A fragment that carries the transport header.
    pub const FIRST_FRAGMENT: u8 = 2;
    /// A super-packet that the sender's kernel, or GRO, left for later segmentation.
    pub const SEGMENTED: u8 = 4;
    /// A fragment beyond the first.
    pub const LATER_FRAGMENT: u8 = 8;
    /// Not a packet itself but what an ICMP error quotes, as the client would have sent it: a connection is made for
    /// it, and then the error is followed there (`schedule_icmp`).
    pub const QUOTED: u8 = 32;
    /// Sent by the director's own host: seen on the loopback interface or on its way out.
    pub const LOCAL: u8 = 64;

    /// Whether the packet is IPv6.
    #[inline(always)]
    pub fn is_v6(&self) -> bool {
        self.family == family::V6
    }

    /// Whether the packet is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP
    }

    /// Whether this is what an ICMP error quotes.
    #[inline(always)]
    pub fn is_quoted(&self) -> bool {
        self.flags & Self::QUOTED != 0
    }

    /// Whether the packet was sent by the director's own host.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        self.flags & Self::LOCAL != 0
    }

    /// The tuple by which the connection table knows it; `N` is 1 for IPv4, 4 for IPv6.
    #[inline(always)]
    pub fn key<const N: usize>(&self) -> Key<N> {
        Key {
            source: first_words(&self.source),
            destination: first_words(&self.destination),
            ports: self.ports,
            protocol: u32::from(self.protocol),
        }
    }

    /// Whether the packet is SCTP.
    #[inline(always)]
    pub fn is_sctp(&self) -> bool {
        self.protocol == protocol::SCTP
    }

    /// Whether the packet's protocol has connections with a beginning and an end: TCP or SCTP.
    #[inline(always)]
    pub fn is_stateful(&self) -> bool {
        self.is_tcp() || self.is_sctp()
    }

    /// Whether this packet may begin a connection: UDP, TCP with SYN and neither RST, ACK nor FIN, or SCTP's INIT.
    #[inline(always)]
    pub fn begins(&self) -> bool {
        if self.is_tcp() {
            self.tcp_flags & (tcp::SYN | tcp::RST | tcp::ACK | tcp::FIN) == tcp::SYN
        } else {
            !self.is_sctp() || self.tcp_flags == Event::Init as u8
        }
    }

    /// Whether this is TCP with SYN, whatever else, or SCTP's INIT: it may find a connection that is over.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        if self.is_tcp() {
            self.tcp_flags & tcp::SYN != 0
        } else {
            self.is_sctp() && self.tcp_flags == Event::Init as u8
        }
    }
}

/// The first `N` words of an address.
#[inline(always)]
pub fn first_words<const N: usize>(address: &[u32; 4]) -> [u32; N] {
    let mut words = [0; N];
    let mut i = 0;
    while i < N && i < 4 {
        words[i] = address[i];
        i += 1;
    }
    words
}

/// Bits of TCP's flag byte (RFC 9293 section 3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 16;
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Input,
    /// From the server.
    Output,
}
