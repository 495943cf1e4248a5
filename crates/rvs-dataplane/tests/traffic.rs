//! Real connections through a data plane without its daemon: every method, both families, TCP and
//! UDP.

mod common;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    str::FromStr,
};

use common::instance_name;
use rvs_config::{
    Director, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, Weight,
};
use rvs_dataplane::{Adoption, Connection, Dataplane, Origin, Stats, decapsulation, hops};
use rvs_lab::{Bulk, Family, Host, Lab, Nginx, Topology, UdpEcho, Vip};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const BPFFS: &str = "/sys/fs/bpf";

/// A director's settings on both of the topology's networks.
fn settings(instance: &str) -> Director {
    let interfaces = ["eth0", "eth1"].map(|name| name.parse().expect("an interface name"));
    Director::new(
        instance_name(instance).parse().expect("a name"),
        interfaces.to_vec(),
    )
}

fn service(
    protocol: &str,
    vip: std::net::IpAddr,
    port: u16,
    method: Method,
    servers: &[std::net::IpAddr],
) -> Service {
    let address = SocketAddr::new(vip, port);
    let key = ServiceKey::from_str(&format!("{protocol}://{address}")).expect("a key");
    let server = |address: &std::net::IpAddr| {
        Server::new(*address, key.port(), method, Weight::default()).expect("a server")
    };
    Service::new(key, ServiceOptions::new(Scheduler::Rr))
        .expect("options that fit")
        .with_servers(servers.iter().map(server))
        .expect("a service")
}

/// Looks the servers' next hops up, as the daemon does every second.
fn resolve(director: &Host, dataplane: &mut Dataplane) {
    let addresses = dataplane.server_addresses();
    let found = director
        .in_namespace(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let (connection, mut handle, _) = rtnetlink::new_connection().expect("netlink");
                tokio::spawn(connection);
                let mut found = Vec::new();
                for _ in 0..3 {
                    found = hops::resolve(&mut handle, &addresses).await;
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
                found
            })
        })
        .expect("the director's namespace");
    let hops: Vec<_> = found
        .into_iter()
        .map(|(address, hop)| (address, hop.ok()))
        .collect();
    dataplane.apply_hops(&hops);
}

