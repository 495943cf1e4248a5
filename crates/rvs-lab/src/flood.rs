//! Floods: frames of one's own making, many and at a chosen rate, and the TCP segments that they are mostly made of.
//!
//! Whoever makes the frames decides what the flood is: forged sources, half handshakes, tuples that shall collide. It does
//! not listen: answers to forged sources go where the network sends them.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use crate::packet::open_to_send;
use nix::sys::socket::{MsgFlags, send};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the sender sleeps when it is ahead of its rate.
const NAP: Duration = Duration::from_micros(200);
/// The time that it may be late and make up for: queues on the way take no more than its frames at once.
const LATENESS: Duration = Duration::from_millis(4);
const TCP: u8 = 6;

/// TCP's SYN.
pub const SYN: u8 = 0x02;
/// TCP's ACK.
pub const ACK: u8 = 0x10;

/// A sender of frames in the background. It ends when its frames do, by [`Flood::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    /// Sends `frame(0)`, `frame(1)`, ... out of an interface until it says `None`, at most `rate` in a second. On a machine
    /// that is busy it sends fewer, and does not make up for them.
    pub fn start(
        host: &Host,
        ifname: &str,
        rate: u32,
        frame: impl FnMut(u64) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Self> {
        let socket = open_to_send(host, ifname)?;
        let shared = Arc::new(Shared::default());
        let place = format!("{host} {ifname}");
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || pour(&place, &socket, rate, &shared, frame))
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Frames that were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Waits until there are no more frames: how many were sent.
    pub fn finish(mut self) -> Result<u64> {
        self.join()
    }

    /// Ends the flood: how many frames were sent.
    pub fn stop(mut self) -> Result<u64> {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.join()
    }

    fn join(&mut self) -> Result<u64> {
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn pour(
    place: &str,
    socket: &OwnedFd,
    rate: u32,
    shared: &Shared,
    mut frame: impl FnMut(u64) -> Option<Vec<u8>>,
) -> Result<()> {
    let interval = Duration::from_secs(1) / rate.max(1);
    let mut due = Instant::now();
    let mut number = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        let now = Instant::now();
        if now < due {
            std::thread::sleep(NAP);
            continue;
        }
        due = due.max(now.checked_sub(LATENESS).unwrap_or(now));
        let Some(bytes) = frame(number) else {
            break;
        };
        match send(socket.as_raw_fd(), &bytes, MsgFlags::empty()) {
            Ok(_) => {
                number += 1;
                due += interval;
                shared.sent.store(number, Ordering::SeqCst);
            }
            // The interface's queue is full: its own time will come.
            Err(nix::Error::ENOBUFS | nix::Error::EAGAIN | nix::Error::EINTR) => {
                std::thread::yield_now();
            }
            Err(error) => return Err(error).at(place, || "cannot send".to_owned()),
        }
    }
    Ok(())
}

/// A frame with a TCP segment without options and data, all checksums right.
///
/// `macs` are destination and source. Addresses of two families are refused.
pub fn tcp_frame(
    macs: ([u8; 6], [u8; 6]),
    (from, to): (SocketAddr, SocketAddr),
    flags: u8,
    sequence: u32,
) -> Result<Vec<u8>> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let length = tcp.len() as u16;
    let mut frame = Vec::with_capacity(14 + 40 + 20);
    frame.extend(macs.0);
    frame.extend(macs.1);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            fill(&mut tcp, 16, sum(&[&from.octets(), &to.octets()], length));
            let mut header = vec![0x45, 0];
            header.extend((20 + length).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            fill(&mut header, 10, 0);
            frame.extend([8, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            fill(&mut tcp, 16, sum(&[&from.octets(), &to.octets()], length));
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([TCP, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => {
            return Err(LabError::Unknown {
                place: "frame".to_owned(),
                what: format!("packet from {from} to {to}"),
            });
        }
    }
    frame.extend(tcp);
    Ok(frame)
}

/// The pseudo header's sum.
fn sum(addresses: &[&[u8]], length: u16) -> u32 {
    let addresses: u32 = addresses.iter().map(|address| words(address)).sum();
    addresses + u32::from(TCP) + u32::from(length)
}

/// Writes the Internet checksum (RFC 1071) of `bytes` and what was added up before into `bytes`.
fn fill(bytes: &mut [u8], place: usize, before: u32) {
    let mut sum = words(bytes) + before;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[place..place + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn words(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_add_up_to_nothing() {
        for (from, to, header) in [
            ("10.9.8.7:1025", "10.0.0.100:80", 20),
            ("[2001:db8:9::7]:65535", "[2001:db8::100]:443", 40),
        ] {
            let (from, to): (SocketAddr, SocketAddr) =
                (from.parse().expect("address"), to.parse().expect("address"));
            let frame = tcp_frame(([1; 6], [2; 6]), (from, to), SYN, 7).expect("frame");
            assert_eq!(frame.len(), 14 + header + 20);
            let (ip, tcp) = frame[14..].split_at(header);
            let fold = |mut sum: u32| {
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                sum
            };
            if header == 20 {
                assert_eq!(fold(words(ip)), 0xffff);
            }
            let addresses = words(&ip[if header == 20 { 12 } else { 8 }..]);
            assert_eq!(fold(words(tcp) + addresses + 6 + 20), 0xffff, "{from}");
            assert_eq!(tcp[13], SYN);
        }
        let (from, to) = ("10.0.0.1:1".parse(), "[::1]:1".parse());
        let mixed = (from.expect("address"), to.expect("address"));
        assert!(tcp_frame(([1; 6], [2; 6]), mixed, SYN, 0).is_err());
    }
}
