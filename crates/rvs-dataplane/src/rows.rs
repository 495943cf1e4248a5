//! What this process remembers of services and servers beside the maps: indexes, regions, order. All
//! of it can be read back from the maps, which is how a director is adopted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use rvs_abi::{Server as Entry, Service as ServiceEntry, service::Region};
use rvs_config::{Method, Protocol, Server, ServiceKey, ServiceOptions, Weight};

use crate::{
    Origin, hops::Hop, object::Maps, options, regions::Regions, rules, tables::Recipe, wire,
};

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRow {
    pub(crate) index: u32,
    pub(crate) key: ServiceKey,
    pub(crate) name: Option<String>,
    pub(crate) options: ServiceOptions,
    pub(crate) origin: Origin,
    pub(crate) region: Region,
    /// Indexes of its servers, newest first.
    pub(crate) servers: Vec<u32>,
    /// Those of them that the kernel's list has: the same, unless the list waits for its publication.
    pub(crate) published: Vec<u32>,
    /// What the kernel's table behind the list is made of, as far as this process knows.
    pub(crate) recipe: Option<Recipe>,
    /// When that was.
    pub(crate) published_at: Option<Instant>,
    /// The order in which services were added.
    pub(crate) sequence: u32,
}

/// A server, also one that was removed and still has connections.
#[derive(Clone, Debug)]
pub(crate) struct ServerRow {
    /// `None` where a removed service's server was found in the maps.
    pub(crate) service: Option<ServiceKey>,
    pub(crate) server: Server,
    pub(crate) origin: Origin,
    pub(crate) hop: Option<Hop>,
    /// The sweep that was under way when it was removed.
    pub(crate) removed: Option<u32>,
}

/// How many services there are of the kinds that packets are looked up for one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds {
    pub(crate) marks: u32,
    pub(crate) any_port: u32,
    pub(crate) ftp: u32,
}

impl Kinds {
    /// FTP's control port.
    const FTP: u16 = 21;

    fn add(&mut self, key: &ServiceKey) {
        if let Some(count) = self.of(key) {
            *count += 1;
        }
    }

    fn remove(&mut self, key: &ServiceKey) {
        if let Some(count) = self.of(key) {
            *count -= 1;
        }
    }

    fn of(&mut self, key: &ServiceKey) -> Option<&mut u32> {
        match key {
            ServiceKey::Mark(_) => Some(&mut self.marks),
            ServiceKey::Address(key) if key.port() == 0 => Some(&mut self.any_port),
            ServiceKey::Address(key)
                if key.protocol() == Protocol::Tcp && key.port() == Kinds::FTP =>
            {
                Some(&mut self.ftp)
            }
            ServiceKey::Address(_) => None,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) services: BTreeMap<ServiceKey, ServiceRow>,
    /// By index. Only [`Rows::insert_server`] and [`Rows::remove_server`] add and take away.
    pub(crate) servers: BTreeMap<u32, ServerRow>,
    pub(crate) regions: Regions,
    next_sequence: u32,
    kinds: Kinds,
    /// Indexes of services that are taken.
    taken: BTreeSet<u32>,
    names: BTreeMap<String, ServiceKey>,
    /// Services with match rules, in the order in which they were added.
    with_rules: BTreeSet<(u32, ServiceKey)>,
    /// Services that tell clients apart by what a persistence engine reads.
    by_call: BTreeSet<ServiceKey>,
    /// The servers of each service, removed ones included.
    of_service: BTreeMap<ServiceKey, BTreeSet<u32>>,
    /// The servers at each address, and at each address and port by service.
    at_address: BTreeMap<IpAddr, BTreeSet<u32>>,
    at_socket: BTreeMap<(SocketAddr, Option<ServiceKey>), BTreeSet<u32>>,
    /// No index below these is free.
    lowest_service: u32,
    lowest_server: u32,
}

impl Rows {
    /// Reads back what another process wrote into the maps.
    pub(crate) fn read(maps: &Maps) -> Self {
        let mut rows = Self::default();
        let per_second = maps
            .settings
            .get(0)
            .map_or(1, |settings| settings.ticks_per_second.load());
        let services: BTreeMap<u32, ServiceRow> = maps
            .services
            .iter()
            .filter_map(|(index, entry)| {
                let mut row = service_row(index, entry, per_second)?;
                row.options.rules = rules::read(maps, &row.key);
                Some((index, row))
            })
            .collect();
        let mut order: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (index, entry) in maps.servers.iter() {
            let flags = entry.flags.load();
            if flags & Entry::IN_USE == 0 {
                continue;
            }
            let service = entry.service.load();
            let key = services.get(&service).map(|row| row.key);
            let Some(server) = server_of(entry) else {
                continue;
            };
            let removed = flags & Entry::REMOVED != 0 || key.is_none();
            if removed {
                entry.flags.store(flags | Entry::REMOVED);
            } else {
                order
                    .entry(service)
                    .or_default()
                    .push((entry.sequence.load(), index));
            }
            let row = ServerRow {
                service: key,
                server,
                origin: origin_of(flags & Entry::CONFIGURED != 0),
                hop: None,
                removed: removed.then_some(0),
            };
            rows.next_sequence = rows.next_sequence.max(entry.sequence.load());
            rows.insert_server(index, row);
        }
        for (index, mut row) in services {
            rows.next_sequence = rows.next_sequence.max(row.sequence);
            let mut list = order.remove(&index).unwrap_or_default();
            list.sort_unstable_by(|a, b| b.cmp(a));
            row.servers = list.into_iter().map(|(_, index)| index).collect();
            row.published = (0..row.region.length)
                .filter_map(|place| {
                    let word = maps.members.get(row.region.offset.checked_add(place)?)?;
                    u32::try_from(word.load()).ok()
                })
                .collect();
            rows.regions.take(row.region);
            rows.insert_service(row);
        }
        rows
    }

