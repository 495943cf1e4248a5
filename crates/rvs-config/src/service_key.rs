//! What identifies a virtual service: protocol, address and port.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
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
}

impl Protocol {
    /// Every protocol there is.
    pub const ALL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
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
#[error("unknown protocol \"{0}\" (known: tcp, udp)")]
pub struct UnknownProtocol(pub String);

/// The identity of a virtual service. Written `tcp://10.0.0.100:80` or `udp://[2001:db8::1]:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    protocol: Protocol,
    address: IpAddr,
    port: NonZeroU16,
}

impl ServiceKey {
    /// A key, if the address is one that a virtual service can have.
    pub fn new(
        protocol: Protocol,
        address: IpAddr,
        port: NonZeroU16,
    ) -> Result<ServiceKey, AddressError> {
        unicast(address)?;
        Ok(ServiceKey {
            protocol,
            address,
            port,
        })
    }

    /// Nobody's key (the address is for documentation), for what must be looked at before the key is known.
    pub(crate) const PLACEHOLDER: ServiceKey = ServiceKey {
        protocol: Protocol::Tcp,
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: NonZeroU16::MIN,
    };

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The virtual IP address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The virtual port.
    pub const fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// Address and port.
    pub const fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.get())
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.socket_addr())
    }
}

impl FromStr for ServiceKey {
    type Err = ServiceKeyError;

    fn from_str(text: &str) -> Result<Self, ServiceKeyError> {
        let shape = || ServiceKeyError::Shape(text.to_owned());
        let (protocol, rest) = text
            .split_once("://")
            .or_else(|| text.split_once(char::is_whitespace))
            .ok_or_else(shape)?;
        let protocol: Protocol = protocol.parse()?;
        let socket: SocketAddr = rest.trim_start().parse().map_err(|_| shape())?;
        let port = NonZeroU16::new(socket.port())
            .ok_or_else(|| ServiceKeyError::PortZero(text.to_owned()))?;
        Ok(ServiceKey::new(protocol, socket.ip(), port)?)
    }
}

/// The order in which ipvsadm lists services: IPv4 before IPv6, then protocol, address, port.
impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let by = |key: &ServiceKey| (key.address.is_ipv6(), key.protocol, key.address, key.port);
        by(self).cmp(&by(other))
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a text is no virtual service's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceKeyError {
    /// Not of the form PROTOCOL://ADDRESS:PORT.
    #[error("\"{0}\" is not of the form tcp://10.0.0.100:80 or udp://[2001:db8::1]:53")]
    Shape(String),
    /// The protocol is none of ours.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// Port 0 is no service.
    #[error("port 0 in \"{0}\": a virtual service needs a port from 1 to 65535")]
    PortZero(String),
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
    }

    #[test]
    fn refused_texts() {
        for (text, message) in [
            (
                "",
                "\"\" is not of the form tcp://10.0.0.100:80 or udp://[2001:db8::1]:53",
            ),
            (
                "10.0.0.1:80",
                "\"10.0.0.1:80\" is not of the form tcp://10.0.0.100:80 or udp://[2001:db8::1]:53",
            ),
            (
                "tcp://10.0.0.1",
                "\"tcp://10.0.0.1\" is not of the form tcp://10.0.0.100:80 or udp://[2001:db8::1]:53",
            ),
            (
                "tcp://10.0.0.1:65536",
                "\"tcp://10.0.0.1:65536\" is not of the form tcp://10.0.0.100:80 or udp://[2001:db8::1]:53",
            ),
            (
                "icmp://10.0.0.1:80",
                "unknown protocol \"icmp\" (known: tcp, udp)",
            ),
            (
                "tcp://10.0.0.1:0",
                "port 0 in \"tcp://10.0.0.1:0\": a virtual service needs a port from 1 to 65535",
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
                "tcp://[2001:db8::1]:80"
            ]
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(Protocol::from_number(17), Some(Protocol::Udp));
        assert_eq!(Protocol::from_number(1), None);
    }
}
