//! The outer ends of the director's two links: frames go in here, and what comes out is caught here.
//!
//! Nothing is waited for by the clock. Behind each frame a *marker* follows, a datagram that the director forwards as
//! any router would; packets of one CPU keep their order, so whatever the frame led to is there when the marker is.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::describe::{Seen, Side};
use crate::packet::Packet;
use crate::place::{MARKER_CLIENT, MARKER_SERVER};

const LIMIT: Duration = Duration::from_secs(20);
const BUFFER_BYTES: usize = 4 << 20;
const FRAME_BYTES: usize = 66 * 1024;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Wire {
    clients: End,
    servers: End,
    markers: u64,
}

#[derive(Debug)]
struct End {
    socket: OwnedFd,
    ifindex: usize,
}

impl Wire {
    /// Opens both ends in the namespace of this file, the one of the calling thread's network.
    pub(crate) fn open(namespace: &Path) -> Result<Self> {
        enter(namespace)?;
        Ok(Self {
            clients: End::open("c0")?,
            servers: End::open("s0")?,
            markers: 0,
        })
    }

    /// Sends frames into the director and returns what they led to, in order: the clients' side first.
    pub(crate) fn send(
        &mut self,
        from: Side,
        frames: &[Vec<u8>],
        patience: Duration,
    ) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        self.markers += 1;
        let text = format!("marker {}", self.markers).into_bytes();
        let (near, far) = ((MARKER_CLIENT, 9).into(), (MARKER_SERVER, 9).into());
        let (end, last, marker) = match from {
            Side::Clients => (
                &self.clients,
                &self.servers,
                Packet::udp(near, far).payload(&text).client_frame(),
            ),
            Side::Servers => (
                &self.servers,
                &self.clients,
                Packet::udp(far, near).payload(&text).server_frame(),
            ),
        };
        for frame in frames.iter().chain([&marker]) {
            send(end.socket.as_raw_fd(), frame, MsgFlags::empty())
                .context("cannot send a frame")?;
        }
        let is_marker = |frame: &[u8]| frame.ends_with(&text);
        let start = Instant::now();
        let mut buffer = vec![0; FRAME_BYTES];
        let mut found = false;
        while !found {
            if start.elapsed() > LIMIT {
                bail!("the director does not forward: a marker is lost");
            }
            wait(&last.socket, LIMIT)?;
            while let Some(frame) = last.next(&mut buffer)? {
                found |= is_marker(frame);
                seen.extend(read(last, &self.clients, frame));
            }
        }
        // What goes the long way round, through a process, has no order: it is given time.
        let end_of_patience = Instant::now() + patience;
        loop {
            for end in [&self.clients, &self.servers] {
                while let Some(frame) = end.next(&mut buffer)? {
                    seen.extend(read(end, &self.clients, frame));
                }
            }
            let Some(left) = end_of_patience.checked_duration_since(Instant::now()) else {
                break;
            };
            wait_any([&self.clients.socket, &self.servers.socket], left)?;
        }
        seen.sort_by_key(|seen| seen.side == Side::Servers);
        Ok(seen)
    }
}

/// Nothing for markers, which have no side but the other.
fn read(end: &End, clients: &End, frame: &[u8]) -> Option<Seen> {
    let side = if std::ptr::eq(end, clients) {
        Side::Clients
    } else {
        Side::Servers
    };
    Seen::read(side, frame).filter(|seen| {
        let marker = [MARKER_CLIENT, MARKER_SERVER].map(Into::into);
        !(marker.contains(&seen.source.ip()) && marker.contains(&seen.destination.ip()))
    })
}

impl End {
    fn open(ifname: &str) -> Result<Self> {
        let link = nix::ifaddrs::getifaddrs()?
            .filter(|entry| entry.interface_name == ifname)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .with_context(|| format!("no interface {ifname}"))?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self {
            socket,
            ifindex: link.ifindex(),
        })
    }

    /// The next frame that came in, if there is one now.
    fn next<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
                Ok((length, Some(from)))
                    if from.ifindex() == self.ifindex
                        && i32::from(from.pkttype()) != i32::from(libc::PACKET_OUTGOING) =>
                {
                    return Ok(buffer.get(..length));
                }
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(error) => return Err(error).context("cannot capture"),
            }
        }
    }
}

fn wait(socket: &OwnedFd, time: Duration) -> Result<()> {
    wait_any([socket, socket], time)
}

fn wait_any(sockets: [&OwnedFd; 2], time: Duration) -> Result<()> {
    let time = PollTimeout::try_from(time)?;
    let mut polled = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
    match poll(&mut polled, time) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Moves the calling thread into a namespace, and what it starts from then on.
pub(crate) fn enter(namespace: &Path) -> Result<()> {
    let file = File::open(namespace).with_context(|| namespace.display().to_string())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", namespace.display()))
}
