//! Fragments, end to end: by every method, both families, both ways, in order and not.

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{Cluster, Forward, Outcome};
use rvs_lab::{Family, Host, inject};

const TIMEOUT: Duration = Duration::from_secs(3);
/// What the network's links take less a tunnel's header.
const CLIENT_MTU: &str = "1400";
const PAYLOAD: usize = 4000;

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
        let mut frames = datagram(client, &socket, way, 7000 + number as u16)?;
        frames.reverse();
        for frame in &frames {
            inject(client, "eth0", frame)?;
        }
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
    for (number, way) in Forward::all().into_iter().enumerate() {
        let before = director.counter("drop_fragment")?;
        let socket = client.udp_socket(None, way.at(53))?;
        let frames = datagram(client, &socket, way, 8000 + number as u16)?;
        for frame in frames.iter().skip(1) {
            inject(client, "eth0", frame)?;
        }
        let lost = frames.len() as u64 - 1;
        rvs_lab::wait_until("the fragments are given up", TIMEOUT, || {
            director
                .counter("drop_fragment")
                .is_ok_and(|now| now - before == lost)
        })?;
    }
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

/// The fragments of a datagram of [`PAYLOAD`] bytes from the socket's address, as frames that the client can send.
fn datagram(
    client: &Host,
    socket: &UdpSocket,
    way: Forward,
    identification: u16,
) -> Outcome<Vec<Vec<u8>>> {
    const PART: usize = 1304;
    let (from, to) = (socket.local_addr()?, way.at(53));
    let mut udp = Vec::new();
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(((PAYLOAD + 8) as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload(PAYLOAD));
    let sum = !sum(&[pseudo(from, to, udp.len()), udp.clone()].concat());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut link = Vec::new();
    // A datagram of one fragment makes the client learn its router's link address.
    client.ping(to.ip())?;
    link.extend(router_mac(client, way.family)?);
    link.extend(client.mac("eth0")?);
    let count = udp.len().div_ceil(PART);
    let parts = udp.chunks(PART).enumerate();
    Ok(parts
        .map(|(number, part)| {
            let place = (number * PART / 8) as u16;
            let more = number + 1 < count;
            let packet = match (from.ip(), to.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let mut header = vec![0x45, 0];
                    header.extend(((20 + part.len()) as u16).to_be_bytes());
                    header.extend(identification.to_be_bytes());
                    header.extend((place | u16::from(more) << 13).to_be_bytes());
                    header.extend([64, 17, 0, 0]);
                    header.extend(from.octets());
                    header.extend(to.octets());
                    let sum = !self::sum(&header);
                    header[10..12].copy_from_slice(&sum.to_be_bytes());
                    [vec![8, 0], header, part.to_vec()]
                }
                (from, to) => {
                    let mut header = vec![0x60, 0, 0, 0];
                    header.extend(((8 + part.len()) as u16).to_be_bytes());
                    header.extend([44, 64]);
                    header.extend(octets(from));
                    header.extend(octets(to));
                    header.extend([17, 0]);
                    header.extend((place << 3 | u16::from(more)).to_be_bytes());
                    header.extend(u32::from(identification).to_be_bytes());
                    [vec![0x86, 0xdd], header, part.to_vec()]
                }
            };
            [link.clone(), packet.concat()].concat()
        })
        .collect())
}

fn router_mac(client: &Host, family: Family) -> Outcome<Vec<u8>> {
    let words: &[&str] = match family {
        Family::V4 => &["ip", "-4", "neigh", "show", "dev", "eth0"],
        Family::V6 => &["ip", "-6", "neigh", "show", "dev", "eth0"],
    };
    let neighbours = client.run(words)?;
    let text = neighbours
        .lines()
        .filter(|line| !line.starts_with("fe80"))
        .find_map(|line| line.split("lladdr ").nth(1)?.split(' ').next())
        .ok_or_else(|| format!("no router in {neighbours:?}"))?;
    Ok(text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn pseudo(from: SocketAddr, to: SocketAddr, length: usize) -> Vec<u8> {
    let mut bytes = [octets(from.ip()), octets(to.ip())].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 17]);
    bytes
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
