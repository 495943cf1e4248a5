//! From one set of maps to another: a director whose table size or layout changed keeps its
//! services, its statistics and its connections.
//!
//! A director's own maps may have others beside them, too: then whoever went from those to these did not come to the
//! end, and their connections are taken over before they are removed.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use rvs_abi::{Settings, slot::State, sweep::Insertion};
use rvs_config::Service;
use rvs_core::state::counts;
use rvs_table::elapsed;

use crate::{
    Adoption, OpenError, Stats,
    connections::{Entry, EntryKey, entries},
    dataplane::Dataplane,
    localities,
    object::Maps,
    programs,
    rows::Rows,
    stats::{self, WHOLE},
    ways::copy_way,
};

/// How long both directors drop what the other may know, if whoever copies does not say so again: if it died, the one
/// that forwards is to go on as if nothing had been.
const TAKEOVER_SECONDS: u32 = 10;
/// Slots that are read before it is said again.
const AGAIN: u32 = 256 * 1024;

/// Other directors' maps that can be read and are whole, and of which `current`'s are not.
pub(crate) fn readable(directories: &[PathBuf], current: &Path) -> Vec<Maps> {
    let read = |directory: &PathBuf| match Maps::open_other(directory, current) {
        Ok(maps) => Some(maps),
        Err(error) => {
            tracing::warn!(%error, "an older director's tables cannot be read: its connections are lost");
            None
        }
    };
    directories
        .iter()
        .filter_map(read)
        .filter(|maps| flags(maps) & Settings::READY != 0)
        .collect()
}

fn flags(maps: &Maps) -> u32 {
    maps.settings
        .get(0)
        .map_or(0, |settings| settings.flags.load())
}

