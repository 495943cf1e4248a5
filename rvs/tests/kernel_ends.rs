//! The kernel's own SCTP, and its own ends of tunnels, with a director in between. The guest has both.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{
    Bulk, Family, Host, Lab, Nginx, Offload, SctpConnection, SctpEcho, Topology, UdpEcho, Vip,
};

use common::Director;

/// For one answer; the guest is emulated.
const PATIENCE: Duration = Duration::from_secs(20);
const SCTP_PORT: u16 = 2905;
const GUE_PORT: u16 = 6080;

/// Associations by every method and family: bytes there and back in chunks small and large, with checksums left open
/// and filled in, and their end.
#[test]
#[ignore = "needs SCTP, which the guest's kernel has"]
fn sctp_associations_by_every_method() -> Outcome {
    let services: String = Forward::all()
        .into_iter()
        .map(|forward| forward.service("sctp", SCTP_PORT, 1))
        .collect();
    let settings = "connections = \"4Ki\"\nconnections_v6 = \"4Ki\"";
    let cluster = Cluster::with_real_servers(1, settings, &services)?;
    let net = &cluster.net;
    let server = &net.real_servers[0];
    server.run(&["modprobe", "sctp"])?;
    // Each at one address, as a server with more networks than the clients' would.
    let addresses: Vec<IpAddr> = Forward::all()
        .into_iter()
        .map(|forward| match forward.method {
            Method::Nat => forward.server(0),
            Method::Direct | Method::Tunnel => forward.vip.address(forward.family),
        })
        .collect();
    let mut echoes = Vec::new();
    for address in addresses {
        echoes.push(SctpEcho::start(
            server,
            SocketAddr::new(address, SCTP_PORT),
        )?);
    }
    let mut port = 40_000;
    for offload in [Offload::On, Offload::Off] {
        net.offload(offload)?;
        if offload == Offload::On {
            // SCTP's super-packets do not go into tunnels.
            let words = ["ethtool", "-K", "eth0", "tx-sctp-segmentation", "off"];
            net.client.run(&words)?;
        }
        for forward in Forward::all() {
            port += 1;
            let context = format!("{forward:?}, {offload:?}");
            let client = SocketAddr::new(Topology::client_address(forward.family), port);
            let tried = || -> Outcome {
                let mut one =
                    SctpConnection::open(&net.client, client, forward.at(SCTP_PORT), PATIENCE)?;
                assert_eq!(one.server(), "rs1", "{context}");
                for length in [1, 3, 100, 1300, 20_000] {
                    one.check(length)?;
                }
                expect_state(&cluster.director, client, "ESTABLISHED")?;
                drop(one);
                rvs_lab::wait_until("the association's end", PATIENCE, || {
                    state(&cluster.director, client).is_ok_and(|state| state != "ESTABLISHED")
                })?;
                Ok(())
            };
            tried().map_err(|error| {
                let counters = cluster.director.counters().unwrap_or_default();
                format!("{context}: {error}: {counters:?}")
            })?;
        }
    }
    let mut amiss = cluster.director.counters()?;
    amiss.retain(|name, _| name.starts_with("drop_"));
    assert!(amiss.is_empty(), "{amiss:?}");
    Ok(())
}

/// Through NAT to a server at the wildcard address, which tells its client of addresses that lead nowhere for it.
#[test]
#[ignore = "needs SCTP, which the guest's kernel has"]
fn sctp_with_more_addresses_than_lead_anywhere() -> Outcome {
    let forward = Forward {
        vip: Vip::Nat,
        method: Method::Nat,
        family: Family::V4,
    };
    let settings = "connections = \"4Ki\"\nconnections_v6 = \"4Ki\"";
    let services = forward.service("sctp", SCTP_PORT, 1);
    let cluster = Cluster::with_real_servers(1, settings, &services)?;
    let net = &cluster.net;
    let server = &net.real_servers[0];
    server.run(&["modprobe", "sctp"])?;
    // Behind the director alone, as NAT's servers are, and at two addresses.
    server.down("eth0")?;
    server.add_address("eth1", "10.1.0.121/24")?;
    let gateway = Topology::director_inside_address(Family::V4).to_string();
    server.route(&["add", "0.0.0.0/0", "via", &gateway, "dev", "eth1"])?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SCTP_PORT));
    let _echo = SctpEcho::start(server, any)?;
    let client = SocketAddr::new(Topology::client_address(Family::V4), 41_000);
    let mut one = SctpConnection::open(&net.client, client, forward.at(SCTP_PORT), PATIENCE)?;
    for _ in 0..10 {
        one.check(2000)?;
    }
    expect_state(&cluster.director, client, "ESTABLISHED")
}

fn state(director: &Director, client: SocketAddr) -> Outcome<String> {
    let list = director.json("connections --limit 100000")?;
    let found = list["connections"]
        .as_array()
        .ok_or("no list")?
        .iter()
        .find(|one| one["client"] == client.to_string().as_str())
        .and_then(|one| one["state"].as_str());
    Ok(found.unwrap_or("none").to_owned())
}

fn expect_state(director: &Director, client: SocketAddr, expected: &str) -> Outcome {
    let state = state(director, client)?;
    if state == expected {
        return Ok(());
    }
    Err(format!("{client} is {state}, not {expected}").into())
}

