//! The tables that dh, sh and mh look at: of what they are made, and making them. They lie behind the service's list
//! and are published with it, whole; where nothing that they are made of has changed they stay.

use rvs_abi::Scheduler;
use rvs_config::Family;
use rvs_core::schedule::build::{self, Candidate};

use crate::{dataplane::Dataplane, rows::ServiceRow, wire};

/// What a table is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    scheduler: Scheduler,
    exact: bool,
    family: Family,
    size: u32,
    /// In the order of the list: who, and with which weight.
    servers: Vec<(u32, u32)>,
}

impl Recipe {
    /// Entries of the table.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Servers that the table is to name.
    pub(crate) fn servers(&self) -> u32 {
        self.servers.len() as u32
    }
}

impl Dataplane {
    /// What the service's table would be made of now; `None` if its scheduler has none, or nobody to name.
    pub(crate) fn recipe(&self, row: &ServiceRow) -> Option<Recipe> {
        let scheduler = wire::scheduler(row.options.scheduler);
        let exact = self.exact() != 0;
        let wanted = self.knobs.mh_table_size.entries();
        let size = build::size(scheduler, exact, row.servers.len(), wanted);
        if size == 0 {
            return None;
        }
        let weight = |index: &u32| {
            let server = self.maps.servers.get(*index)?;
            let (now, last) = (server.weight.load(), server.last_weight.load());
            Some((*index, build::weight(scheduler, exact, now, last)))
        };
        Some(Recipe {
            scheduler,
            exact,
            family: row.key.family(),
            size,
            servers: row.servers.iter().filter_map(weight).collect(),
        })
    }

    /// Makes the table, and writes it from `place` on.
    pub(crate) fn write_table(&self, recipe: &Recipe, place: u32) {
        let candidate = |(position, (index, weight)): (usize, &(u32, u32))| {
            let server = self.rows.servers.get(index)?.server;
            let is_v6 = recipe.family == Family::V6;
            let address = build::address(recipe.exact, is_v6, wire::words(server.address()));
            let position = u16::try_from(position).ok()?;
            Some(Candidate::new(address, server.port(), position, *weight))
        };
        let mut candidates: Vec<Candidate> = recipe
            .servers
            .iter()
            .enumerate()
            .filter_map(candidate)
            .collect();
        let mut entries = vec![0; recipe.size as usize];
        build::fill(
            recipe.scheduler,
            recipe.exact,
            &mut candidates,
            &mut entries,
        );
        for (four, place) in entries.chunks(4).zip(place..) {
            if let Some(word) = self.maps.members.get(place) {
                word.store(build::word(four));
            }
        }
    }

    /// Makes the tables anew that a change of what holds for the whole director concerns.
    pub(crate) fn renew_tables(&mut self) {
        let stale: Vec<_> = self
            .rows
            .services
            .values()
            .filter(|row| self.recipe(row) != row.recipe)
            .map(|row| row.key)
            .collect();
        for key in stale {
            if let Err(error) = self.publish(&key) {
                tracing::error!(%error, %key, "a scheduler's table could not be made: the old one goes on");
            }
        }
    }
}
