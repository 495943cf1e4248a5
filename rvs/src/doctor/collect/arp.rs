//! Asks by ARP who else has the services' IPv4 addresses, by probes that change nobody's tables
//! (RFC 5227, section 2.1.1: the sender's address is left at zero).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// How long answers are waited for, at each interface.
const PATIENCE: Duration = Duration::from_millis(300);
/// Ethernet and ARP headers.
const FRAME_BYTES: usize = 42;
/// The head of every ARP packet for IPv4 on Ethernet, from the frame's type on, up to the
/// operation.
const HEAD: [u8; 9] = [0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6, 4, 0];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Who answers: the interface and the hardware address. Interfaces that cannot be asked are left
/// out; that they are broken is found elsewhere.
pub(super) fn rivals(
    vips: &[IpAddr],
    interfaces: &[String],
) -> BTreeMap<IpAddr, Vec<(String, [u8; 6])>> {
    let vips: Vec<Ipv4Addr> = vips
        .iter()
        .filter_map(|vip| match vip {
            IpAddr::V4(vip) => Some(*vip),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut found: BTreeMap<IpAddr, Vec<(String, [u8; 6])>> = BTreeMap::new();
    for interface in interfaces.iter().filter(|_| !vips.is_empty()) {
        for (vip, mac) in ask(interface, &vips).unwrap_or_default() {
            let others = found.entry(IpAddr::V4(vip)).or_default();
            if !others.contains(&(interface.clone(), mac)) {
                others.push((interface.clone(), mac));
            }
        }
    }
    found
}

fn ask(interface: &str, vips: &[Ipv4Addr]) -> nix::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    let Some((socket, own)) = open(interface)? else {
        return Ok(Vec::new());
    };
    for vip in vips {
        send(
            socket.as_raw_fd(),
            &probe(own, *vip),
            MsgFlags::MSG_DONTWAIT,
        )?;
    }
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    let mut answers = Vec::new();
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        // Zero would mean "for ever".
        let left = left.max(Duration::from_millis(1));
        let left = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));
        setsockopt(&socket, sockopt::ReceiveTimeout, &left)?;
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let frame = buffer.get(..length).unwrap_or_default();
                answers.extend(
                    answer(frame).filter(|(address, mac)| vips.contains(address) && *mac != own),
                );
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// A packet socket at an Ethernet interface, and the interface's hardware address.
fn open(interface: &str) -> nix::Result<Option<(OwnedFd, [u8; 6])>> {
    // The kernel fills in a complete address here, which spares building one by hand.
    let link = nix::ifaddrs::getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied());
    let Some((link, own)) = link.and_then(|link: LinkAddr| Some((link, link.addr()?))) else {
        return Ok(None);
    };
    if own == [0; 6] {
        // Loopback.
        return Ok(None);
    }
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    bind(socket.as_raw_fd(), &link)?;
    Ok(Some((socket, own)))
}

fn probe(own: [u8; 6], vip: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &own,
        &HEAD,
        &[REQUEST],
        &own,
        &[0; 4],
        &[0; 6],
        &vip.octets(),
    ];
    for (byte, value) in frame.iter_mut().zip(parts.into_iter().flatten()) {
        *byte = *value;
    }
    frame
}

/// The sender of an ARP answer.
fn answer(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let arp = frame.get(12..)?;
    let (head, rest) = arp.split_at_checked(HEAD.len())?;
    let (operation, rest) = rest.split_first()?;
    if head != HEAD || *operation != REPLY {
        return None;
    }
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (address, _) = rest.split_first_chunk::<4>()?;
    Some((Ipv4Addr::from(*address), *mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn probes_are_as_the_rfc_has_them() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2,
            0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 100,
        ];
        assert_eq!(probe(OWN, Ipv4Addr::new(10, 0, 0, 100)), expected);
    }

    #[test]
    fn only_answers_are_answers() {
        let mut frame = probe(OWN, Ipv4Addr::new(10, 0, 0, 100));
        assert_eq!(answer(&frame), None);
        frame[21] = REPLY;
        frame[28..32].copy_from_slice(&[10, 0, 0, 100]);
        let expected = Some((Ipv4Addr::new(10, 0, 0, 100), OWN));
        assert_eq!(answer(&frame), expected);
        for length in 0..32 {
            assert_eq!(answer(&frame[..length]), None, "{length}");
        }
        frame[12] = 0x86;
        assert_eq!(answer(&frame), None);
    }
}
