//! Packets described by what they say; the bytes come from etherparse.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpEcn, IpFragOffset, IpNumber, Ipv4Header,
    Ipv6Header, TcpHeader, UdpHeader,
};

use crate::place::{CLIENT_MAC, Family, LAN, Mac, WAN, server_mac};

/// TCP's flags, by letters in a text: "S", "SA", "A", "PA", "FA", "R", "RA", "" ...
pub type Tcp = &'static str;

/// What follows the IP header.
#[derive(Clone, Debug)]
enum Transport {
    Tcp(Tcp),
    Udp { checksum: bool },
    Sctp(Vec<u8>),
    Icmp4(Icmpv4Type),
    Icmp6(Icmpv6Type),
    Raw(u8),
}

/// A packet to be built.
#[derive(Clone, Debug)]
pub struct Recipe {
    macs: (Mac, Mac),
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    identification: u16,
    fragment: Option<(u16, bool)>,
    ip_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    tcp_options: Vec<u8>,
    transport: Transport,
    payload: Vec<u8>,
}

impl Recipe {
    fn new(source: (IpAddr, u16), destination: (IpAddr, u16), transport: Transport) -> Self {
        Self {
            macs: (WAN, CLIENT_MAC),
            source,
            destination,
            ttl: 64,
            tos: 0,
            dont_fragment: true,
            identification: 0x1234,
            fragment: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            tcp_options: Vec::new(),
            transport,
            payload: Vec::new(),
        }
    }

