//! The services answer, the traffic tools count and hash right, and captures see the frames.

use rvs_lab::{
    Bulk, Capture, Direction, EchoConnection, Family, Host, Lab, Load, Nginx, NginxOptions,
    TcpEcho, Topology, UdpEcho, Vip, inject, pattern_sha256,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const TIME: Duration = Duration::from_secs(50);

/// A client and a server joined by one link, with addresses of both families.
fn pair(lab: &Lab) -> Result<(Host, Host, [IpAddr; 2])> {
    let (client, server) = (lab.host("client")?, lab.host("server")?);
    lab.link(&client, "eth0", &server, "eth0")?;
    for (host, number) in [(&client, 1), (&server, 2)] {
        host.add_address("eth0", &format!("192.0.2.{number}/24"))?;
        host.add_address("eth0", &format!("2001:db8::{number}/64"))?;
    }
    let addresses = ["192.0.2.2".parse()?, "2001:db8::2".parse()?];
    for address in addresses {
        client.ping(address)?;
    }
    Ok((client, server, addresses))
}

#[test]
fn nginx_serves_all_its_paths() -> Result {
    let lab = Lab::new()?;
    let (client, server, addresses) = pair(&lab)?;
    let options = NginxOptions {
        ports: vec![80, 8080],
        big_bytes: 3_000_000,
    };
    let nginx = Nginx::start_with(&server, &options)?;
    for (address, own) in addresses.into_iter().zip(["192.0.2.1", "2001:db8::1"]) {
        for port in [80, 8080] {
            let address = SocketAddr::new(address, port);
            assert_eq!(client.curl(&format!("http://{address}/id"))?, "server\n");
            assert_eq!(client.get(address, "/")?, "server\n");
            assert_eq!(client.get(address, "/client")?, format!("{own}\n"));
            let transfer = client.http_download(address, "/big")?;
            assert_eq!(
                (transfer.bytes, transfer.sha256),
                (3_000_000, pattern_sha256(3_000_000))
            );
            assert!(client.curl(&format!("http://{address}/none")).is_err());
            assert!(client.get(address, "/none").is_err());
        }
    }
    let file = lab.directory().join("big-3000000");
    let url = format!("http://{}/upload/copy", addresses[0]);
    client.run(&["curl", "-sS", "--fail", "-T", &file.to_string_lossy(), &url])?;
    assert!(std::fs::read(nginx.uploaded("copy"))? == std::fs::read(file)?);
    drop(nginx);
    // A connection that was made while it died is reset; those after it are refused.
    rvs_lab::wait_until("nobody listens", TIME, || {
        let outcome = client.get(SocketAddr::new(addresses[0], 80), "/");
        outcome.is_err_and(|error| error.to_string().contains("refused"))
    })?;
    Ok(())
}

#[test]
fn udp_echo_answers_from_the_address_asked() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let echo = UdpEcho::start(server, 7000)?;
    for family in Family::ALL {
        let vip = Vip::Direct.address(family);
        server.realserver_vip(vip)?;
        net.client.neighbour("eth0", vip, server.mac("eth0")?)?;
        // The client's socket is connected: an answer from another address would not be seen.
        for address in [vip, Topology::outside_address(0, family)] {
            let peer = SocketAddr::new(address, 7000);
            let source = SocketAddr::new(Topology::client_address(family), 5000);
            assert_eq!(
                net.client.udp_exchange(Some(source), peer, "hello", TIME)?,
                "rs1: hello"
            );
            assert_eq!(net.client.udp_exchange(None, peer, "", TIME)?, "rs1: ");
        }
    }
    drop(echo);
    let peer = SocketAddr::new(Topology::outside_address(0, Family::V4), 7000);
    assert!(net.client.udp_exchange(None, peer, "hello", TIME).is_err());
    Ok(())
}

