//! A real server, its weight, and which addresses can be somebody's.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::method::Method;
use crate::tunnel::Tunnel;

/// A real server's share of the new connections. 0 quiesces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The largest weight, IPVS's.
    pub const MAX: Weight = Weight(i32::MAX.unsigned_abs());
    /// The weight of a quiesced server: its connections go on, it gets no new ones.
    pub const ZERO: Weight = Weight(0);

    /// A weight, if it is in range.
    pub fn new(weight: u64) -> Result<Weight, WeightError> {
        match u32::try_from(weight) {
            Ok(weight) if weight <= Weight::MAX.0 => Ok(Weight(weight)),
            Ok(_) | Err(_) => Err(WeightError(weight.to_string())),
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Weight(1)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        text.parse::<u64>()
            .map_err(|_| WeightError(text.to_owned()))
            .and_then(Weight::new)
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let weight = i64::deserialize(deserializer)?;
        u64::try_from(weight)
            .map_err(|_| WeightError(weight.to_string()))
            .and_then(Weight::new)
            .map_err(de::Error::custom)
    }
}

/// A number that is no weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the weight {0} is not a number from 0 to 2147483647")]
pub struct WeightError(pub String);

/// A real server of one virtual service. Its identity within the service is address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    address: IpAddr,
    port: u16,
    method: Method,
    tunnel: Tunnel,
    weight: Weight,
    thresholds: Thresholds,
}

impl Server {
    /// A real server, if somebody can be reached there. Port 0 is the packet's own, where the service allows it.
    pub fn new(
        address: IpAddr,
        port: u16,
        method: Method,
        weight: Weight,
    ) -> Result<Server, ServerError> {
        unicast(address)?;
        Ok(Server {
            address,
            port,
            method,
            tunnel: Tunnel::Ipip,
            weight,
            thresholds: Thresholds::NONE,
        })
    }

    /// The same server with another weight.
    #[must_use]
    pub const fn with_weight(self, weight: Weight) -> Server {
        Server { weight, ..self }
    }

    /// The same server with another forwarding method. Only a tunnel keeps its kind.
    #[must_use]
    pub const fn with_method(self, method: Method) -> Server {
        let tunnel = match method {
            Method::Tunnel => self.tunnel,
            Method::Nat | Method::Direct => Tunnel::Ipip,
        };
        Server {
            method,
            tunnel,
            ..self
        }
    }

    /// The same server with another kind of tunnel, which only the method of that name can have.
    pub fn with_tunnel(self, tunnel: Tunnel) -> Result<Server, ServerError> {
        if self.method != Method::Tunnel && tunnel != Tunnel::Ipip {
            return Err(ServerError::NoTunnel {
                server: self.socket_addr(),
                tunnel,
                method: self.method,
            });
        }
        Ok(Server { tunnel, ..self })
    }

    /// The same server with other thresholds.
    #[must_use]
    pub const fn with_thresholds(self, thresholds: Thresholds) -> Server {
        Server { thresholds, ..self }
    }

    /// The server's own address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The server's own port. Only NAT can have another than the service's; 0 is the packet's.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How packets get there.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// How tunnelled packets are wrapped.
    pub const fn tunnel(&self) -> Tunnel {
        self.tunnel
    }

    /// Its share.
    pub const fn weight(&self) -> Weight {
        self.weight
    }

    /// How many connections are too many.
    pub const fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Address and port: the server's identity within its service.
    pub const fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The order in which ipvsadm lists the servers of a service.
    pub fn listing_order(&self, other: &Server) -> Ordering {
        self.socket_addr().cmp(&other.socket_addr())
    }
}

/// How many connections make a server take no more, and at how few it takes them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thresholds {
    upper: u32,
    lower: u32,
}

impl Thresholds {
    /// Never too many.
    pub const NONE: Thresholds = Thresholds { upper: 0, lower: 0 };
    /// The largest threshold, IPVS's.
    pub const MAX: u32 = i32::MAX.unsigned_abs();

    /// Thresholds, if the lower one is not above the upper one. An upper one of 0 is no limit; a lower one of 0 is three
    /// quarters of the upper one.
    pub fn new(upper: u64, lower: u64) -> Result<Thresholds, ThresholdError> {
        let number = |threshold: u64| match u32::try_from(threshold) {
            Ok(number) if number <= Thresholds::MAX => Ok(number),
            Ok(_) | Err(_) => Err(ThresholdError::Range(threshold)),
        };
        let (upper, lower) = (number(upper)?, number(lower)?);
        if lower > upper {
            return Err(ThresholdError::Order { upper, lower });
        }
        Ok(Thresholds { upper, lower })
    }

