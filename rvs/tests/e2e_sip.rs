//! SIP calls through a director, end to end: by every method, with and without connections, begun by either side.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Family, SipServer, Topology, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
/// Every message is scheduled for itself.
const ONCE: u16 = 5060;
/// Connections.
const KEPT: u16 = 5062;
/// Nobody serves there.
const SILENT: u16 = 5064;
const FULL: &str = "Call-ID: %";

fn services() -> String {
    let one = |forward: Forward, port, more: &str| {
        let service = forward.service("udp", port, 3);
        format!(
            "{}persistence = {{ timeout = 600, engine = \"sip\" }}\n{more}\n",
            service.trim_end()
        )
        .replacen("\"]persistence", "\"]\npersistence", 1)
    };
    let services = Forward::all().into_iter().flat_map(|forward| {
        [
            one(forward, ONCE, "one_packet = true\n"),
            one(forward, KEPT, ""),
            one(forward, SILENT, ""),
        ]
    });
    services.collect()
}

fn serve(cluster: &Cluster) -> Outcome<Vec<SipServer>> {
    let mut running = Vec::new();
    for server in &cluster.net.real_servers {
        for port in [ONCE, KEPT] {
            running.push(SipServer::start(server, port)?);
        }
    }
    Ok(running)
}

/// Who answers a message of this call, from a port that was not used before.
fn ask(
    cluster: &Cluster,
    at: SocketAddr,
    method: &str,
    header: &str,
    call: &str,
) -> Outcome<String> {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let family = if at.is_ipv4() { Family::V4 } else { Family::V6 };
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let source = SocketAddr::new(Topology::client_address(family), port);
    let answer = cluster
        .net
        .client
        .sip_request(Some(source), at, method, header, call, PATIENCE)
        .map_err(|error| format!("{method} {call} at {at}: {error}"))?;
    assert_eq!(answer.status, 200);
    Ok(answer.server)
}

#[test]
fn a_calls_messages_go_to_one_server() -> Outcome {
    let mut cluster = Cluster::new("", &services())?;
    let _running = serve(&cluster)?;
    let mut calls = BTreeMap::new();
    for forward in Forward::all() {
        for port in [ONCE, KEPT] {
            let at = forward.at(port);
            let mut servers: BTreeMap<String, u32> = BTreeMap::new();
            for number in 0..6 {
                let call = format!("{number}.{port}@{}", forward.vip.address(forward.family));
                let call = call.replace(':', ".");
                let server = ask(&cluster, at, "INVITE", FULL, &call)?;
                *servers.entry(server.clone()).or_default() += 1;
                calls.insert((at, call), server);
            }
            let counts: Vec<_> = servers.values().copied().collect();
            assert_eq!(counts, [2, 2, 2], "{at}: {servers:?}");
        }
    }
    let follow = |cluster: &Cluster, when: &str| -> Outcome {
        for ((at, call), server) in &calls {
            for (method, header) in [
                ("INVITE", FULL),
                ("BYE", "i:%"),
                ("INFO", "CALL-id :\r\n %"),
            ] {
                let answered = ask(cluster, *at, method, header, call)?;
                assert_eq!(&answered, server, "{when}: {method} of {call} at {at}");
            }
        }
        Ok(())
    };
    follow(&cluster, "at first")?;

    // A message without Call-ID goes nowhere.
    let dropped = cluster.director.counter("drop_no_call")?;
    let at = Forward::all()[0].at(ONCE);
    let short = Duration::from_millis(300);
    let client = &cluster.net.client;
    assert!(
        client
            .udp_exchange(None, at, "OPTIONS sip:a SIP/2.0\r\n\r\n", short)
            .is_err()
    );
    assert_eq!(cluster.director.counter("drop_no_call")?, dropped + 1);

    // Listings show the calls.
    let shown = |cluster: &Cluster| -> Outcome {
        let listed = cluster.director.rvs("ipvsadm -Lnc --persistent-conn")?;
        let ours = cluster.director.rvs("connections --limit 100000")?;
        let api = cluster.director.json("connections --limit 100000")?;
        let api = api["connections"].as_array().ok_or("no list")?.clone();
        for (at, call) in calls.keys() {
            let line = listed
                .lines()
                .find(|line| line.contains(&at.to_string()) && line.ends_with(&format!(" {call}")))
                .ok_or_else(|| format!("{call} at {at} is not in\n{listed}"))?;
            assert!(
                line.starts_with("UDP ") && line.contains(" sip  "),
                "{line}"
            );
            assert!(
                ours.lines().any(|line| line.ends_with(&format!(" {call}"))),
                "{ours}"
            );
            let found = api
                .iter()
                .find(|one| one["call"] == call.as_str() && one["service"] == at.to_string());
            assert_eq!(found.map(|one| &one["template"]), Some(&true.into()));
        }
        Ok(())
    };
    shown(&cluster)?;

    // Another process, and other tables, know them too.
    cluster.director.kill()?;
    cluster.director.run()?;
    follow(&cluster, "adopted")?;
    shown(&cluster)?;
    cluster.director.terminate()?;
    let larger = "connections = \"128Ki\"\nconnections_v6 = \"64Ki\"";
    cluster.director.configure(larger, &services())?;
    cluster.director.run()?;
    let status = cluster.director.json("status")?;
    assert_eq!(status["adoption"]["adoption"], "upgraded", "{status}");
    shown(&cluster)?;
    follow(&cluster, "upgraded")
}

