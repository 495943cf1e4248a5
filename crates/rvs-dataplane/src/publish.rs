//! Showing the data path what was changed: lists of servers, and what schedulers need of them. Each list is published
//! by one word.

use std::collections::HashMap;

use rvs_abi::{Server, Settings};
use rvs_config::{Scheduler, ServiceKey};

use crate::{ChangeError, coalesce::no_room, dataplane::Dataplane, tables::Recipe};

impl Dataplane {
    /// Whether the kernel's list of the service is the one that its servers give.
    pub(crate) fn is_published(&self, key: &ServiceKey) -> bool {
        self.rows.service(key).is_some_and(|row| {
            row.region.length as usize == row.servers.len()
                && self.recipe(row) == row.recipe
                && row.servers.iter().enumerate().all(|(place, index)| {
                    self.maps
                        .members
                        .get(row.region.offset + place as u32)
                        .is_some_and(|word| word.load() == u64::from(*index))
                })
        })
    }

    /// Publishes the service's list, and the table of its scheduler.
    pub(crate) fn publish(&mut self, key: &ServiceKey) -> Result<(), ChangeError> {
        let row = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?
            .clone();
        let length = row.servers.len() as u32;
        let recipe = self.recipe(&row);
        if recipe.is_some() && recipe == row.recipe && row.servers == row.published {
            self.end_removed(key);
            self.weigh(key);
            return Ok(());
        }
        let table = recipe.as_ref().map_or(0, Recipe::size);
        if let Some(recipe) = &recipe
            && recipe.servers() > recipe.size()
        {
            return Err(ChangeError::NoRoom {
                what: "server in the scheduler's table",
                limit: recipe.size().into(),
            });
        }
        let version = row.region.version.wrapping_add(1);
        let region = self
            .rows
            .regions
            .allocate((length, table), version)
            .ok_or_else(no_room)?;
        for (place, index) in row.servers.iter().enumerate() {
            if let Some(word) = self.maps.members.get(region.offset + place as u32) {
                word.store(u64::from(*index));
            }
        }
        if let Some(recipe) = &recipe {
            self.write_table(recipe, region.offset + length);
        }
        if let Some(entry) = self.maps.services.get(row.index) {
            entry.members.swap(region.pack());
            // The scheduler goes on with the server that was next, or with the first after it that is still there.
            let cursor = entry.cursor.load();
            let next = next_place(&row.published, &row.servers, cursor as u32 & 0xffff);
            entry.cursor.cas(cursor, cursor & !0xffff | u64::from(next));
        }
        self.end_removed(key);
        self.rows.regions.retire(row.region);
        if let Some(known) = self.rows.service_mut(key) {
            known.region = region;
            known.recipe = recipe;
            known.published = row.servers;
        }
        self.weigh(key);
        Ok(())
    }

    /// Marks the service's servers that were removed, now that the kernel's list is without them. Some never were in a
    /// list.
    fn end_removed(&self, key: &ServiceKey) {
        for (index, row) in self.rows.servers_of(key) {
            if row.removed.is_some()
                && let Some(entry) = self.maps.servers.get(index)
            {
                entry.flags.store(entry.flags.load() | Server::REMOVED);
            }
        }
    }

    /// Computes what wrr and twos need to know of all weights (IPVS: `ip_vs_wrr_dest_changed`).
    pub(crate) fn weigh(&mut self, key: &ServiceKey) {
        let Some(row) = self.rows.service(key) else {
            return;
        };
        let weights = row
            .servers
            .iter()
            .filter_map(|index| self.rows.servers.get(index))
            .map(|row| row.server.weight().get());
        let (mut step, mut largest, mut sum) = (0, 0, 0_u64);
        for weight in weights.filter(|weight| *weight > 0) {
            step = gcd(step, weight);
            largest = largest.max(weight);
            sum += u64::from(weight);
        }
        let step = step.max(1);
        let top = if largest == 0 {
            0
        } else {
            largest - (step - 1)
        };
        let Some(entry) = self.maps.services.get(row.index) else {
            return;
        };
        entry.weight_step.store(step);
        entry.weight_top.store(top);
        entry.weight_sum.store(sum as u32);
        entry.weight_sum_high.store((sum >> 32) as u32);
        if row.options.scheduler == Scheduler::Wrr {
            let cursor = entry.cursor.load();
            let current = (cursor >> 32) as u32;
            let current = if current > top || current == 0 {
                top
            } else if step > 1 {
                (current / step) * step + 1
            } else {
                current
            };
            // The walk begins at the head again.
            entry.cursor.cas(cursor, u64::from(current) << 32);
        }
    }

    /// Says which kinds of services there are, so that no packet looks for what there is not.
    pub(crate) fn note_kinds(&self) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        let kinds = self.rows.kinds();
        let mut flags = settings.flags.load();
        for (bit, on) in [
            (Settings::HAS_MARKS, kinds.marks > 0),
            (Settings::HAS_ANY_PORT, kinds.any_port > 0),
            (Settings::HAS_FTP, kinds.ftp > 0),
            // Only with the address index, which is written before, does it concern packets.
            (Settings::HAS_SIP, self.rows.any_by_call()),
        ] {
            flags = if on { flags | bit } else { flags & !bit };
        }
        settings.flags.store(flags);
    }
}

/// Where in the new list the server is that was at `next` in the old one.
fn next_place(old: &[u32], new: &[u32], next: u32) -> u32 {
    let places: HashMap<u32, u32> = new.iter().copied().zip(0..).collect();
    let rest = old.get(next as usize..).unwrap_or_default();
    rest.iter()
        .find_map(|index| places.get(index).copied())
        .unwrap_or(new.len() as u32)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_with_its_server() {
        // Newer servers come at the head.
        assert_eq!(next_place(&[1, 2, 3], &[9, 8, 1, 2, 3], 0), 2);
        assert_eq!(next_place(&[1, 2, 3], &[9, 1, 2, 3], 2), 3);
        // Before it, at it, and all behind it gone.
        assert_eq!(next_place(&[1, 2, 3], &[2, 3], 2), 1);
        assert_eq!(next_place(&[1, 2, 3], &[1, 3], 1), 1);
        assert_eq!(next_place(&[1, 2, 3], &[9, 1], 1), 2);
        assert_eq!(next_place(&[1, 2, 3], &[1, 2, 3, 4], 7), 4);
        assert_eq!(next_place(&[], &[1], 0), 1);
        assert_eq!(next_place(&[1], &[], 0), 0);
    }
}