/// Real servers whose kernel ends the tunnels: GUE and GRE with and without checksums, IP-in-IP, each family in each.
#[test]
#[ignore = "needs fou, ip_gre and ipip, which the guest's kernel has"]
fn the_kernel_ends_every_tunnel() -> Outcome {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let _serving = (
        Nginx::start(server)?,
        UdpEcho::start(server, 53)?,
        Bulk::start(server, 5001)?,
    );
    for family in Family::ALL {
        server.realserver_vip(Vip::Tunnel.address(family))?;
    }
    let settings = "connections = \"4Ki\"\nconnections_v6 = \"4Ki\"";
    let director = Director::start(&net.director, settings, "")?;
    let mut failed = Vec::new();
    for through in [Family::V6, Family::V4] {
        for tunnel in TUNNELS {
            let end = End::new(server, tunnel, through)?;
            for family in Family::ALL {
                let one = one_tunnel(&net, &director, family, through, tunnel);
                let counters = director.counters()?;
                match one {
                    Ok(()) => println!("{family:?} in {through:?}, {tunnel}: served"),
                    Err(error) => {
                        failed.push(format!(
                            "{family:?} in {through:?}, {tunnel}: {error}: {counters:?}"
                        ));
                    }
                }
            }
            end.remove()?;
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

const TUNNELS: [&str; 6] = [
    "ipip",
    "gue:6080",
    "gue:6080:csum",
    "gue:6080:remcsum",
    "gre",
    "gre:csum",
];

/// The kernel's end of one kind of tunnel.
struct End {
    host: Host,
    undo: Vec<String>,
}

impl End {
    fn new(host: &Host, tunnel: &str, through: Family) -> Outcome<Self> {
        for module in [
            "fou",
            "fou6",
            "ipip",
            "sit",
            "ip6_tunnel",
            "ip_gre",
            "ip6_gre",
        ] {
            host.run(&["modprobe", module])?;
        }
        let mut end = Self {
            host: host.clone(),
            undo: Vec::new(),
        };
        let local = Topology::outside_address(0, through);
        let (kind, _) = tunnel.split_once(':').unwrap_or((tunnel, ""));
        match kind {
            "gre" => {
                let device = match through {
                    Family::V4 => "gre",
                    Family::V6 => "ip6gre",
                };
                let checks = if tunnel.ends_with("csum") {
                    "icsum"
                } else {
                    ""
                };
                end.ip(&format!(
                    "link add end0 type {device} local {local} {checks}"
                ))?;
                end.undo.push("link del end0".to_owned());
                host.up("end0")?;
            }
            "gue" | "ipip" => {
                if through == Family::V4 {
                    // The devices that come with the modules take what is meant for no other.
                    host.up("tunl0")?;
                    host.up("sit0")?;
                } else {
                    // That of IPv6 takes IPv6 alone.
                    end.ip(&format!(
                        "link add end0 type ip6tnl mode any local {local} remote ::"
                    ))?;
                    end.undo.push("link del end0".to_owned());
                    host.up("end0")?;
                }
                if kind == "gue" {
                    let family = if through == Family::V6 { "-6" } else { "" };
                    end.ip(&format!("{family} fou add port {GUE_PORT} gue"))?;
                    end.undo.push(format!("{family} fou del port {GUE_PORT}"));
                }
            }
            other => return Err(format!("no tunnel {other}").into()),
        }
        Ok(end)
    }

    fn ip(&self, words: &str) -> Outcome {
        let words: Vec<&str> = std::iter::once("ip")
            .chain(words.split_whitespace())
            .collect();
        self.host.run(&words)?;
        Ok(())
    }

    fn remove(self) -> Outcome {
        self.undo.iter().try_for_each(|words| self.ip(words))
    }
}

fn one_tunnel(
    net: &Topology,
    director: &Director,
    family: Family,
    through: Family,
    tunnel: &str,
) -> Outcome {
    let vip = Vip::Tunnel.address(family);
    let server = Topology::outside_address(0, through);
    let mut services = Vec::new();
    for (protocol, port) in [("tcp", 80), ("udp", 53), ("tcp", 5001)] {
        let at = SocketAddr::new(vip, port);
        director.rvs(&format!("service add {protocol}://{at} --method tunnel"))?;
        services.push(format!("{protocol}://{at}"));
        let to = SocketAddr::new(server, port);
        director.rvs(&format!(
            "server add {protocol}://{at} {to} --method tunnel --tunnel {tunnel}"
        ))?;
    }
    let tried = || -> Outcome {
        let said = net.client.get(SocketAddr::new(vip, 80), "/id")?;
        assert_eq!(said.trim(), "rs1");
        let said = net
            .client
            .udp_exchange(None, SocketAddr::new(vip, 53), "hello", PATIENCE)?;
        assert_eq!(said, "rs1: hello");
        net.client
            .bulk_upload(SocketAddr::new(vip, 5001), 256 << 10)?;
        Ok(())
    };
    let outcome = tried();
    for service in services {
        director.rvs(&format!("service remove {service}"))?;
    }
    outcome
}
