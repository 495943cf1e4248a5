//! Where scenarios play: addresses and link addresses, the same for every director.
//!
//! ```text
//!  clients ──────── eth0  director  eth1 ──────── servers
//!  10.0.0.0/24  10.0.0.1            10.1.0.1  10.1.0.0/24
//!  (others by the gateway 10.0.0.254)
//! ```
//!
//! The director is a namespace; clients and servers are frames that the runner makes and reads at the other ends of
//! its two links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link address.
pub(crate) type Mac = [u8; 6];

/// The director's, on the clients' side.
pub(crate) const WAN_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// The director's, on the servers' side.
pub(crate) const LAN_MAC: Mac = [2, 1, 0, 0, 0, 1];
/// Whoever stands for all clients that are not neighbours.
pub(crate) const GATEWAY_MAC: Mac = [2, 0, 0, 0, 0, 254];
/// The hosts of the marker packets, one on each side.
pub(crate) const MARKER_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 253);
pub(crate) const MARKER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 253);
/// The last number of the first real server; there are [`SERVERS`] of them.
pub(crate) const FIRST_SERVER: u8 = 21;
pub(crate) const SERVERS: u8 = 8;
/// The last numbers of the clients that are neighbours.
pub(crate) const CLIENTS: [u8; 3] = [2, 3, 4];

/// Words for `ip -batch`, in the director's namespace, once its links are there.
pub(crate) fn director_lines() -> String {
    let mut lines = String::from(
        "link set lo up
link set eth0 address 02:00:00:00:00:01 addrgenmode none up
link set eth1 address 02:01:00:00:00:01 addrgenmode none up
address add 10.0.0.1/24 dev eth0
address add 10.1.0.1/24 dev eth1
address add 2001:db8::1/64 dev eth0 nodad
address add 2001:db8:1::1/64 dev eth1 nodad
neigh replace 10.0.0.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent
neigh replace 2001:db8::254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent
neigh replace 10.0.0.253 lladdr 02:00:00:00:00:fd dev eth0 nud permanent
neigh replace 10.1.0.253 lladdr 02:01:00:00:00:fd dev eth1 nud permanent
route add default via 10.0.0.254
route add default via 2001:db8::254
route add local 10.9.0.0/24 dev lo
",
    );
    let clients = CLIENTS.map(|n| (0, n));
    let servers = (0..SERVERS).map(|n| (1, FIRST_SERVER + n));
    for (side, n) in clients.into_iter().chain(servers) {
        let v6 = if side == 0 {
            "2001:db8::"
        } else {
            "2001:db8:1::"
        };
        for address in [format!("10.{side}.0.{n}"), format!("{v6}{n}")] {
            lines += &format!(
                "neigh replace {address} lladdr {} dev eth{side} nud permanent\n",
                mac_text(host_mac(side, n))
            );
        }
    }
    for n in 100..110 {
        lines += &format!("address add 10.0.0.{n}/32 dev lo\n");
        lines += &format!("address add 2001:db8::{n}/128 dev lo nodad preferred_lft 0\n");
    }
    lines
}

/// The director's, where it unwraps what came by a tunnel.
pub(crate) const TUNNEL_MAC: Mac = [2, 2, 0, 0, 0, 1];
/// The other end of that tunnel, the last of the real servers.
pub(crate) const TUNNEL_END: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 28);

/// Words for `ip`, in the director's namespace: a GRE tunnel that carries Ethernet.
pub(crate) fn tunnel_words(name: &str) -> String {
    let mac = mac_text(TUNNEL_MAC);
    format!("link add {name} address {mac} type gretap local 10.1.0.1 remote {TUNNEL_END}")
}

/// The link address of a neighbour: its side and last number.
pub(crate) fn host_mac(side: u8, n: u8) -> Mac {
    [2, side, 0, 0, 0, n]
}

/// The link address behind which an address is.
pub(crate) fn mac_of(address: IpAddr) -> Mac {
    let (side, n) = match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 0, 0, n] => (0, n),
            [10, 1, 0, n] => (1, n),
            _ => return GATEWAY_MAC,
        },
        IpAddr::V6(v6) => match v6.segments() {
            // The numbers are written in decimal, so they are read so.
            [0x2001, 0xdb8, side @ (0 | 1), 0, 0, 0, 0, n] => {
                (u8::from(side == 1), format!("{n:x}").parse().unwrap_or(254))
            }
            _ => return GATEWAY_MAC,
        },
    };
    host_mac(side, n)
}

/// `02:00:00:00:00:01`.
pub(crate) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A client's address.
pub(crate) fn client(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// A client's address.
pub(crate) fn client6(n: u8) -> IpAddr {
    numbered6(0, n)
}

/// A service's address, `n` from 100 to 109.
pub(crate) fn vip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// A service's address, `n` from 100 to 109.
pub(crate) fn vip6(n: u8) -> IpAddr {
    numbered6(0, n)
}

/// `2001:db8:SIDE::N`, the number written in decimal.
fn numbered6(side: u16, n: u8) -> IpAddr {
    let n = u16::from_str_radix(&n.to_string(), 16).unwrap_or(0);
    Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, 0, n).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_both_families() {
        assert_eq!(vip6(100).to_string(), "2001:db8::100");
        assert_eq!(mac_of(vip6(2)), host_mac(0, 2));
        assert_eq!(mac_of("2001:db8:1::21".parse().unwrap()), host_mac(1, 21));
        assert_eq!(mac_of("10.1.0.21".parse().unwrap()), host_mac(1, 21));
        assert_eq!(mac_of("172.16.0.1".parse().unwrap()), GATEWAY_MAC);
    }
}
