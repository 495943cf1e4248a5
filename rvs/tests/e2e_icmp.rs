//! ICMP, end to end: what is too large is told, and errors find their connection.

mod common;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Family, Offload, Vip, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
/// For an answer that shall not come, after what comes instead.
const SHORT: Duration = Duration::from_millis(200);
const EMSGSIZE: i32 = 90;

/// Without offloads every packet has its size on the wire: a tunnel's are told to the client, which sends smaller ones.
#[test]
fn tunnels_tell_how_much_fits() -> Outcome {
    let cluster = Cluster::full("")?;
    cluster.net.offload(Offload::Off)?;
    for family in Family::ALL {
        let way = Forward {
            vip: Vip::Tunnel,
            method: Method::Tunnel,
            family,
        };
        let before = cluster.director.counter("answer_too_big")?;
        let socket = cluster.net.client.udp_socket(None, way.at(53))?;
        let (fits, too_large) = match family {
            Family::V4 => (1500 - 20 - 20 - 8, 1500 - 20 - 8),
            Family::V6 => (1500 - 40 - 40 - 8, 1500 - 40 - 8),
        };
        assert_eq!(echo(&socket, fits)?, fits + "rs1: ".len(), "{family:?}");
        let error = echo(&socket, too_large).err().ok_or("answered")?;
        assert_eq!(error.raw_os_error(), Some(EMSGSIZE), "{family:?}: {error}");
        let after = cluster.director.counter("answer_too_big")?;
        assert_eq!(after - before, 1, "{family:?}");

        // Another client address would have to learn it anew; this one's TCP already knows.
        cluster.net.client.run(&["ip", "route", "flush", "cache"])?;
        cluster
            .net
            .client
            .run(&["ip", "-6", "route", "flush", "cache"])?;
        cluster.net.client.bulk_upload(way.at(5001), 16 << 20)?;
        assert!(
            cluster.director.counter("answer_too_big")? > after,
            "{family:?}"
        );
        cluster.net.client.bulk_download(way.at(5001), 16 << 20)?;
    }
    Ok(())
}

/// The way to the NAT servers is narrower than the client's.
#[test]
fn nat_tells_how_much_fits() -> Outcome {
    let cluster = Cluster::full("")?;
    cluster.net.offload(Offload::Off)?;
    cluster.net.director.set_mtu("eth1", 1400)?;
    for family in Family::ALL {
        let way = Forward {
            vip: Vip::Nat,
            method: Method::Nat,
            family,
        };
        let before = cluster.director.counter("answer_too_big")?;
        cluster.net.client.bulk_upload(way.at(5001), 16 << 20)?;
        assert!(
            cluster.director.counter("answer_too_big")? > before,
            "{family:?}"
        );
    }
    Ok(())
}

/// Sends so many bytes: how many came back.
fn echo(socket: &UdpSocket, bytes: usize) -> io::Result<usize> {
    let mut buffer = vec![b'x'; 4096];
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&buffer[..bytes])?;
    socket.recv(&mut buffer)
}

/// A NAT server whose port is closed says so, and the client hears it as from the service.
#[test]
fn a_closed_port_behind_nat_is_told() -> Outcome {
    let services: String = Family::ALL
        .map(|family| {
            let way = Forward {
                vip: Vip::Nat,
                method: Method::Nat,
                family,
            };
            way.service("udp", 9, 3)
        })
        .concat();
    let cluster = Cluster::new("", &services)?;
    for family in Family::ALL {
        let address = SocketAddr::new(Vip::Nat.address(family), 9);
        let before = cluster.director.counter("icmp_forward")?;
        for _ in 0..6 {
            let error = cluster
                .net
                .client
                .udp_exchange(None, address, "hello", PATIENCE)
                .err()
                .ok_or("a closed port answered")?
                .to_string();
            assert!(error.contains("refused"), "{family:?}: {error}");
        }
        let forwarded = cluster.director.counter("icmp_forward")? - before;
        assert_eq!(forwarded, 6, "{family:?}");
    }
    Ok(())
}

/// The virtual addresses answer pings, and a packet whose time is used up is told of.
#[test]
fn pings_and_time_exceeded() -> Outcome {
    let cluster = Cluster::full("")?;
    for family in Family::ALL {
        cluster.net.client.ping(Vip::Nat.address(family))?;
        let address = SocketAddr::new(Vip::Nat.address(family), 53);
        let socket = cluster.net.client.udp_socket(None, address)?;
        let path = match family {
            Family::V4 => "net.ipv4.ip_default_ttl",
            Family::V6 => "net.ipv6.conf.eth0.hop_limit",
        };
        cluster.net.client.sysctl(path, "1")?;
        let short = cluster.net.client.udp_socket(None, address)?;
        let before = cluster.director.counter("answer_ttl")?;
        short.send(b"hello")?;
        wait_until("an answer that the time is exceeded", PATIENCE, || {
            cluster
                .director
                .counter("answer_ttl")
                .is_ok_and(|now| now > before)
        })?;
        short.set_read_timeout(Some(SHORT))?;
        assert!(short.recv(&mut [0; 16]).is_err(), "{family:?}");
        assert_eq!(
            cluster.director.counter("answer_ttl")? - before,
            1,
            "{family:?}"
        );
        cluster.net.client.sysctl(path, "64")?;
        assert!(echo(&socket, 10).is_ok(), "{family:?}");
    }
    Ok(())
}