/// A real server behind NAT calls a client: the client sees the virtual address, and what it says in that call goes to that
/// server.
#[test]
fn a_server_behind_nat_calls() -> Outcome {
    let cluster = Cluster::new("", &services())?;
    let phone_port = |number: usize| 5070 + number as u16;
    let start = |number| SipServer::start(&cluster.net.client, phone_port(number));
    let _phones = (0..3).map(start).collect::<Result<Vec<_>, _>>()?;
    let ways = Forward::all()
        .into_iter()
        .filter(|way| way.method == Method::Nat);
    for forward in ways {
        let family = forward.family;
        for (number, server) in cluster.net.real_servers.iter().enumerate() {
            let client = Topology::client_address(family);
            let phone = SocketAddr::new(client, phone_port(number));
            let from = SocketAddr::new(Topology::inside_address(number, family), SILENT);
            let call = format!("{number}@server.example");
            let started = cluster.director.counter("call_started")?;
            let answer = server.sip_request(Some(from), phone, "INVITE", FULL, &call, PATIENCE)?;
            assert_eq!((answer.status, answer.server.as_str()), (200, "client"));
            assert_eq!(cluster.director.counter("call_started")?, started + 1);
            // The call is that server's: it hears the client there from any port.
            let listener = server.in_namespace(|| std::net::UdpSocket::bind(from))??;
            listener.set_read_timeout(Some(PATIENCE))?;
            let said = format!("BYE sip:a SIP/2.0\r\nCall-ID: {call}\r\n\r\n");
            let client = cluster.net.client.udp_socket(None, forward.at(SILENT))?;
            client.send(said.as_bytes())?;
            let mut buffer = [0; 1500];
            let (length, peer) = listener.recv_from(&mut buffer)?;
            assert_eq!(&buffer[..length], said.as_bytes());
            assert_eq!(peer.ip(), Topology::client_address(family));
        }
    }
    Ok(())
}

/// A call that was silent for the time of persistence is forgotten.
#[test]
fn calls_end() -> Outcome {
    let forward = Forward::all()[0];
    let service = services().replace("timeout = 600", "timeout = 5");
    let cluster = Cluster::new("", &service)?;
    let _running = serve(&cluster)?;
    ask(&cluster, forward.at(ONCE), "OPTIONS", FULL, "short@example")?;
    let listed = || cluster.director.rvs("ipvsadm -Lnc --persistent-conn");
    assert!(listed()?.contains("short@example"));
    wait_until("the call's end", 4 * PATIENCE, || {
        listed().is_ok_and(|text| !text.contains("UDP"))
    })?;
    // The same call is a new one.
    ask(&cluster, forward.at(ONCE), "OPTIONS", FULL, "short@example")?;
    assert!(listed()?.contains("short@example"));
    Ok(())
}
