//! The director as client and as real server: what its own host sends is switched too.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Cluster, Forward, Outcome, in_guest};
use rvs_lab::{
    Bulk, EchoConnection, Family, Host, Offload, TcpEcho, Topology, UdpEcho, Vip, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Removed services are forgotten after two rounds of the daemon, which take long where the processor is emulated.
const ROUNDS: Duration = Duration::from_secs(60);

/// More than any window; in the guest, more than a few super-packets.
fn bytes() -> u64 {
    if in_guest() { 1 << 20 } else { 64 << 20 }
}

/// The service `vip`:`port` at the director's own address and another port.
fn here(protocol: &str, family: Family, port: u16, server_port: u16) -> String {
    let own = Topology::director_address(family);
    format!(
        "[[service]]\naddress = \"{protocol}://{}\"\nmethod = \"nat\"\nservers = [\"{}\"]\n",
        SocketAddr::new(Vip::Nat.address(family), port),
        SocketAddr::new(own, server_port),
    )
}

/// Services on ports 7 (TCP and UDP) and 5001, served by the director at 8007 and 15001.
fn here_all() -> String {
    let services = Family::ALL.map(|family| {
        [
            here("tcp", family, 7, 8007),
            here("udp", family, 7, 8007),
            here("tcp", family, 5001, 15001),
        ]
        .concat()
    });
    services.concat()
}

fn serve(host: &Host) -> Outcome<(TcpEcho, UdpEcho, Bulk)> {
    Ok((
        TcpEcho::start(host, 8007)?,
        UdpEcho::start(host, 8007)?,
        Bulk::start(host, 15001)?,
    ))
}

/// Everything that [`here_all`] serves, from one host.
fn try_here(client: &Host, family: Family, bytes: u64) -> Outcome {
    let at = |port| SocketAddr::new(Vip::Nat.address(family), port);
    let mut echo = EchoConnection::open(client, at(7))?;
    assert_eq!(echo.server(), "director");
    echo.check("once")?;
    echo.check("and once more")?;
    let answer = client.udp_exchange(None, at(7), "hello", PATIENCE)?;
    assert!(answer.ends_with("hello"), "{answer:?}");
    client.bulk_download(at(5001), bytes)?;
    client.bulk_upload(at(5001), bytes)?;
    Ok(())
}

/// A real server on the director, at another port: requests and replies are translated (IPVS: LOCALNODE).
#[test]
fn the_director_serves_at_another_port() -> Outcome {
    let cluster = Cluster::with_real_servers(0, "", &here_all())?;
    let _serving = serve(&cluster.net.director)?;
    for offload in [Offload::On, Offload::Off] {
        cluster.net.offload(offload)?;
        for family in Family::ALL {
            try_here(&cluster.net.client, family, bytes())?;
        }
    }
    let counters = cluster.director.counters()?;
    assert!(counters["local_reply"] > 100, "{counters:?}");
    // The replies were seen: connections are closed from both sides.
    let connections = cluster.director.rvs("connections")?;
    assert!(connections.contains("TIME_WAIT"), "{connections}");
    for service in cluster
        .director
        .json("services")?
        .as_array()
        .ok_or("no list")?
    {
        let stats = &service["stats"];
        assert!(stats["packets_out"].as_u64() > Some(0), "{service}");
    }
    Ok(())
}

/// Clients on the director, of servers elsewhere, by every method.
#[test]
fn the_director_is_a_client() -> Outcome {
    let cluster = Cluster::new("local_clients = true", &Cluster::all_services(3))?;
    let director = &cluster.net.director;
    director.up("lo")?;
    for offload in [Offload::On, Offload::Off] {
        cluster.net.offload(offload)?;
        for forward in Forward::all() {
            let own = Topology::director_address(forward.family);
            let from = Some(SocketAddr::new(own, 0));
            director.udp_exchange(from, forward.at(53), "hello", PATIENCE)?;
            let mut echo = EchoConnection::open_from(director, from, forward.at(7))?;
            echo.check("once")?;
            echo.check("and once more")?;
        }
        // Without a source of their own they have the virtual address, which only NAT gets a reply to: other
        // servers take it for theirs.
        for family in Family::ALL {
            let at = |port| SocketAddr::new(Vip::Nat.address(family), port);
            director.get_many(at(80), 100, 2)?.expect_none_failed()?;
            director.bulk_download(at(5001), bytes())?;
            director.bulk_upload(at(5001), bytes())?;
        }
    }
    // Others are served as ever, by the same servers.
    for forward in Forward::all() {
        let report = cluster.net.client.get_many(forward.at(80), 30, 2)?;
        report.expect_none_failed()?;
    }
    let counters = cluster.director.counters()?;
    assert!(counters["local_reply"] > 100, "{counters:?}");
    assert!(!counters.contains_key("drop_no_route"), "{counters:?}");
    Ok(())
}

/// Client and server on the director, which are told apart by the service's address.
#[test]
fn the_director_is_client_and_server() -> Outcome {
    let cluster = Cluster::with_real_servers(0, "local_clients = true", &here_all())?;
    let director = &cluster.net.director;
    director.up("lo")?;
    let _serving = serve(director)?;
    for family in Family::ALL {
        try_here(director, family, bytes())?;
        try_here(&cluster.net.client, family, bytes())?;
    }
    Ok(())
}

/// The programs follow what is asked for: over restarts, without a daemon, and when the last server goes.
#[test]
fn what_the_host_sends_is_taken_while_it_is_needed() -> Outcome {
    let mut cluster = Cluster::with_real_servers(0, "local_clients = true", &here_all())?;
    let host = cluster.net.director.clone();
    host.up("lo")?;
    let _serving = serve(&host)?;
    let links = |director: &common::Director| -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(director.pins().join("links"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.split('-').next().map(str::to_owned));
        }
        names.sort();
        Ok(names)
    };
    let all = ["lo", "out", "out", "tc", "tc"];
    let (family, client) = (Family::V4, cluster.net.client.clone());
    try_here(&host, family, 1 << 20)?;
    assert_eq!(links(&cluster.director)?, all);

    cluster.director.kill()?;
    try_here(&host, family, 1 << 20)?;
    try_here(&client, family, 1 << 20)?;
    assert_eq!(links(&cluster.director)?, all);
    cluster.director.run()?;
    try_here(&host, family, 1 << 20)?;
    try_here(&client, family, 1 << 20)?;
    assert_eq!(links(&cluster.director)?, all);

    // Without clients on the host, the servers on it still need their replies translated.
    cluster.director.terminate()?;
    cluster.director.configure("", &here_all())?;
    cluster.director.run()?;
    try_here(&client, family, 1 << 20)?;
    assert_eq!(links(&cluster.director)?, ["out", "out", "tc", "tc"]);
    assert!(try_here(&host, family, 1).is_err());

    for service in cluster
        .director
        .json("services")?
        .as_array()
        .ok_or("no list")?
    {
        let address = service["address"].as_str().ok_or("no address")?;
        cluster.director.rvs(&format!("service remove {address}"))?;
    }
    wait_until("the programs to be detached", ROUNDS, || {
        links(&cluster.director).is_ok_and(|links| links == ["tc", "tc"])
    })?;
    Ok(())
}

