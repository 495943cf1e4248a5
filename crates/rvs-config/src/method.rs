//! The forwarding methods by name.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// How a packet is carried to a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Network address translation: addresses and ports are rewritten, both ways.
    Nat,
    /// The packet travels inside another, addressed to the real server.
    Tunnel,
    /// Direct routing: only the frame's destination changes.
    #[default]
    Direct,
}

impl Method {
    /// Every method there is.
    pub const ALL: [Method; 3] = [Method::Nat, Method::Tunnel, Method::Direct];

    /// Our word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Nat => "nat",
            Method::Tunnel => "tunnel",
            Method::Direct => "direct",
        }
    }

    /// The words of ipvsadm and keepalived.
    const fn other_names(self) -> &'static [&'static str] {
        match self {
            Method::Nat => &["masq"],
            Method::Tunnel => &["tun", "ipip"],
            Method::Direct => &["dr", "route"],
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let lower = text.to_ascii_lowercase();
        Method::ALL
            .into_iter()
            .find(|method| method.name() == lower || method.other_names().contains(&lower.as_str()))
            .ok_or_else(|| UnknownMethod(text.to_owned()))
    }
}

/// A word that names no forwarding method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown forwarding method \"{0}\" (known: nat, tunnel, direct)")]
pub struct UnknownMethod(pub String);

serde_as_text!(Method);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
        }
        for (text, method) in [
            ("masq", Method::Nat),
            ("NAT", Method::Nat),
            ("ipip", Method::Tunnel),
            ("TUN", Method::Tunnel),
            ("route", Method::Direct),
            ("DR", Method::Direct),
        ] {
            assert_eq!(text.parse(), Ok(method));
        }
        assert!("".parse::<Method>().is_err());
    }
}
