//! The three defences of IPVS: `drop_entry`, `drop_packet`, `secure_tcp`, each off, automatic or on. Once a second the
//! automatic ones are switched by how short the director is of room (IPVS: `update_defense_level`).
//!
//! What is short: free memory of the machine (free pages and buffers) below `amemthresh` pages, as in IPVS; and, since the tables are
//! as large from the beginning as they will ever be, free slots of a connection table below an eighth of it.

use rvs_abi::{
    Settings,
    sweep::{SWEEP_MAX, Sweep},
};
use rvs_config::{Defence, Knobs};
use rvs_table::WINDOW;

use crate::{dataplane::Dataplane, programs};

/// Of how many slots one is looked at in a second of `drop_entry`.
const SHARE: u32 = 32;
/// At least so many runs of slots make up the share, where it is large enough: room that lies in lumps is of use to few.
const RUNS: u32 = 512;
/// The most slots that are looked at in a row.
const RUN: u32 = 1024;
const _: () = assert!(RUN <= SWEEP_MAX);
/// One in so many slots must be free.
const FREE_SHARE: u64 = 8;

/// For how long an automatic `drop_packet` is in force without a word from the daemon.
const VALID_SECONDS: u32 = 5;

/// Which defences are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defences {
    /// Connections that say little for themselves end before their time.
    pub drop_entry: bool,
    /// One new connection in so many is dropped; 0 is none.
    pub drop_rate: u32,
    /// The server's word counts before the client's.
    pub secure_tcp: bool,
}

/// What there is, and what there must be for no defence to be called up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: u64,
    needed: u64,
}

impl Room {
    /// drop_packet's rate, if there is too little: the less, the nearer to one.
    fn rate(self) -> Option<u32> {
        let missing = self
            .needed
            .checked_sub(self.free)
            .filter(|missing| *missing > 0)?;
        Some(u32::try_from(self.needed / missing).unwrap_or(u32::MAX))
    }
}

/// Which defences the knobs call up while there is this room.
fn called_up(knobs: &Knobs, rooms: &[Room]) -> Defences {
    let short = rooms.iter().filter_map(|room| room.rate()).min();
    let is_up =
        |defence: Defence| defence == Defence::ON || defence.is_automatic() && short.is_some();
    Defences {
        drop_entry: is_up(knobs.drop_entry),
        drop_rate: if knobs.drop_packet == Defence::ON {
            knobs.am_droprate
        } else if is_up(knobs.drop_packet) {
            short.unwrap_or(0)
        } else {
            0
        },
        secure_tcp: is_up(knobs.secure_tcp),
    }
}

impl Dataplane {
    /// A second's work for the defences; which are in force.
    pub(crate) fn defend(&mut self) -> Defences {
        let now = self.call_up();
        if now.drop_entry {
            for (family, slots) in [(4, self.sizes.slots4), (6, self.sizes.slots6)] {
                self.drop_entries(family, slots);
            }
        }
        now
    }

    /// Decides which defences are in force, and lets packets know.
    pub(crate) fn call_up(&self) -> Defences {
        let rooms: Vec<Room> = [self.memory(), self.slots(0), self.slots(1)]
            .into_iter()
            .flatten()
            .collect();
        let now = called_up(&self.knobs, &rooms);
        let Some(settings) = self.maps.settings.get(0) else {
            return now;
        };
        let mut flags = settings.flags.load();
        for (bit, on) in [
            (Settings::DROP_ENTRY, self.knobs.drop_entry != Defence::OFF),
            (Settings::SECURE_TCP, now.secure_tcp),
        ] {
            flags = if on { flags | bit } else { flags & !bit };
        }
        settings.flags.store(flags);
        // What is called up ends with the need for it, and without a daemon nobody sees that.
        let until = if self.knobs.drop_packet.is_automatic() {
            programs::clock(&self.object).map_or(1, |reading| {
                let valid = VALID_SECONDS.saturating_mul(self.ticks);
                reading.tick.wrapping_add(valid).max(1)
            })
        } else {
            0
        };
        settings.drop_until.store(until);
        settings.drop_rate.store(now.drop_rate);
        now
    }

    /// The machine's memory, in pages; nothing where it does not say.
    fn memory(&self) -> Option<Room> {
        Some(Room {
            free: free_pages(&std::fs::read_to_string("/proc/meminfo").ok()?)?,
            needed: self.knobs.amemthresh.into(),
        })
    }

