//! Packets that scenarios send: described by what they say, exact to the bit.

use std::net::{IpAddr, SocketAddr};

use crate::checksum::{crc32c, internet, octets, transport};
use crate::place::{LAN_MAC, Mac, TUNNEL_END, TUNNEL_MAC, WAN_MAC, mac_of};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// What follows the IP header.
#[derive(Clone, Debug)]
enum Body {
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
    },
    Udp {
        sum: bool,
    },
    /// The chunks behind the common header.
    Sctp(Vec<u8>),
    /// An ICMP (or ICMPv6) message of type and code, with its second word.
    Icmp(u8, u8, u32),
    /// Any other protocol.
    Other(u8),
}

/// A packet to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    source: SocketAddr,
    destination: SocketAddr,
    body: Body,
    payload: Vec<u8>,
    ttl: u8,
    tos: u8,
    id: u16,
    dont_fragment: bool,
}

impl Packet {
    fn new(source: SocketAddr, destination: SocketAddr, body: Body) -> Self {
        Self {
            source,
            destination,
            body,
            payload: Vec::new(),
            ttl: 64,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
        }
    }

    /// A TCP segment; flags by letters: `S`, `SA`, `A`, `PA`, `FA`, `R`, `RA`.
    pub(crate) fn tcp(source: SocketAddr, destination: SocketAddr, flags: &str) -> Self {
        let bit = |letter| match letter {
            'F' => 1,
            'S' => 2,
            'R' => 4,
            'P' => 8,
            'A' => 16,
            other => panic!("no TCP flag {other}"),
        };
        let flags = flags.chars().map(bit).fold(0, |all, bit| all | bit);
        let ack = if flags & 16 == 0 { 0 } else { 2000 };
        Self::new(
            source,
            destination,
            Body::Tcp {
                flags,
                seq: 1000,
                ack,
            },
        )
    }

