//! What is rare, end to end: full tables, dead services, ports that meet, replies that come back by another way.

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{EchoConnection, Family, LabError, Load, Nginx, NginxOptions, Topology, Vip};

const PATIENCE: Duration = Duration::from_secs(20);
/// A refusal that is told comes at once; a client that is told nothing tries for 20 seconds and more.
const AT_ONCE: Duration = Duration::from_secs(10);
/// For a connection that cannot be: its SYN is sent twice.
const TWO_TRIES: Duration = Duration::from_millis(1500);

fn forward(vip: Vip, family: Family) -> Forward {
    let method = match vip {
        Vip::Nat => Method::Nat,
        Vip::Direct => Method::Direct,
        Vip::Tunnel => Method::Tunnel,
    };
    Forward {
        vip,
        method,
        family,
    }
}

/// More flows than the smallest table has room for: those that are there stay, the others are refused and counted.
#[test]
fn a_full_table_refuses_and_keeps() -> Outcome {
    let settings = "connections = \"1024\"\nconnections_v6 = \"1024\"";
    let cluster = Cluster::full(settings)?;
    let (client, director) = (&cluster.net.client, &cluster.director);
    for family in Family::ALL {
        let way = forward(Vip::Direct, family);
        let mut first = EchoConnection::open(client, way.at(7))?;
        let refused_before = director.counter("drop_table_full")?;
        let sockets = (0..1500)
            .map(|_| client.udp_socket(None, way.at(53)))
            .collect::<Result<Vec<_>, LabError>>()?;
        let refused =
            || -> Outcome<u64> { Ok(director.counter("drop_table_full")? - refused_before) };
        // Not so many at a time that a queue on the way would overflow.
        let (mut answered, mut earlier) = (Vec::new(), 0);
        for some in sockets.chunks(100) {
            for socket in some {
                socket.set_nonblocking(true)?;
                socket.send(b"hello")?;
            }
            let mut waiting: Vec<&UdpSocket> = some.iter().collect();
            rvs_lab::wait_until("each is answered or refused", PATIENCE, || {
                waiting.retain(|socket| {
                    let is_answered = socket.recv(&mut [0; 64]).is_ok();
                    if is_answered {
                        answered.push(*socket);
                    }
                    !is_answered
                });
                waiting.is_empty()
                    || refused().is_ok_and(|refused| refused >= earlier + waiting.len() as u64)
            })?;
            earlier += waiting.len() as u64;
        }
        let refused = refused()?;
        let silent = (sockets.len() - answered.len()) as u64;
        assert!(answered.len() >= 900, "{family:?}: {} fit", answered.len());
        assert!(answered.len() <= 1024, "{family:?}: {}", answered.len());
        assert_eq!(refused, silent, "{family:?}");
        for socket in answered.iter().take(500) {
            socket.set_nonblocking(false)?;
            assert!(exchange(socket)?, "{family:?}: a flow was lost");
        }
        first.check("still there")?;
        let status = director.json("status")?;
        assert!(
            status["table"]["refused"].as_u64() >= Some(refused),
            "{status}"
        );
    }
    Ok(())
}

/// More connections one after another than the table has room for: those that are closed make way. A client that is
/// turned away first comes through when it repeats its SYN, a second later.
#[test]
fn closed_connections_make_way_in_a_full_table() -> Outcome {
    let settings = "connections = \"1024\"\nconnections_v6 = \"1024\"";
    let cluster = Cluster::full(settings)?;
    for family in Family::ALL {
        let way = forward(Vip::Nat, family);
        let made_before = cluster.director.counter("made_room")?;
        let load = Load::start(&cluster.net.client, way.at(80), 16)?;
        load.wait_for_more(600, Duration::from_secs(60))?;
        load.stop().expect_none_failed()?;
        let made = cluster.director.counter("made_room")? - made_before;
        assert!(
            made > 0,
            "{family:?}: 600 NAT connections fit into 1,024 slots"
        );
    }
    Ok(())
}

/// Sends a datagram: whether it is answered.
fn exchange(socket: &UdpSocket) -> Outcome<bool> {
    socket.send(b"hello")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.recv(&mut [0; 64]).is_ok())
}

