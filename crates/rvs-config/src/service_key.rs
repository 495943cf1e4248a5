//! What identifies a virtual service: protocol, address and port, or a firewall mark.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::server::{AddressError, unicast};
use crate::text::serde_as_text;

/// A layer-4 protocol that the director schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
    /// SCTP, IP protocol 132.
    Sctp,
}

impl Protocol {
    /// Every protocol there is.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with this number in the IP header.
    pub fn from_number(number: u8) -> Option<Protocol> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }

    /// The word for it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// The order of the protocols' numbers.
impl Ord for Protocol {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Protocol {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A word that names no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol \"{0}\" (known: tcp, udp, sctp)")]
pub struct UnknownProtocol(pub String);

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// An address's.
    pub const fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The identity of a virtual service. Written `tcp://10.0.0.100:80`, `udp://[2001:db8::1]:53`, `tcp://10.0.0.100:0` for
/// every port, `fwmark://7` for the IPv4 packets with this firewall mark and `fwmark6://7` for the IPv6 ones.
///
/// The order is that in which ipvsadm lists services: by address before by mark, IPv4 before IPv6, then protocol,
/// address, port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// What clients connect to.
    Address(VirtualAddress),
    /// A firewall mark.
    Mark(Mark),
}

/// Protocol, address and port of a virtual service. Port 0 is every port that has no service of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

impl VirtualAddress {
    /// The protocol.
    pub const fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The virtual IP address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The virtual port; 0 is any.
    pub const fn port(self) -> u16 {
        self.port
    }

    /// Address and port.
    pub const fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl Ord for VirtualAddress {
    fn cmp(&self, other: &Self) -> Ordering {
        let by = |key: &VirtualAddress| {
            let family = Family::of(key.address);
            (family, key.protocol, key.address, key.port)
        };
        by(self).cmp(&by(other))
    }
}

impl PartialOrd for VirtualAddress {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The firewall mark of the packets of a virtual service, and their family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    number: NonZeroU32,
    family: Family,
}

impl Mark {
    /// A mark, which is never 0: that is the mark of packets that nobody marked.
    pub const fn new(number: NonZeroU32, family: Family) -> Mark {
        Mark { number, family }
    }

    /// The mark.
    pub const fn number(self) -> NonZeroU32 {
        self.number
    }

    /// Which packets.
    pub const fn family(self) -> Family {
        self.family
    }
}

impl ServiceKey {
    /// A key, if the address is one that a virtual service can have. Port 0 is every port.
    pub fn new(protocol: Protocol, address: IpAddr, port: u16) -> Result<ServiceKey, AddressError> {
        unicast(address)?;
        Ok(ServiceKey::Address(VirtualAddress {
            protocol,
            address,
            port,
        }))
    }

    /// The key of a firewall mark.
    pub const fn mark(number: NonZeroU32, family: Family) -> ServiceKey {
        ServiceKey::Mark(Mark::new(number, family))
    }

    /// Nobody's key (the address is for documentation), for what must be looked at before the key is known.
    pub(crate) const PLACEHOLDER: ServiceKey = ServiceKey::Address(VirtualAddress {
        protocol: Protocol::Tcp,
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: 1,
    });

    /// The IP version of its clients.
    pub const fn family(&self) -> Family {
        match self {
            ServiceKey::Address(address) => Family::of(address.address),
            ServiceKey::Mark(mark) => mark.family,
        }
    }

    /// The protocol, if it has one.
    pub const fn protocol(&self) -> Option<Protocol> {
        match self {
            ServiceKey::Address(address) => Some(address.protocol),
            ServiceKey::Mark(_) => None,
        }
    }

    /// The virtual IP address, if it has one.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            ServiceKey::Address(address) => Some(address.address),
            ServiceKey::Mark(_) => None,
        }
    }

    /// The port that a server has unless it says otherwise: the virtual port, or 0, which is that of the packet.
    pub const fn port(&self) -> u16 {
        match self {
            ServiceKey::Address(address) => address.port,
            ServiceKey::Mark(_) => 0,
        }
    }

    /// Address and port, if it has them.
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            ServiceKey::Address(address) => Some(address.socket_addr()),
            ServiceKey::Mark(_) => None,
        }
    }

    /// Whether packets of this protocol can be its.
    pub fn takes(&self, protocol: Protocol) -> bool {
        self.protocol().is_none_or(|own| own == protocol)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Address(address) => {
                write!(f, "{}://{}", address.protocol, address.socket_addr())
            }
            ServiceKey::Mark(mark) => write!(f, "{}://{}", mark_word(mark.family), mark.number),
        }
    }
}

const fn mark_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "fwmark",
        Family::V6 => "fwmark6",
    }
}

impl FromStr for ServiceKey {
    type Err = ServiceKeyError;

