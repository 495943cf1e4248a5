//! Which way replies leave, and as what: routes by source, hop limits of servers on the director, and clients that come
//! back to their servers over an upgrade.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Capture, Direction, Family, Frame, Load, Nginx, NginxOptions, Topology, Vip};

const PATIENCE: Duration = Duration::from_secs(30);
/// For frames that may still be under way when their connection's last byte was read. Those of the answer itself were seen.
const REST: Duration = Duration::from_millis(100);

fn nat(family: Family) -> Forward {
    Forward {
        vip: Vip::Nat,
        method: Method::Nat,
        family,
    }
}

/// HTTP by NAT to one server, both families, as TOML.
fn web_by_nat() -> String {
    let services = Family::ALL.map(|family| nat(family).service("tcp", 80, 1));
    services.concat()
}

/// What a TCP or UDP frame says of its way: source address, hop limit.
fn source(frame: &Frame) -> Option<(IpAddr, u8)> {
    let bytes = &frame.bytes;
    match bytes.get(12..14)? {
        [8, 0] => {
            let address: [u8; 4] = bytes.get(26..30)?.try_into().ok()?;
            Some((address.into(), *bytes.get(22)?))
        }
        [0x86, 0xdd] if [6, 17].contains(bytes.get(20)?) => {
            let address: [u8; 16] = bytes.get(22..38)?.try_into().ok()?;
            Some((address.into(), *bytes.get(21)?))
        }
        _ => None,
    }
}

/// How many of these frames come in from an address.
fn coming_from(frames: &[Frame], address: IpAddr) -> usize {
    frames
        .iter()
        .filter(|frame| frame.direction == Direction::In)
        .filter(|frame| source(frame).is_some_and(|(source, _)| source == address))
        .count()
}

/// Replies from the virtual address have a way of their own, through another router. `snat_reroute` decides whether
/// they take it, or that of the server's packets.
#[test]
fn snat_reroute_decides_by_whose_routes_replies_leave() -> Outcome {
    let services = web_by_nat();
    let cluster = Cluster::with_real_servers(1, "snat_reroute = true", &services)?;
    let net = &cluster.net;
    let router = cluster.another_host("router")?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    for (family, own, all) in [
        (Family::V4, "10.0.0.3", "0.0.0.0/0"),
        (Family::V6, "2001:db8::3", "::/0"),
    ] {
        let vip = nat(family).vip.address(family).to_string();
        let client = Topology::client_address(family);
        let length = if client.is_ipv4() { 24 } else { 64 };
        router.add_address("eth0", &format!("{own}/{length}"))?;
        net.director
            .route(&["add", all, "via", own, "dev", "eth0", "table", "50"])?;
        net.director.rule(&["add", "from", &vip, "lookup", "50"])?;
        net.director.ping(own.parse()?)?;
    }
    for reroute in [true, false] {
        if !reroute {
            // By its configuration, as before.
            let settings = "snat_reroute = false";
            cluster.director.configure(settings, &services)?;
            cluster.director.rvs("reload")?;
        }
        for family in Family::ALL {
            let forward = nat(family);
            let vip = forward.vip.address(family);
            let mut capture = Capture::start(&router, "eth0")?;
            net.client
                .get_many(forward.at(80), 20, 1)?
                .expect_none_failed()?;
            let seen = coming_from(&capture.collect(REST)?, vip);
            if reroute {
                assert!(seen >= 20 * 3, "{family:?}: {seen} replies by the router");
            } else {
                assert_eq!(seen, 0, "{family:?}: replies by the router");
            }
        }
    }
    Ok(())
}