/// No server takes connections: the client is told at once.
#[test]
fn a_dead_service_says_so_at_once() -> Outcome {
    let mut services = String::new();
    for family in Family::ALL {
        let vip = Vip::Nat.address(family);
        let server = Topology::inside_address(0, family);
        for (protocol, port, servers) in [
            ("tcp", 81, "[]".to_owned()),
            ("udp", 81, "[]".to_owned()),
            (
                "tcp",
                82,
                format!("[{{ address = \"{server}\", weight = 0 }}]"),
            ),
            (
                "udp",
                82,
                format!("[{{ address = \"{server}\", weight = 0 }}]"),
            ),
        ] {
            let address = SocketAddr::new(vip, port);
            services.push_str(&format!(
                "[[service]]\naddress = \"{protocol}://{address}\"\nmethod = \"nat\"\nservers = {servers}\n"
            ));
        }
    }
    let cluster = Cluster::with_real_servers(1, "", &services)?;
    for family in Family::ALL {
        for port in [81, 82] {
            let address = SocketAddr::new(Vip::Nat.address(family), port);
            let start = Instant::now();
            let error = cluster.net.client.connect(address).err();
            let error = error.ok_or("connected to a dead service")?.to_string();
            assert!(error.contains("refused"), "{address}: {error}");
            assert!(
                start.elapsed() < AT_ONCE,
                "{address}: {:?}",
                start.elapsed()
            );
            let error = cluster
                .net
                .client
                .udp_exchange(None, address, "hello", PATIENCE)
                .err()
                .ok_or("a dead service answered")?
                .to_string();
            assert!(error.contains("refused"), "{address}: {error}");
        }
    }
    let counters = cluster.director.counters()?;
    // A client may try TCP twice before it believes it.
    let answered = counters.get("answer_unreachable").copied();
    assert!(answered >= Some(8), "{counters:?}");
    assert_eq!(counters.get("drop_no_destination").copied(), answered);
    Ok(())
}

/// One client address and port, a hundred services at once: none refused, each answered by its own port.
#[test]
fn one_source_port_towards_100_services() -> Outcome {
    let ports: Vec<u16> = (8001..=8100).collect();
    let ways = [Vip::Nat, Vip::Direct, Vip::Tunnel]
        .into_iter()
        .flat_map(|vip| Family::ALL.map(|family| forward(vip, family)));
    let ways: Vec<Forward> = ways.collect();
    let services: String = ways
        .iter()
        .flat_map(|way| ports.iter().map(|port| way.service("tcp", *port, 3)))
        .collect();
    let cluster = Cluster::new("", &services)?;
    let options = NginxOptions {
        ports: ports.clone(),
        ..NginxOptions::default()
    };
    let mut running = Vec::new();
    for server in &cluster.net.real_servers {
        running.push(Nginx::start_with(server, &options)?);
    }
    for way in ways {
        let source = SocketAddr::new(Topology::client_address(way.family), 40_000);
        let mut open = Vec::new();
        for port in &ports {
            open.push((
                *port,
                cluster
                    .net
                    .client
                    .connect_from(Some(source), way.at(*port))?,
            ));
        }
        for (port, stream) in &mut open {
            let said = ask(stream, "/server")?;
            assert!(
                said.ends_with(&format!(" {port}")),
                "{way:?} {port}: {said}"
            );
        }
        let list = cluster.director.json("connections --limit 100000")?;
        let ours = list["connections"].as_array().ok_or("no list")?.iter();
        let ours = ours.filter(|one| {
            one["client"] == source.to_string().as_str()
                && one["service"]
                    .as_str()
                    .and_then(|text| text.parse::<SocketAddr>().ok())
                    .is_some_and(|at| at.ip() == way.vip.address(way.family))
        });
        assert_eq!(ours.count(), ports.len(), "{way:?}");
    }
    let counters = cluster.director.counters()?;
    assert!(
        !counters.keys().any(|name| name.starts_with("drop_")),
        "{counters:?}"
    );
    Ok(())
}

/// One request on an open connection: the answer's body.
fn ask(stream: &mut std::net::TcpStream, path: &str) -> Outcome<String> {
    use std::io::{Read as _, Write as _};
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).ok_or("no body")?;
    Ok(body.trim().to_owned())
}

