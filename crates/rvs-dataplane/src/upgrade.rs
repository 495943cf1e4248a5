//! From one set of maps to another: a director whose table size or layout changed keeps its
//! services, its statistics and its connections.

use std::{collections::HashMap, path::PathBuf};

use rvs_abi::{Settings, slot::State, sweep::Insertion};
use rvs_config::Service;

use crate::{
    Adoption, OpenError, Stats,
    connections::{Entry, entries},
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

/// Inserts the old table's connections into the new one. Those that are
/// there already only move on to a later state. Templates come first, then what else controls others, then those.
pub(crate) fn copy_connections(new: &mut Dataplane, old: &Maps) -> Result<Adoption, OpenError> {
    let rows = Rows::read(old);
    let (mut connections, mut refused) = (0, 0);
    let mut controls = Controls::default();
    for rank in [Rank::Template, Rank::Controls, Rank::Other] {
        for entry in entries(old).filter(|entry| Rank::of(entry) == rank) {
            let Some(server) = rows
                .servers
                .get(&entry.server)
                .filter(|row| row.removed.is_none())
            else {
                continue;
            };
            let Some(index) = server
                .service
                .and_then(|key| new.index_of(&key, server.server.socket_addr()))
            else {
                continue;
            };
            let (state, control) = controls.of(&entry);
            let insertion = Insertion {
                client: entry.client,
                virtual_address: entry.virtual_address,
                ports: entry.ports,
                server: index,
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
            };
            match programs::insert(&new.object, insertion)?.outcome {
                1 => connections += 1,
                2 => {}
                _ => refused += 1,
            }
        }
        if rank != Rank::Other {
            controls.note(old, &new.maps, rank);
        }
    }
    crate::calls::copy(&mut new.maps, old);
    crate::detour::copy_sequences(&mut new.maps, old);
    Ok(Adoption::Upgraded {
        connections,
        refused,
    })
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

/// Where the slots that control others lie in the new table, by where they lay in the old one: family, index and
/// generation.
#[derive(Default)]
struct Controls(HashMap<(bool, (u32, u32)), (u32, u32)>);

impl Controls {
    /// Notes those of this rank.
    fn note(&mut self, old: &Maps, new: &Maps, rank: Rank) {
        let wanted: HashMap<_, _> = entries(old)
            .filter(|entry| Rank::of(entry) == rank)
            .map(|entry| (entry.key(), entry.place))
            .collect();
        if wanted.is_empty() {
            return;
        }
        for entry in entries(new) {
            if let Some(place) = wanted.get(&entry.key()) {
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

/// Two copies in a row.
pub(crate) fn sum(first: Adoption, second: Adoption) -> Adoption {
    match (first, second) {
        (
            Adoption::Upgraded {
                connections: a,
                refused: b,
            },
            Adoption::Upgraded {
                connections: c,
                refused: d,
            },
        ) => Adoption::Upgraded {
            connections: a + c,
            refused: b.max(d),
        },
        (Adoption::Fresh | Adoption::Adopted, other)
        | (other, Adoption::Fresh | Adoption::Adopted) => other,
    }
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