/// A neighbour's entry that is stale and wrong is what the kernel has after a client or a gateway has changed its link address
/// unseen. Replies use the entry as the kernel's own packets do, so it is probed, found to be wrong and replaced.
#[test]
fn replies_have_a_stale_neighbour_confirmed() -> Outcome {
    let services = web_by_nat();
    let cluster = Cluster::with_real_servers(1, "", &services)?;
    let net = &cluster.net;
    for (family, number) in [(Family::V4, "4"), (Family::V6, "6")] {
        cluster.show_client_by_probes_alone(family, nat(family).at(80).ip())?;
        let client = Topology::client_address(family).to_string();
        let words = ["ip", "nexthop", "add", "id", number, "via", &client];
        net.director.run(&[&words[..], &["dev", "eth0"]].concat())?;
        let group = format!("{number}0");
        net.director
            .run(&["ip", "nexthop", "add", "id", &group, "group", number])?;
        let far = far_client(family).to_string();
        net.director.route(&["add", &far, "nhid", &group])?;
        net.client.add_vip("lo", far_client(family))?;
    }
    for source in [Topology::client_address as fn(Family) -> IpAddr, far_client] {
        for family in Family::ALL {
            cluster.mislead_about_client(family)?;
        }
        let connected = std::thread::scope(|scope| {
            let clients = Family::ALL.map(|family| {
                let from = SocketAddr::new(source(family), 0);
                scope.spawn(move || {
                    net.client
                        .connect_within(Some(from), nat(family).at(80), PATIENCE)
                })
            });
            clients.map(|client| client.join().is_ok_and(|stream| stream.is_ok()))
        });
        assert_eq!(
            connected,
            [true; 2],
            "IPv4 and IPv6 from {:?}",
            source(Family::V4)
        );
    }
    Ok(())
}

/// A client whose replies go by a group of next hop objects, with the client of [`Topology`] as the gateway.
fn far_client(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 51, 100, 9]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, 9]),
    }
}

/// A server on the director at another port: its replies are the host's own and not forwarded, so they keep the hop
/// limit that the host gave them; those of a server elsewhere lose one.
#[test]
fn replies_of_a_server_on_the_director_keep_their_hop_limit() -> Outcome {
    const OWN_LIMIT: u8 = 64;
    let mut services = String::new();
    for family in Family::ALL {
        for (port, server, theirs) in [
            (80, Topology::inside_address(0, family), 80),
            (81, Topology::director_address(family), 8080),
        ] {
            services.push_str(&format!(
                "[[service]]\naddress = \"tcp://{}\"\nmethod = \"nat\"\nservers = [\"{}\"]\n",
                nat(family).at(port),
                SocketAddr::new(server, theirs)
            ));
        }
    }
    let cluster = Cluster::with_real_servers(1, "", &services)?;
    let net = &cluster.net;
    let options = NginxOptions {
        ports: vec![8080],
        ..NginxOptions::default()
    };
    let _nginx = Nginx::start_with(&net.director, &options)?;
    for family in Family::ALL {
        for (port, name, expected) in [(80, "rs1", OWN_LIMIT - 1), (81, "director", OWN_LIMIT)] {
            let at = nat(family).at(port);
            let mut capture = Capture::start(&net.client, "eth0")?;
            assert_eq!(net.client.get(at, "/id")?.trim(), name);
            let frames = capture.collect(REST)?;
            let limits: Vec<u8> = frames
                .iter()
                .filter(|frame| frame.direction == Direction::In)
                .filter_map(source)
                .filter(|(source, _)| *source == at.ip())
                .map(|(_, limit)| limit)
                .collect();
            assert!(limits.len() >= 3, "{at}: {limits:?}");
            assert!(
                limits.iter().all(|limit| *limit == expected),
                "{at}: {limits:?}, not {expected}"
            );
        }
    }
    Ok(())
}

/// Clients with templates, while requests of all of them go on: after an upgrade to another table size each still has
/// its server.
#[test]
fn templates_outlive_an_upgrade_under_traffic() -> Outcome {
    const CLIENTS: u8 = 30;
    let (mut cluster, services) = remembering(CLIENTS)?;
    let client = cluster.net.client.clone();
    let servers = || -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for family in Family::ALL {
            for number in 0..CLIENTS {
                let source = SocketAddr::new(client_address(family, number), 0);
                let mut stream = client.connect_from(Some(source), nat(family).at(80))?;
                names.push(ask(&mut stream)?);
            }
        }
        Ok(names)
    };
    let before = servers()?;
    for name in ["rs1", "rs2", "rs3"] {
        let count = before.iter().filter(|found| *found == name).count();
        assert_eq!(count, before.len() / 3, "{before:?}");
    }
    let mut loads = Vec::new();
    for family in Family::ALL {
        loads.push(Load::start_paced(&client, nat(family).at(80), 2, 400)?);
    }
    let director = &mut cluster.director;
    director.upgrade("512Ki", &services)?;
    let status = director.json("status")?;
    assert_eq!(status["adoption"]["adoption"], "upgraded", "{status}");
    assert_eq!(status["adoption"]["refused"], 0, "{status}");
    assert_eq!(servers()?, before, "after the upgrade");
    for load in loads {
        load.wait_for_more(20, PATIENCE)?;
        let report = load.stop();
        report.expect_none_failed()?;
        assert_eq!(
            report.by_server.len(),
            1,
            "one client, one server: {report:?}"
        );
    }
    assert_eq!(servers()?, before, "a while after the upgrade");
    Ok(())
}

