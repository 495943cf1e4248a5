//! The network that nearly all tests and the demo use: a client, a director and real servers, as
//! in a real LVS cluster.
//!
//! ```text
//!            outside: 10.0.0.0/24, 2001:db8::/64
//!   ┌───────────────┬────────────────────┬──────────────┐
//!   │ .2 ::2        │ .10 ::10           │ .21 ::21     │ .22 ::22  ...
//! client         director               rs1            rs2
//!                   │ VIPs .100-.102     │              │
//!                   │      ::100-::102   │              │
//!                   │ .1 ::1             │ .21 ::21     │ .22 ::22  ...
//!                   └────────────────────┴──────────────┘
//!            inside: 10.1.0.0/24, 2001:db8:1::/64
//! ```
//!
//! Replies from the real servers' inside addresses go back through the director, as NAT needs
//! them to; all else leaves them at the outside. The client has no route to the inside. The
//! client is everybody's default gateway, so it may use any further source address.

use crate::error::{LabError, Result};
use crate::host::Host;
use crate::lab::Lab;
use crate::link::{Link, Offload, Switch};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most real servers there are addresses for (.21 to .99).
pub const MAX_REAL_SERVERS: usize = 79;

const FIRST_REAL_SERVER: u16 = 21;
/// The real servers' routing table for what comes from their inside addresses.
const INSIDE_TABLE: &str = "100";

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both versions.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// A service's address; by convention one per forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vip {
    /// For services forwarded by NAT: 10.0.0.100, 2001:db8::100.
    Nat,
    /// For services forwarded by direct routing: 10.0.0.101, 2001:db8::101.
    Direct,
    /// For services forwarded by tunnels: 10.0.0.102, 2001:db8::102.
    Tunnel,
}

impl Vip {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Nat, Self::Direct, Self::Tunnel];

    /// The address.
    pub fn address(self, family: Family) -> IpAddr {
        outside(
            family,
            match self {
                Self::Nat => 100,
                Self::Direct => 101,
                Self::Tunnel => 102,
            },
        )
    }
}

/// The standard network. See the module's picture.
#[derive(Debug)]
pub struct Topology {
    /// Where requests come from: `eth0` outside.
    pub client: Host,
    /// The director: `eth0` outside, with the VIPs, `eth1` inside.
    pub director: Host,
    /// The real servers `rs1`, `rs2`, ...: `eth0` outside, `eth1` inside.
    pub real_servers: Vec<Host>,
    /// The switch outside.
    pub outside: Switch,
    /// The switch inside.
    pub inside: Switch,
    links: Vec<Link>,
}

