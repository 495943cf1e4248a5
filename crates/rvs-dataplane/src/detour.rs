//! The daemon's part of the long way round: packets that the kernel side can neither hold nor rewrite come in
//! by a device of the daemon's own, and go back by it.
//!
//! ```text
//!   rvs_ingress ─► fragment without a note ─► device ─► thread: wait ────────────────┬─► device ─► rvs_ingress ─► server
//!               ├► too long for its way ────► device ─► thread: cut ─────────────────┤
//!               └► FTP's words ─────────────► device ─► thread: data connection, words ┘
//! ```
//!
//! A thread of its own does the work, with its own view of the pinned maps, so that neither a long list of connections
//! holds packets up, nor a flood of fragments the API. Once a second it tells the kernel side that it
//! is there; when that stops, nothing more is sent to it.

mod cut;
mod ftp;
mod tap;
mod waiting;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::Ebpf;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rvs_abi::{Ticket, detour::back, fragment::NOTE_SECONDS};
use rvs_table::elapsed;

use crate::{
    OpenError, attach, kernel,
    object::{self, INGRESS, Maps, Sizes},
    programs,
};
pub(crate) use ftp::copy_sequences;
use tap::Tap;
use waiting::Waiting;

/// How often the thread says that it is there, and for how many seconds that counts.
const REFRESH: Duration = Duration::from_secs(1);
const VALID_SECONDS: u32 = 3;
/// How often it looks whether first fragments were seen, while something waits for them.
const LOOK: Duration = Duration::from_millis(4);
/// Frames that are read in a row.
const BATCH: usize = 256;

/// The device and its thread. Both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Detour {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Detour {
    /// Makes the device, attaches the director's program `object` to it, and begins.
    pub(crate) fn start(
        main: &mut Ebpf,
        directory: &Path,
        sizes: Sizes,
        instance: &str,
    ) -> Result<Self, OpenError> {
        let name = device_name(instance);
        let failed = |what: &'static str| {
            let name = name.clone();
            move |error: io::Error| OpenError::kernel(format!("{what} {name}"), error)
        };
        let tap = Tap::open(&name).map_err(failed("making the device"))?;
        quieten(&name);
        attach::for_now(object::tc_program(main, INGRESS)?, &name)?;
        let ifindex = kernel::ifindex(tap.name())?;
        let (object, maps) = object::load_aside(directory, sizes)?;
        let stop = Arc::new(
            eventfd(0, EventfdFlags::CLOEXEC)
                .map_err(|error| failed("watching the device")(error.into()))?,
        );
        let work = Work {
            tap,
            object,
            maps,
            ifindex,
            waiting: Waiting::default(),
            identification: 0,
            tick: 0,
        };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("detour".to_owned())
            .spawn(move || work.run(&told))
            .map_err(failed("starting a thread for"))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        // Only a full counter refuses, and then the thread was told.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    tap: Tap,
    object: Ebpf,
    maps: Maps,
    ifindex: u32,
    waiting: Waiting,
    /// The identification of the last packet that was cut.
    identification: u16,
    /// The tick when it last said that it is there.
    tick: u32,
}