/// Clients that come for the first time while the tables are exchanged keep the server that they have found, whichever
/// director's programs saw them first.
#[test]
fn clients_that_come_during_an_upgrade_have_one_server() -> Outcome {
    const CLIENTS: u8 = 90;
    let (mut cluster, services) = remembering(CLIENTS)?;
    let client = cluster.net.client.clone();
    let known = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let ask_from = |family, number| -> Outcome<String> {
        let source = SocketAddr::new(client_address(family, number), 0);
        ask(&mut client.connect_from(Some(source), nat(family).at(80))?)
    };
    // New ones, a few at every moment of the upgrade; says how many came.
    let come = |family| -> Outcome<u8> {
        for number in 0..CLIENTS {
            if is_over.load(Ordering::SeqCst) {
                return Ok(number);
            }
            let server = ask_from(family, number)?;
            known
                .lock()
                .expect("no panic")
                .push((family, number, server));
            std::thread::sleep(Duration::from_millis(40));
        }
        Ok(CLIENTS)
    };
    // Those that were there, again and again.
    let come_back = |newest: usize| -> Outcome {
        while !is_over.load(Ordering::SeqCst) {
            let clients: Vec<_> = known
                .lock()
                .expect("no panic")
                .iter()
                .rev()
                .take(newest)
                .cloned()
                .collect();
            for (family, number, server) in clients {
                let now = ask_from(family, number)?;
                assert_eq!(now, server, "{family:?}, client {number}");
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Outcome {
        let newcomers = Family::ALL
            .map(|family| scope.spawn(move || come(family).map_err(|error| error.to_string())));
        let regulars = [4, 200].map(|newest| {
            scope.spawn(move || come_back(newest).map_err(|error| error.to_string()))
        });
        let upgrade = cluster.director.upgrade("512Ki", &services);
        is_over.store(true, Ordering::SeqCst);
        for thread in newcomers {
            let came = thread.join().expect("no panic")?;
            assert!(came > 5, "{came} clients came during the upgrade");
        }
        for thread in regulars {
            thread.join().expect("no panic")?;
        }
        upgrade
    })?;
    let status = cluster.director.json("status")?;
    assert_eq!(status["adoption"]["adoption"], "upgraded", "{status}");
    for (family, number, server) in known.lock().expect("no panic").iter() {
        let now = ask_from(*family, *number)?;
        assert_eq!(
            now, *server,
            "{family:?}, client {number}, after the upgrade"
        );
    }
    Ok(())
}

/// Services by NAT that remember their clients, each with three servers, and so many addresses of clients of
/// either family. Gives the services, too.
fn remembering(clients: u8) -> Outcome<(Cluster, String)> {
    let services: String = Family::ALL
        .into_iter()
        .map(|family| {
            let service = nat(family).service("tcp", 80, 3);
            service.replace("method", "persistence = \"5m\"\nmethod")
        })
        .collect();
    let cluster = Cluster::new("", &services)?;
    for family in Family::ALL {
        let length = if family == Family::V4 { 24 } else { 64 };
        for number in 0..clients {
            let address = client_address(family, number);
            cluster
                .net
                .client
                .add_address("eth0", &format!("{address}/{length}"))?;
        }
    }
    Ok((cluster, services))
}

fn client_address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, 0, 150 + number]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 1, u16::from(number)]),
    }
}

/// Which server answers.
fn ask(stream: &mut std::net::TcpStream) -> Outcome<String> {
    use std::io::{Read as _, Write as _};
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /id HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).ok_or("no body")?;
    Ok(body.trim().to_owned())
}
