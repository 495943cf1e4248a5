//! Datagrams in fragments, made by hand.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use rvs_lab::{Family, Host};

use super::{Forward, Outcome};

/// The fragments, of `part` bytes each, of a datagram from the socket's address, as frames that the client can send.
pub(crate) fn fragments(
    client: &Host,
    socket: &UdpSocket,
    way: Forward,
    payload: &[u8],
    part: usize,
    identification: u16,
) -> Outcome<Vec<Vec<u8>>> {
    let (from, to) = (socket.local_addr()?, way.at(53));
    let mut udp = Vec::new();
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(((payload.len() + 8) as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = !sum(&[pseudo(from, to, udp.len()), udp.clone()].concat());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut link = Vec::new();
    // A datagram of one fragment makes the client learn its router's link address.
    client.ping(to.ip())?;
    link.extend(router_mac(client, way.at(0).ip())?);
    link.extend(client.mac("eth0")?);
    let bytes = part;
    let count = udp.len().div_ceil(part);
    let parts = udp.chunks(part).enumerate();
    Ok(parts
        .map(|(number, part)| {
            let place = (number * bytes / 8) as u16;
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

/// The link address that the client knows for `vip`, which it has asked before.
fn router_mac(client: &Host, vip: IpAddr) -> Outcome<Vec<u8>> {
    let neighbours = client.run(&["ip", "neigh", "show", "to", &vip.to_string(), "dev", "eth0"])?;
    let text = neighbours
        .lines()
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