/// Two NAT services with the same servers and port: the second connection from one client port goes to another server,
/// or nowhere; never is an answer crossed.
#[test]
fn two_services_share_a_server() -> Outcome {
    let service = |vip: IpAddr, port: u16, servers: &[String]| {
        format!(
            "[[service]]\naddress = \"tcp://{}\"\nscheduler = \"rr\"\nmethod = \"nat\"\nservers = [{}]\n",
            SocketAddr::new(vip, port),
            servers.join(", ")
        )
    };
    let mut services = String::new();
    for family in Family::ALL {
        let servers: Vec<String> = (0..2)
            .map(|number| Topology::inside_address(number, family))
            .map(|server| format!("\"{}\"", SocketAddr::new(server, 7)))
            .collect();
        for port in [7001, 7002] {
            services.push_str(&service(Vip::Nat.address(family), port, &servers));
        }
        for port in [7003, 7004] {
            services.push_str(&service(Vip::Nat.address(family), port, &servers[..1]));
        }
    }
    let cluster = Cluster::new("", &services)?;
    let client = &cluster.net.client;
    for family in Family::ALL {
        let at = |port| SocketAddr::new(Vip::Nat.address(family), port);
        let source = |port| Some(SocketAddr::new(Topology::client_address(family), port));
        let before = cluster.director.counter("rescheduled")?;
        for port in 41_000..41_010 {
            let mut one = EchoConnection::open_from(client, source(port), at(7001))?;
            let mut two = EchoConnection::open_from(client, source(port), at(7002))?;
            assert_ne!(one.server(), two.server(), "{family:?} {port}");
            for round in 0..3 {
                one.check(&format!("one {round}"))?;
                two.check(&format!("two {round}"))?;
            }
        }
        assert!(
            cluster.director.counter("rescheduled")? > before,
            "{family:?}"
        );

        let mut one = EchoConnection::open_from(client, source(42_000), at(7003))?;
        let before = cluster.director.counter("drop_reply_taken")?;
        let second = client.connect_within(source(42_000), at(7004), TWO_TRIES);
        assert!(second.is_err(), "{family:?}: {second:?}");
        assert!(
            cluster.director.counter("drop_reply_taken")? > before,
            "{family:?}"
        );
        one.check("alone")?;
    }
    Ok(())
}

/// Direct routing with the director as the servers' gateway: the replies come through it.
#[test]
fn direct_replies_through_the_director() -> Outcome {
    let cluster = Cluster::full("")?;
    for family in Family::ALL {
        let client = Topology::client_address(family);
        let length = if client.is_ipv4() { 32 } else { 128 };
        let to_client = format!("{client}/{length}");
        let director = Topology::director_address(family).to_string();
        for server in &cluster.net.real_servers {
            server.route(&["add", &to_client, "via", &director, "dev", "eth0"])?;
        }
        for vip in [Vip::Direct, Vip::Tunnel] {
            let way = forward(vip, family);
            let before = cluster.director.counter("direct_reply")?;
            cluster
                .net
                .client
                .get_many(way.at(80), 100, 4)?
                .expect_none_failed()?;
            let said = cluster
                .net
                .client
                .udp_exchange(None, way.at(53), "hello", PATIENCE)?;
            assert!(said.ends_with("hello"), "{way:?}: {said}");
            cluster.net.client.bulk_download(way.at(5001), 16 << 20)?;
            cluster.net.client.bulk_upload(way.at(5001), 16 << 20)?;
            let replies = cluster.director.counter("direct_reply")? - before;
            assert!(replies > 400, "{way:?}: {replies}");
        }
    }
    Ok(())
}

/// The director itself is a real server.
#[test]
fn the_director_serves_too() -> Outcome {
    let mut services = String::new();
    for family in Family::ALL {
        services.push_str(&format!(
            "[[service]]\naddress = \"tcp://{}\"\nscheduler = \"rr\"\nservers = [\"{}\", \"{}\"]\n",
            SocketAddr::new(Vip::Direct.address(family), 80),
            Topology::director_address(family),
            Topology::outside_address(0, family),
        ));
    }
    let cluster = Cluster::with_real_servers(1, "", &services)?;
    let _nginx = Nginx::start(&cluster.net.director)?;
    for family in Family::ALL {
        let address = SocketAddr::new(Vip::Direct.address(family), 80);
        let report = cluster.net.client.get_many(address, 40, 1)?;
        report.expect_none_failed()?;
        assert_eq!(report.by_server.get("director"), Some(&20), "{report:?}");
        assert_eq!(report.by_server.get("rs1"), Some(&20), "{report:?}");
    }
    assert!(cluster.director.counter("pass_local")? > 0);
    Ok(())
}
