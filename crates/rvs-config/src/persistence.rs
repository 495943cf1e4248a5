//! Persistence: clients that come back to the same real server.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::service_key::Family;
use crate::text::serde_as_text;
use crate::timeouts::{TextOrNumber, seconds};

/// How a service remembers its clients' servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persistence {
    /// How long a client is remembered after its last new connection.
    #[serde(default)]
    pub timeout: PersistenceTimeout,
    /// Which clients are one and the same; single addresses unless given.
    #[serde(default)]
    pub netmask: Option<Netmask>,
    /// What tells clients apart beside their addresses.
    #[serde(default)]
    pub engine: Option<Engine>,
}

impl Persistence {
    /// By single addresses.
    pub const fn new(timeout: PersistenceTimeout) -> Persistence {
        Persistence {
            timeout,
            netmask: None,
            engine: None,
        }
    }
}

/// How long a client is remembered: 1 s to 31 days, ipvsadm's range. Written like a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersistenceTimeout(NonZeroU32);

impl PersistenceTimeout {
    const LONGEST: u32 = 31 * 86400;

    /// So many seconds, if that is in range.
    pub fn from_secs(seconds: u64) -> Result<PersistenceTimeout, PersistenceTimeoutError> {
        u32::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= PersistenceTimeout::LONGEST)
            .and_then(NonZeroU32::new)
            .map(PersistenceTimeout)
            .ok_or_else(|| PersistenceTimeoutError(seconds.to_string()))
    }

    /// In seconds.
    pub const fn as_secs(self) -> u32 {
        self.0.get()
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.as_secs().into())
    }
}

/// ipvsadm's: 300 s.
impl Default for PersistenceTimeout {
    fn default() -> Self {
        PersistenceTimeout(NonZeroU32::MIN.saturating_add(299))
    }
}

impl fmt::Display for PersistenceTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl FromStr for PersistenceTimeout {
    type Err = PersistenceTimeoutError;

    fn from_str(text: &str) -> Result<Self, PersistenceTimeoutError> {
        let error = || PersistenceTimeoutError(text.to_owned());
        PersistenceTimeout::from_secs(seconds(text).ok_or_else(error)?).map_err(|_| error())
    }
}

/// A text that is no time of persistence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a time of persistence from 1s to 31d, in seconds or with a unit like 300s, 5m, 1h"
)]
pub struct PersistenceTimeoutError(pub String);

impl Serialize for PersistenceTimeout {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PersistenceTimeout {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TextOrNumber(text) = TextOrNumber::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which part of a client's address counts: for IPv4 a mask (`255.255.255.0`) or a prefix (`/24`), for IPv6 a prefix
/// of 1 to 128 bits (`/64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// Any IPv4 mask, also one with holes, as in IPVS.
    Mask(Ipv4Addr),
    /// So many leading bits. A service of IPv4 makes a mask of it.
    Prefix(PrefixLength),
}

impl Netmask {
    /// So many leading bits.
    pub fn prefix(bits: u8) -> Result<Netmask, NetmaskError> {
        match bits {
            1..=128 => Ok(Netmask::Prefix(PrefixLength(bits))),
            _ => Err(NetmaskError(format!("/{bits}"))),
        }
    }

    /// The same for clients of this family: IPv4 has masks, IPv6 prefixes, and a mask that tells single addresses
    /// apart is none. An error if the family has no such mask.
    pub(crate) fn of_family(self, family: Family) -> Result<Option<Netmask>, Netmask> {
        let mask = match (family, self) {
            (Family::V4, Netmask::Mask(mask)) => mask,
            (Family::V4, Netmask::Prefix(PrefixLength(bits))) if bits <= 32 => {
                Ipv4Addr::from_bits(u32::MAX << (32 - bits))
            }
            (Family::V6, Netmask::Prefix(PrefixLength(128))) => return Ok(None),
            (Family::V6, Netmask::Prefix(_)) => return Ok(Some(self)),
            (Family::V4, Netmask::Prefix(_)) | (Family::V6, Netmask::Mask(_)) => return Err(self),
        };
        Ok((mask != Ipv4Addr::BROADCAST).then_some(Netmask::Mask(mask)))
    }
}

/// The length of a prefix, 1 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixLength(u8);

impl PrefixLength {
    /// In bits.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Netmask::Mask(mask) => f.pad(&mask.to_string()),
            Netmask::Prefix(PrefixLength(bits)) => f.pad(&format!("/{bits}")),
        }
    }
}

impl FromStr for Netmask {
    type Err = NetmaskError;

    fn from_str(text: &str) -> Result<Self, NetmaskError> {
        let error = || NetmaskError(text.to_owned());
        if let Ok(mask) = text.parse() {
            return Ok(Netmask::Mask(mask));
        }
        let bits = text.strip_prefix('/').unwrap_or(text);
        Netmask::prefix(bits.parse().map_err(|_| error())?).map_err(|_| error())
    }
}

/// A text that is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a netmask: for IPv4 255.255.255.0 or /24, for IPv6 /64 (1 to 128)")]
pub struct NetmaskError(pub String);

/// A persistence engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// SIP: by Call-ID.
    Sip,
}

impl Engine {
    /// Every engine there is.
    pub const ALL: [Engine; 1] = [Engine::Sip];

    /// LVS's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Sip => "sip",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        Engine::ALL
            .into_iter()
            .find(|engine| engine.name() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

/// A word that names no persistence engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown persistence engine \"{0}\" (known: sip)")]
pub struct UnknownEngine(pub String);

serde_as_text!(Netmask, Engine);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        for (text, v4, v6) in [
            ("255.255.255.0", Some("255.255.255.0"), None),
            ("255.0.255.1", Some("255.0.255.1"), None),
            ("0.0.0.0", Some("0.0.0.0"), None),
            ("/24", Some("255.255.255.0"), Some("/24")),
            ("1", Some("128.0.0.0"), Some("/1")),
            ("/33", None, Some("/33")),
        ] {
            let mask: Netmask = text.parse().expect(text);
            let of = |family| {
                let mask = mask.of_family(family).ok()?;
                mask.map(|mask| mask.to_string())
            };
            assert_eq!(of(Family::V4).as_deref(), v4, "{text}");
            assert_eq!(of(Family::V6).as_deref(), v6, "{text}");
            assert_eq!(mask.to_string().parse(), Ok(mask));
        }
        for (text, family) in [
            ("255.255.255.255", Family::V4),
            ("/32", Family::V4),
            ("/128", Family::V6),
        ] {
            let mask: Netmask = text.parse().expect(text);
            assert_eq!(mask.of_family(family), Ok(None), "{text}");
        }
        for text in ["", "0", "129", "-1", "255.255.255", "/", "24/"] {
            assert_eq!(text.parse::<Netmask>(), Err(NetmaskError(text.to_owned())));
        }
    }

    #[test]
    fn times() {
        assert_eq!(PersistenceTimeout::default().as_secs(), 300);
        assert_eq!(
            "31d".parse().map(PersistenceTimeout::as_secs),
            Ok(2_678_400)
        );
        for text in ["0", "32d", "-1", "x"] {
            assert_eq!(
                text.parse::<PersistenceTimeout>(),
                Err(PersistenceTimeoutError(text.to_owned()))
            );
        }
    }
}
