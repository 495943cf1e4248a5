//! IPv4 without "don't fragment" that is longer than its way takes, end to end: it arrives, in fragments.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Bulk, Family, Host, Offload, Topology, UdpEcho, Vip};

const TIMEOUT: Duration = Duration::from_secs(30);
/// What the ways on the other side of the director take where a test narrows them.
const NARROW: &str = "1300";
/// Ports of services beside the cluster's own.
const ECHO: u16 = 5353;
const BULK: u16 = 5002;

fn way(vip: Vip, method: Method) -> Forward {
    Forward {
        vip,
        method,
        family: Family::V4,
    }
}

/// The client cuts datagrams for its own link, 1500 bytes: a tunnel takes 1480.
#[test]
fn fragments_of_full_size_go_through_a_tunnel() -> Outcome {
    let cluster = Cluster::full("")?;
    let way = way(Vip::Tunnel, Method::Tunnel);
    let socket = cluster.net.client.udp_socket(None, way.at(53))?;
    for length in [4000, 20_000, 60_000] {
        socket.send(&payload(length))?;
        expect(&socket, length)?;
    }
    // All but the last fragment of each.
    assert!(cluster.director.counter("cut_detour")? >= 2 + 13 + 40);
    nothing_dropped(&cluster)
}

/// Every method, where the way to the server, and for NAT the one to the client, is narrower than the sender's link.
#[test]
fn datagrams_and_streams_that_may_be_fragmented_arrive() -> Outcome {
    let ways = [
        way(Vip::Nat, Method::Nat),
        way(Vip::Direct, Method::Direct),
        way(Vip::Tunnel, Method::Tunnel),
    ];
    let services: String = ways
        .iter()
        .flat_map(|way| [way.service("udp", ECHO, 3), way.service("tcp", BULK, 3)])
        .collect();
    let cluster = Cluster::new("", &services)?;
    let net = &cluster.net;
    let client = Topology::client_address(Family::V4).to_string();
    narrow(&net.director, &client, "eth0")?;
    for number in 0..net.real_servers.len() {
        let outside = Topology::outside_address(number, Family::V4).to_string();
        narrow(&net.director, &outside, "eth0")?;
        let inside = Topology::inside_address(number, Family::V4).to_string();
        narrow(&net.director, &inside, "eth1")?;
    }
    // No "don't fragment" in what is sent from now on, from sockets that are made from now on.
    for host in std::iter::once(&net.client).chain(&net.real_servers) {
        host.sysctl("net.ipv4.ip_no_pmtu_disc", "1")?;
    }
    let mut serving = Vec::new();
    for server in &net.real_servers {
        serving.push((UdpEcho::start(server, ECHO)?, Bulk::start(server, BULK)?));
    }
    for offload in [Offload::On, Offload::Off] {
        net.offload(offload)?;
        for way in ways {
            // The way to a server is asked for once a second, and answers may be cut before requests are.
            let both = if way.method == Method::Nat { 2 } else { 1 };
            let known = rvs_lab::wait_until("the narrow way is known", TIMEOUT, || {
                let cut = || cluster.director.counter("cut_detour").unwrap_or(0);
                let before = cut();
                echo(&net.client, way).is_ok() && cut() >= before + both
            });
            if let Err(error) = known {
                let counters = cluster.director.counters()?;
                return Err(format!("{way:?}, {offload:?}: {error}: {counters:?}").into());
            }
            let before = cluster.director.counter("fragment_forward")?;
            net.client.bulk_upload(way.at(BULK), 2 << 20)?;
            net.client.bulk_download(way.at(BULK), 2 << 20)?;
            // A super-packet goes to the daemon as one, and comes back segment by segment.
            let cut = cluster.director.counter("fragment_forward")? - before;
            // Replies by direct routing and tunnels do not come here.
            let least = (2 << 20) / 1460 * both;
            assert!(cut >= least, "{way:?}, {offload:?}: {cut} of {least}");
        }
    }
    nothing_dropped(&cluster)
}

/// The last first, and each too long: they wait for the first and are cut afterwards.
#[test]
fn what_waited_may_still_be_too_long() -> Outcome {
    let cluster = Cluster::full("")?;
    let client = &cluster.net.client;
    let way = way(Vip::Tunnel, Method::Tunnel);
    let socket = client.udp_socket(None, way.at(53))?;
    client.ping(way.at(53).ip())?;
    let mut frames = common::fragments(client, &socket, way, &payload(4000), 1480, 77)?;
    frames.reverse();
    rvs_lab::inject_all(client, "eth0", &frames)?;
    expect(&socket, 4000)?;
    assert!(cluster.director.counter("fragment_detour")? >= 1);
    assert!(cluster.director.counter("cut_detour")? >= 2);
    nothing_dropped(&cluster)
}

/// Large echo requests to the virtual addresses are the director's own, by whatever method their services go.
#[test]
fn large_pings_are_answered() -> Outcome {
    let cluster = Cluster::full("")?;
    for way in Forward::all() {
        let address = way.at(0).ip().to_string();
        let words = [
            "ping", "-n", "-c", "3", "-i", "0.1", "-W", "20", "-s", "4000",
        ];
        cluster
            .net
            .client
            .run(&[&words[..], &[&address]].concat())
            .map_err(|error| format!("{way:?}: {error}"))?;
    }
    nothing_dropped(&cluster)
}

/// While the daemon is away what is too long is dropped, and counted; afterwards it goes on.
#[test]
fn without_the_daemon_it_is_dropped() -> Outcome {
    let mut cluster = Cluster::full("")?;
    let way = way(Vip::Tunnel, Method::Tunnel);
    let socket = cluster.net.client.udp_socket(None, way.at(53))?;
    socket.send(&payload(4000))?;
    expect(&socket, 4000)?;
    cluster.director.terminate()?;
    socket.send(&payload(4000))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    assert!(socket.recv(&mut [0; 8]).is_err());
    cluster.director.run()?;
    assert!(cluster.director.counter("drop_too_big")? >= 1);
    socket.send(&payload(4000))?;
    expect(&socket, 4000)
}

/// A host's way to an address takes no more than [`NARROW`].
fn narrow(host: &Host, address: &str, device: &str) -> Outcome {
    let to = format!("{address}/32");
    Ok(host.route(&["add", &to, "dev", device, "mtu", "lock", NARROW])?)
}

fn nothing_dropped(cluster: &Cluster) -> Outcome {
    for counter in ["drop_too_big", "drop_fragment", "answer_too_big"] {
        assert_eq!(cluster.director.counter(counter)?, 0, "{counter}");
    }
    Ok(())
}

/// A datagram that fits the client's link, and back.
fn echo(client: &Host, way: Forward) -> Outcome {
    let socket = client.udp_socket(None, way.at(ECHO))?;
    socket.send(&payload(1400))?;
    expect(&socket, 1400)
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31) >> 3) as u8).collect()
}

fn expect(socket: &UdpSocket, length: usize) -> Outcome {
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut buffer = vec![0; 65_536];
    let got = socket
        .recv(&mut buffer)
        .map_err(|error| format!("{length} bytes: {error}"))?;
    let (name, echo) = buffer[..got].split_at("rs1: ".len());
    assert!(name.starts_with(b"rs") && echo == payload(length), "{got}");
    Ok(())
}