    /// A UDP datagram that says "question".
    pub(crate) fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(source, destination, Body::Udp { sum: true }).payload(b"question")
    }

    /// An SCTP packet of chunks, each a type and its value.
    pub(crate) fn sctp(
        source: SocketAddr,
        destination: SocketAddr,
        chunks: &[(u8, &[u8])],
    ) -> Self {
        let mut bytes = Vec::new();
        for (kind, value) in chunks {
            bytes.extend([*kind, 0]);
            bytes.extend((value.len() as u16 + 4).to_be_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Self::new(source, destination, Body::Sctp(bytes))
    }

    /// An ICMP message that quotes bytes; `word` is its second word (an MTU, or an identifier and a number).
    pub(crate) fn icmp(
        source: IpAddr,
        destination: IpAddr,
        (kind, code): (u8, u8),
        word: u32,
        quote: &[u8],
    ) -> Self {
        let ends = (SocketAddr::new(source, 0), SocketAddr::new(destination, 0));
        Self::new(ends.0, ends.1, Body::Icmp(kind, code, word)).payload(quote)
    }

    /// Another protocol.
    pub(crate) fn other(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        let ends = (SocketAddr::new(source, 0), SocketAddr::new(destination, 0));
        Self::new(ends.0, ends.1, Body::Other(protocol)).payload(payload)
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// As much payload as makes an IP packet of `length` bytes.
    pub(crate) fn sized(self, length: usize) -> Self {
        let empty = self.clone().payload(&[]).ip().len();
        let payload: Vec<u8> = (0..length - empty).map(|i| (i * 7) as u8).collect();
        self.payload(&payload)
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }

    /// TCP's sequence and acknowledgement numbers.
    pub(crate) fn numbers(mut self, new_seq: u32, new_ack: u32) -> Self {
        if let Body::Tcp { seq, ack, .. } = &mut self.body {
            (*seq, *ack) = (new_seq, new_ack);
        }
        self
    }

    pub(crate) fn without_checksum(mut self) -> Self {
        if let Body::Udp { sum } = &mut self.body {
            *sum = false;
        }
        self
    }

    pub(crate) fn source(&self) -> SocketAddr {
        self.source
    }

    pub(crate) fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// The frame as a client sends it to the director.
    pub(crate) fn client_frame(&self) -> Vec<u8> {
        self.frame(WAN_MAC)
    }

    /// The frame as a server sends it to the director.
    pub(crate) fn server_frame(&self) -> Vec<u8> {
        self.frame(LAN_MAC)
    }

    /// The packet by the tunnel to the director's other device: Ethernet in GRE.
    pub(crate) fn in_tunnel(&self) -> Self {
        let gre = [&[0, 0, 0x65, 0x58][..], &self.frame(TUNNEL_MAC)].concat();
        Self::other(TUNNEL_END.into(), [10, 1, 0, 1].into(), 47, &gre)
    }

    fn frame(&self, to: Mac) -> Vec<u8> {
        let ethertype: u16 = if self.source.is_ipv4() {
            0x0800
        } else {
            0x86dd
        };
        let mut frame = to.to_vec();
        frame.extend(mac_of(self.source.ip()));
        frame.extend(ethertype.to_be_bytes());
        frame.extend(self.ip());
        frame
    }

    /// The IP packet.
    pub(crate) fn ip(&self) -> Vec<u8> {
        let (protocol, segment) = self.segment();
        let mut packet = Vec::new();
        if self.source.is_ipv4() {
            packet.extend([0x45, self.tos]);
            packet.extend((segment.len() as u16 + 20).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0]);
            packet.extend([self.ttl, protocol, 0, 0]);
        } else {
            packet.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
            packet.extend((segment.len() as u16).to_be_bytes());
            packet.extend([protocol, self.ttl]);
        }
        packet.extend(octets(self.source.ip()));
        packet.extend(octets(self.destination.ip()));
        if self.source.is_ipv4() {
            let sum = internet(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend(segment);
        packet
    }

    /// The protocol and what follows the IP header.
    fn segment(&self) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        let (ports, payload) = (
            [
                self.source.port().to_be_bytes(),
                self.destination.port().to_be_bytes(),
            ]
            .concat(),
            &self.payload,
        );
        let sum = |protocol, bytes: &[u8]| {
            transport(self.source.ip(), self.destination.ip(), protocol, bytes)
        };
        match &self.body {
            Body::Tcp { flags, seq, ack } => {
                bytes.extend(ports);
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([0x50, *flags, 0x40, 0, 0, 0, 0, 0]);
                bytes.extend(payload);
                let sum = sum(TCP, &bytes);
                bytes[16..18].copy_from_slice(&sum.to_be_bytes());
                (TCP, bytes)
            }
            Body::Udp { sum: with } => {
                bytes.extend(ports);
                bytes.extend((payload.len() as u16 + 8).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                if *with {
                    let sum = match sum(UDP, &bytes) {
                        0 => 0xffff,
                        sum => sum,
                    };
                    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
                }
                (UDP, bytes)
            }
            Body::Sctp(chunks) => {
                bytes.extend(ports);
                bytes.extend([0, 0, 0, 9, 0, 0, 0, 0]);
                bytes.extend(chunks);
                let sum = crc32c(&bytes);
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                (SCTP, bytes)
            }
            Body::Icmp(kind, code, word) => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(word.to_be_bytes());
                bytes.extend(payload);
                let (protocol, sum) = if self.source.is_ipv4() {
                    (1, internet(&[&bytes]))
                } else {
                    (58, sum(58, &bytes))
                };
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
                (protocol, bytes)
            }
            Body::Other(protocol) => (*protocol, payload.clone()),
        }
    }
}

/// Fragments.
impl Packet {
    /// This packet in fragments that begin at these offsets of its payload (multiples of eight), in this order.
    fn fragments(&self, offsets: &[usize]) -> Vec<Vec<u8>> {
        let whole = self.ip();
        let (header, body) = whole.split_at(if self.source.is_ipv4() { 20 } else { 40 });
        let mut sorted = offsets.to_vec();
        sorted.sort_unstable();
        let piece = |offset: &usize| {
            let end = sorted.iter().find(|next| *next > offset).copied();
            let mut packet = header.to_vec();
            let piece = &body[*offset..end.unwrap_or(body.len())];
            if self.source.is_ipv6() {
                // The next header becomes the fragment header's (RFC 8200 section 4.5).
                let next = std::mem::replace(&mut packet[6], FRAGMENT);
                packet[4..6].copy_from_slice(&(piece.len() as u16 + 8).to_be_bytes());
                packet.extend([next, 0]);
                packet.extend((*offset as u16 | u16::from(end.is_some())).to_be_bytes());
                packet.extend(u32::from(self.id).to_be_bytes());
                packet.extend(piece);
                return packet;
            }
            let more = if end.is_some() { 0x2000 } else { 0 };
            packet[2..4].copy_from_slice(&(piece.len() as u16 + 20).to_be_bytes());
            packet[6..8].copy_from_slice(&(more | (offset / 8) as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = internet(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(piece);
            packet
        };
        offsets.iter().map(piece).collect()
    }

    fn fragment_frames(&self, to: Mac, offsets: &[usize]) -> Vec<Vec<u8>> {
        let head = &self.frame(to)[..14];
        let packets = self.fragments(offsets);
        packets
            .iter()
            .map(|packet| [head, packet].concat())
            .collect()
    }

    /// The frames of its fragments as a client sends them.
    pub(crate) fn client_fragments(&self, offsets: &[usize]) -> Vec<Vec<u8>> {
        self.fragment_frames(WAN_MAC, offsets)
    }

    /// The frames of its fragments as a server sends them.
    pub(crate) fn server_fragments(&self, offsets: &[usize]) -> Vec<Vec<u8>> {
        self.fragment_frames(LAN_MAC, offsets)
    }
}
