//! Which packets belong to a service by firewall mark although nobody marked them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::service_key::{Family, Protocol};
use crate::text::serde_as_text;

/// Packets by protocol, destination address and destination port. Written `tcp://10.0.0.0/24:80-90`,
/// `udp://10.0.0.1-10.0.0.9:53`, `any://[2001:db8::/64]`; without ports it is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatchRule {
    protocol: Option<Protocol>,
    first: IpAddr,
    last: IpAddr,
    ports: (u16, u16),
}

impl MatchRule {
    /// A rule, if both addresses are of one family and in order, and so are the ports.
    pub fn new(
        protocol: Option<Protocol>,
        (first, last): (IpAddr, IpAddr),
        ports: (u16, u16),
    ) -> Result<MatchRule, MatchRuleError> {
        let rule = MatchRule {
            protocol,
            first,
            last,
            ports,
        };
        if first.is_ipv4() != last.is_ipv4() {
            return Err(MatchRuleError::Families(first, last));
        }
        if first > last {
            return Err(MatchRuleError::Addresses(first, last));
        }
        if ports.0 > ports.1 {
            return Err(MatchRuleError::Ports(ports.0, ports.1));
        }
        Ok(rule)
    }

    /// The protocol; none is any.
    pub const fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The first and the last destination address.
    pub const fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.first, self.last)
    }

    /// The first and the last destination port.
    pub const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// The addresses' family.
    pub const fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// The length of the prefix that the addresses are, if they are one.
    fn prefix(&self) -> Option<u32> {
        let (first, last, width) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let bits = |address: Ipv4Addr| u128::from(address.to_bits());
                (bits(first), bits(last), 32)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let differing = first ^ last;
        let host_bits = u128::BITS - differing.leading_zeros();
        let is_prefix = first & differing == 0 && differing.count_ones() == host_bits;
        is_prefix.then(|| width - host_bits)
    }
}

impl fmt::Display for MatchRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.map_or("any", Protocol::name);
        let addresses = match self.prefix() {
            _ if self.first == self.last => self.first.to_string(),
            Some(bits) => format!("{}/{bits}", self.first),
            None => format!("{}-{}", self.first, self.last),
        };
        let (open, close) = match self.family() {
            Family::V4 => ("", ""),
            Family::V6 => ("[", "]"),
        };
        write!(f, "{protocol}://{open}{addresses}{close}")?;
        match self.ports {
            (0, u16::MAX) => Ok(()),
            (first, last) if first == last => write!(f, ":{first}"),
            (first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

impl FromStr for MatchRule {
    type Err = MatchRuleError;

    fn from_str(text: &str) -> Result<Self, MatchRuleError> {
        let shape = || MatchRuleError::Shape(text.to_owned());
        let (protocol, rest) = text.split_once("://").ok_or_else(shape)?;
        let protocol = match protocol {
            "any" => None,
            word => Some(word.parse().map_err(|_| shape())?),
        };
        let (addresses, ports) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (addresses, rest) = rest.split_once(']').ok_or_else(shape)?;
                match (rest, rest.strip_prefix(':')) {
                    ("", _) => (addresses, None),
                    (_, Some(ports)) => (addresses, Some(ports)),
                    (_, None) => return Err(shape()),
                }
            }
            None => match rest.split_once(':') {
                Some((addresses, ports)) => (addresses, Some(ports)),
                None => (rest, None),
            },
        };
        let addresses = range(addresses).ok_or_else(shape)?;
        let ports = match ports {
            None => (0, u16::MAX),
            Some(ports) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                (
                    first.parse().map_err(|_| shape())?,
                    last.parse().map_err(|_| shape())?,
                )
            }
        };
        MatchRule::new(protocol, addresses, ports)
    }
}

/// An address, a prefix or a range, as its first and last address.
fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.parse().ok()?, last.parse().ok()?));
    }
    let Some((address, bits)) = text.split_once('/') else {
        let address = text.parse().ok()?;
        return Some((address, address));
    };
    let bits: u32 = bits.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) if bits <= 32 => {
            let hosts = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = address.to_bits() & !hosts;
            Some((
                Ipv4Addr::from_bits(first).into(),
                Ipv4Addr::from_bits(first | hosts).into(),
            ))
        }
        IpAddr::V6(address) if bits <= 128 => {
            let hosts = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = address.to_bits() & !hosts;
            Some((
                Ipv6Addr::from_bits(first).into(),
                Ipv6Addr::from_bits(first | hosts).into(),
            ))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchRuleError {
    /// Not of the form.
    #[error(
        "\"{0}\" is not of the form tcp://10.0.0.0/24:80-90, udp://10.0.0.1-10.0.0.9:53 or any://[2001:db8::/64]"
    )]
    Shape(String),
    /// Two families.
    #[error("{0} and {1} are of two address families")]
    Families(IpAddr, IpAddr),
    /// The wrong way round.
    #[error("the range of addresses from {0} to {1} is empty")]
    Addresses(IpAddr, IpAddr),
    /// The wrong way round.
    #[error("the range of ports from {0} to {1} is empty")]
    Ports(u16, u16),
}

serde_as_text!(MatchRule);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (text, written) in [
            ("tcp://10.0.0.0/24:80-90", "tcp://10.0.0.0/24:80-90"),
            ("tcp://10.0.0.77/24:80", "tcp://10.0.0.0/24:80"),
            ("any://10.0.0.1", "any://10.0.0.1"),
            ("any://10.0.0.1/32:0-65535", "any://10.0.0.1"),
            ("sctp://0.0.0.0/0", "sctp://0.0.0.0/0"),
            ("udp://10.0.0.1-10.0.0.9:53", "udp://10.0.0.1-10.0.0.9:53"),
            ("udp://10.0.0.0-10.0.0.127", "udp://10.0.0.0/25"),
            ("any://[2001:db8::/64]:1-2", "any://[2001:db8::/64]:1-2"),
            ("any://[::/0]", "any://[::/0]"),
            ("tcp://[2001:db8::1]", "tcp://[2001:db8::1]"),
            (
                "tcp://[2001:db8::1-2001:db8::2]:5",
                "tcp://[2001:db8::1-2001:db8::2]:5",
            ),
        ] {
            let rule: MatchRule = text.parse().expect(text);
            assert_eq!(rule.to_string(), written);
            assert_eq!(written.parse(), Ok(rule));
        }
    }

    #[test]
    fn refused() {
        for (text, message) in [
            (
                "tcp://10.0.0.9-10.0.0.1",
                "the range of addresses from 10.0.0.9 to 10.0.0.1 is empty",
            ),
            (
                "tcp://10.0.0.1:90-80",
                "the range of ports from 90 to 80 is empty",
            ),
            (
                "tcp://[10.0.0.1-::1]",
                "10.0.0.1 and ::1 are of two address families",
            ),
        ] {
            assert_eq!(
                text.parse::<MatchRule>().expect_err(text).to_string(),
                message
            );
        }
        for text in [
            "",
            "10.0.0.1",
            "icmp://10.0.0.1",
            "tcp://10.0.0.0/33",
            "tcp://[2001:db8::/129]",
            "tcp://10.0.0.1:",
            "tcp://10.0.0.1:65536",
            "tcp://10.0.0.1:1-",
            "tcp://[::1]80",
            "tcp://[::1",
            "tcp://::1",
        ] {
            assert!(
                matches!(text.parse::<MatchRule>(), Err(MatchRuleError::Shape(_))),
                "{text}"
            );
        }
    }
}
