//! How a packet is wrapped on its way to a tunnelling real server.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::text::serde_as_text;

/// What a tunnel's outer packet is. Written `ipip`, `gue:6080`, `gue:6080:csum`, `gue:6080:remcsum`, `gre`, `gre:csum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// The outer UDP destination port.
        port: NonZeroU16,
        /// What becomes of checksums.
        checksum: GueChecksum,
    },
    /// Generic routing encapsulation.
    Gre {
        /// What becomes of checksums.
        checksum: GreChecksum,
    },
}

/// Checksums of a GUE tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GueChecksum {
    /// The outer UDP checksum is left out.
    #[default]
    None,
    /// The outer UDP checksum is filled in.
    Csum,
    /// Remote checksum offload: the far end fills in the inner one.
    Remcsum,
}

/// Checksums of a GRE tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GreChecksum {
    /// GRE's checksum is left out.
    #[default]
    None,
    /// GRE's checksum is there.
    Csum,
}

impl Tunnel {
    /// Bytes that its header takes beside the outer IP header.
    pub const fn header(self) -> u32 {
        match self {
            Tunnel::Ipip => 0,
            // UDP's header and GUE's.
            Tunnel::Gue { .. } => 8 + 4,
            Tunnel::Gre {
                checksum: GreChecksum::None,
            } => 4,
            Tunnel::Gre {
                checksum: GreChecksum::Csum,
            } => 8,
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tunnel::Ipip => f.pad("ipip"),
            Tunnel::Gue { port, checksum } => {
                let checksum = match checksum {
                    GueChecksum::None => "",
                    GueChecksum::Csum => ":csum",
                    GueChecksum::Remcsum => ":remcsum",
                };
                f.pad(&format!("gue:{port}{checksum}"))
            }
            Tunnel::Gre { checksum } => f.pad(match checksum {
                GreChecksum::None => "gre",
                GreChecksum::Csum => "gre:csum",
            }),
        }
    }
}

impl FromStr for Tunnel {
    type Err = TunnelError;

    fn from_str(text: &str) -> Result<Self, TunnelError> {
        let shape = || TunnelError::Shape(text.to_owned());
        let mut words = text.split(':');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match (kind, rest.as_slice()) {
            ("ipip", []) => Ok(Tunnel::Ipip),
            ("gre", []) => Ok(Tunnel::Gre {
                checksum: GreChecksum::None,
            }),
            ("gre", [checksum]) => Ok(Tunnel::Gre {
                checksum: match *checksum {
                    "nocsum" => GreChecksum::None,
                    "csum" => GreChecksum::Csum,
                    "remcsum" => return Err(TunnelError::NoRemcsum(text.to_owned())),
                    _ => return Err(shape()),
                },
            }),
            ("gue", []) => Err(TunnelError::NoPort(text.to_owned())),
            ("gue", [port, checksum @ ..]) => Ok(Tunnel::Gue {
                port: port.parse().map_err(|_| shape())?,
                checksum: match checksum {
                    [] | ["nocsum"] => GueChecksum::None,
                    ["csum"] => GueChecksum::Csum,
                    ["remcsum"] => GueChecksum::Remcsum,
                    _ => return Err(shape()),
                },
            }),
            _ => Err(shape()),
        }
    }
}

/// Why a text is no tunnel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// Not of the form.
    #[error(
        "\"{0}\" is not a tunnel: ipip, gue:PORT, gue:PORT:csum, gue:PORT:remcsum, gre or gre:csum"
    )]
    Shape(String),
    /// GUE without a port.
    #[error("\"{0}\" lacks the tunnel's port: something like gue:6080")]
    NoPort(String),
    /// GRE with GUE's checksum offload.
    #[error("\"{0}\": remcsum is GUE's, gre has csum alone")]
    NoRemcsum(String),
}

serde_as_text!(Tunnel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for text in [
            "ipip",
            "gue:6080",
            "gue:65535:csum",
            "gue:1:remcsum",
            "gre",
            "gre:csum",
        ] {
            assert_eq!(text.parse::<Tunnel>().expect(text).to_string(), text);
        }
        for (text, same) in [("gue:6080:nocsum", "gue:6080"), ("gre:nocsum", "gre")] {
            assert_eq!(text.parse::<Tunnel>().expect(text).to_string(), same);
        }
        for (text, message) in [
            (
                "gue",
                "\"gue\" lacks the tunnel's port: something like gue:6080",
            ),
            (
                "gre:remcsum",
                "\"gre:remcsum\": remcsum is GUE's, gre has csum alone",
            ),
        ] {
            assert_eq!(text.parse::<Tunnel>().expect_err(text).to_string(), message);
        }
        for text in [
            "",
            "ipip:",
            "ipip:csum",
            "gue:",
            "gue:0",
            "gue:65536",
            "gue:1:",
            "gue:1:csum:x",
            "gre:1",
            "vxlan",
            "gre:csum:csum",
        ] {
            assert!(
                matches!(text.parse::<Tunnel>(), Err(TunnelError::Shape(_))),
                "{text}"
            );
        }
    }
}
