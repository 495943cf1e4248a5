//! A tunnel's path that is narrower than its ends, end to end: a router between director and real server says how much
//! it takes, and the client hears of it.

mod common;

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Family, Host, Offload, Topology, Vip};

const PATIENCE: Duration = Duration::from_secs(20);
const EMSGSIZE: i32 = 90;
const NARROW: usize = 1400;

/// Puts a router with a narrow link between the director and the first real server.
fn narrow(cluster: &Cluster) -> Outcome<Host> {
    let router = cluster.host("router")?;
    cluster.net.outside.connect(&router, "eth0")?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    for name in ["all", "default", "eth0"] {
        router.sysctl(&format!("net.ipv4.conf.{name}.send_redirects"), "0")?;
    }
    router.offload("eth0", Offload::Off)?;
    for (address, family) in [("10.0.0.9/24", Family::V4), ("2001:db8::9/64", Family::V6)] {
        router.add_address("eth0", address)?;
        let server = Topology::outside_address(0, family).to_string();
        let mtu = NARROW.to_string();
        router.route(&["add", &server, "dev", "eth0", "mtu", "lock", &mtu])?;
        let (gateway, _) = address.split_once('/').ok_or("no prefix")?;
        let route = ["add", &server, "via", gateway, "dev", "eth0"];
        cluster.net.director.route(&route)?;
    }
    Ok(router)
}

/// Sends so many bytes: how many came back.
fn echo(socket: &UdpSocket, bytes: usize) -> io::Result<usize> {
    let mut buffer = vec![b'x'; 4096];
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&buffer[..bytes])?;
    socket.recv(&mut buffer)
}

/// The error that comes of sending so many bytes. Until the director has taken to the router, they are answered.
fn refused(socket: &UdpSocket, bytes: usize) -> Outcome<io::Error> {
    let until = Instant::now() + 5 * PATIENCE;
    while Instant::now() < until {
        match echo(socket, bytes) {
            // Only late, or lost.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Ok(error),
            Ok(_) => {}
        }
    }
    Err("answered".into())
}

#[test]
fn a_router_tells_and_the_client_hears() -> Outcome {
    let ways = Family::ALL.map(|family| Forward {
        vip: Vip::Tunnel,
        method: Method::Tunnel,
        family,
    });
    let services: String = ways
        .iter()
        .flat_map(|way| [("udp", 53), ("tcp", 5001)].map(|(p, port)| way.service(p, port, 1)))
        .collect();
    let cluster = Cluster::new("", &services)?;
    cluster.net.offload(Offload::Off)?;
    let _router = narrow(&cluster)?;
    for way in ways {
        let director = &cluster.director;
        let header = match way.family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let learned = director.counter("path_mtu")?;
        let forwarded = director.counter("icmp_forward")?;
        let answered = director.counter("answer_too_big")?;
        let socket = cluster.net.client.udp_socket(None, way.at(53))?;
        let fits = NARROW - 2 * header - 8;
        assert_eq!(echo(&socket, fits)?, fits + "rs1: ".len(), "{way:?}");
        // The first that is too large reaches the router, which says so; the client hears it in the end.
        let error = refused(&socket, fits + 1)?;
        assert_eq!(error.raw_os_error(), Some(EMSGSIZE), "{way:?}: {error}");
        assert_eq!(director.counter("path_mtu")? - learned, 1, "{way:?}");
        assert_eq!(director.counter("icmp_forward")? - forwarded, 1, "{way:?}");
        assert_eq!(director.counter("answer_too_big")? - answered, 1, "{way:?}");
        let told = cluster.net.client.run(&[
            "ip",
            "route",
            "get",
            &way.vip.address(way.family).to_string(),
        ])?;
        let mtu = format!("mtu {}", NARROW - header);
        assert!(told.contains(&mtu), "{way:?}: {told}");

        // Whoever comes later is told by the director, which knows by now; nothing more reaches the router.
        for kind in ["-4", "-6"] {
            let flush = ["ip", kind, "route", "flush", "cache"];
            cluster.net.client.run(&flush)?;
        }
        let other = cluster.net.client.udp_socket(None, way.at(53))?;
        let error = echo(&other, fits + 1).err().ok_or("answered")?;
        assert_eq!(error.raw_os_error(), Some(EMSGSIZE), "{way:?}: {error}");
        assert_eq!(director.counter("icmp_forward")? - forwarded, 1, "{way:?}");
        assert_eq!(director.counter("answer_too_big")? - answered, 2, "{way:?}");
        assert_eq!(echo(&other, fits)?, fits + "rs1: ".len(), "{way:?}");

        // TCP through another service, whose server is the same but has yet to be told of.
        cluster.net.client.bulk_upload(way.at(5001), 4 << 20)?;
        cluster.net.client.bulk_download(way.at(5001), 4 << 20)?;
    }
    Ok(())
}
