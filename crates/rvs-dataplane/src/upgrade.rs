//! From one set of maps to another: a director whose table size or layout changed keeps its
//! services, its statistics and its connections.

use std::{collections::HashMap, path::PathBuf};

use rvs_abi::{Settings, slot::State, sweep::Insertion};
use rvs_config::Service;

use crate::{
    Adoption, OpenError, Stats,
    connections::{Entry, EntryKey, entries},
    dataplane::Dataplane,
    object::Maps,
    programs,
    rows::Rows,
    stats::{self, WHOLE},
    ways::copy_way,
};

/// The maps of a director of another layout or size, if they can be read.
pub(crate) fn newest(directories: &[PathBuf]) -> Option<Maps> {
    directories.iter().find_map(|directory| match Maps::open(directory) {
        Ok(maps) => Some(maps),
        Err(error) => {
            tracing::warn!(%error, "an older director's tables cannot be read: its connections are lost");
            None
        }
    })
}

/// Makes the old director's services in the new one, with what they had counted.
pub(crate) fn copy_services(new: &mut Dataplane, old: &Maps) {
    let scheduling = |maps: &Maps| {
        maps.settings
            .get(0)
            .is_none_or(|settings| settings.flags.load() & Settings::SCHEDULE != 0)
    };
    new.set_scheduling(scheduling(old));
    // Templates of calls are found by a digest under this key, of more than their slots have.
    if let (Some(new), Some(old)) = (new.maps.settings.get(0), old.settings.get(0)) {
        for (new, old) in new.hash_key.iter().zip(&old.hash_key) {
            new.store(old.load());
        }
    }
    let rows = Rows::read(old);
    for row in rows.in_order() {
        // Oldest first, as they were added.
        let servers: Vec<_> = row
            .servers
            .iter()
            .rev()
            .filter_map(|index| rows.servers.get(index))
            .collect();
        let made = match Service::new(row.key, row.options.clone()) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "a service could not be taken over");
                continue;
            }
        };
        if let Err(error) = new.add_service(&made, row.origin) {
            tracing::error!(%error, "a service could not be taken over");
            continue;
        }
        for server in servers {
            if let Err(error) = new.add_server(&row.key, &server.server, server.origin) {
                tracing::error!(%error, "a real server could not be taken over");
            }
        }
        for index in &row.servers {
            if let Some(server) = rows.servers.get(index) {
                let counted = stats::counted_by_server(old, *index);
                let zeroed = stats::zeroed(&old.server_base, *index);
                new.credit(&row.key, server.server.socket_addr(), counted, zeroed);
                if let (Some(entry), Some(known)) = (
                    new.index_of(&row.key, server.server.socket_addr())
                        .and_then(|index| new.maps.servers.get(index)),
                    old.servers.get(*index),
                ) {
                    copy_way(entry, known);
                }
            }
        }
        // Its removed servers are not copied; what they counted is.
        let gone = rows
            .servers_of(&row.key)
            .filter(|(_, server)| server.removed.is_some())
            .map(|(index, _)| stats::counted_by_server(old, index));
        let base = gone.fold(stats::base(&old.service_base, row.index), Stats::plus);
        new.credit_service(&row.key, base, stats::zeroed(&old.service_base, row.index));
    }
    new.publish_all();
    new.credit_all(
        stats::counted_by_all(old, &rows),
        stats::zeroed(&old.service_base, WHOLE),
    );
}

/// Copies of an old director's connections: one while it forwards, one when the new programs have taken its place.
#[derive(Default)]
pub(crate) struct Copies {
    controls: Controls,
    connections: u64,
    /// How many the last copy had no room for.
    refused: u64,
    /// What has not been touched since was copied.
    since: Option<u32>,
}

impl Copies {
    /// Inserts the old table's connections, or those that changed since the last copy, into the new one. Those that are
    /// there already only move on to a later state. Templates come first, then what else controls others, then those.
    pub(crate) fn copy(&mut self, new: &mut Dataplane, old: &Maps) -> Result<(), OpenError> {
        let rows = Rows::read(old);
        let (start, second) = new.clock();
        // What found no room is tried again.
        let since = self.since.filter(|_| self.refused == 0);
        self.refused = 0;
        let changed = |entry: &Entry| since.is_none_or(|since| !is_before(entry.stamp, since));
        for rank in [Rank::Template, Rank::Controls, Rank::Other] {
            let mut copied = Places::new();
            for entry in entries(old).filter(|entry| Rank::of(entry) == rank && changed(entry)) {
                let Some(index) = server_of(new, &rows, &entry) else {
                    continue;
                };
                match programs::insert(&new.object, self.insertion(&entry, index))?.outcome {
                    1 => self.connections += 1,
                    2 => {}
                    _ => self.refused += 1,
                }
                if rank != Rank::Other {
                    copied.insert(entry.key(), entry.place);
                }
            }
            self.controls.note(&new.maps, &copied);
        }
        // A packet that was at work when the clock was read may have been counted a little later.
        self.since = Some(start.wrapping_sub(second));
        crate::calls::copy(&mut new.maps, old);
        crate::detour::copy_sequences(&mut new.maps, old);
        Ok(())
    }

