//! The device by which packets come to the daemon and go back: a TAP device, whose frames have link
//! addresses, as those of the interfaces that they come from.
//!
//! It lives as long as its descriptor: when the daemon ends, however it ends, the kernel removes it.

#![expect(
    unsafe_code,
    reason = "a TAP device is made and set up by ioctls alone"
)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    os::unix::fs::OpenOptionsExt as _,
};

/// The longest frame: an IP packet of 64 KiB with its link header.
const FRAME_BYTES: usize = 65_536 + 14;
const ETHERNET_BYTES: usize = 14;

/// `struct ifreq` of `linux/if.h`: a name, and what is asked or told.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: [u8; 24],
}

/// The device.
#[derive(Debug)]
pub(super) struct Tap {
    file: File,
    name: String,
    mac: [u8; 6],
    buffer: Vec<u8>,
}

impl Tap {
    /// Makes it in this thread's network namespace, and sets it up.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
        request(file.as_fd(), libc::TUNSETIFF, name, &flags.to_ne_bytes())?;
        let address = request(file.as_fd(), libc::SIOCGIFHWADDR, name, &[])?;
        // `struct sockaddr`: a family, then the address.
        let mut mac = [0; 6];
        mac.copy_from_slice(&address[2..8]);
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            None,
        )?;
        let up = (libc::IFF_UP as i16).to_ne_bytes();
        request(socket.as_fd(), libc::SIOCSIFFLAGS, name, &up)?;
        Ok(Self {
            file,
            name: name.to_owned(),
            mac,
            buffer: vec![0; FRAME_BYTES],
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next frame that waits.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let length = self.file.read(&mut self.buffer).ok()?;
        self.buffer.get(..length).map(<[u8]>::to_vec)
    }

    /// Sends a frame in, as if it had come to this device from outside, from the link address `from`. What the kernel has no room for is lost, as on
    /// any link.
    pub(super) fn send(&mut self, mut frame: Vec<u8>, from: [u8; 6]) {
        let Some(addresses) = frame.get_mut(..ETHERNET_BYTES - 2) else {
            return;
        };
        addresses[..6].copy_from_slice(&self.mac);
        addresses[6..].copy_from_slice(&from);
        if let Err(error) = self.file.write(&frame) {
            tracing::debug!(%error, "a packet could not be sent on");
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes the request, and gives what lies in its data afterwards.
fn request(fd: BorrowedFd<'_>, code: libc::Ioctl, name: &str, data: &[u8]) -> io::Result<[u8; 24]> {
    let mut request = Request {
        name: [0; 16],
        data: [0; 24],
    };
    // The last byte stays zero.
    for (place, byte) in request.name[..15].iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    for (place, byte) in request.data.iter_mut().zip(data) {
        *place = *byte;
    }
    // SAFETY: all requests used here read and write one `struct ifreq`, which this is.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), code, &raw mut request) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(request.data)
}