    /// With so many connections it takes no more; 0 is never.
    pub const fn upper(self) -> u32 {
        self.upper
    }

    /// With fewer it takes them again; 0 is three quarters of the upper threshold.
    pub const fn lower(self) -> u32 {
        self.lower
    }
}

/// Why numbers are no thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Too large.
    #[error("the threshold {0} is not a number from 0 to 2147483647")]
    Range(u64),
    /// The wrong way round.
    #[error("the lower threshold {lower} is above the upper threshold {upper}")]
    Order {
        /// The upper one.
        upper: u32,
        /// The lower one.
        lower: u32,
    },
}

/// Why something is no real server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Nobody can be reached at the address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A kind of tunnel without a tunnel.
    #[error("the real server {server} has the tunnel {tunnel} but the method {method}")]
    NoTunnel {
        /// The server.
        server: SocketAddr,
        /// The kind.
        tunnel: Tunnel,
        /// Its method.
        method: Method,
    },
    /// Thresholds that are none.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

/// Why nobody can be reached at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// 0.0.0.0 or ::.
    #[error("the address {0} is unspecified: a unicast address is needed")]
    Unspecified(IpAddr),
    /// 224.0.0.0/4 or ff00::/8.
    #[error("the address {0} is multicast: a unicast address is needed")]
    Multicast(IpAddr),
    /// 255.255.255.255.
    #[error("the address {0} is broadcast: a unicast address is needed")]
    Broadcast(IpAddr),
    /// fe80::/10 means another host on every link.
    #[error("the address {0} is link-local: it does not say on which link")]
    LinkLocal(IpAddr),
    /// ::ffff:0:0/96: never seen in packets.
    #[error("the address {0} is an IPv4 address in IPv6's clothes: write {1}")]
    Mapped(IpAddr, Ipv4Addr),
}

/// Refuses the addresses that cannot be one host's.
pub(crate) fn unicast(address: IpAddr) -> Result<(), AddressError> {
    match address {
        _ if address.is_unspecified() => Err(AddressError::Unspecified(address)),
        _ if address.is_multicast() => Err(AddressError::Multicast(address)),
        IpAddr::V4(v4) if v4.is_broadcast() => Err(AddressError::Broadcast(address)),
        IpAddr::V4(_) => Ok(()),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(AddressError::LinkLocal(address)),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Err(AddressError::Mapped(address, v4)),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!(Thresholds::new(0, 0), Ok(Thresholds::NONE));
        assert_eq!(Thresholds::new(5, 5).map(Thresholds::lower), Ok(5));
        for (upper, lower, message) in [
            (4, 5, "the lower threshold 5 is above the upper threshold 4"),
            (0, 1, "the lower threshold 1 is above the upper threshold 0"),
            (
                1 << 31,
                0,
                "the threshold 2147483648 is not a number from 0 to 2147483647",
            ),
        ] {
            assert_eq!(
                Thresholds::new(upper, lower)
                    .expect_err(message)
                    .to_string(),
                message
            );
        }
    }

    #[test]
    fn only_tunnels_have_kinds() {
        let address = "10.1.0.21".parse().expect("address");
        let server = Server::new(address, 80, Method::Tunnel, Weight::default()).expect("server");
        let gre = server
            .with_tunnel("gre".parse().expect("gre"))
            .expect("tunnel");
        assert_eq!(gre.with_weight(Weight::ZERO).tunnel(), gre.tunnel());
        let direct = gre.with_method(Method::Direct);
        assert_eq!(direct.tunnel(), Tunnel::Ipip);
        assert_eq!(
            direct
                .with_tunnel(gre.tunnel())
                .expect_err("direct")
                .to_string(),
            "the real server 10.1.0.21:80 has the tunnel gre but the method direct"
        );
    }

    #[test]
    fn weights() {
        assert_eq!(Weight::default().get(), 1);
        assert_eq!("2147483647".parse(), Ok(Weight::MAX));
        for text in ["2147483648", "-1", "", "1.5", "99999999999999999999"] {
            assert_eq!(
                text.parse::<Weight>().expect_err(text).to_string(),
                format!("the weight {text} is not a number from 0 to 2147483647")
            );
        }
        assert_eq!(serde_json::from_str::<Weight>("3").ok(), Some(Weight(3)));
        let negative = serde_json::from_str::<Weight>("-1")
            .expect_err("negative")
            .to_string();
        assert!(
            negative.starts_with("the weight -1 is not a number from 0 to 2147483647"),
            "{negative}"
        );
    }
}
