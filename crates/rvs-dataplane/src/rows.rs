//! What this process remembers of services and servers beside the maps: indexes, regions, order. All
//! of it can be read back from the maps, which is how a director is adopted.

use std::{collections::BTreeMap, time::Instant};

use rvs_abi::{Server as Entry, Service as ServiceEntry, service::Region};
use rvs_config::{Method, Server, ServiceKey, ServiceOptions, Weight};

use crate::{Origin, hops::Hop, object::Maps, options, wire};

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

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// In the order in which they were added.
    pub(crate) services: Vec<ServiceRow>,
    /// By index.
    pub(crate) servers: BTreeMap<u32, ServerRow>,
    pub(crate) regions: Regions,
    next_sequence: u32,
}

impl Rows {
    /// Reads back what another process wrote into the maps.
    pub(crate) fn read(maps: &Maps) -> Self {
        let mut rows = Self::default();
        let per_second = maps
            .settings
            .get(0)
            .map_or(1, |settings| settings.ticks_per_second.load());
        let mut services: Vec<(u32, ServiceRow)> = maps
            .services
            .iter()
            .filter_map(|(index, entry)| {
                let row = service_row(index, entry, per_second)?;
                Some((entry.sequence.load(), row))
            })
            .collect();
        services.sort_by_key(|(sequence, _)| *sequence);
        let mut order: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (index, entry) in maps.servers.iter() {
            let flags = entry.flags.load();
            if flags & Entry::IN_USE == 0 {
                continue;
            }
            let service = entry.service.load();
            let key = services
                .iter()
                .find(|(_, row)| row.index == service)
                .map(|(_, row)| row.key);
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
            rows.servers.insert(index, row);
        }
        for (sequence, mut row) in services {
            rows.next_sequence = rows.next_sequence.max(sequence);
            let mut list = order.remove(&row.index).unwrap_or_default();
            list.sort_unstable_by(|a, b| b.cmp(a));
            row.servers = list.into_iter().map(|(_, index)| index).collect();
            rows.regions.take(row.region);
            rows.services.push(row);
        }
        rows
    }

    /// A number larger than all before.
    pub(crate) fn sequence(&mut self) -> u32 {
        self.next_sequence += 1;
        self.next_sequence
    }

    pub(crate) fn service(&self, key: &ServiceKey) -> Option<&ServiceRow> {
        self.services.iter().find(|row| row.key == *key)
    }

    pub(crate) fn service_mut(&mut self, key: &ServiceKey) -> Option<&mut ServiceRow> {
        self.services.iter_mut().find(|row| row.key == *key)
    }

    /// The lowest service index that is free.
    pub(crate) fn free_service(&self, limit: u32) -> Option<u32> {
        let mut used: Vec<u32> = self.services.iter().map(|row| row.index).collect();
        used.sort_unstable();
        first_gap(used.into_iter(), limit)
    }

    /// The lowest server index that is free.
    pub(crate) fn free_server(&self, limit: u32) -> Option<u32> {
        first_gap(self.servers.keys().copied(), limit)
    }
}

fn first_gap(used: impl Iterator<Item = u32>, limit: u32) -> Option<u32> {
    let mut free = 0;
    for index in used {
        if index != free {
            break;
        }
        free += 1;
    }
    (free < limit).then_some(free)
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

/// Which parts of the members array are taken.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// Length by offset.
    taken: BTreeMap<u32, u32>,
    /// No longer published, but perhaps still read.
    retired: Vec<(Region, Instant)>,
}

impl Regions {
    /// Longer than any program run.
    const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

    fn take(&mut self, region: Region) {
        if region.length > 0 {
            self.taken.insert(region.offset, region.length);
        }
    }

    /// A free stretch of `length`, in an array of `limit`.
    pub(crate) fn allocate(&mut self, length: u32, limit: u32, version: u32) -> Option<Region> {
        let now = Instant::now();
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|(_, at): &(Region, Instant)| now - *at > Self::GRACE);
        self.retired = kept;
        for (region, _) in old {
            self.taken.remove(&region.offset);
        }
        if length == 0 {
            return Some(Region {
                offset: 0,
                length: 0,
                version,
            });
        }
        let mut offset = 0;
        for (start, taken) in &self.taken {
            if start - offset >= length {
                break;
            }
            offset = start + taken;
        }
        if offset.checked_add(length)? > limit {
            return None;
        }
        self.taken.insert(offset, length);
        Some(Region {
            offset,
            length,
            version,
        })
    }

    /// The region is no longer published.
    pub(crate) fn retire(&mut self, region: Region) {
        if region.length > 0 {
            self.retired.push((region, Instant::now()));
        }
    }
}