    /// A connection table, as the last whole sweep found it; nothing where there is none.
    fn slots(&self, table: usize) -> Option<Room> {
        let slots = u64::from([self.sizes.slots4, self.sizes.slots6][table]);
        let live = self.sweep.found[table];
        (slots > 0).then_some(Room {
            free: slots.saturating_sub(live),
            needed: slots / FREE_SHARE,
        })
    }

    /// Looks at runs of slots, drawn by lot, that make up the share of the table.
    fn drop_entries(&self, family: u32, slots: u32) {
        if slots == 0 {
            return;
        }
        let (run, runs) = runs(slots);
        let mut lots = vec![0_u8; runs as usize * 4];
        if rustix::rand::getrandom(&mut lots, rustix::rand::GetRandomFlags::empty()).is_err() {
            return;
        }
        for lot in lots.chunks_exact(4) {
            let lot = u32::from_ne_bytes([lot[0], lot[1], lot[2], lot[3]]);
            let slice = Sweep {
                family,
                // Tables are powers of two, and so are runs.
                first: (lot % slots) & !(run - 1),
                count: run,
                pass: self.sweep.pass + 1,
                flags: Sweep::DEFEND,
                ..Sweep::default()
            };
            if let Err(error) = programs::sweep(&self.object, slice) {
                tracing::error!(%error, "drop_entry failed");
                return;
            }
        }
    }
}

/// How many slots a run has, and how many runs make up the share of a table with so many.
fn runs(slots: u32) -> (u32, u32) {
    let share = (slots / SHARE).max(1);
    let run = (share / RUNS).clamp(WINDOW, RUN).min(share);
    (run, share / run)
}

/// Free pages and buffers of the text of `/proc/meminfo`.
fn free_pages(text: &str) -> Option<u64> {
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let page = rustix::param::page_size() as u64 / 1024;
    (kilobytes("MemFree:")? + kilobytes("Buffers:")?).checked_div(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Room = Room {
        free: 2000,
        needed: 1000,
    };

    fn short_of(missing: u64) -> Room {
        Room {
            free: 1000 - missing,
            needed: 1000,
        }
    }

    fn knobs(defence: Defence) -> Knobs {
        Knobs {
            drop_entry: defence,
            drop_packet: defence,
            secure_tcp: defence,
            ..Knobs::defaults(None)
        }
    }

    #[test]
    fn off_is_off_and_on_is_on_whatever_the_room() {
        for room in [AMPLE, short_of(500)] {
            assert_eq!(
                called_up(&knobs(Defence::OFF), &[room]),
                Defences::default()
            );
            let on = called_up(&knobs(Defence::ON), &[room]);
            assert_eq!(
                on,
                Defences {
                    drop_entry: true,
                    drop_rate: 10,
                    secure_tcp: true
                }
            );
        }
    }

    #[test]
    fn automatic_follows_the_room() {
        let automatic = knobs(Defence::AUTO);
        assert_eq!(called_up(&automatic, &[AMPLE, AMPLE]), Defences::default());
        // What is missing of what is needed: the most pressing counts.
        for (missing, rate) in [(1, 1000), (100, 10), (500, 2), (501, 1), (1000, 1)] {
            let now = called_up(&automatic, &[AMPLE, short_of(missing), short_of(1)]);
            assert_eq!(
                now,
                Defences {
                    drop_entry: true,
                    drop_rate: rate,
                    secure_tcp: true
                }
            );
        }
        assert_eq!(called_up(&automatic, &[short_of(0)]), Defences::default());
        assert_eq!(called_up(&automatic, &[]), Defences::default());
    }

    #[test]
    fn runs_are_a_share_of_any_table() {
        for bits in 5..=24 {
            let slots = 1 << bits;
            let (run, runs) = runs(slots);
            assert_eq!(run * runs, slots / SHARE, "{slots}");
            assert!(run.is_power_of_two() && run <= SWEEP_MAX, "{slots}");
        }
        assert_eq!(runs(1), (1, 1));
    }

    #[test]
    fn free_pages_are_read_as_the_kernel_writes_them() {
        let page = rustix::param::page_size() as u64 / 1024;
        let text = "MemTotal:       24646484 kB\nMemFree:         1000000 kB\nMemAvailable:   20 kB\nBuffers:          200000 kB\n";
        assert_eq!(free_pages(text), Some(1_200_000 / page));
        for broken in [
            "",
            "MemFree: 1 kB",
            "MemFree: x kB\nBuffers: 1 kB",
            "MemFree: 1\nBuffers: 1",
        ] {
            assert_eq!(free_pages(broken), None, "{broken:?}");
        }
        let own = std::fs::read_to_string("/proc/meminfo").expect("the machine's memory");
        assert!(free_pages(&own).is_some_and(|pages| pages > 0));
    }
}