#[test]
fn every_method_and_family_carries_tcp_and_udp() -> Outcome {
    let lab = Lab::new()?;
    let topology = Topology::new(&lab)?;
    let mut running = Vec::new();
    let mut echoes = Vec::new();
    for server in &topology.real_servers {
        running.push(Nginx::start(server)?);
        echoes.push(UdpEcho::start(server, 53)?);
        let mut vips = Vec::new();
        for family in [Family::V4, Family::V6] {
            for vip in [Vip::Direct, Vip::Tunnel] {
                server.realserver_vip(vip.address(family))?;
                vips.push(vip.address(family));
            }
        }
        server.in_namespace(|| decapsulation::attach(Path::new(BPFFS), "eth0", &vips))??;
    }

    let director = settings("traffic");
    let (mut dataplane, adoption) = topology
        .director
        .in_namespace(|| Dataplane::open(&director))??;
    assert_eq!(adoption, Adoption::Fresh);
    // What is pinned outlives the namespaces: it is removed also when an assertion fails.
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        for family in [Family::V4, Family::V6] {
            let outside: Vec<_> = (0..3)
                .map(|i| Topology::outside_address(i, family))
                .collect();
            let inside: Vec<_> = (0..3)
                .map(|i| Topology::inside_address(i, family))
                .collect();
            for (vip, method, servers) in [
                (Vip::Nat, Method::Nat, &inside),
                (Vip::Direct, Method::Direct, &outside),
                (Vip::Tunnel, Method::Tunnel, &outside),
            ] {
                for (protocol, port) in [("tcp", 80), ("udp", 53)] {
                    dataplane.add_service(
                        &service(protocol, vip.address(family), port, method, servers),
                        Origin::Runtime,
                    )?;
                }
            }
        }
        resolve(&topology.director, &mut dataplane);
        for family in [Family::V4, Family::V6] {
            for vip in [Vip::Nat, Vip::Direct, Vip::Tunnel] {
                let address = SocketAddr::new(vip.address(family), 80);
                for expected in ["rs3", "rs2", "rs1"] {
                    let said = topology.client.get(address, "/id").map_err(|error| {
                        format!(
                            "{vip:?} {family:?}: {error}; {:?}",
                            dataplane
                                .counters()
                                .iter()
                                .filter(|c| c.1 > 0)
                                .collect::<Vec<_>>()
                        )
                    })?;
                    assert_eq!(
                        said.trim(),
                        expected,
                        "round robin over {address}, newest first"
                    );
                }
                let address = SocketAddr::new(vip.address(family), 53);
                let said = topology.client.udp_exchange(
                    None,
                    address,
                    "hello",
                    std::time::Duration::from_secs(20),
                )?;
                assert!(said.ends_with("hello"), "{said:?} from {address}");
            }
        }
        let services = dataplane.services();
        assert_eq!(services.len(), 12);
        for state in &services {
            assert!(state.stats.packets_in > 0, "{state:?}");
            let two_way = state.servers[0].server.method() == Method::Nat;
            assert_eq!(state.stats.packets_out > 0, two_way, "{state:?}");
        }
        let connections = dataplane.connections();
        assert_eq!(connections.len(), 24);
        // Their time-outs may have come nearer meanwhile.
        let ends = |connection: &Connection| (connection.client, connection.service);
        let sliced = by_slices(&dataplane);
        assert!(sliced.iter().map(ends).eq(connections.iter().map(ends)));
        dataplane.tick();
        // Four of the twelve go by NAT, and have two slots each.
        assert_eq!(dataplane.table().used4, 16);
        zeroing_and_removing_lose_no_count(&mut dataplane)?;
        Ok(())
    }));
    topology.director.in_namespace(|| dataplane.detach())??;
    for server in &topology.real_servers {
        server.in_namespace(|| decapsulation::detach(Path::new(BPFFS), "eth0"))??;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// All connections, slice by slice; the tables have several slices.
fn by_slices(dataplane: &Dataplane) -> Vec<Connection> {
    let (mut all, mut place, mut slices) = (Vec::new(), Some(0), 0);
    while let Some(begin) = place {
        place = dataplane.for_slice(begin, |connection| all.push(connection));
        slices += 1;
    }
    assert!(slices > 1);
    assert_eq!(
        dataplane.for_slice(u64::MAX, |_| panic!("nothing is there")),
        None
    );
    all
}

/// Every kind of tunnel, each family in each: requests, and an upload that the client's kernel sends in super-packets.
#[test]
fn tunnels_of_every_kind_end_at_a_real_server() -> Outcome {
    let lab = Lab::new()?;
    let topology = Topology::new(&lab)?;
    let server = &topology.real_servers[0];
    let _running = (
        Nginx::start(server)?,
        UdpEcho::start(server, 53)?,
        Bulk::start(server, 5001)?,
    );
    let mut vips = Vec::new();
    for family in [Family::V4, Family::V6] {
        server.realserver_vip(Vip::Tunnel.address(family))?;
        vips.push(Vip::Tunnel.address(family));
    }
    server.in_namespace(|| decapsulation::attach(Path::new(BPFFS), "eth0", &vips))??;
    let director = settings("tunnels");
    let (mut dataplane, _) = topology
        .director
        .in_namespace(|| Dataplane::open(&director))??;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        for (family, through) in [
            (Family::V4, Family::V4),
            (Family::V4, Family::V6),
            (Family::V6, Family::V4),
            (Family::V6, Family::V6),
        ] {
            for tunnel in [
                "ipip",
                "gue:6080",
                "gue:6080:csum",
                "gue:6080:remcsum",
                "gre",
                "gre:csum",
            ] {
                one_tunnel(&topology, &mut dataplane, family, through, tunnel)
                    .map_err(|error| format!("{family:?} in {through:?}, {tunnel}: {error}"))?;
            }
        }
        Ok(())
    }));
    topology.director.in_namespace(|| dataplane.detach())??;
    server.in_namespace(|| decapsulation::detach(Path::new(BPFFS), "eth0"))??;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn one_tunnel(
    topology: &Topology,
    dataplane: &mut Dataplane,
    family: Family,
    through: Family,
    tunnel: &str,
) -> Outcome {
    let vip = Vip::Tunnel.address(family);
    let mut keys = Vec::new();
    for (protocol, port) in [("tcp", 80), ("udp", 53), ("tcp", 5001)] {
        let address = Topology::outside_address(0, through);
        let service = service(protocol, vip, port, Method::Tunnel, &[]);
        let server = Server::new(address, port, Method::Tunnel, Weight::default())?
            .with_tunnel(tunnel.parse()?)?;
        let service = service.with_servers([server])?;
        dataplane.add_service(&service, Origin::Runtime)?;
        keys.push(service.key());
    }
    resolve(&topology.director, dataplane);
    let said = topology.client.get(SocketAddr::new(vip, 80), "/id")?;
    assert_eq!(said.trim(), "rs1");
    let said = topology.client.udp_exchange(
        None,
        SocketAddr::new(vip, 53),
        "hello",
        std::time::Duration::from_secs(20),
    )?;
    assert!(said.ends_with("hello"), "{said:?}");
    let upload = topology
        .client
        .bulk_upload(SocketAddr::new(vip, 5001), 4 << 20)?;
    assert_eq!(upload.bytes, 4 << 20);
    for key in keys {
        dataplane.remove_service(&key)?;
    }
    Ok(())
}