    /// Which kinds of services there are.
    pub(crate) fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// A number larger than all before.
    pub(crate) fn sequence(&mut self) -> u32 {
        self.next_sequence += 1;
        self.next_sequence
    }

    pub(crate) fn service(&self, key: &ServiceKey) -> Option<&ServiceRow> {
        self.services.get(key)
    }

    pub(crate) fn service_mut(&mut self, key: &ServiceKey) -> Option<&mut ServiceRow> {
        self.services.get_mut(key)
    }

    /// All services in the order in which they were added.
    pub(crate) fn in_order(&self) -> Vec<&ServiceRow> {
        let mut services: Vec<&ServiceRow> = self.services.values().collect();
        services.sort_unstable_by_key(|row| row.sequence);
        services
    }

    pub(crate) fn insert_service(&mut self, row: ServiceRow) {
        self.taken.insert(row.index);
        self.kinds.add(&row.key);
        if let Some(name) = &row.name {
            self.names.insert(name.clone(), row.key);
        }
        let key = row.key;
        self.services.insert(key, row);
        self.options_changed(&key);
    }

    /// The service's options are others than before.
    pub(crate) fn options_changed(&mut self, key: &ServiceKey) {
        let Some(row) = self.services.get(key) else {
            return;
        };
        let place = (row.sequence, *key);
        if row.options.rules.is_empty() {
            self.with_rules.remove(&place);
        } else {
            self.with_rules.insert(place);
        }
        let engine = row.options.persistence.and_then(|p| p.engine);
        if engine.is_some() {
            self.by_call.insert(*key);
        } else {
            self.by_call.remove(key);
        }
    }

    /// Whether a service has a persistence engine.
    pub(crate) fn any_by_call(&self) -> bool {
        !self.by_call.is_empty()
    }

    /// Services with match rules, in the order in which they were added.
    pub(crate) fn with_rules(&self) -> impl Iterator<Item = &ServiceRow> {
        self.with_rules
            .iter()
            .filter_map(|(_, key)| self.services.get(key))
    }

    pub(crate) fn remove_service(&mut self, key: &ServiceKey) -> Option<ServiceRow> {
        let row = self.services.remove(key)?;
        self.with_rules.remove(&(row.sequence, *key));
        self.by_call.remove(key);
        self.taken.remove(&row.index);
        self.kinds.remove(key);
        self.lowest_service = self.lowest_service.min(row.index);
        if let Some(name) = &row.name {
            self.names.remove(name);
        }
        Some(row)
    }

    /// The service that has this name.
    pub(crate) fn named(&self, name: &str) -> Option<ServiceKey> {
        self.names.get(name).copied()
    }