    fn insertion(&self, entry: &Entry, server: u32) -> Insertion {
        let (state, control) = self.controls.of(entry);
        Insertion {
            client: entry.client,
            virtual_address: entry.virtual_address,
            ports: entry.ports,
            server,
            protocol: entry.protocol.into(),
            family: if entry.is_v6 { 6 } else { 4 },
            state,
            // Both tables' programs read the same clock.
            stamp: entry.stamp,
            outcome: 0,
            packets: entry.packets,
            server_port: entry.server_port,
            control: control.0,
            control_generation: control.1,
            ..Insertion::default()
        }
    }

    /// What was copied.
    pub(crate) fn adoption(&self) -> Adoption {
        Adoption::Upgraded {
            connections: self.connections,
            refused: self.refused,
        }
    }
}

/// The new index of a connection's server, which may be gone.
fn server_of(new: &Dataplane, rows: &Rows, entry: &Entry) -> Option<u32> {
    let row = rows.servers.get(&entry.server)?;
    if row.removed.is_some() {
        return None;
    }
    new.index_of(&row.service?, row.server.socket_addr())
}

/// Whether one tick comes before another, on a clock that turns over.
fn is_before(tick: u32, other: u32) -> bool {
    tick.wrapping_sub(other) >> 31 != 0
}

/// Who has to be there before whom.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Template,
    Controls,
    Other,
}

impl Rank {
    fn of(entry: &Entry) -> Self {
        if State(entry.state).has(State::TEMPLATE) {
            Rank::Template
        } else if entry.controls() {
            Rank::Controls
        } else {
            Rank::Other
        }
    }
}

/// Where connections lie in a table: index and generation.
type Places = HashMap<EntryKey, (u32, u32)>;

/// Where the slots that control others lie in the new table, by where they lay in the old one: family, index and
/// generation.
#[derive(Default)]
struct Controls(HashMap<(bool, (u32, u32)), (u32, u32)>);

impl Controls {
    /// Finds those that lay at these places of the old table.
    fn note(&mut self, new: &Maps, copied: &Places) {
        if copied.is_empty() {
            return;
        }
        for entry in entries(new) {
            if let Some(place) = copied.get(&entry.key()) {
                self.0.insert((entry.is_v6, *place), entry.place);
            }
        }
    }

    /// The connection's state and the slot that controls it, there; it goes alone where that was lost.
    fn of(&self, entry: &Entry) -> (u32, (u32, u32)) {
        let controlled = State(entry.state).has(State::CONTROLLED);
        match self.0.get(&(entry.is_v6, entry.control)) {
            Some(control) if controlled => (entry.state, *control),
            Some(_) | None => (entry.state & !State::CONTROLLED, (0, 0)),
        }
    }
}

/// Says to the programs of these maps whether connections are on their way between them and others:
/// what comes for one that is not there yet is then dropped, and sent again by its sender.
pub(crate) fn set_takeover(maps: &Maps, on: bool) {
    let Some(settings) = maps.settings.get(0) else {
        return;
    };
    let flags = settings.flags.load() & !Settings::TAKEOVER;
    settings.flags.store(if on {
        flags | Settings::TAKEOVER
    } else {
        flags
    });
}

impl Dataplane {
    fn index_of(&self, key: &rvs_config::ServiceKey, server: std::net::SocketAddr) -> Option<u32> {
        let row = self.rows.service(key)?;
        row.servers.iter().copied().find(|index| {
            self.rows
                .servers
                .get(index)
                .is_some_and(|row| row.server.socket_addr() == server)
        })
    }

    /// Lets a server count on from what it had counted elsewhere.
    fn credit(
        &mut self,
        key: &rvs_config::ServiceKey,
        server: std::net::SocketAddr,
        counted: Stats,
        zeroed: Stats,
    ) {
        if let Some(index) = self.index_of(key, server) {
            let base = stats::raw(&self.maps, index).since(counted);
            stats::write_base(&self.maps.server_base, index, base);
            stats::write_zeroed(&self.maps.server_base, index, zeroed);
        }
    }

    fn credit_service(&mut self, key: &rvs_config::ServiceKey, base: Stats, zeroed: Stats) {
        if let Some(row) = self.rows.service(key) {
            stats::write_base(&self.maps.service_base, row.index, base);
            stats::write_zeroed(&self.maps.service_base, row.index, zeroed);
        }
    }

    fn credit_all(&mut self, counted: Stats, zeroed: Stats) {
        let base = counted.since(stats::counted_by_all(&self.maps, &self.rows));
        stats::write_base(&self.maps.service_base, WHOLE, base);
        stats::write_zeroed(&self.maps.service_base, WHOLE, zeroed);
    }
}