impl Work {
    fn run(mut self, stop: &OwnedFd) {
        let mut refresh = Instant::now();
        loop {
            let now = Instant::now();
            if now >= refresh {
                self.say_so();
                refresh = now + REFRESH;
            }
            let mut timeout = refresh.saturating_duration_since(now);
            if !self.waiting.is_empty() {
                timeout = timeout.min(LOOK);
            }
            match self.wait(stop, timeout) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "packets go no longer the long way round");
                    break;
                }
            }
            self.take_in();
            self.give_back();
        }
        if let Some(settings) = self.maps.settings.get(0) {
            settings.detour_ifindex.store(0);
        }
    }

    /// Waits for a frame; `false` ends the thread.
    fn wait(&self, stop: &OwnedFd, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let tap = self.tap.as_fd();
        let mut ready = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(tap, PollFlags::IN),
        ];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready[1].revents().contains(PollFlags::ERR) {
            return Err(io::Error::other("the device was removed"));
        }
        Ok(ready[0].revents().is_empty())
    }

    /// Tells the kernel side that somebody is here.
    fn say_so(&mut self) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        match programs::clock(&self.object) {
            Ok(reading) => {
                let ticks = settings.ticks_per_second.load().wrapping_mul(VALID_SECONDS);
                settings
                    .detour_until
                    .store(reading.tick.wrapping_add(ticks));
                settings.detour_ifindex.store(self.ifindex);
                self.tick = reading.tick;
            }
            Err(error) => tracing::error!(%error, "the clock cannot be read"),
        }
    }

    fn take_in(&mut self) {
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(frame) = self.tap.receive() else {
                return;
            };
            // The kernel itself also sends by this device, as by any.
            let Some(ticket) = ticket_of(&frame) else {
                continue;
            };
            let returned = match ticket.kind {
                Ticket::FRAGMENT => self.waiting.hold(now, frame).err(),
                Ticket::CUT => {
                    self.cut(&frame, ticket.index);
                    None
                }
                Ticket::FTP => ftp::handle(&mut self.maps, &self.object, ticket, frame),
                _ => None,
            };
            if let Some(frame) = returned {
                self.tap.send(frame, back::WHOLE);
            }
        }
    }

    /// Gives the packet back in fragments of at most `room` bytes. The kernel side has read its headers, and sends
    /// nothing that cannot be cut.
    fn cut(&mut self, frame: &[u8], room: u32) {
        self.identification = self.identification.wrapping_add(1);
        let Some(fragments) = cut::cut(frame, room as usize, self.identification) else {
            tracing::debug!(room, "a packet could not be cut");
            return;
        };
        for fragment in fragments {
            self.tap.send(fragment, back::CUT);
        }
    }

    fn give_back(&mut self) {
        let notes = &self.maps.fragments;
        let second = self
            .maps
            .settings
            .get(0)
            .map_or(0, |settings| settings.ticks_per_second.load());
        let life = second.saturating_mul(NOTE_SECONDS);
        // A note that is out of date is of another packet, which had the same identification.
        let seen = |key: &_| {
            notes
                .get(&crate::shared::Plain(*key), 0)
                .is_ok_and(|note| !elapsed(self.tick, note.0.stamp, life))
        };
        for frame in self.waiting.release(Instant::now(), seen) {
            self.tap.send(frame, back::WHOLE);
        }
    }
}

fn ticket_of(frame: &[u8]) -> Option<Ticket> {
    let word = |at: usize| {
        let bytes = frame.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    Ticket::from_words([word(0)?, word(4)?, word(8)?])
}

/// "rvs-" and the instance; of a long one its beginning and a sum of all of it, since names have 15 bytes.
fn device_name(instance: &str) -> String {
    const ROOM: usize = 11;
    if instance.len() <= ROOM {
        return format!("rvs-{instance}");
    }
    let sum = instance.bytes().fold(0x811c_9dc5_u32, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let beginning: String = instance.chars().take(ROOM - 5).collect();
    format!("rvs-{beginning}.{:04x}", sum & 0xffff)
}

/// Nothing on this device configures itself, and what comes back by it has sources from anywhere.
fn quieten(name: &str) {
    for (key, value) in [
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/addr_gen_mode"), "1"),
        (format!("ipv4/conf/{name}/rp_filter"), "0"),
    ] {
        // Without IPv6 there is nothing to say.
        let _ = std::fs::write(format!("/proc/sys/net/{key}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        assert_eq!(device_name("default"), "rvs-default");
        let (a, b) = (
            device_name("a-very-long-instance"),
            device_name("a-very-long-instances"),
        );
        assert!(a.len() <= 15 && b.len() <= 15 && a != b, "{a} {b}");
    }
}