#[test]
fn tcp_echo_keeps_connections() -> Result {
    let lab = Lab::new()?;
    let (client, server, addresses) = pair(&lab)?;
    let echo = TcpEcho::start(&server, 7001)?;
    let mut connections = Vec::new();
    for address in addresses {
        let own: IpAddr = if address.is_ipv4() {
            "192.0.2.1".parse()?
        } else {
            "2001:db8::1".parse()?
        };
        let source = SocketAddr::new(own, 4321);
        let connection =
            EchoConnection::open_from(&client, Some(source), SocketAddr::new(address, 7001))?;
        assert_eq!(connection.stream().local_addr()?, source);
        assert_eq!(connection.server(), "server");
        connections.push(connection);
    }
    for round in 0..3 {
        for connection in &mut connections {
            connection.check(&format!("round {round}"))?;
        }
    }
    drop(echo);
    for connection in &mut connections {
        assert!(connection.check("too late").is_err());
    }
    Ok(())
}

#[test]
fn transfers_arrive_whole() -> Result {
    let lab = Lab::new()?;
    let (client, server, addresses) = pair(&lab)?;
    let bulk = Bulk::start(&server, 7002)?;
    for address in addresses {
        let address = SocketAddr::new(address, 7002);
        for bytes in [0, 1, 20_000_001] {
            let down = client.bulk_download(address, bytes)?;
            let up = client.bulk_upload(address, bytes)?;
            assert_eq!((down.bytes, up.bytes), (bytes, bytes));
            assert_eq!(down.sha256, up.sha256);
            assert_eq!(down.sha256, pattern_sha256(bytes));
        }
    }
    drop(bulk);
    assert!(
        client
            .bulk_download(SocketAddr::new(addresses[0], 7002), 1)
            .is_err()
    );
    Ok(())
}

#[test]
fn loads_count_answers_and_failures() -> Result {
    let lab = Lab::new()?;
    let (client, server, addresses) = pair(&lab)?;
    let nginx = Nginx::start(&server)?;
    for address in addresses {
        let report = client.get_many(SocketAddr::new(address, 80), 1000, 8)?;
        report.expect_none_failed()?;
        assert_eq!(report.done, 1000);
        assert_eq!(report.by_server.get("server"), Some(&1000));
    }
    let load = Load::start(&client, SocketAddr::new(addresses[0], 80), 4)?;
    load.wait_for_more(50, TIME)?;
    drop(nginx);
    rvs_lab::wait_until("a failure", TIME, || load.so_far().failed > 0)?;
    let report = load.stop();
    assert!(report.done >= 50 && report.failed > 0, "{report:?}");
    let error = report
        .expect_none_failed()
        .expect_err("some failed")
        .to_string();
    assert!(error.contains("192.0.2.2:80"), "{error}");
    Ok(())
}

#[test]
fn frames_are_injected_and_captured() -> Result {
    let lab = Lab::new()?;
    let (client, server, addresses) = pair(&lab)?;
    let mut there = Capture::start(&server, "eth0")?;
    let mut here = Capture::start(&client, "eth0")?;
    // An experimental EtherType, so that nobody answers.
    let mut frame = [server.mac("eth0")?, client.mac("eth0")?].concat();
    frame.extend([0x88, 0xb5]);
    frame.extend([0xa5; 50]);
    inject(&client, "eth0", &frame)?;
    let received = there.wait_for("the frame", TIME, |seen| seen.bytes == frame)?;
    assert_eq!(received.direction, Direction::In);
    let sent = here.wait_for("the frame", TIME, |seen| seen.bytes == frame)?;
    assert_eq!(sent.direction, Direction::Out);
    assert!(
        there
            .wait_for("another", Duration::from_millis(50), |seen| seen.bytes
                == frame)
            .is_err()
    );
    client.ping(addresses[0])?;
    let frames = there.collect(Duration::from_millis(50))?;
    for direction in [Direction::In, Direction::Out] {
        let is_ping = |seen: &rvs_lab::Frame| {
            seen.bytes.get(12..14) == Some(&[8, 0]) && seen.direction == direction
        };
        assert!(frames.iter().any(is_ping), "{frames:?}");
    }
    assert!(Capture::start(&client, "eth9").is_err());
    Ok(())
}