    /// A TCP segment from the client's side of the director.
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: Tcp) -> Self {
        Self::new(source, destination, Transport::Tcp(flags))
    }

    /// A UDP datagram.
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self::new(source, destination, Transport::Udp { checksum: true }).payload(b"question")
    }

    /// An SCTP packet with one chunk of this type, which carries the payload.
    pub fn sctp(source: (IpAddr, u16), destination: (IpAddr, u16), chunk: u8) -> Self {
        Self::new(source, destination, Transport::Sctp(vec![chunk]))
    }

    /// Other SCTP chunks; the last one carries the payload.
    pub fn chunks(mut self, chunks: &[u8]) -> Self {
        self.transport = Transport::Sctp(chunks.to_vec());
        self
    }

    /// An ICMP message with what it quotes.
    pub fn icmp4(source: IpAddr, destination: IpAddr, kind: Icmpv4Type, quote: &[u8]) -> Self {
        Self::new((source, 0), (destination, 0), Transport::Icmp4(kind)).payload(quote)
    }

    /// An ICMPv6 message with what it quotes.
    pub fn icmp6(source: IpAddr, destination: IpAddr, kind: Icmpv6Type, quote: &[u8]) -> Self {
        Self::new((source, 0), (destination, 0), Transport::Icmp6(kind)).payload(quote)
    }

    /// Any other protocol.
    pub fn raw(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self::new((source, 0), (destination, 0), Transport::Raw(protocol))
    }

    /// Coming in from server `n` at the director.
    pub fn from_server(mut self, n: usize) -> Self {
        self.macs = (LAN, server_mac(n));
        self
    }

    /// Leaving the director for server `n`.
    pub fn to_server(mut self, n: usize) -> Self {
        self.macs = (server_mac(n), LAN);
        self
    }

    /// Leaving the director for a neighbour on the clients' side.
    pub fn to_client(mut self, mac: Mac) -> Self {
        self.macs = (mac, WAN);
        self
    }

    /// Link addresses, destination first.
    pub fn macs(mut self, destination: Mac, source: Mac) -> Self {
        self.macs = (destination, source);
        self
    }

    /// Another source.
    pub fn source(mut self, source: (IpAddr, u16)) -> Self {
        self.source = source;
        self
    }

    /// Another destination.
    pub fn destination(mut self, destination: (IpAddr, u16)) -> Self {
        self.destination = destination;
        self
    }

    /// The same from the client port `port`.
    pub fn port(mut self, port: u16) -> Self {
        self.source.1 = port;
        self
    }

    /// Other TCP flags.
    pub fn flags(mut self, flags: Tcp) -> Self {
        self.transport = Transport::Tcp(flags);
        self
    }

    /// Time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// One hop older.
    pub fn aged(mut self) -> Self {
        self.ttl -= 1;
        self
    }

    /// Type of service.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// IPv4: may be fragmented.
    pub fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }

    /// IPv4's identification.
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// A fragment at an offset in units of eight bytes, with more to come or not. In IPv6 a fragment
    /// header is added; its transport header is left out of fragments beyond the first.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self.dont_fragment = false;
        self
    }

    /// IPv4 options, a multiple of four bytes.
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.ip_options = options.to_vec();
        self
    }

    /// An IPv6 extension header of this kind, behind those that are there: its bytes beyond "next
    /// header" and "length"; six of them, or fourteen ...
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// TCP options, a multiple of four bytes.
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        self.tcp_options = options.to_vec();
        self
    }

    /// UDP over IPv4 without checksum.
    pub fn without_checksum(mut self) -> Self {
        self.transport = Transport::Udp { checksum: false };
        self
    }

    /// What the packet carries.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// As many bytes of payload as make an IP packet of `length` bytes.
    pub fn sized(self, length: usize) -> Self {
        let empty = ip_bytes(&self.clone().payload(&[]).frame()).len();
        let payload: Vec<u8> = (0..length - empty).map(|i| (i * 7) as u8).collect();
        self.payload(&payload)
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.macs.0);
        frame.extend(self.macs.1);
        let (ethertype, packet) = match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (0x0800_u16, self.v4(source.octets(), destination.octets()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                (0x86dd, self.v6(source.octets(), destination.octets()))
            }
            _ => panic!("mixed families: {self:?}"),
        };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        ip_bytes(&self.frame()).to_vec()
    }

    fn v4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let protocol = IpNumber(self.protocol());
        let mut ip = Ipv4Header::new(0, self.ttl, protocol, source, destination).unwrap();
        ip.options = self.ip_options.as_slice().try_into().unwrap();
        ip.dscp = (self.tos >> 2).try_into().unwrap();
        ip.ecn = IpEcn::try_new(self.tos & 3).unwrap();
        ip.dont_fragment = self.dont_fragment;
        ip.identification = self.identification;
        if let Some((offset, more)) = self.fragment {
            ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            ip.more_fragments = more;
        }
        let body = self.body(|transport| match transport {
            Whole::Tcp(tcp) => tcp.calc_checksum_ipv4(&ip, &self.payload).unwrap(),
            Whole::Udp(udp) => udp.calc_checksum_ipv4(&ip, &self.payload).unwrap(),
        });
        ip.set_payload_len(body.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        [ip.to_bytes().as_slice(), &body].concat()
    }

    fn v6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut ip = Ipv6Header {
            traffic_class: self.tos,
            hop_limit: self.ttl,
            source,
            destination,
            ..Ipv6Header::default()
        };
        let body = match &self.transport {
            Transport::Icmp6(kind) => {
                let header =
                    Icmpv6Header::with_checksum(*kind, source, destination, &self.payload).unwrap();
                [header.to_bytes().as_slice(), &self.payload].concat()
            }
            Transport::Tcp(_)
            | Transport::Udp { .. }
            | Transport::Sctp(_)
            | Transport::Icmp4(_)
            | Transport::Raw(_) => self.body(|transport| match transport {
                Whole::Tcp(tcp) => tcp.calc_checksum_ipv6(&ip, &self.payload).unwrap(),
                Whole::Udp(udp) => udp.calc_checksum_ipv6(&ip, &self.payload).unwrap(),
            }),
        };
        let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        let mut chain = Vec::new();
        if self.fragment.is_some() {
            kinds.push(44);
        }
        kinds.push(self.protocol());
        for (i, (_, body)) in self.extensions.iter().enumerate() {
            chain.push(kinds[i + 1]);
            chain.push(u8::try_from((body.len() + 2) / 8 - 1).unwrap());
            chain.extend(body);
        }
        if let Some((offset, more)) = self.fragment {
            chain.extend([self.protocol(), 0]);
            chain.extend((offset << 3 | u16::from(more)).to_be_bytes());
            chain.extend(u32::from(self.identification).to_be_bytes());
        }
        ip.next_header = IpNumber(kinds[0]);
        ip.payload_length = u16::try_from(chain.len() + body.len()).unwrap();
        [&ip.to_bytes()[..], &chain, &body].concat()
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => 6,
            Transport::Udp { .. } => 17,
            Transport::Sctp(_) => 132,
            Transport::Icmp4(_) => 1,
            Transport::Icmp6(_) => 58,
            Transport::Raw(protocol) => protocol,
        }
    }

    /// Transport header and payload; `checksum` sums the whole. Fragments beyond the first have no header.
    fn body(&self, checksum: impl Fn(Whole<'_>) -> u16) -> Vec<u8> {
        if self.fragment.is_some_and(|(offset, _)| offset > 0) {
            return self.payload.clone();
        }
        let ports = (self.source.1, self.destination.1);
        let header = match &self.transport {
            Transport::Tcp(flags) => {
                let mut tcp = TcpHeader::new(ports.0, ports.1, 0x0102_0304, 0x4000);
                tcp.set_options_raw(&self.tcp_options).unwrap();
                for flag in flags.chars() {
                    match flag {
                        'S' => tcp.syn = true,
                        'A' => {
                            tcp.ack = true;
                            tcp.acknowledgment_number = 0x0506_0708;
                        }
                        'F' => tcp.fin = true,
                        'R' => tcp.rst = true,
                        'P' => tcp.psh = true,
                        other => panic!("no TCP flag {other}"),
                    }
                }
                tcp.checksum = checksum(Whole::Tcp(&tcp));
                tcp.to_bytes().to_vec()
            }
            Transport::Udp { checksum: with } => {
                let mut udp = UdpHeader {
                    source_port: ports.0,
                    destination_port: ports.1,
                    length: u16::try_from(8 + self.payload.len()).unwrap(),
                    checksum: 0,
                };
                if *with {
                    udp.checksum = checksum(Whole::Udp(&udp));
                }
                udp.to_bytes().to_vec()
            }
            Transport::Sctp(chunks) => return sctp(ports, chunks, &self.payload),
            Transport::Icmp4(kind) => Icmpv4Header::with_checksum(kind.clone(), &self.payload)
                .to_bytes()
                .to_vec(),
            Transport::Icmp6(_) | Transport::Raw(_) => Vec::new(),
        };
        [header, self.payload.clone()].concat()
    }

    /// The family.
    pub fn family(&self) -> Family {
        if self.source.0.is_ipv6() {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// This packet inside an outer IP header.
    pub fn wrapped(&self, source: IpAddr, destination: IpAddr) -> Self {
        let protocol = match self.family() {
            Family::V4 => 4,
            Family::V6 => 41,
        };
        let mut outer = Self::raw(source, destination, protocol)
            .payload(&self.ip())
            .ttl(self.ttl)
            .tos(self.tos)
            .macs(self.macs.0, self.macs.1);
        outer.dont_fragment = self.dont_fragment;
        outer.identification = 0;
        outer
    }
}

/// An SCTP packet: the common header, chunks without value, and one with `value`.
fn sctp(ports: (u16, u16), chunks: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    packet.extend(0x0a0b_0c0d_u32.to_be_bytes());
    packet.extend([0; 4]);
    for (n, chunk) in chunks.iter().enumerate() {
        let value = if n + 1 == chunks.len() { value } else { &[] };
        packet.extend([*chunk, 0]);
        packet.extend(u16::try_from(value.len() + 4).unwrap().to_be_bytes());
        packet.extend(value);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// CRC32c bit by bit (RFC 9260 appendix A).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// The port that GUE packets go to.
pub const GUE_PORT: u16 = 6080;

/// What is between the outer IP header and the inner one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// Nothing.
    Bare,
    /// UDP and GUE.
    Gue {
        /// With a checksum.
        checksum: bool,
    },
    /// GRE.
    Gre {
        /// With a checksum.
        checksum: bool,
    },
}

impl Outer {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Bare,
        Self::Gue { checksum: false },
        Self::Gue { checksum: true },
        Self::Gre { checksum: false },
        Self::Gre { checksum: true },
    ];

    /// As [`rvs_abi::Server::tunnel`] has it.
    pub fn word(self) -> u32 {
        let port = u32::from(GUE_PORT.to_be()) << 16;
        match self {
            Self::Bare => 0,
            Self::Gue { checksum: false } => 1 | port,
            Self::Gue { checksum: true } => 1 | rvs_abi::Server::CHECKSUM | port,
            Self::Gre { checksum: false } => 2,
            Self::Gre { checksum: true } => 2 | rvs_abi::Server::CHECKSUM,
        }
    }

    /// How many bytes it takes.
    pub fn length(self) -> u32 {
        match self {
            Self::Bare => 0,
            Self::Gue { .. } => 12,
            Self::Gre { checksum: false } => 4,
            Self::Gre { checksum: true } => 8,
        }
    }
}

impl Recipe {
    /// This packet in a tunnel of any kind; inner and outer family may differ.
    pub fn wrapped_in(&self, source: IpAddr, destination: IpAddr, outer: Outer) -> Self {
        let (number, ethertype) = match self.family() {
            Family::V4 => (4, 0x0800_u16),
            Family::V6 => (41, 0x86dd),
        };
        let mut packet = match outer {
            Outer::Bare => Self::raw(source, destination, number).payload(&self.ip()),
            Outer::Gue { checksum } => {
                let ends = ((source, self.gue_source()), (destination, GUE_PORT));
                let inside = [&[0, number, 0, 0][..], &self.ip()].concat();
                let packet = Self::udp(ends.0, ends.1).payload(&inside);
                if checksum {
                    packet
                } else {
                    packet.without_checksum()
                }
            }
            Outer::Gre { checksum } => {
                let mut inside = vec![if checksum { 0x80 } else { 0 }, 0];
                inside.extend(ethertype.to_be_bytes());
                if checksum {
                    inside.extend([0; 4]);
                }
                inside.extend(self.ip());
                if checksum {
                    let sum = internet_checksum(&inside);
                    inside[4..6].copy_from_slice(&sum.to_be_bytes());
                }
                Self::raw(source, destination, 47).payload(&inside)
            }
        };
        packet = packet
            .ttl(self.ttl)
            .tos(self.tos)
            .macs(self.macs.0, self.macs.1);
        packet.dont_fragment = self.dont_fragment;
        packet.identification = 0;
        packet
    }

    /// The port that a GUE packet comes from: a hash of the flow, in the upper quarter.
    fn gue_source(&self) -> u16 {
        let mut hash = u32::from(self.protocol());
        let [a, b] = self.source.1.to_be_bytes();
        let [c, d] = self.destination.1.to_be_bytes();
        let [source, destination] = [self.source.0, self.destination.0].map(crate::place::words);
        let words = source.into_iter().chain(destination);
        for word in words.chain([u32::from_ne_bytes([a, b, c, d])]) {
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b1);
        }
        0xc000 | (hash >> 18) as u16
    }
}

/// The Internet checksum (RFC 1071).
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

enum Whole<'a> {
    Tcp(&'a TcpHeader),
    Udp(&'a UdpHeader),
}

/// What lies behind the link header.
pub fn ip_bytes(frame: &[u8]) -> &[u8] {
    &frame[14..]
}
