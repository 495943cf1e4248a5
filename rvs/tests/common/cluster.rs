//! The standard network with real servers that serve, and a director in front of them.

use std::net::{IpAddr, SocketAddr};

use rvs_config::Method;
use rvs_lab::{Bulk, Family, Host, Lab, Nginx, TcpEcho, Topology, UdpEcho, Vip};

use super::{Director, Outcome, RVS};

/// Protocol and port of every service of a [`Cluster`]: nginx, UDP echo, TCP echo, bulk transfers.
pub(crate) const TRAFFIC: [(&str, u16); 4] = [("tcp", 80), ("udp", 53), ("tcp", 7), ("tcp", 5001)];

/// A client, a director and real servers; by convention one address per forwarding method.
///
/// The order of the fields is that of clearing away.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) director: Director,
    prepared: Vec<Prepared>,
    _serving: Vec<(Nginx, UdpEcho, TcpEcho, Bulk)>,
    pub(crate) net: Topology,
    lab: Lab,
}

/// One way to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) vip: Vip,
    pub(crate) method: Method,
    pub(crate) family: Family,
}

impl Forward {
    /// All methods with both families.
    pub(crate) fn all() -> Vec<Self> {
        let methods = [
            (Vip::Nat, Method::Nat),
            (Vip::Direct, Method::Direct),
            (Vip::Tunnel, Method::Tunnel),
        ];
        methods
            .into_iter()
            .flat_map(|(vip, method)| {
                Family::ALL.map(|family| Self {
                    vip,
                    method,
                    family,
                })
            })
            .collect()
    }

    /// The service's address.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip.address(self.family), port)
    }

    /// A real server's address for this method.
    pub(crate) fn server(self, number: usize) -> IpAddr {
        match self.method {
            Method::Nat => Topology::inside_address(number, self.family),
            Method::Direct | Method::Tunnel => Topology::outside_address(number, self.family),
        }
    }

    /// A service by this method, with so many servers, as TOML.
    pub(crate) fn service(self, protocol: &str, port: u16, servers: usize) -> String {
        let servers: Vec<String> = (0..servers)
            .map(|number| format!("\"{}\"", self.server(number)))
            .collect();
        format!(
            "[[service]]\naddress = \"{protocol}://{}\"\nscheduler = \"rr\"\nmethod = \"{}\"\nservers = [{}]\n\n",
            self.at(port),
            self.method,
            servers.join(", ")
        )
    }
}

impl Cluster {
    /// Three real servers that serve [`TRAFFIC`] by every method and family, and a director without services.
    pub(crate) fn new(settings: &str, services: &str) -> Outcome<Self> {
        Self::with_real_servers(3, settings, services)
    }

    /// All of [`TRAFFIC`] by every method and family.
    pub(crate) fn full(settings: &str) -> Outcome<Self> {
        Self::new(settings, &Self::all_services(3))
    }

    /// The services of [`Cluster::full`] as TOML.
    pub(crate) fn all_services(servers: usize) -> String {
        Forward::all()
            .into_iter()
            .flat_map(|forward| {
                TRAFFIC.map(|(protocol, port)| forward.service(protocol, port, servers))
            })
            .collect()
    }

    /// Like [`Cluster::new`], with another number of real servers.
    pub(crate) fn with_real_servers(count: usize, settings: &str, services: &str) -> Outcome<Self> {
        let lab = Lab::new()?;
        let net = Topology::with_real_servers(&lab, count)?;
        let mut serving = Vec::new();
        let mut prepared = Vec::new();
        for server in &net.real_servers {
            serving.push((
                Nginx::start(server)?,
                UdpEcho::start(server, 53)?,
                TcpEcho::start(server, 7)?,
                Bulk::start(server, 5001)?,
            ));
            prepared.push(Prepared::new(server)?);
        }
        let director = Director::start(&net.director, settings, services)?;
        Ok(Self {
            director,
            prepared,
            _serving: serving,
            net,
            lab,
        })
    }

    /// One more host outside, by `eth0`, without an address.
    pub(crate) fn another_host(&self, name: &str) -> Outcome<Host> {
        let host = self.lab.host(name)?;
        self.net.outside.connect(&host, "eth0")?;
        Ok(host)
    }
}

impl Cluster {
    /// Lets only the kernel's probes show where the client is, and these soon: one second after a stale entry's use, not five.
    /// The client never asks for the director's link address, by which it would tell its own.
    pub(crate) fn show_client_by_probes_alone(&self, family: Family, vip: IpAddr) -> Outcome {
        let (client, director) = (&self.net.client, &self.net.director);
        let protocol = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let key = format!("net.{protocol}.neigh.eth0.delay_first_probe_time");
        director.sysctl(&key, "1")?;
        for own in [vip, Topology::director_address(family)] {
            client.neighbour("eth0", own, director.mac("eth0")?)?;
        }
        Ok(())
    }

    /// Makes the director's entry for the client stale, with a link address that is no longer true.
    pub(crate) fn mislead_about_client(&self, family: Family) -> Outcome {
        let client = Topology::client_address(family);
        let wrong = [2, 0, 0, 0, 0, 0x99];
        Ok(self.net.director.stale_neighbour("eth0", client, wrong)?)
    }

    /// One more host, connected to nothing.
    pub(crate) fn host(&self, name: &str) -> Outcome<Host> {
        Ok(self.lab.host(name)?)
    }
}

/// A real server that was prepared for direct routing and tunnels by RVS's own command, which also undoes it.
#[derive(Debug)]
struct Prepared {
    host: Host,
}

impl Prepared {
    fn new(host: &Host) -> Outcome<Self> {
        let mut command = host.command(RVS);
        // What tunnels need includes what direct routing needs.
        command.args(["realserver", "up", "--method", "tunnel", "--device", "eth0"]);
        for vip in [Vip::Direct, Vip::Tunnel] {
            for family in Family::ALL {
                command.args(["--vip", &vip.address(family).to_string()]);
            }
        }
        let prepared = Self { host: host.clone() };
        let output = command.output()?;
        if output.status.success() {
            return Ok(prepared);
        }
        Err(format!("{host}: {output:?}").into())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.host.command(RVS).args(["realserver", "down"]).output();
    }
}