/// What cannot be served is said at once, to clients on the director too.
#[test]
fn errors_reach_clients_and_servers_on_the_director() -> Outcome {
    let mut services = here_all();
    for family in Family::ALL {
        let inside = Topology::inside_address(0, family);
        services.push_str(&format!(
            "[[service]]\naddress = \"tcp://{}\"\n[[service]]\naddress = \"udp://{}\"\nmethod = \"nat\"\nservers = [\"{}\"]\n",
            SocketAddr::new(Vip::Nat.address(family), 81),
            SocketAddr::new(Vip::Nat.address(family), 82),
            SocketAddr::new(inside, 82),
        ));
    }
    let cluster = Cluster::with_real_servers(1, "local_clients = true", &services)?;
    let (director, client) = (&cluster.net.director, &cluster.net.client);
    director.up("lo")?;
    for family in Family::ALL {
        let at = |port| SocketAddr::new(Vip::Nat.address(family), port);
        for host in [director, client] {
            // No server; and nobody listens at the server that there is, here and elsewhere.
            for port in [81, 7] {
                let error = host.connect(at(port)).err().ok_or("connected")?.to_string();
                assert!(
                    error.contains("refused"),
                    "{host} {family:?} {port}: {error}"
                );
            }
            for port in [82, 7] {
                let error = host.udp_exchange(None, at(port), "hello", PATIENCE);
                let error = error.err().ok_or("answered")?.to_string();
                assert!(
                    error.contains("refused"),
                    "{host} {family:?} {port}: {error}"
                );
            }
        }
    }
    Ok(())
}