impl Topology {
    /// The standard network with three real servers.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::with_real_servers(lab, 3)
    }

    /// The standard network with the given number of real servers.
    pub fn with_real_servers(lab: &Lab, count: usize) -> Result<Self> {
        if count > MAX_REAL_SERVERS {
            return Err(LabError::Unknown {
                place: "topology".to_owned(),
                what: format!("addresses for {count} real servers, at most {MAX_REAL_SERVERS}"),
            });
        }
        let mut topology = Self {
            client: lab.host("client")?,
            director: lab.host("director")?,
            real_servers: Vec::new(),
            outside: lab.switch("outside")?,
            inside: lab.switch("inside")?,
            links: Vec::new(),
        };
        topology.set_up_client()?;
        topology.set_up_director()?;
        for number in 0..count {
            let host = lab.host(&format!("rs{}", number + 1))?;
            topology.set_up_real_server(&host, number)?;
            topology.real_servers.push(host);
        }
        Ok(topology)
    }

    /// The client's address.
    pub fn client_address(family: Family) -> IpAddr {
        outside(family, 2)
    }

    /// The director's own address outside.
    pub fn director_address(family: Family) -> IpAddr {
        outside(family, 10)
    }

    /// The director's address inside, the real servers' gateway.
    pub fn director_inside_address(family: Family) -> IpAddr {
        inside(family, 1)
    }

    /// The outside address of a real server, counted from 0: for direct routing and tunnels.
    pub fn outside_address(number: usize, family: Family) -> IpAddr {
        outside(family, real_server(number))
    }

    /// The inside address of a real server, counted from 0: for NAT.
    pub fn inside_address(number: usize, family: Family) -> IpAddr {
        inside(family, real_server(number))
    }

    /// Turns the offloads of all links on or off.
    pub fn offload(&self, offload: Offload) -> Result<()> {
        self.links.iter().try_for_each(|link| link.offload(offload))
    }

    /// Makes all neighbours on both switches permanent, so that no ARP or neighbour discovery
    /// comes in between. The VIPs are the director's.
    pub fn static_neighbours(&self) -> Result<()> {
        let mut known = Vec::new();
        for family in Family::ALL {
            let director = self.director.mac("eth0")?;
            known.push((
                "eth0",
                Self::client_address(family),
                self.client.mac("eth0")?,
            ));
            known.push(("eth0", Self::director_address(family), director));
            known.extend(Vip::ALL.map(|vip| ("eth0", vip.address(family), director)));
            known.push((
                "eth1",
                Self::director_inside_address(family),
                self.director.mac("eth1")?,
            ));
            for (number, host) in self.real_servers.iter().enumerate() {
                known.push((
                    "eth0",
                    Self::outside_address(number, family),
                    host.mac("eth0")?,
                ));
                known.push((
                    "eth1",
                    Self::inside_address(number, family),
                    host.mac("eth1")?,
                ));
            }
        }
        for host in [&self.client, &self.director]
            .into_iter()
            .chain(&self.real_servers)
        {
            for (ifname, address, mac) in &known {
                let is_inside = *ifname == "eth1";
                if (is_inside && host.name() == self.client.name()) || host.mac(ifname)? == *mac {
                    continue;
                }
                host.neighbour(ifname, *address, *mac)?;
            }
        }
        Ok(())
    }

    fn set_up_client(&mut self) -> Result<()> {
        self.links.push(self.outside.connect(&self.client, "eth0")?);
        for family in Family::ALL {
            self.client
                .add_address("eth0", &network(Self::client_address(family)))?;
        }
        Ok(())
    }

    fn set_up_director(&mut self) -> Result<()> {
        let director = &self.director;
        self.links.push(self.outside.connect(director, "eth0")?);
        self.links.push(self.inside.connect(director, "eth1")?);
        director.sysctl("net.ipv4.ip_forward", "1")?;
        director.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        for name in ["all", "default", "eth0", "eth1"] {
            director.sysctl(&format!("net.ipv4.conf.{name}.send_redirects"), "0")?;
        }
        for family in Family::ALL {
            director.add_address("eth0", &network(Self::director_address(family)))?;
            director.add_address("eth1", &network(Self::director_inside_address(family)))?;
            for vip in Vip::ALL {
                director.add_vip("eth0", vip.address(family))?;
            }
            director.route(&[
                "add",
                default(family),
                "via",
                &Self::client_address(family).to_string(),
            ])?;
        }
        Ok(())
    }

    fn set_up_real_server(&mut self, host: &Host, number: usize) -> Result<()> {
        self.links.push(self.outside.connect(host, "eth0")?);
        self.links.push(self.inside.connect(host, "eth1")?);
        for family in Family::ALL {
            let own = network(Self::inside_address(number, family));
            host.add_address("eth0", &network(Self::outside_address(number, family)))?;
            host.add_address("eth1", &own)?;
            let (inside_network, client) = (
                network(inside(family, 0)),
                Self::client_address(family).to_string(),
            );
            let director = Self::director_inside_address(family).to_string();
            host.route(&["add", default(family), "via", &client])?;
            host.rule(&["add", "from", &inside_network, "lookup", INSIDE_TABLE])?;
            host.route(&["add", &inside_network, "dev", "eth1", "table", INSIDE_TABLE])?;
            host.route(&[
                "add",
                default(family),
                "via",
                &director,
                "dev",
                "eth1",
                "table",
                INSIDE_TABLE,
            ])?;
        }
        Ok(())
    }
}

/// The number in a real server's addresses. Only counted ones exist, so saturation is not seen.
fn real_server(number: usize) -> u16 {
    u16::try_from(number)
        .unwrap_or(u16::MAX)
        .saturating_add(FIRST_REAL_SERVER)
}

/// An address outside. IPv6 shows the same digits as IPv4 (`.100` and `::100`).
fn outside(family: Family, number: u16) -> IpAddr {
    address(family, 0, number)
}

fn inside(family: Family, number: u16) -> IpAddr {
    address(family, 1, number)
}

fn address(family: Family, net: u8, number: u16) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, net, 0, u8::try_from(number).unwrap_or(u8::MAX)).into(),
        Family::V6 => {
            let digits = (number / 100 % 10 * 0x100) + (number / 10 % 10 * 0x10) + number % 10;
            Ipv6Addr::new(0x2001, 0xdb8, u16::from(net), 0, 0, 0, 0, digits).into()
        }
    }
}

fn network(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 })
}

/// The default route, written so that its family shows.
fn default(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_drawn() {
        let drawn = [
            (Vip::Nat.address(Family::V4), "10.0.0.100"),
            (Vip::Direct.address(Family::V6), "2001:db8::101"),
            (Vip::Tunnel.address(Family::V6), "2001:db8::102"),
            (Topology::client_address(Family::V6), "2001:db8::2"),
            (Topology::director_address(Family::V6), "2001:db8::10"),
            (
                Topology::director_inside_address(Family::V6),
                "2001:db8:1::1",
            ),
            (Topology::outside_address(0, Family::V4), "10.0.0.21"),
            (Topology::inside_address(2, Family::V6), "2001:db8:1::23"),
            (Topology::inside_address(78, Family::V4), "10.1.0.99"),
        ];
        for (address, text) in drawn {
            assert_eq!(address.to_string(), text);
        }
    }
}
