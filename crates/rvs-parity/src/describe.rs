//! Frames in words: one line that says everything that a director may change, so that two lines are equal when two
//! packets are.
//!
//! Left out are only the identification of headers that the director makes itself, its tunnels' source ports, and link
//! addresses of its own.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::checksum::{crc32c, internet, transport};
use crate::place::{Mac, mac_text};

/// A packet that came out of the director.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// On the servers' side?
    pub(crate) side: Side,
    /// Whom the frame is for.
    pub(crate) to: Mac,
    /// Where the outermost IP header comes from; without port where there is none.
    pub(crate) source: SocketAddr,
    /// Where it goes.
    pub(crate) destination: SocketAddr,
    /// Everything, in words.
    pub(crate) text: String,
    /// The same; of an ICMP error not how much it quotes, nor whether it may be fragmented.
    pub(crate) brief: String,
}

/// A side of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The clients'.
    Clients,
    /// The servers'.
    Servers,
}

impl Seen {
    /// Reads a frame; nothing for neighbour discovery and the like, which is no traffic of a scenario.
    pub(crate) fn read(side: Side, frame: &[u8]) -> Option<Self> {
        let to: Mac = frame.get(..6)?.try_into().ok()?;
        let bytes = match frame.get(12..14)? {
            [0x08, 0x00] | [0x86, 0xdd] => frame.get(14..)?,
            _ => return None,
        };
        let packet = Ip::read(bytes)?;
        if packet.is_discovery() {
            return None;
        }
        let (source, destination) = packet.ends();
        let side_word = match side {
            Side::Clients => "to clients",
            Side::Servers => "to servers",
        };
        let head = format!("{side_word} {}", mac_text(to));
        let text = format!("{head}: {}", packet.text(Depth::Outer));
        let brief = match packet.brief() {
            Some(brief) => format!("{head}: {brief}"),
            None => text.clone(),
        };
        Some(Self {
            side,
            to,
            source,
            destination,
            text,
            brief,
        })
    }
}

/// How far inside a header is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outer,
    /// Inside a tunnel: everything is checked.
    Carried,
    /// In an ICMP error: cut off, so checksums of the segment say nothing.
    Quoted,
}

struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// In words: time to live and the like; the identification apart.
    head: String,
    id: Option<u16>,
    first: bool,
    /// The whole packet's length as its header says.
    length: usize,
    body: &'a [u8],
}