/// Makes the old director's services in the new one, with what they had counted.
pub(crate) fn copy_services(new: &mut Dataplane, old: &Maps) -> Credits {
    new.set_scheduling(flags(old) & Settings::SCHEDULE != 0);
    // Templates of calls are found by a digest under this key, of more than their slots have.
    if let (Some(new), Some(old)) = (new.maps.settings.get(0), old.settings.get(0)) {
        for (new, old) in new.hash_key.iter().zip(&old.hash_key) {
            new.store(old.load());
        }
    }
    let rows = Rows::read(old);
    let mut credits = Credits::default();
    let mut services = HashMap::new();
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
        if let Some(made) = new.rows.service(&row.key) {
            services.insert(row.index, made.index);
        }
        for index in &row.servers {
            let Some(server) = rows.servers.get(index) else {
                continue;
            };
            let counted = stats::counted_by_server(old, *index);
            let zeroed = stats::zeroed(&old.server_base, *index);
            new.credit(&row.key, server.server.socket_addr(), counted, zeroed);
            let made = new.index_of(&row.key, server.server.socket_addr());
            if let Some((made, entry)) =
                made.and_then(|made| Some((made, new.maps.servers.get(made)?)))
                && let Some(known) = old.servers.get(*index)
            {
                copy_way(entry, known);
                // The scheduler's table has the places of who drains.
                entry.last_weight.store(known.last_weight.load());
                credits.servers.insert(*index, (made, counted));
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
    let server = |index: u32| Some(credits.servers.get(&index)?.0);
    localities::copy(&mut new.maps, old, &services, server);
    credits
}

/// Which servers of the new director are which of the old one, and what these had counted when they were copied.
#[derive(Debug, Default)]
pub(crate) struct Credits {
    servers: HashMap<u32, (u32, Stats)>,
}

impl Credits {
    /// Gives the new director what the old one counted since, and servers that had their fill remain so.
    pub(crate) fn settle(self, new: &Maps, old: &Maps) {
        for (from, (to, counted)) in self.servers {
            let since = stats::counted_by_server(old, from).since(counted);
            let base = stats::base(&new.server_base, to).since(since);
            stats::write_base(&new.server_base, to, base);
            if let (Some(entry), Some(known)) = (new.servers.get(to), old.servers.get(from))
                && known.overloaded.load() != 0
                && !counts::has_few(entry)
            {
                entry.overloaded.store(1);
            }
        }
    }
}

/// Copies of an old director's connections: one while it forwards, one when the new programs have taken its place.
pub(crate) struct Copies<'a> {
    old: &'a Maps,
    controls: Controls,
    connections: u64,
    /// How many the last copy had no room for.
    refused: u64,
    /// What has not been touched since was copied.
    since: Option<u32>,
    /// Left for the second copy, which has the templates that control them.
    deferred: HashSet<EntryKey>,
    /// Whether the new table has nothing but what is copied and what its programs make from the exchange on.
    fresh: bool,
}

impl<'a> Copies<'a> {
    pub(crate) fn of(old: &'a Maps, fresh: bool) -> Self {
        Self {
            old,
            fresh,
            controls: Controls::default(),
            connections: 0,
            refused: 0,
            since: None,
            deferred: HashSet::new(),
        }
    }

    /// Copies what is there, while the old programs go on.
    pub(crate) fn begin(&mut self, new: &mut Dataplane) -> Result<(), OpenError> {
        // Only a daemon sets it, and theirs is gone.
        let expected = flags(self.old) & Settings::HAS_EXPECTED;
        let settings = new.settings()?;
        settings.flags.store(settings.flags.load() | expected);
        self.copy(new, false)
    }

    /// Copies what changed since, now that the old programs have run to their end.
    pub(crate) fn finish(&mut self, new: &mut Dataplane) -> Result<(), OpenError> {
        self.copy(new, true)
    }

    /// Inserts the old table's connections, or those that changed since the last copy, into the new one. Those that are
    /// there already only move on to a later state. Templates come first, then what else controls others, then those.
    fn copy(&mut self, new: &mut Dataplane, is_last: bool) -> Result<(), OpenError> {
        let old = self.old;
        let rows = Rows::read(old);
        let (start, second) = new.clock();
        // What found no room is tried again.
        let since = self.since.filter(|_| self.refused == 0);
        let deferred = std::mem::take(&mut self.deferred);
        self.refused = 0;
        let changed = |entry: &Entry| {
            since.is_none_or(|since| !elapsed(since, entry.stamp, 1))
                || deferred.contains(&entry.key())
        };
        for rank in [Rank::Template, Rank::Controls, Rank::Other] {
            let mut copied = Places::new();
            let mut read = 0_u32;
            for entry in entries(old) {
                read += 1;
                if is_last && read.is_multiple_of(AGAIN) {
                    set_takeover(new, old, true);
                }
                if Rank::of(&entry) != rank || !changed(&entry) {
                    continue;
                }
                let Some(index) = server_of(new, &rows, &entry) else {
                    continue;
                };
                if !is_last && self.controls.lack(&entry) {
                    self.deferred.insert(entry.key());
                    continue;
                }
                let insertion = Insertion {
                    late: u32::from(is_last && self.fresh),
                    ..self.insertion(&entry, index)
                };
                match programs::insert(&new.object, insertion)?.outcome {
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
            method: entry.method + 1,
            ..Insertion::default()
        }
    }

    /// How many were copied, and how many found no room.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.connections, self.refused)
    }
}

/// What several copies came to.
pub(crate) fn adoption<'a>(copies: impl IntoIterator<Item = &'a Copies<'a>>) -> Adoption {
    let (mut connections, mut refused) = (0, 0);
    for (made, lost) in copies.into_iter().map(Copies::counts) {
        connections += made;
        refused += lost;
    }
    Adoption::Upgraded {
        connections,
        refused,
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

    /// Whether the connection is controlled by a slot that is not known.
    fn lack(&self, entry: &Entry) -> bool {
        State(entry.state).has(State::CONTROLLED)
            && !self.0.contains_key(&(entry.is_v6, entry.control))
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

/// Says to the programs of both directors whether connections are on their way between them: what comes for one
/// that is not there yet is then dropped, and sent again by its sender.
pub(crate) fn set_takeover(new: &Dataplane, old: &Maps, on: bool) {
    let (now, second) = new.clock();
    let until = if on {
        now.wrapping_add(TAKEOVER_SECONDS * second).max(1)
    } else {
        0
    };
    for maps in [&new.maps, old] {
        if let Some(settings) = maps.settings.get(0) {
            settings.takeover_until.store(until);
        }
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
