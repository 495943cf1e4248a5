//! The traffic of a namespace, kept for the case that a test fails: a packet socket that sees every interface and that is not
//! read before the end. It costs no thread and no process. The kernel holds what fits into the socket's buffer, the first few
//! thousand packets, and counts the rest.

use crate::error::{Context as _, Result};
use crate::host::in_namespace;
use crate::packet::Direction;
use crate::pcapng::{Packet, PcapNg};
use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SetSockOpt as _, SockFlag,
    SockProtocol, SockType, recvmsg, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Some eight thousand packets: the kernel counts what it allocated for each, not its bytes alone.
const BUFFER_BYTES: usize = 8 << 20;
/// All headers of a tunnelled IPv6 packet, and the first words of what it carries.
const SNAP_BYTES: u32 = 192;
const ETHERNET_BYTES: usize = 14;
/// The port that discards (RFC 863); no service has to be there.
const DISCARD: u16 = 9;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tap {
    host: String,
    namespace: String,
    socket: Socket,
}

/// How much of a namespace's traffic was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) packets: u64,
    /// Packets that came when the buffer was full, if the kernel said how many.
    pub(crate) lost: Option<u64>,
}

impl Tap {
    /// Begins to keep the traffic of a namespace.
    pub(crate) fn open(host: &str, namespace: &str) -> Result<Self> {
        let socket = in_namespace(host, namespace, open_socket)?
            .at(host, || "cannot open a packet socket".to_owned())?;
        Ok(Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            socket,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Writes what was kept as a file in the format pcapng.
    pub(crate) fn write(self, path: &Path) -> Result<Written> {
        in_namespace(&self.host, &self.namespace, || self.write_inside(path))?
            .at(&self.host, || format!("cannot write {}", path.display()))
    }

    fn write_inside(&self, path: &Path) -> std::io::Result<Written> {
        let end = since_epoch();
        let mut file = PcapNg::start(BufWriter::new(File::create(path)?), SNAP_BYTES)?;
        let mut interfaces = BTreeMap::new();
        let mut written = Written {
            packets: 0,
            lost: None,
        };
        let mut buffer = [0; SNAP_BYTES as usize + ETHERNET_BYTES];
        while let Some(seen) = receive(&self.socket, &mut buffer)? {
            written.lost = Some(seen.lost);
            if seen.time > end {
                break;
            }
            let interface = match interfaces.get(&seen.ifindex) {
                Some(number) => *number,
                None => {
                    let number = file.add_interface(&interface_name(seen.ifindex))?;
                    interfaces.insert(seen.ifindex, number);
                    number
                }
            };
            let bytes = buffer.get(..seen.length).unwrap_or_default();
            file.write_packet(Packet {
                interface,
                nanoseconds: u64::try_from(seen.time.as_nanos()).unwrap_or(u64::MAX),
                direction: seen.direction,
                bytes,
                original_length: original_length(bytes),
            })?;
            written.packets += 1;
        }
        // The count of lost packets comes with the next one that is not lost.
        written.lost = self.provoke(&mut buffer).or(written.lost);
        file.finish()?;
        Ok(written)
    }

    /// Makes one more packet, on the loopback interface: how many were lost before it.
    fn provoke(&self, buffer: &mut [u8]) -> Option<u64> {
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD));
        sender.send_to(b"end", &address.into()).ok()?;
        Some(receive(&self.socket, buffer).ok()??.lost)
    }
}

/// A packet that was taken from the socket.
#[derive(Debug)]
struct Seen {
    length: usize,
    ifindex: usize,
    direction: Direction,
    time: Duration,
    lost: u64,
}

fn open_socket() -> std::io::Result<Socket> {
    let socket = Socket::from(socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?);
    sockopt::RcvBufForce.set(&socket, &BUFFER_BYTES)?;
    sockopt::ReceiveTimestampns.set(&socket, &true)?;
    sockopt::RxqOvfl.set(&socket, &1)?;
    // So that a super-packet takes no more of the buffer than any other.
    let keep_first_bytes = (libc::BPF_RET | libc::BPF_K) as u16;
    socket.attach_filter(&[SockFilter::new(keep_first_bytes, 0, 0, SNAP_BYTES)])?;
    Ok(socket)
}

/// The next packet that was kept, if there is one, as an Ethernet frame.
fn receive(socket: &Socket, buffer: &mut [u8]) -> std::io::Result<Option<Seen>> {
    let mut space = cmsg_space!(TimeSpec, u32);
    let (header, frame) = buffer.split_at_mut(ETHERNET_BYTES);
    let mut parts = [IoSliceMut::new(frame)];
    let message = match recvmsg::<LinkAddr>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_DONTWAIT,
    ) {
        Ok(message) => message,
        Err(nix::Error::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mut time, mut lost) = (Duration::ZERO, 0);
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmTimestampns(stamp) = control {
            time = Duration::from(stamp);
        } else if let ControlMessageOwned::RxqOvfl(count) = control {
            lost = u64::from(count);
        }
    }
    let address = message
        .address
        .ok_or_else(|| std::io::Error::other("a packet without its interface"))?;
    let length = message.bytes;
    let is_ethernet = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&address.hatype());
    if is_ethernet {
        buffer.copy_within(ETHERNET_BYTES.., 0);
    } else {
        // Tunnels have no link header. All frames of a file have the same kind of header.
        header.fill(0);
        header[ETHERNET_BYTES - 2..].copy_from_slice(&address.protocol().to_ne_bytes());
    }
    let is_outgoing = i32::from(address.pkttype()) == i32::from(libc::PACKET_OUTGOING);
    Ok(Some(Seen {
        length: if is_ethernet {
            length
        } else {
            ETHERNET_BYTES + length
        },
        ifindex: address.ifindex(),
        direction: if is_outgoing {
            Direction::Out
        } else {
            Direction::In
        },
        time,
        lost,
    }))
}

/// The frame's length before it was cut off, which its IP header tells.
fn original_length(frame: &[u8]) -> usize {
    let word = |place: usize| {
        let bytes = frame.get(place..place + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_be_bytes(bytes)))
    };
    let length = match word(ETHERNET_BYTES - 2) {
        Some(0x0800) => word(ETHERNET_BYTES + 2),
        Some(0x86dd) => word(ETHERNET_BYTES + 4).map(|payload| payload + 40),
        Some(_) | None => None,
    };
    // Padding, and what is not IP, is longer than the header says.
    length.map_or(frame.len(), |length| {
        frame.len().max(ETHERNET_BYTES + length)
    })
}

/// The name of an interface of the calling thread's namespace, or its number if it was removed.
fn interface_name(ifindex: usize) -> String {
    u32::try_from(ifindex)
        .ok()
        .and_then(|ifindex| nix::net::if_::if_indextoname(ifindex).ok())
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| format!("interface {ifindex}"))
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::original_length;

    #[test]
    fn the_ip_header_tells_the_length() {
        let mut frame = [0; 60];
        frame[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0xff, 0xf0]);
        assert_eq!(original_length(&frame), 14 + 0xfff0);
        frame[16..18].copy_from_slice(&[0, 28]);
        assert_eq!(original_length(&frame), 60);
        frame[12..20].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 5, 0xdc]);
        assert_eq!(original_length(&frame), 14 + 40 + 1500);
        frame[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(original_length(&frame), 60);
        assert_eq!(original_length(&frame[..13]), 13);
    }
}
