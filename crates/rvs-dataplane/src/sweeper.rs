//! The sweep as user space drives it: slice by slice, and what a whole pass tells.

use rvs_abi::{
    Server,
    sweep::{SWEEP_MAX, Sweep},
};

use crate::{Tick, dataplane::Dataplane, programs};

/// Slots that one [`Dataplane::tick`] looks at.
const SWEEP_PER_TICK: u32 = 4 * 1024 * 1024;

/// A sweep in progress, and what the last whole one found.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) pass: u32,
    next: u32,
    on_v6: bool,
    live: [u64; 2],
    pub(crate) found: [u64; 2],
}

impl Dataplane {
    /// Does a second's work: sweeps a part of the tables, and gives indexes back that nothing names
    /// any more.
    pub fn tick(&mut self) -> Tick {
        let mut done = Tick::default();
        self.publish_due();
        self.follow_interfaces();
        done.defences = self.defend();
        self.thin_localities();
        let mut left = SWEEP_PER_TICK;
        while left > 0 {
            let slots = if self.sweep.on_v6 {
                self.sizes.slots6
            } else {
                self.sizes.slots4
            };
            // Downwards, like the slices themselves, so that runs of tombstones clear in one pass.
            let end = slots - self.sweep.next;
            let count = SWEEP_MAX.min(end).min(left);
            let slice = Sweep {
                family: if self.sweep.on_v6 { 6 } else { 4 },
                first: end - count,
                count,
                pass: self.sweep.pass + 1,
                ..Sweep::default()
            };
            let found = match programs::sweep(&self.object, slice) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(%error, "the sweep failed");
                    break;
                }
            };
            done.swept += u64::from(count);
            done.expired += u64::from(found.expired);
            self.sweep.live[usize::from(self.sweep.on_v6)] += u64::from(found.live);
            self.sweep.next += count;
            left -= count;
            if self.sweep.next < slots {
                continue;
            }
            self.sweep.next = 0;
            self.sweep.on_v6 = !self.sweep.on_v6;
            if !self.sweep.on_v6 {
                self.end_pass();
                break;
            }
        }
        done
    }

    /// A whole sweep is done: what it did not find is free.
    fn end_pass(&mut self) {
        self.sweep.pass += 1;
        self.sweep.found = std::mem::take(&mut self.sweep.live);
        let pass = self.sweep.pass;
        self.forget_calls();
        let free: Vec<u32> = self
            .rows
            .servers
            .iter()
            .filter(|(_, row)| row.removed.is_some_and(|removed| removed < pass))
            .filter(|(index, _)| {
                self.maps
                    .servers
                    .get(**index)
                    // Without the mark, the list that names it is still the kernel's.
                    .is_some_and(|entry| {
                        entry.seen.load() != pass && entry.flags.load() & Server::REMOVED != 0
                    })
            })
            .map(|(index, _)| *index)
            .collect();
        self.forget_servers(&free);
        for index in free {
            let counted = self.counted_by_server(index);
            if let Some(row) = self.rows.remove_server(index) {
                self.keep_counted(row.service, counted);
            }
            if let Some(entry) = self.maps.servers.get(index) {
                entry.flags.store(0);
            }
        }
    }
}
