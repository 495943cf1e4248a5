//! Raw frames: catching what passes an interface, and putting frames of one's own onto it.
//! Parsing them is not done here.
//!
//! A captured frame is as the kernel holds it: with offloads on, its checksum may still be open
//! and it may be longer than the MTU; a VLAN tag is not part of it. Use [`crate::Offload::Off`]
//! on the link to see frames as on a wire.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// The longest frame: a super-packet of 64 KiB with its headers.
const MAX_FRAME_BYTES: usize = 66 * 1024;
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Whether the host sent or received it.
    pub direction: Direction,
}

/// Which way a frame passed the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The host received it (or overheard it).
    In,
    /// The host sent it.
    Out,
}

/// Frames at one interface of a host, from the moment of [`Capture::start`] on.
#[derive(Debug)]
pub struct Capture {
    place: String,
    socket: OwnedFd,
    ifindex: usize,
    buffer: Vec<u8>,
}

impl Capture {
    /// Begins to capture at an interface, both directions.
    pub fn start(host: &Host, ifname: &str) -> Result<Self> {
        let place = format!("{host} {ifname}");
        let (socket, link) = open(host, ifname)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .at(&place, || "cannot set the receive buffer".to_owned())?;
        Ok(Self {
            place,
            socket,
            ifindex: link.ifindex(),
            buffer: vec![0; MAX_FRAME_BYTES],
        })
    }

    /// The next frame, or `None` when none came within the time.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Frame>> {
        let end = Instant::now() + timeout;
        loop {
            // Zero would mean "for ever".
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            let left = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &left)
                .at(&self.place, || "cannot set the time-out".to_owned())?;
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                Ok((length, Some(from))) if from.ifindex() == self.ifindex => {
                    let out = i32::from(from.pkttype()) == i32::from(libc::PACKET_OUTGOING);
                    return Ok(Some(Frame {
                        bytes: self.buffer.get(..length).unwrap_or_default().to_vec(),
                        direction: if out { Direction::Out } else { Direction::In },
                    }));
                }
                // Came in between opening and binding the socket, from another interface.
                Ok(_) => {}
                Err(nix::Error::EAGAIN | nix::Error::EINTR) if Instant::now() >= end => {
                    return Ok(None);
                }
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(error) => return Err(error).at(&self.place, || "cannot capture".to_owned()),
            }
        }
    }

    /// The first frame that fits, or an error naming `what`; others are passed over.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        fits: impl Fn(&Frame) -> bool,
    ) -> Result<Frame> {
        let end = Instant::now() + timeout;
        let mut others = 0_usize;
        while let Some(frame) = self.next(end.saturating_duration_since(Instant::now()))? {
            if fits(&frame) {
                return Ok(frame);
            }
            others += 1;
            if Instant::now() >= end {
                break;
            }
        }
        Err(LabError::Timeout {
            what: format!("{}: {what}", self.place),
            timeout,
            detail: format!(" ({others} other frames)"),
        })
    }

    /// All frames that are there by now and those that still come within the time.
    pub fn collect(&mut self, time: Duration) -> Result<Vec<Frame>> {
        let end = Instant::now() + time;
        let mut frames = Vec::new();
        while let Some(frame) = self.next(end.saturating_duration_since(Instant::now()))? {
            frames.push(frame);
            if Instant::now() >= end {
                break;
            }
        }
        Ok(frames)
    }
}

/// Sends a frame, Ethernet header included, out of an interface of a host.
pub fn inject(host: &Host, ifname: &str, frame: &[u8]) -> Result<()> {
    inject_all(host, ifname, &[frame])
}

/// Sends frames right after each other: on a busy machine, [`inject`] may take half a second from one to the next.
pub fn inject_all(host: &Host, ifname: &str, frames: &[impl AsRef<[u8]>]) -> Result<()> {
    let place = format!("{host} {ifname}");
    let socket = open_to_send(host, ifname)?;
    for frame in frames {
        let frame = frame.as_ref();
        let sent = send(socket.as_raw_fd(), frame, MsgFlags::empty()).at(&place, || {
            format!("cannot send a frame of {} bytes", frame.len())
        })?;
        if sent != frame.len() {
            return Err(LabError::Answer {
                place,
                what: format!("only {sent} of {} bytes sent", frame.len()),
            });
        }
    }
    Ok(())
}

/// The link-level address of an interface in the calling thread's namespace.
pub(crate) fn link_address(place: &str, ifname: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()
        .at(place, || "cannot list interfaces".to_owned())?
        .filter(|entry| entry.interface_name == ifname)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| LabError::Unknown {
            place: place.to_owned(),
            what: format!("interface {ifname}"),
        })
}

/// A packet socket that sends out of an interface and is shown nothing.
pub(crate) fn open_to_send(host: &Host, ifname: &str) -> Result<OwnedFd> {
    let place = host.name();
    host.in_namespace(|| {
        let link = link_address(place, ifname)?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .at(place, || "cannot open a packet socket".to_owned())?;
        bind(socket.as_raw_fd(), &link).at(place, || format!("cannot bind to {ifname}"))?;
        Ok(socket)
    })?
}

/// A packet socket bound to an interface.
fn open(host: &Host, ifname: &str) -> Result<(OwnedFd, LinkAddr)> {
    let place = host.name();
    host.in_namespace(|| {
        // The kernel fills in a complete address here, which spares building one by hand.
        let link = link_address(place, ifname)?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .at(place, || "cannot open a packet socket".to_owned())?;
        bind(socket.as_raw_fd(), &link).at(place, || format!("cannot bind to {ifname}"))?;
        Ok((socket, link))
    })?
}