impl<'a> Ip<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::v4(bytes),
            6 => Self::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &'a [u8]) -> Option<Self> {
        let start = usize::from(bytes[0] & 15) * 4;
        let header = bytes.get(..start).filter(|header| header.len() >= 20)?;
        let length = usize::from(number(header, 2));
        let (flags, ttl, tos) = (number(header, 6), header[8], header[1]);
        let mut head = format!("ttl {ttl} tos {tos}");
        if flags & 0x4000 != 0 {
            head += " DF";
        }
        if flags & 0x3fff != 0 {
            let more = if flags & 0x2000 == 0 { "" } else { "+" };
            let _ = write!(head, " fragment {}{more}", (flags & 0x1fff) * 8);
        }
        if internet(&[header]) != 0 {
            head += " BAD-HEADER-SUM";
        }
        Some(Self {
            source: IpAddr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?),
            destination: IpAddr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?),
            protocol: header[9],
            head,
            id: Some(number(header, 4)),
            first: flags & 0x1fff == 0,
            length,
            body: bytes.get(start..length.min(bytes.len()))?,
        })
    }

    fn v6(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..40)?;
        let length = usize::from(number(header, 4)) + 40;
        let class = header[0] << 4 | header[1] >> 4;
        let mut head = format!("ttl {} tos {class}", header[7]);
        let mut body = bytes.get(40..length.min(bytes.len()))?;
        let (mut protocol, mut first) = (header[6], true);
        if protocol == 44 {
            let fragment = body.get(..8)?;
            let offset = number(fragment, 2);
            let more = if offset & 1 == 0 { "" } else { "+" };
            let _ = write!(head, " fragment {}{more}", offset & !7);
            first = offset & !7 == 0;
            protocol = fragment[0];
            body = &body[8..];
        }
        Some(Self {
            source: IpAddr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?),
            destination: IpAddr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?),
            protocol,
            head,
            id: None,
            first,
            length,
            body,
        })
    }

    /// Neighbour and router discovery, multicast listeners.
    fn is_discovery(&self) -> bool {
        self.protocol == 0
            || self.protocol == 58
                && self
                    .body
                    .first()
                    .is_some_and(|kind| matches!(kind, 130..=137 | 143))
    }

    fn has_ports(&self) -> bool {
        self.first && matches!(self.protocol, 6 | 17 | 132) && self.body.len() >= 4
    }

    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let ports = if self.has_ports() {
            (number(self.body, 0), number(self.body, 2))
        } else {
            (0, 0)
        };
        (
            SocketAddr::new(self.source, ports.0),
            SocketAddr::new(self.destination, ports.1),
        )
    }

    /// An ICMP error in few words.
    fn brief(&self) -> Option<String> {
        let body = self.body;
        let is_error = match self.protocol {
            1 => matches!(body.first()?, 3 | 4 | 5 | 11 | 12),
            58 => *body.first()? < 128,
            _ => return None,
        };
        let quoted = Ip::read(body.get(8..)?).filter(|_| is_error)?;
        let sum = match self.protocol {
            1 => internet(&[body]),
            _ => transport(self.source, self.destination, 58, body),
        };
        let (source, destination) = quoted.ends();
        let bad = if sum == 0 { "" } else { " BAD-SUM" };
        let (word, length, protocol) = (long(body, 4), quoted.length, quoted.protocol);
        let (from, to) = (self.source, self.destination);
        Some(format!(
            "{from} > {to} icmp {}/{} {word:#x}{bad} [{source} > {destination} protocol {protocol} of {length}]",
            body[0], body[1],
        ))
    }

    fn text(&self, depth: Depth) -> String {
        let (source, destination) = self.ends();
        let ends = if self.has_ports() {
            format!("{source} > {destination}")
        } else {
            format!("{} > {}", self.source, self.destination)
        };
        let (body, made) = if self.first {
            self.body_text(depth)
        } else {
            // IP in IP, IPv6 in IP, GRE: the director made the header that was fragmented.
            (
                format!("protocol {} {}", self.protocol, data(self.body)),
                matches!(self.protocol, 4 | 41 | 47),
            )
        };
        let ends = match made && self.protocol == 17 && source.port() >= FIRST_TUNNEL_PORT {
            true => format!("{} > {destination}", self.source),
            false => ends,
        };
        let id = match self.id {
            Some(id) if !made => format!(" id {id:#06x}"),
            Some(_) | None => String::new(),
        };
        format!("{ends} {}{id} {body}", self.head)
    }

    /// What follows the header, and whether the director made the header.
    fn body_text(&self, depth: Depth) -> (String, bool) {
        let body = self.body;
        let whole = |sum: u16| {
            if depth == Depth::Quoted || sum == 0 {
                ""
            } else {
                " BAD-SUM"
            }
        };
        let sum = || transport(self.source, self.destination, self.protocol, body);
        match self.protocol {
            6 if body.len() >= 20 => {
                let bits = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];
                let flags: String = (0..8)
                    .filter(|bit| body[13] & (1 << bit) != 0)
                    .map(|bit| bits[bit])
                    .collect();
                let (seq, ack) = (long(body, 4), long(body, 8));
                let start = (usize::from(body[12] >> 4) * 4).min(body.len());
                let text = format!(
                    "tcp {flags} {seq}/{ack}{} {}",
                    whole(sum()),
                    data(&body[start..])
                );
                (text, false)
            }
            17 if body.len() >= 8 => self.udp_text(depth),
            132 if body.len() >= 12 => {
                let mut clean = body.to_vec();
                clean[8..12].fill(0);
                let given = u32::from_le_bytes([body[8], body[9], body[10], body[11]]);
                let sum = if depth != Depth::Quoted && given != crc32c(&clean) {
                    " BAD-SUM"
                } else {
                    ""
                };
                (format!("sctp{sum} {}", data(&body[12..])), false)
            }
            1 | 58 if body.len() >= 8 => {
                let sum = if self.protocol == 1 {
                    internet(&[body])
                } else {
                    sum()
                };
                let is_error = if self.protocol == 1 {
                    matches!(body[0], 3 | 4 | 5 | 11 | 12)
                } else {
                    body[0] < 128
                };
                let name = if self.protocol == 1 { "icmp" } else { "icmp6" };
                let head = format!(
                    "{name} {}/{} {:#x}{}",
                    body[0],
                    body[1],
                    long(body, 4),
                    whole(sum)
                );
                match Ip::read(&body[8..]).filter(|_| is_error) {
                    Some(quoted) => (
                        format!(
                            "{head} [{} of {}]",
                            quoted.text(Depth::Quoted),
                            quoted.length
                        ),
                        true,
                    ),
                    None => (format!("{head} {}", data(&body[8..])), true),
                }
            }
            4 | 41 => match Ip::read(body) {
                Some(inner) => (format!("ipip [{}]", inner.text(Depth::Carried)), true),
                None => ("ipip of nonsense".to_owned(), true),
            },
            47 if body.len() >= 4 => {
                let with_sum = body[0] & 0x80 != 0;
                let start = if with_sum { 8 } else { 4 };
                let sum = if with_sum && internet(&[body]) != 0 {
                    " BAD-SUM"
                } else {
                    ""
                };
                let inner = body.get(start..).and_then(Ip::read);
                let inner = inner.map_or("nonsense".to_owned(), |inner| inner.text(Depth::Carried));
                (
                    format!(
                        "gre {:#06x} {:#06x}{sum} [{inner}]",
                        number(body, 0),
                        number(body, 2)
                    ),
                    true,
                )
            }
            other => (format!("protocol {other} {}", data(body)), false),
        }
    }

    fn udp_text(&self, depth: Depth) -> (String, bool) {
        let body = self.body;
        let sum = match number(body, 6) {
            0 => " no sum",
            _ if depth == Depth::Quoted => "",
            _ if transport(self.source, self.destination, 17, body) == 0 => "",
            _ => " BAD-SUM",
        };
        // Generic UDP encapsulation: version 0, a data message of one of the two IPs.
        let payload = &body[8..];
        if number(body, 2) == GUE_PORT && payload.len() > 4 {
            let options = usize::from(payload[0] & 31) * 4;
            if let Some(inner) = payload.get(4 + options..).and_then(Ip::read) {
                let head: String = payload[..4 + options]
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                return (
                    format!("gue {head}{sum} [{}]", inner.text(Depth::Carried)),
                    true,
                );
            }
        }
        (format!("udp{sum} {}", data(payload)), false)
    }
}

