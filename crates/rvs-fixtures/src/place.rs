//! The network around the director of every case, the same in memory and in a namespace:
//!
//! ```text
//! client, narrow client, far client ── gateway ──┐ wan          lan ┌── servers 0, 1, 2
//!                                                └─── director ────┘
//! ```
//!
//! Neighbours are permanent, so that a route gives link addresses at once, except one client's
//! (`STRANGER`), which nobody knows.

use std::net::IpAddr;

/// A link address.
pub type Mac = [u8; 6];

/// The director's interface towards clients.
pub const WAN: Mac = [2, 0, 0, 0, 0, 1];
/// The director's interface towards servers.
pub const LAN: Mac = [2, 0, 0, 0, 0, 2];
/// The client on the wan's link.
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 10];
/// The client behind a route of [`NARROW_MTU`].
pub const NARROW_MAC: Mac = [2, 0, 0, 0, 1, 66];
/// The gateway to the rest of the world.
pub const GATEWAY_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// The largest packet that the route to the narrow client takes.
pub const NARROW_MTU: u32 = 1300;
/// The largest packet of both links.
pub const LINK_MTU: u32 = 1500;

/// The link address of server `n`.
pub const fn server_mac(n: usize) -> Mac {
    [2, 0, 0, 0, 2, n as u8 + 1]
}

/// IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The name that people use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    fn address(self, v4: &str, v6: &str) -> IpAddr {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
        .parse()
        .unwrap()
    }

    /// A client on the wan's link.
    pub fn client(self) -> IpAddr {
        self.address("192.0.2.10", "2001:db8:1::10")
    }

    /// A client to whom only small packets go.
    pub fn narrow(self) -> IpAddr {
        self.address("192.0.2.66", "2001:db8:1::66")
    }

    /// A client behind the gateway.
    pub fn far(self) -> IpAddr {
        self.address("203.0.113.7", "2001:db8:99::7")
    }

    /// A client whose link address is not known.
    pub fn stranger(self) -> IpAddr {
        self.address("192.0.2.77", "2001:db8:1::77")
    }

    /// An address that no route leads to.
    pub fn nowhere(self) -> IpAddr {
        self.address("10.99.0.1", "2001:db8:dead::1")
    }

    /// The virtual address number `n` (0..4).
    pub fn vip(self, n: usize) -> IpAddr {
        self.address(
            &format!("198.51.100.{}", n + 1),
            &format!("2001:db8:5::{}", n + 1),
        )
    }

    /// Server number `n` (0..3).
    pub fn server(self, n: usize) -> IpAddr {
        self.address(
            &format!("10.0.0.{}", n + 1),
            &format!("2001:db8:2::{}", n + 1),
        )
    }

    /// The director's own address towards the servers.
    pub fn own(self) -> IpAddr {
        self.address("10.0.0.254", "2001:db8:2::254")
    }

    /// The director's own address towards the clients.
    pub fn own_wan(self) -> IpAddr {
        self.address("192.0.2.254", "2001:db8:1::254")
    }

    /// The gateway to the rest of the world.
    pub fn gateway(self) -> IpAddr {
        self.address("192.0.2.1", "2001:db8:1::1")
    }
}

/// A route of the director.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Destination and length of its prefix.
    pub prefix: (IpAddr, u8),
    /// A gateway, or the destination itself.
    pub via: Option<IpAddr>,
    /// Towards the servers, not the clients.
    pub lan: bool,
    /// Largest packet.
    pub mtu: u32,
}

/// Every route, longest prefixes first.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for family in Family::ALL {
        let (long, short, default) = match family {
            Family::V4 => (32, 24, "203.0.113.0"),
            Family::V6 => (128, 64, "2001:db8:99::"),
        };
        let route = |prefix, via, lan, mtu| Route {
            prefix,
            via,
            lan,
            mtu,
        };
        routes.push(route((family.narrow(), long), None, false, NARROW_MTU));
        routes.push(route((family.own(), short), None, true, LINK_MTU));
        routes.push(route((family.own_wan(), short), None, false, LINK_MTU));
        let far = default.parse().unwrap();
        routes.push(route((far, short), Some(family.gateway()), false, LINK_MTU));
    }
    routes
}

/// Every permanent neighbour: address, link address, and whether it is towards the servers.
pub fn neighbours() -> Vec<(IpAddr, Mac, bool)> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push((family.client(), CLIENT_MAC, false));
        all.push((family.narrow(), NARROW_MAC, false));
        all.push((family.gateway(), GATEWAY_MAC, false));
        for n in 0..3 {
            all.push((family.server(n), server_mac(n), true));
        }
    }
    all
}

/// An address as the data path keeps it.
pub fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [u32::from_ne_bytes(v4.octets()), 0, 0, 0],
        IpAddr::V6(v6) => {
            let bytes = v6.octets();
            core::array::from_fn(|i| {
                u32::from_ne_bytes([
                    bytes[i * 4],
                    bytes[i * 4 + 1],
                    bytes[i * 4 + 2],
                    bytes[i * 4 + 3],
                ])
            })
        }
    }
}

/// Two link addresses, destination first, as a hop keeps them.
pub fn mac_words(destination: Mac, source: Mac) -> [u32; 3] {
    let (d, s) = (destination, source);
    [
        u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
        u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
        u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
    ]
}

/// Whether `address` lies in `prefix`.
pub fn within(address: &[u32; 4], family: u32, prefix: (IpAddr, u8)) -> bool {
    if (family == 6) != prefix.0.is_ipv6() {
        return false;
    }
    let bits = |words: &[u32; 4]| {
        words.iter().fold(0_u128, |sum, word| {
            sum << 32 | u128::from(u32::from_be(*word))
        })
    };
    let length = u32::from(prefix.1);
    (bits(address) ^ bits(&words(prefix.0))) >> (128 - length) == 0
}
