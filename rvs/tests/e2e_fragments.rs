//! Fragments, end to end: by every method, both families, both ways, in order and not.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Cluster, Forward, Outcome, fragments};
use rvs_lab::{Host, inject_all};

const TIMEOUT: Duration = Duration::from_secs(30);
/// What the network's links take less a tunnel's header.
const CLIENT_MTU: &str = "1400";
const PAYLOAD: usize = 4000;
/// What a fragment of these carries.
const PART: usize = 1304;

/// Datagrams of three fragments and more, as the client's and the servers' kernels cut them.
#[test]
fn large_datagrams_arrive_and_are_answered() -> Outcome {
    let cluster = Cluster::full("")?;
    for way in Forward::all() {
        send_smaller(&cluster.net.client, way)?;
        let before = cluster.director.counter("fragment_forward")?;
        let socket = cluster.net.client.udp_socket(None, way.at(53))?;
        for length in [PAYLOAD, 2000, 20_000, 100] {
            socket.send(&payload(length))?;
            expect(&socket, length, way)?;
        }
        let forwarded = cluster.director.counter("fragment_forward")? - before;
        assert!(forwarded >= 2 + 1 + 14, "{way:?}: {forwarded}");
    }
    assert_eq!(cluster.director.counter("drop_fragment")?, 0);
    Ok(())
}

/// The last fragment first: the daemon keeps each until the way is known.
#[test]
fn fragments_in_disorder_arrive() -> Outcome {
    let cluster = Cluster::full("")?;
    let (client, director) = (&cluster.net.client, &cluster.director);
    for (number, way) in Forward::all().into_iter().enumerate() {
        let socket = client.udp_socket(None, way.at(53))?;
        let mut frames = fragments(
            client,
            &socket,
            way,
            &payload(PAYLOAD),
            PART,
            7000 + number as u16,
        )?;
        frames.reverse();
        // The daemon keeps them for a second.
        inject_all(client, "eth0", &frames)?;
        if let Err(error) = expect(&socket, PAYLOAD, way) {
            let moved: Vec<_> = director
                .counters()?
                .into_iter()
                .filter(|(_, count)| *count != 0)
                .collect();
            return Err(format!("{error}; {moved:?}; {}", director.log()).into());
        }
    }
    // Frames that are sent on two CPUs may arrive in another order, and so in the right one.
    assert!(director.counter("fragment_detour")? >= 6);
    assert_eq!(director.counter("drop_fragment")?, 0);
    Ok(())
}

/// Fragments whose first never comes are dropped in the end, and counted.
#[test]
fn fragments_without_their_first_are_dropped() -> Outcome {
    let cluster = Cluster::full("")?;
    let (client, director) = (&cluster.net.client, &cluster.director);
    let mut lost = 0;
    for (number, way) in Forward::all().into_iter().enumerate() {
        let socket = client.udp_socket(None, way.at(53))?;
        let frames = fragments(
            client,
            &socket,
            way,
            &payload(PAYLOAD),
            PART,
            8000 + number as u16,
        )?;
        inject_all(client, "eth0", &frames[1..])?;
        lost += frames.len() as u64 - 1;
    }
    // Each way's fragments wait for their own time; all of them are counted in the end, and none twice.
    rvs_lab::wait_until("the fragments are given up", TIMEOUT, || {
        director
            .counter("drop_fragment")
            .is_ok_and(|now| now >= lost)
    })?;
    assert_eq!(director.counter("drop_fragment")?, lost);
    Ok(())
}

/// Lets the client cut what it sends this way so that each fragment fits into a tunnel.
fn send_smaller(client: &Host, way: Forward) -> Outcome {
    let vip = way.at(53).ip().to_string();
    client.route(&["add", &vip, "dev", "eth0", "mtu", "lock", CLIENT_MTU])?;
    Ok(())
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31) >> 3) as u8).collect()
}

fn expect(socket: &UdpSocket, length: usize, way: Forward) -> Outcome {
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut buffer = vec![0; 65_536];
    let got = socket
        .recv(&mut buffer)
        .map_err(|error| format!("{way:?}, {length} bytes: {error}"))?;
    let (name, echo) = buffer[..got].split_at("rs1: ".len());
    assert!(
        name.starts_with(b"rs") && echo == payload(length),
        "{way:?}: {got}"
    );
    Ok(())
}