/// GUE tunnels tell flows apart by their source port, which is drawn from this one on.
const FIRST_TUNNEL_PORT: u16 = 32768;
/// The port of GUE tunnels in every scenario.
pub(crate) const GUE_PORT: u16 = 6080;

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(number(bytes, at)) << 16 | u32::from(number(bytes, at + 2))
}

/// Short text as it is, all else by length and a sum.
fn data(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect();
    if bytes.is_empty() {
        "empty".to_owned()
    } else if bytes.len() <= 80
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() || b" \r\n".contains(byte))
    {
        format!("{text:?}")
    } else {
        format!("{} bytes {:08x}", bytes.len(), crc32c(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    fn read(packet: &Packet) -> String {
        Seen::read(Side::Servers, &packet.client_frame())
            .expect("readable")
            .text
    }

    fn ends() -> (SocketAddr, SocketAddr) {
        (
            "10.0.0.2:4000".parse().unwrap(),
            "10.0.0.100:80".parse().unwrap(),
        )
    }

    #[test]
    fn what_is_sent_can_be_read() {
        let (source, destination) = ends();
        assert_eq!(
            read(&Packet::tcp(source, destination, "S")),
            "to servers 02:00:00:00:00:01: 10.0.0.2:4000 > 10.0.0.100:80 ttl 64 tos 0 DF id 0x1234 tcp S 1000/0 empty"
        );
        assert_eq!(
            read(&Packet::udp(source, destination).tos(8).may_fragment()),
            "to servers 02:00:00:00:00:01: 10.0.0.2:4000 > 10.0.0.100:80 ttl 64 tos 8 id 0x1234 udp \"question\""
        );
        let quote = Packet::udp(destination, source).ip();
        let error = Packet::icmp(source.ip(), destination.ip(), (3, 4), 1400, &quote[..28]);
        assert_eq!(
            read(&error),
            "to servers 02:00:00:00:00:01: 10.0.0.2 > 10.0.0.100 ttl 64 tos 0 DF icmp 3/4 0x578 [10.0.0.100:80 > 10.0.0.2:4000 ttl 64 tos 0 DF id 0x1234 udp empty of 36]"
        );
        let sctp = Packet::sctp(source, destination, &[(1, &[0; 16])]);
        assert!(read(&sctp).contains("sctp 20 bytes"), "{}", read(&sctp));
    }

    #[test]
    fn wrong_checksums_are_told() {
        let (source, destination) = ends();
        for (packet, at) in [
            (Packet::tcp(source, destination, "S"), 14 + 20 + 4),
            (Packet::udp(source, destination), 14 + 20 + 8),
            (
                Packet::sctp(source, destination, &[(1, &[0; 16])]),
                14 + 20 + 13,
            ),
            (
                Packet::icmp(source.ip(), destination.ip(), (8, 0), 0, b"x"),
                14 + 20 + 4,
            ),
        ] {
            let mut frame = packet.client_frame();
            frame[at] ^= 1;
            let seen = Seen::read(Side::Servers, &frame).expect("readable");
            assert!(seen.text.contains("BAD-SUM"), "{}", seen.text);
        }
        let mut frame = Packet::udp(source, destination).client_frame();
        frame[14 + 8] = 9;
        let seen = Seen::read(Side::Servers, &frame).expect("readable");
        assert!(seen.text.contains("BAD-HEADER-SUM"), "{}", seen.text);
    }
}