    pub(crate) fn set_name(&mut self, key: &ServiceKey, name: Option<&str>) {
        let Some(row) = self.services.get_mut(key) else {
            return;
        };
        let former = std::mem::replace(&mut row.name, name.map(str::to_owned));
        if let Some(former) = former
            && self.names.get(&former) == Some(key)
        {
            self.names.remove(&former);
        }
        if let Some(name) = name {
            self.names.insert(name.to_owned(), *key);
        }
    }

    /// Also puts a server in the place of another.
    pub(crate) fn insert_server(&mut self, index: u32, row: ServerRow) {
        self.remove_server(index);
        if let Some(key) = row.service {
            self.of_service.entry(key).or_default().insert(index);
        }
        let address = row.server.socket_addr();
        for sets in [
            self.at_address.entry(address.ip()).or_default(),
            self.at_socket.entry((address, row.service)).or_default(),
        ] {
            sets.insert(index);
        }
        self.servers.insert(index, row);
    }

    pub(crate) fn remove_server(&mut self, index: u32) -> Option<ServerRow> {
        let row = self.servers.remove(&index)?;
        self.lowest_server = self.lowest_server.min(index);
        if let Some(key) = row.service {
            forget(&mut self.of_service, &key, index);
        }
        let address = row.server.socket_addr();
        forget(&mut self.at_address, &address.ip(), index);
        forget(&mut self.at_socket, &(address, row.service), index);
        Some(row)
    }

    /// The servers of a service, removed ones included, by index.
    pub(crate) fn servers_of(&self, key: &ServiceKey) -> impl Iterator<Item = (u32, &ServerRow)> {
        let indexes = self.of_service.get(key).into_iter().flatten();
        indexes.filter_map(|index| Some((*index, self.servers.get(index)?)))
    }

    /// The indexes of the servers at an address.
    pub(crate) fn at_address(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        self.at_address.get(&address).into_iter().flatten().copied()
    }

    /// The servers of a service at an address and port: at most one that was not removed.
    pub(crate) fn at_socket(
        &self,
        key: &ServiceKey,
        address: SocketAddr,
    ) -> impl Iterator<Item = (u32, &ServerRow)> {
        let indexes = self.at_socket.get(&(address, Some(*key)));
        let indexes = indexes.into_iter().flatten();
        indexes.filter_map(|index| Some((*index, self.servers.get(index)?)))
    }

    /// The addresses at which there are servers.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.at_address.keys().copied()
    }

    /// The lowest service index that is free.
    pub(crate) fn free_service(&mut self, limit: u32) -> Option<u32> {
        while self.taken.contains(&self.lowest_service) {
            self.lowest_service += 1;
        }
        (self.lowest_service < limit).then_some(self.lowest_service)
    }

    /// The lowest server index that is free.
    pub(crate) fn free_server(&mut self, limit: u32) -> Option<u32> {
        while self.servers.contains_key(&self.lowest_server) {
            self.lowest_server += 1;
        }
        (self.lowest_server < limit).then_some(self.lowest_server)
    }
}

fn forget<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<u32>>, key: &K, index: u32) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&index);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

fn service_row(index: u32, entry: &ServiceEntry, per_second: u32) -> Option<ServiceRow> {
    let flags = entry.flags.load();
    if flags & ServiceEntry::IN_USE == 0 {
        return None;
    }
    let key = entry.key.load();
    let key = wire::service_key_back(rvs_abi::ServiceKey {
        address: wire::load(&entry.address),
        port: key as u16,
        protocol: (key >> 16) as u8,
        family: (key >> 24) as u8,
    })?;
    Some(ServiceRow {
        index,
        key,
        name: None,
        options: options::read(entry, key.family(), per_second, Vec::new())?,
        origin: origin_of(flags & ServiceEntry::CONFIGURED != 0),
        region: Region::unpack(entry.members.load()),
        servers: Vec::new(),
        published: Vec::new(),
        recipe: None,
        published_at: None,
        sequence: entry.sequence.load(),
    })
}

fn server_of(entry: &Entry) -> Option<Server> {
    let flags = entry.flags.load();
    let address = wire::address(wire::load(&entry.address), flags & Entry::V6 != 0);
    let port = u16::from_be(entry.port.load() as u16);
    let method: Method = wire::method_back(flags >> 12 & 15)?;
    let weight = Weight::new(u64::from(entry.weight.load())).ok()?;
    options::read_server(entry, Server::new(address, port, method, weight).ok()?)
}

fn origin_of(configured: bool) -> Origin {
    if configured {
        Origin::Configured
    } else {
        Origin::Runtime
    }
}
