//! Much traffic, end to end: long transfers, many short connections, and changes while they run. None may fail.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Cluster, Forward, Outcome, RVS, table_sizes};
use rvs_config::Method;
use rvs_lab::{EchoConnection, Family, Host, Load, Offload, Topology, Vip, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// 185,000 packets of 1500 bytes: a checksum that is adjusted meets every value of its 16 bits.
const LONG: u64 = 256 << 20;

#[test]
fn long_transfers_with_offloads() -> Outcome {
    transfers(Offload::On, LONG)
}

#[test]
fn long_transfers_packet_by_packet() -> Outcome {
    transfers(Offload::Off, LONG)
}

/// A transfer each way by every method and family. The lab compares the hashes.
fn transfers(offload: Offload, bytes: u64) -> Outcome {
    let cluster = Cluster::full("")?;
    cluster.net.offload(offload)?;
    for forward in Forward::all() {
        let down = cluster.net.client.bulk_download(forward.at(5001), bytes)?;
        let up = cluster.net.client.bulk_upload(forward.at(5001), bytes)?;
        println!(
            "{forward:?}: {bytes} bytes down in {:.2} s, up in {:.2} s",
            down.seconds, up.seconds
        );
    }
    Ok(())
}

/// The same with XDP in front, which takes what it can: established flows by NAT and direct routing.
#[test]
fn transfers_by_the_express_way() -> Outcome {
    let cluster = Cluster::new("attach = \"xdp\"", "")?;
    // XDP sees frames as they are on a wire, and veth receives what it sends on only with GRO at the other end.
    cluster.net.offload(Offload::Off)?;
    for host in [cluster.net.outside.host(), cluster.net.inside.host()] {
        for port in 0..5 {
            let name = format!("port{port}");
            // Not every switch has as many ports.
            let _ = host.run(&["ethtool", "-K", &name, "gro", "on"]);
        }
    }
    for forward in Forward::all() {
        for (protocol, port) in [("tcp", 80), ("tcp", 5001)] {
            cluster.director.rvs(&format!(
                "service add {protocol}://{} --scheduler rr --method {} {}",
                forward.at(port),
                forward.method,
                (0..3)
                    .map(|number| format!("--server {}", forward.server(number)))
                    .collect::<Vec<_>>()
                    .join(" ")
            ))?;
        }
    }
    for interface in cluster.director.json("status")?["interfaces"]
        .as_array()
        .ok_or("no interfaces")?
    {
        assert_eq!(interface["xdp"], true, "{interface}");
    }
    let client = &cluster.net.client;
    for forward in Forward::all() {
        let before = express(&cluster)?;
        client
            .get_many(forward.at(80), 500, 4)?
            .expect_none_failed()?;
        client.bulk_download(forward.at(5001), 64 << 20)?;
        client.bulk_upload(forward.at(5001), 64 << 20)?;
        let taken = express(&cluster)? - before;
        // 64 MiB in full segments are 46,000.
        assert!(taken > 40_000, "{forward:?}: XDP sent {taken} packets on");
    }
    stale_neighbour_at_the_express_way(&cluster)
}

/// The client's entry becomes stale and wrong under an established connection, all of whose replies XDP could send.
fn stale_neighbour_at_the_express_way(cluster: &Cluster) -> Outcome {
    for family in Family::ALL {
        let at = SocketAddr::new(Vip::Nat.address(family), 7);
        let server = Topology::inside_address(0, family);
        cluster.director.rvs(&format!(
            "service add tcp://{at} --scheduler rr --method nat --server {server}"
        ))?;
        cluster.show_client_by_probes_alone(family, at.ip())?;
        let mut open = EchoConnection::open(&cluster.net.client, at)?;
        for round in 0..100 {
            if round == 50 {
                cluster.mislead_about_client(family)?;
            }
            open.check_within("again", PATIENCE)?;
        }
    }
    Ok(())
}

/// How many packets XDP sent on, as the director's interfaces count.
fn express(cluster: &Cluster) -> Outcome<u64> {
    let mut sent = 0;
    for ifname in ["eth0", "eth1"] {
        let all = cluster.net.director.run(&["ethtool", "-S", ifname])?;
        sent += all
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .filter(|(name, _)| {
                name.starts_with("rx_")
                    && (name.ends_with("xdp_redirect") || name.ends_with("xdp_tx"))
            })
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(sent)
}

#[test]
fn short_connections() -> Outcome {
    let cluster = Cluster::full("")?;
    for forward in Forward::all() {
        let requests = match forward.family {
            Family::V4 => 5000,
            Family::V6 => 1000,
        };
        let report = cluster.net.client.get_many(forward.at(80), requests, 8)?;
        report.expect_none_failed()?;
        assert_eq!(report.done, requests, "{forward:?}");
        assert_eq!(report.by_server.len(), 3, "{forward:?}: {report:?}");
        println!(
            "{forward:?}: {requests} requests in {:.2} s",
            report.seconds
        );
        let services = cluster.director.json("services")?;
        let address = format!("tcp://{}", forward.at(80));
        let service = services
            .as_array()
            .and_then(|all| all.iter().find(|one| one["address"] == address.as_str()))
            .ok_or("the service is not listed")?;
        assert_eq!(service["stats"]["connections"], requests, "{service}");
    }
    Ok(())
}

#[test]
fn a_server_comes_and_goes_under_load() -> Outcome {
    let cluster = Cluster::new("", &Cluster::all_services(2))?;
    let (client, director) = (&cluster.net.client, &cluster.director);
    let forwards = Forward::all();
    let mut loads = Vec::new();
    for forward in &forwards {
        loads.push(Load::start(client, forward.at(80), 2)?);
    }
    let wait = |more: u64| {
        loads
            .iter()
            .try_for_each(|load| load.wait_for_more(more, PATIENCE))
    };
    let answered = |name: &str| -> Vec<u64> {
        let of = |load: &Load| load.so_far().by_server.get(name).copied().unwrap_or(0);
        loads.iter().map(of).collect()
    };
    wait(50)?;
    assert_eq!(answered("rs3"), [0; 6]);

    for forward in &forwards {
        director.rvs(&format!(
            "server add tcp://{} {} --method {}",
            forward.at(80),
            forward.server(2),
            forward.method
        ))?;
    }
    wait(50)?;
    assert!(answered("rs3").iter().all(|count| *count > 0));

    for forward in &forwards {
        director.rvs(&format!(
            "server drain tcp://{} {}",
            forward.at(80),
            forward.server(0)
        ))?;
    }
    // Its connections come to their end, and no new ones come.
    wait_until("the drained servers' last connections", PATIENCE, || {
        active(&cluster, "rs1").is_ok_and(|active| active == 0)
    })?;
    wait(20)?;
    let drained = answered("rs1");
    wait(50)?;
    assert_eq!(
        answered("rs1"),
        drained,
        "a drained server got connections:\n{}{}",
        director.rvs("servers")?,
        director.rvs("stats --all")?
    );

    for forward in &forwards {
        director.rvs(&format!(
            "server remove tcp://{} {}",
            forward.at(80),
            forward.server(0)
        ))?;
    }
    wait(50)?;
    assert_eq!(answered("rs1"), drained, "a removed server got connections");
    for load in loads {
        load.stop().expect_none_failed()?;
    }
    for service in director.json("services")?.as_array().ok_or("no list")? {
        let port_80 = service["address"]
            .as_str()
            .is_some_and(|a| a.ends_with(":80"));
        let servers = service["servers"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let staying = servers.iter().filter(|server| server["removed"] == false);
        assert_eq!(staying.count(), 2, "{service}");
        assert!(port_80 || servers.len() == 2, "{service}");
    }
    Ok(())
}

/// The active connections of a host's server in all HTTP services.
fn active(cluster: &Cluster, host: &str) -> Outcome<u64> {
    let number = match host {
        "rs1" => 0,
        "rs2" => 1,
        _ => 2,
    };
    let mut active = 0;
    for service in cluster
        .director
        .json("services")?
        .as_array()
        .ok_or("no list")?
    {
        for server in service["servers"].as_array().ok_or("no servers")? {
            let address = server["address"].as_str().unwrap_or_default();
            let is_meant = Forward::all()
                .into_iter()
                .any(|forward| address == SocketAddr::new(forward.server(number), 80).to_string());
            if is_meant {
                active += server["active"].as_u64().unwrap_or(0);
            }
        }
    }
    Ok(active)
}

/// Killed and restarted, stopped and restarted, and started with tables of another size, all under load.
#[test]
fn the_daemon_dies_and_is_upgraded_under_load() -> Outcome {
    let mut cluster = Cluster::full("")?;
    let client = cluster.net.client.clone();
    let (mut open, loads) = traffic(&client)?;
    let hosts = Hosts::of(&cluster);
    let wait = |more: u64| wait_or_explain(&loads, more, &hosts);
    let check = |open: &mut Vec<EchoConnection>, when: &str| {
        open.iter_mut().try_for_each(|one| one.check(when))
    };
    wait(30)?;
    let director = &mut cluster.director;

    director.kill()?;
    wait(50)?;
    check(&mut open, "killed")?;
    director.run()?;
    assert_eq!(director.json("status")?["adoption"]["adoption"], "adopted");
    wait(50)?;
    check(&mut open, "restarted")?;

    director.terminate()?;
    wait(20)?;
    check(&mut open, "stopped")?;
    director.upgrade("512Ki", &Cluster::all_services(3))?;
    let status = director.json("status")?;
    assert_eq!(status["adoption"]["adoption"], "upgraded", "{status}");
    assert_eq!(status["adoption"]["refused"], 0, "{status}");
    assert!(
        status["adoption"]["connections"].as_u64() >= Some(open.len() as u64),
        "{status}"
    );
    assert_eq!(status["table"]["slots_v4"], 512 << 10, "{status}");
    wait(50)?;
    check(&mut open, "upgraded")?;

    for load in loads {
        load.stop().expect_none_failed()?;
    }
    for connection in &open {
        let local = connection.stream().local_addr()?.to_string();
        // The load may have used the same port towards another service.
        let peer = connection.stream().peer_addr()?.to_string();
        // The load left more connections than one would want to list.
        let list = director.json(&format!("connections --service tcp://{peer}"))?;
        let list = list["connections"].as_array().ok_or("no list")?;
        let is_it = |one: &&serde_json::Value| {
            one["client"] == local.as_str()
                && one["service"] == peer.as_str()
                && one["state"] == "ESTABLISHED"
        };
        let found: Vec<_> = list.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{local} among {} connections", list.len());
    }
    // The new tables know the ways to the servers from the beginning.
    let counters = director.counters()?;
    assert_eq!(counters.get("drop_no_route"), None, "{counters:?}");
    // One of the tables is gone, and with it what it took.
    let tables = std::fs::read_dir(director.pins())?.count();
    assert_eq!(tables, 2, "a directory of tables and one of links");
    Ok(())
}

/// Starts with other table sizes are killed at one moment after the other, before, while and after they take over. What
/// forwards goes on, and the start that comes to its end has every connection. One that was killed in the moment of taking
/// over, while packets of connections that it may not know yet are dropped, has to be followed by another within ten
/// seconds (`TAKEOVER_SECONDS`), as a supervisor does.
#[test]
fn upgrades_that_are_killed_lose_nothing() -> Outcome {
    let mut cluster = Cluster::full("")?;
    let client = cluster.net.client.clone();
    let (mut open, loads) = traffic(&client)?;
    let hosts = Hosts::of(&cluster);
    wait_or_explain(&loads, 20, &hosts)?;
    let services = Cluster::all_services(3);
    let director = &mut cluster.director;
    // One that comes to its end says how long they take here. Most of it goes by before anything is taken over.
    let start = Instant::now();
    director.upgrade("1Mi", &services)?;
    let whole = start.elapsed();
    for (number, percent) in [0, 40, 80, 87, 92, 96, 100].into_iter().enumerate() {
        director.terminate()?;
        let slots = ["512Ki", "1Mi"][number % 2];
        director.configure(&table_sizes(slots), &services)?;
        let mut child = director.spawn()?;
        std::thread::sleep(whole * percent / 100);
        child.kill()?;
        let answered = || loads.iter().map(Load::done).sum::<u64>();
        let before = answered();
        for one in &mut open {
            one.check(&format!("killed after {percent} % of {whole:?}"))?;
        }
        wait_until("answers without a daemon", PATIENCE, || {
            answered() >= before + 10
        })?;
        if percent >= 80 {
            director.run()?;
        }
        wait_or_explain(&loads, 5, &hosts)?;
    }
    // Room for all that the load leaves.
    director.upgrade("256Ki", &services)?;
    wait_or_explain(&loads, 20, &hosts)?;
    for one in &mut open {
        one.check("upgraded")?;
    }
    for load in loads {
        load.stop().expect_none_failed()?;
    }
    let tables = std::fs::read_dir(director.pins())?.count();
    assert_eq!(tables, 2, "a directory of tables and one of links");
    Ok(())
}

/// A client with few ports uses each again within the moments of an upgrade. Its packets go to the server that the
/// connection is with, not to that of an earlier one of the same ports.
#[test]
fn ports_are_used_again_over_upgrades() -> Outcome {
    const UPGRADES: usize = 12;
    /// Requests in a second. The kernel takes every other port of its range: each comes again after a tenth of a second.
    const RATE: u32 = 500;
    let mut cluster = Cluster::full("")?;
    let client = cluster.net.client.clone();
    client.run(&["sysctl", "-w", "net.ipv4.ip_local_port_range=20000 20099"])?;
    let mut loads = Vec::new();
    for forward in Forward::all() {
        if forward.method == Method::Nat {
            loads.push(Load::start_paced(&client, forward.at(80), 2, RATE)?);
        }
    }
    let hosts = Hosts::of(&cluster);
    // All ports were used.
    wait_or_explain(&loads, 200, &hosts)?;
    let services = Cluster::all_services(3);
    for slots in ["64Ki", "32Ki"].into_iter().cycle().take(UPGRADES) {
        cluster.director.upgrade(slots, &services)?;
        wait_or_explain(&loads, 20, &hosts)?;
    }
    for load in loads {
        load.stop().expect_none_failed()?;
    }
    Ok(())
}

/// By every way a connection that stays open, and short ones one after the other.
fn traffic(client: &Host) -> Outcome<(Vec<EchoConnection>, Vec<Load>)> {
    /// Requests in a second, by each way: the daemon's starts need the processors too.
    const RATE: u32 = 100;
    let (mut open, mut loads) = (Vec::new(), Vec::new());
    for forward in Forward::all() {
        open.push(EchoConnection::open(client, forward.at(7))?);
        loads.push(Load::start_paced(client, forward.at(80), 1, RATE)?);
    }
    Ok((open, loads))
}

/// Waits as [`Load::wait_for_more`] does, for all loads; prints what each host knows as soon as one of them stands still.
fn wait_or_explain(loads: &[Load], more: u64, hosts: &Hosts) -> Outcome {
    const STILL: Duration = Duration::from_millis(2500);
    let start = Instant::now();
    let mut seen: Vec<(u64, Instant)> = loads.iter().map(|load| (load.done(), start)).collect();
    let goals: Vec<u64> = seen.iter().map(|(done, _)| done + more).collect();
    let mut explained = false;
    loop {
        let mut missing = None;
        for ((load, goal), (done, since)) in loads.iter().zip(&goals).zip(&mut seen) {
            let now = load.done();
            if now != *done {
                (*done, *since) = (now, Instant::now());
            } else if now < *goal && since.elapsed() > STILL && !explained {
                explained = true;
                println!("no answers: {:?}\n{}", load.so_far(), hosts.explain());
            }
            if now < *goal {
                missing = Some(load.so_far());
            }
        }
        match missing {
            None => return Ok(()),
            Some(report) if start.elapsed() > PATIENCE => {
                return Err(format!("no {more} more answers: {report:?}").into());
            }
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// All hosts of a cluster, and how its director is asked.
struct Hosts {
    all: Vec<Host>,
    director: Host,
    socket: PathBuf,
}

impl Hosts {
    fn of(cluster: &Cluster) -> Self {
        let net = &cluster.net;
        let mut all = vec![net.client.clone(), net.director.clone()];
        all.extend(net.real_servers.iter().cloned());
        Self {
            all,
            director: net.director.clone(),
            socket: cluster.director.socket().to_owned(),
        }
    }

    /// Neighbours, what waits for them, and the director's counters and connections.
    fn explain(&self) -> String {
        let mut text = String::new();
        for host in &self.all {
            for words in [
                &["ss", "-tnoi"][..],
                &["ip", "-s", "-6", "neigh", "show"],
                &["ip", "-s", "-4", "neigh", "show"],
                &["cat", "/proc/net/stat/ndisc_cache"],
            ] {
                text.push_str(&format!("{host} {words:?}:\n{}", answer(host.run(words))));
            }
        }
        for words in ["stats", "servers", "connections --limit 100000"] {
            let mut command = self.director.command(RVS);
            command.arg("--socket").arg(&self.socket);
            command.args(words.split(' '));
            let output = command.output().map(|output| common::text(&output.stdout));
            text.push_str(&format!("rvs {words}:\n{}", answer(output)));
        }
        text
    }
}

fn answer<E: std::fmt::Display>(result: Result<String, E>) -> String {
    result.unwrap_or_else(|error| format!("{error}\n"))
}

/// A quiesced server keeps its connections, and gets no others.
#[test]
fn weight_0_quiesces() -> Outcome {
    let cluster = Cluster::full("")?;
    for forward in Forward::all() {
        let mut open = EchoConnection::open(&cluster.net.client, forward.at(7))?;
        let name = open.server().to_owned();
        let number = match name.as_str() {
            "rs1" => 0,
            "rs2" => 1,
            _ => 2,
        };
        let port = if forward.method == Method::Nat {
            ":7"
        } else {
            ""
        };
        let server = match forward.server(number) {
            std::net::IpAddr::V6(address) if !port.is_empty() => format!("[{address}]{port}"),
            std::net::IpAddr::V4(address) => format!("{address}{port}"),
            std::net::IpAddr::V6(address) => address.to_string(),
        };
        cluster.director.rvs(&format!(
            "server set tcp://{} {server} --weight 0",
            forward.at(7)
        ))?;
        for _ in 0..6 {
            let other = EchoConnection::open(&cluster.net.client, forward.at(7))?;
            assert_ne!(other.server(), name, "{forward:?}");
        }
        open.check("still there")?;
    }
    Ok(())
}