    fn from_str(text: &str) -> Result<Self, ServiceKeyError> {
        let shape = || ServiceKeyError::Shape(text.to_owned());
        let (word, rest) = text
            .split_once("://")
            .or_else(|| text.split_once(char::is_whitespace))
            .ok_or_else(shape)?;
        let rest = rest.trim_start();
        for family in [Family::V4, Family::V6] {
            if word.eq_ignore_ascii_case(mark_word(family)) {
                return number(rest)
                    .map(|number| ServiceKey::mark(number, family))
                    .ok_or_else(|| ServiceKeyError::Mark(text.to_owned()));
            }
        }
        let protocol: Protocol = word.parse()?;
        let socket: SocketAddr = rest.parse().map_err(|_| shape())?;
        Ok(ServiceKey::new(protocol, socket.ip(), socket.port())?)
    }
}

/// A mark as people write it, in decimal or hexadecimal (`0x7`).
fn number(text: &str) -> Option<NonZeroU32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    NonZeroU32::new(u32::from_str_radix(digits, radix).ok()?)
}

/// Why a text is no virtual service's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceKeyError {
    /// Not of the form PROTOCOL://ADDRESS:PORT.
    #[error("\"{0}\" is not of the form tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7")]
    Shape(String),
    /// The protocol is none of ours.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// The mark is none.
    #[error("\"{0}\" names no firewall mark: a number from 1 to 4294967295")]
    Mark(String),
    /// Nobody can be reached at the address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

serde_as_text!(Protocol, ServiceKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ServiceKey {
        text.parse().expect(text)
    }

    #[test]
    fn both_notations() {
        assert_eq!(key("tcp://10.0.0.100:80"), key("tcp 10.0.0.100:80"));
        assert_eq!(
            key("udp://[2001:db8:0::1]:53").to_string(),
            "udp://[2001:db8::1]:53"
        );
        assert_eq!(key("TCP 10.0.0.100:80").to_string(), "tcp://10.0.0.100:80");
        assert_eq!(key("sctp://10.0.0.1:0").to_string(), "sctp://10.0.0.1:0");
        assert_eq!(key("fwmark 0x10").to_string(), "fwmark://16");
        assert_eq!(key("fwmark6://7").to_string(), "fwmark6://7");
    }

    #[test]
    fn refused_texts() {
        for (text, message) in [
            (
                "",
                "\"\" is not of the form tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7",
            ),
            (
                "10.0.0.1:80",
                "\"10.0.0.1:80\" is not of the form tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7",
            ),
            (
                "tcp://10.0.0.1",
                "\"tcp://10.0.0.1\" is not of the form tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7",
            ),
            (
                "tcp://10.0.0.1:65536",
                "\"tcp://10.0.0.1:65536\" is not of the form tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7",
            ),
            (
                "icmp://10.0.0.1:80",
                "unknown protocol \"icmp\" (known: tcp, udp, sctp)",
            ),
            (
                "fwmark://0",
                "\"fwmark://0\" names no firewall mark: a number from 1 to 4294967295",
            ),
            (
                "fwmark6://4294967296",
                "\"fwmark6://4294967296\" names no firewall mark: a number from 1 to 4294967295",
            ),
            (
                "fwmark://+7",
                "\"fwmark://+7\" names no firewall mark: a number from 1 to 4294967295",
            ),
            (
                "tcp://0.0.0.0:80",
                "the address 0.0.0.0 is unspecified: a unicast address is needed",
            ),
            (
                "tcp://224.0.0.1:80",
                "the address 224.0.0.1 is multicast: a unicast address is needed",
            ),
            (
                "tcp://255.255.255.255:80",
                "the address 255.255.255.255 is broadcast: a unicast address is needed",
            ),
            (
                "tcp://[ff02::1]:80",
                "the address ff02::1 is multicast: a unicast address is needed",
            ),
            (
                "tcp://[fe80::1]:80",
                "the address fe80::1 is link-local: it does not say on which link",
            ),
            (
                "tcp://[::ffff:10.0.0.1]:80",
                "the address ::ffff:10.0.0.1 is an IPv4 address in IPv6's clothes: write 10.0.0.1",
            ),
        ] {
            assert_eq!(
                text.parse::<ServiceKey>().expect_err(text).to_string(),
                message
            );
        }
    }

    #[test]
    fn order_of_the_listing() {
        let mut keys = [
            "fwmark6://7",
            "fwmark://8",
            "fwmark://7",
            "tcp://[2001:db8::1]:80",
            "udp://10.0.0.100:53",
            "tcp://10.0.0.101:444",
            "tcp://200.0.0.1:1",
            "tcp://10.0.0.100:80",
            "tcp://10.0.0.101:443",
        ]
        .map(key);
        keys.sort();
        assert_eq!(
            keys.map(|key| key.to_string()),
            [
                "tcp://10.0.0.100:80",
                "tcp://10.0.0.101:443",
                "tcp://10.0.0.101:444",
                "tcp://200.0.0.1:1",
                "udp://10.0.0.100:53",
                "tcp://[2001:db8::1]:80",
                "fwmark://7",
                "fwmark6://7",
                "fwmark://8"
            ]
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(Protocol::from_number(17), Some(Protocol::Udp));
        assert_eq!(Protocol::from_number(1), None);
    }
}