/// Listings start from zero; underneath, and in the director's sums, everything stays counted.
fn zeroing_and_removing_lose_no_count(dataplane: &mut Dataplane) -> Outcome {
    let (before, totals) = (dataplane.services(), dataplane.totals());
    assert_eq!(totals.counted, totals.shown);
    let sum: u64 = before.iter().map(|state| state.counted.packets_in).sum();
    assert_eq!(totals.counted.packets_in, sum);
    let of = |dataplane: &Dataplane, key| {
        let known = dataplane.services();
        known.into_iter().find(|state| state.key == key)
    };
    let (first, second) = (before[0].clone(), before[1].clone());
    dataplane.zero(Some(&first.key))?;
    let zeroed = of(dataplane, first.key).ok_or("the service is gone")?;
    assert_eq!(
        (zeroed.stats, zeroed.counted),
        (Stats::default(), first.counted)
    );
    for (server, before) in zeroed.servers.iter().zip(&first.servers) {
        assert_eq!(server.stats, Stats::default());
        assert_eq!(server.counted, before.counted);
    }
    assert_eq!(of(dataplane, second.key), Some(second.clone()));
    assert_eq!(dataplane.totals(), totals);
    dataplane.remove_service(&second.key)?;
    assert_eq!(dataplane.totals(), totals, "after a removal");
    for _ in 0..3 {
        dataplane.tick();
    }
    assert_eq!(dataplane.totals(), totals, "after its servers are gone");
    dataplane.zero(None)?;
    assert_eq!(dataplane.totals().counted, totals.counted);
    assert_eq!(dataplane.totals().shown, Stats::default());
    Ok(())
}

#[test]
fn an_interface_made_anew_is_attached_again_and_has_one_director() -> Outcome {
    let lab = Lab::new()?;
    let (director, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&director, "eth0", &peer, "eth0")?;
    let named = |name: &str| {
        let interface = "eth0".parse().expect("an interface name");
        Director::new(
            instance_name(name).parse().expect("a name"),
            vec![interface],
        )
    };
    let (mut dataplane, _) = director.in_namespace(|| Dataplane::open(&named("anew")))??;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        let refused = director.in_namespace(|| Dataplane::open(&named("other")).map(|_| ()))?;
        let error = refused.expect_err("eth0 has a director").to_string();
        assert!(
            error.starts_with("interface eth0 is served by another director"),
            "{error}"
        );

        director.run(&["ip", "link", "del", "eth0"])?;
        // Others take the index that was free.
        director.run(&[
            "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1",
        ])?;
        lab.link(&director, "eth0", &peer, "eth0")?;
        let anew = director.ifindex("eth0")?;
        assert_ne!(dataplane.interfaces()[0].ifindex, anew);
        director.in_namespace(|| dataplane.tick())?;
        assert_eq!(dataplane.interfaces()[0].ifindex, anew);
        Ok(())
    }));
    director.in_namespace(|| dataplane.detach())??;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
