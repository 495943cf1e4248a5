//! The data plane of one director: opened, changed, asked, swept.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use aya::Ebpf;
use rvs_abi::{
    AddressKey, Counter, Server as Entry, Service as ServiceEntry, Settings, TcpState,
    service::{Region, address as meaning},
    settings::UDP_TIMEOUT,
    sweep::{SWEEP_MAX, Sweep},
};
use rvs_config::{Attach, Director, Method, Scheduler, Server, Service, ServiceKey, Timeouts};

use crate::{
    Adoption, ChangeError, InterfaceState, OpenError, Origin, ServerState, ServiceState, Stats,
    TableState, Tick,
    attach::{self, Interface},
    hops::Hop,
    kernel, links,
    object::{self, EXPRESS, INGRESS, MEMBERS, Maps, Pins, SERVERS, SERVICES, Sizes},
    programs,
    rows::{Rows, ServerRow, ServiceRow},
    shared::Plain,
    stats, upgrade, wire,
};

/// ICMP errors that the director sends in a second, at the most.
const ICMP_PER_SECOND: u32 = 1000;
/// How long the dead rest, in seconds: longer than any program may read a slot.
const QUARANTINE_SECONDS: u32 = 1;
/// How long next hops are good without being confirmed, in seconds.
const HOP_SECONDS: u32 = 5;
/// Slots that one [`Dataplane::tick`] looks at.
const SWEEP_PER_TICK: u32 = 4 * 1024 * 1024;

/// A director's programs and tables in the kernel.
pub struct Dataplane {
    pub(crate) object: Ebpf,
    pub(crate) maps: Maps,
    pub(crate) rows: Rows,
    sizes: Sizes,
    pins: Pins,
    interfaces: Vec<(Interface, bool)>,
    addresses: BTreeMap<AddressKey4, u32>,
    sweep: Progress,
    ticks: u32,
}

type AddressKey4 = ([u32; 4], u8, u8);

/// A sweep in progress, and what the last whole one found.
#[derive(Debug, Default)]
struct Progress {
    pass: u32,
    next: u32,
    on_v6: bool,
    live: [u64; 2],
    found: [u64; 2],
}

impl Dataplane {
    /// Loads the programs, or takes over those that are there, and attaches them to the director's
    /// interfaces. Nothing is changed where it fails early; a director that was there goes on.
    pub fn open(director: &Director) -> Result<(Self, Adoption), OpenError> {
        kernel::check(&director.bpffs)?;
        let mut interfaces = Vec::new();
        for name in &director.interfaces {
            let ifindex = kernel::ifindex(name.as_str())?;
            interfaces.push(Interface {
                name: name.as_str().to_owned(),
                ifindex,
            });
        }
        let facts = links::facts(&interfaces)?;
        let sizes = Sizes::of(director);
        let pins = Pins::new(&director.bpffs, director.instance.as_str());
        let directory = pins.maps(sizes);
        let adopted = is_ready(&directory, sizes)?;
        for path in [&directory, &pins.links()] {
            fs::create_dir_all(path)
                .map_err(|error| OpenError::kernel(format!("making {}", path.display()), error))?;
        }
        let (object, maps) = object::load(&directory, sizes)?;

        let ticks = match maps.settings.get(0) {
            Some(settings) if adopted => settings.ticks_per_second.load(),
            _ => programs::ticks_per_second(&object)?,
        };
        let rows = if adopted {
            Rows::read(&maps)
        } else {
            Rows::default()
        };
        let mut dataplane = Self {
            object,
            maps,
            rows,
            sizes,
            pins,
            interfaces: Vec::new(),
            addresses: BTreeMap::new(),
            sweep: Progress::default(),
            ticks,
        };
        if !adopted {
            dataplane.initialise()?;
        }
        dataplane.set_timeouts(&director.timeouts);
        dataplane.repair()?;

        let mut adoption = if adopted {
            Adoption::Adopted
        } else {
            Adoption::Fresh
        };
        let others = dataplane.pins.others(&directory);
        let old = if adopted {
            None
        } else {
            upgrade::newest(&others)
        };
        if let Some(old) = &old {
            upgrade::copy_services(&mut dataplane, old);
            adoption = upgrade::copy_connections(&mut dataplane, old)?;
        }
        dataplane.ready();
        dataplane.attach(director.attach, interfaces, &facts)?;
        if let Some(old) = &old {
            // The old programs have run to the end by now: what they made last is copied too.
            let late = upgrade::copy_connections(&mut dataplane, old)?;
            adoption = upgrade::sum(adoption, late);
        }
        for other in others {
            object::remove_tree(&other).map_err(|error| {
                OpenError::kernel(format!("removing {}", other.display()), error)
            })?;
        }
        Ok((dataplane, adoption))
    }

    /// All services in the order in which they were added.
    pub fn services(&self) -> Vec<ServiceState> {
        self.rows
            .services
            .iter()
            .map(|row| self.service_state(row))
            .collect()
    }

    /// Adds a service with its servers, all or nothing.
    pub fn add_service(&mut self, service: &Service, origin: Origin) -> Result<(), ChangeError> {
        let key = service.key();
        if self.rows.service(&key).is_some() {
            return Err(ChangeError::ServiceExists(key));
        }
        let limit = SERVICES;
        let index = self.rows.free_service(limit).ok_or(ChangeError::NoRoom {
            what: "service",
            limit: limit.into(),
        })?;
        let sequence = self.rows.sequence();
        if let Some(entry) = self.maps.services.get(index) {
            let wire_key = wire::service_key(&key);
            entry.members.store(0);
            entry.cursor.store(0);
            entry
                .scheduler
                .store(wire::scheduler(service.scheduler()) as u32);
            wire::store(&entry.address, wire_key.address);
            let packed = u32::from(wire_key.port)
                | u32::from(wire_key.protocol) << 16
                | u32::from(wire_key.family) << 24;
            entry.key.store(packed);
            entry.sequence.store(sequence);
            entry.flags.store(
                ServiceEntry::IN_USE
                    | if origin == Origin::Configured {
                        ServiceEntry::CONFIGURED
                    } else {
                        0
                    },
            );
        }
        stats::clear_base(&self.maps.service_base, index);
        self.rows.services.push(ServiceRow {
            index,
            key,
            name: service.name().map(str::to_owned),
            scheduler: service.scheduler(),
            origin,
            region: Region::default(),
            servers: Vec::new(),
        });
        for server in service.servers() {
            if let Err(error) = self.insert_server(&key, server, origin) {
                self.take_service(&key);
                return Err(error);
            }
        }
        let done = self
            .publish(&key, 0)
            .and_then(|()| self.write_addresses())
            .and_then(|()| {
                self.maps
                    .service_index
                    .insert(Plain(wire::service_key(&key)), index, 0)
                    .map_err(|error| kernel_error("adding to the service index", &error))
            });
        if done.is_err() {
            self.take_service(&key);
        }
        done
    }

    /// Gives a service a name for people, or takes it away.
    pub fn set_name(&mut self, key: &ServiceKey, name: Option<&str>) {
        if let Some(row) = self.rows.service_mut(key) {
            row.name = name.map(str::to_owned);
        }
    }

    /// Changes how a service chooses.
    pub fn set_scheduler(
        &mut self,
        key: &ServiceKey,
        scheduler: Scheduler,
    ) -> Result<(), ChangeError> {
        let row = self
            .rows
            .service_mut(key)
            .ok_or(ChangeError::NoSuchService(*key))?;
        row.scheduler = scheduler;
        if let Some(entry) = self.maps.services.get(row.index) {
            entry.scheduler.store(wire::scheduler(scheduler) as u32);
            entry.cursor.store(0);
        }
        Ok(())
    }

    /// Removes a service and its servers.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError> {
        if self.rows.service(key).is_none() {
            return Err(ChangeError::NoSuchService(*key));
        }
        self.take_service(key);
        self.write_addresses()
    }

    /// Adds a server to a service.
    pub fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError> {
        let index = self.insert_server(key, server, origin)?;
        // The list grew at its head: the cursor stays at the server that it pointed to.
        let done = self.publish(key, 1).and_then(|()| self.write_addresses());
        if done.is_err() {
            self.forget_server(key, index);
        }
        done
    }

    /// Changes weight and method of the server with the same address and port.
    pub fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError> {
        let index = self.server_index(key, server.socket_addr())?;
        let Some(row) = self.rows.servers.get_mut(&index) else {
            return Err(ChangeError::NoSuchServer {
                service: *key,
                server: server.socket_addr(),
            });
        };
        row.server = *server;
        let local = row.hop.as_ref().is_some_and(|hop| hop.local);
        if let Some(entry) = self.maps.servers.get(index) {
            entry.weight.store(server.weight().get());
            write_method(entry, server.method(), local);
        }
        self.weigh(key);
        self.write_addresses()
    }

    /// Removes a server from a service. Its connections end with their next packet, or with the sweep.
    pub fn remove_server(
        &mut self,
        key: &ServiceKey,
        server: SocketAddr,
    ) -> Result<(), ChangeError> {
        let index = self.server_index(key, server)?;
        self.retire_server(key, index)?;
        self.write_addresses()
    }

    /// Zeroes the statistics of one service, or of everything.
    pub fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError> {
        if let Some(key) = key
            && self.rows.service(key).is_none()
        {
            return Err(ChangeError::NoSuchService(*key));
        }
        for row in self
            .rows
            .services
            .iter()
            .filter(|row| key.is_none_or(|key| row.key == *key))
        {
            stats::clear_base(&self.maps.service_base, row.index);
            for (index, _) in self
                .rows
                .servers
                .iter()
                .filter(|(_, server)| server.service == row.key)
            {
                stats::write_base(
                    &self.maps.server_base,
                    *index,
                    stats::raw(&self.maps, *index),
                );
            }
        }
        Ok(())
    }

    /// Every counter.
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        stats::counters(&self.maps)
    }

    /// How full the tables are.
    pub fn table(&self) -> TableState {
        let refused = self
            .counters()
            .iter()
            .find(|(counter, _)| *counter == Counter::DropTableFull)
            .map_or(0, |(_, n)| *n);
        TableState {
            slots4: self.sizes.slots4.into(),
            used4: self.sweep.found[0],
            slots6: self.sizes.slots6.into(),
            used6: self.sweep.found[1],
            refused,
        }
    }

    /// Does a second's work: sweeps a part of the tables, and gives indexes back that nothing names
    /// any more.
    pub fn tick(&mut self) -> Tick {
        let mut done = Tick::default();
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

    /// Where the traffic is taken from.
    pub fn interfaces(&self) -> Vec<InterfaceState> {
        let tc = if kernel::has_tcx() { "tcx" } else { "clsact" };
        self.interfaces
            .iter()
            .map(|(interface, xdp)| InterfaceState {
                name: interface.name.clone(),
                ifindex: interface.ifindex,
                tc,
                xdp: *xdp,
            })
            .collect()
    }

    /// Changes the time-outs, from now on.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        let ticks = |timeout: std::time::Duration| {
            u32::try_from(timeout.as_secs().saturating_mul(self.ticks.into()))
                .unwrap_or(u32::MAX / 2)
        };
        for state in TcpState::ALL {
            settings.timeouts[state as usize].store(ticks(tcp_timeout(timeouts, state)));
        }
        settings.timeouts[UDP_TIMEOUT].store(ticks(timeouts.udp));
    }

    /// Whether new connections are taken: off is LVS's backup that only serves what it has.
    pub fn set_scheduling(&mut self, on: bool) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        let flags = settings.flags.load() & !Settings::SCHEDULE;
        settings.flags.store(if on {
            flags | Settings::SCHEDULE
        } else {
            flags
        });
    }

    /// The distinct addresses of all servers, whose next hops are wanted.
    pub fn server_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self
            .rows
            .servers
            .values()
            .map(|row| row.server.address())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Writes next hops that were found or confirmed just now; `None` where there is no route.
    pub fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        let Ok(now) = programs::clock(&self.object) else {
            return;
        };
        let until = now.tick.wrapping_add(HOP_SECONDS * self.ticks);
        for (address, hop) in hops {
            for (index, row) in self
                .rows
                .servers
                .iter_mut()
                .filter(|(_, row)| row.server.address() == *address)
            {
                let Some(entry) = self.maps.servers.get(*index) else {
                    continue;
                };
                if row.hop != *hop || entry.hop_ifindex.load() == 0 {
                    write_hop(entry, row, hop.as_ref());
                    row.hop.clone_from(hop);
                }
                entry.hop_valid_until.store(until);
            }
        }
    }

    /// Stops forwarding: removes programs, links, tables and pins.
    pub fn detach(self) -> Result<(), OpenError> {
        for (interface, _) in &self.interfaces {
            attach::tc_detach(interface, &self.pins.links(), attach::TC)?;
        }
        self.pins
            .remove()
            .map_err(|error| OpenError::kernel("removing the pins", error))
    }

    /// The tick of the data path's clock, and how many of them a second has.
    pub(crate) fn clock(&self) -> (u32, u32) {
        (
            programs::clock(&self.object).map_or(0, |reading| reading.tick),
            self.ticks,
        )
    }

    fn initialise(&mut self) -> Result<(), OpenError> {
        let settings = self.settings()?;
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| OpenError::kernel("getrandom", error))?;
        for (word, bytes) in settings.hash_key.iter().zip(random.chunks_exact(4)) {
            word.store(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        settings.mask4.store(self.sizes.slots4 - 1);
        settings.mask6.store(self.sizes.slots6 - 1);
        settings.ticks_per_second.store(self.ticks);
        settings.quarantine.store(QUARANTINE_SECONDS * self.ticks);
        settings
            .icmp_per_tick
            .store((ICMP_PER_SECOND / self.ticks).max(1));
        settings.flags.store(Settings::SCHEDULE);
        Ok(())
    }

    fn ready(&self) {
        if let Ok(settings) = self.settings() {
            settings
                .flags
                .store(settings.flags.load() | Settings::READY);
        }
    }

    fn settings(&self) -> Result<&Settings, OpenError> {
        self.maps
            .settings
            .get(0)
            .ok_or_else(|| OpenError::Object("no settings".to_owned()))
    }

    /// Puts right what a process that was killed in the middle of a change left half-done.
    fn repair(&mut self) -> Result<(), OpenError> {
        let failed = |error: &ChangeError| {
            OpenError::kernel(
                "repairing the tables",
                std::io::Error::other(error.to_string()),
            )
        };
        let known: Vec<(rvs_abi::ServiceKey, u32)> = self
            .rows
            .services
            .iter()
            .map(|row| (wire::service_key(&row.key), row.index))
            .collect();
        let stale: Vec<rvs_abi::ServiceKey> = self
            .maps
            .service_index
            .keys()
            .filter_map(|key| key.ok().map(|key| key.0))
            .filter(|key| !known.iter().any(|(known, _)| known == key))
            .collect();
        for key in stale {
            let _ = self.maps.service_index.remove(&Plain(key));
        }
        for (key, index) in known {
            self.maps
                .service_index
                .insert(Plain(key), index, 0)
                .map_err(|error| failed(&kernel_error("service index", &error)))?;
        }
        let keys: Vec<ServiceKey> = self.rows.services.iter().map(|row| row.key).collect();
        for key in keys {
            if !self.is_published(&key) {
                self.publish(&key, 0).map_err(|error| failed(&error))?;
            }
        }
        let stale: Vec<AddressKey> = self
            .maps
            .addresses
            .keys()
            .filter_map(|key| key.ok().map(|key| key.0))
            .collect();
        self.addresses = stale
            .into_iter()
            .map(|key| ((key.address, key.protocol, key.family), 0))
            .collect();
        self.write_addresses().map_err(|error| failed(&error))
    }

    /// Whether the kernel's list of the service is the one that its servers give.
    fn is_published(&self, key: &ServiceKey) -> bool {
        self.rows.service(key).is_some_and(|row| {
            row.region.length as usize == row.servers.len()
                && row.servers.iter().enumerate().all(|(place, index)| {
                    self.maps
                        .members
                        .get(row.region.offset + place as u32)
                        .is_some_and(|word| word.load() == u64::from(*index))
                })
        })
    }

    fn attach(
        &mut self,
        attach: Attach,
        interfaces: Vec<Interface>,
        facts: &[links::Facts],
    ) -> Result<(), OpenError> {
        let links = self.pins.links();
        let mut with_xdp = Vec::new();
        for (interface, facts) in interfaces.iter().zip(facts) {
            let tc = object::tc_program(&mut self.object, INGRESS)?;
            attach::tc(tc, interface, &links, attach::TC)?;
            let wanted = match attach {
                Attach::Tc => false,
                Attach::Xdp => true,
                // Virtual devices lose "checksum still to be filled in" with XDP, or gain nothing.
                Attach::Auto => !facts.is_virtual,
            };
            if !wanted {
                continue;
            }
            let place = interface.ifindex % rvs_abi::device::DEVICES;
            if let Some(device) = self.maps.devices.get(place) {
                device.mac[0].store(u32::from_ne_bytes([
                    facts.mac[0],
                    facts.mac[1],
                    facts.mac[2],
                    facts.mac[3],
                ]));
                device.mac[1].store(u32::from(u16::from_ne_bytes([facts.mac[4], facts.mac[5]])));
                device.ifindex.store(interface.ifindex);
            }
            let xdp = object::xdp_program(&mut self.object, EXPRESS)?;
            match attach::xdp(xdp, interface, &links) {
                Ok(()) => with_xdp.push(interface.ifindex),
                Err(source) if attach == Attach::Xdp => {
                    return Err(OpenError::NoXdp {
                        interface: interface.name.clone(),
                        source,
                    });
                }
                Err(error) => {
                    tracing::info!(interface = interface.name, %error, "no native XDP here: tc alone")
                }
            }
        }
        attach::keep_only(&links, &interfaces, &with_xdp)?;
        self.interfaces = interfaces
            .into_iter()
            .map(|interface| {
                let xdp = with_xdp.contains(&interface.ifindex);
                (interface, xdp)
            })
            .collect();
        Ok(())
    }

    fn service_state(&self, row: &ServiceRow) -> ServiceState {
        let mut total = stats::base(&self.maps.service_base, row.index);
        let mut servers: Vec<ServerState> = Vec::new();
        for index in &row.servers {
            if let Some(server) = self.rows.servers.get(index) {
                servers.push(self.server_state(*index, server));
            }
        }
        for (index, server) in &self.rows.servers {
            if server.service == row.key {
                let counted = stats::raw(&self.maps, *index)
                    .since(stats::base(&self.maps.server_base, *index));
                total = total.plus(counted);
                if server.removed.is_some() {
                    servers.push(self.server_state(*index, server));
                }
            }
        }
        // A removed server without connections is nobody's concern.
        servers.retain(|server| !server.draining_removed || server.active + server.inactive > 0);
        ServiceState {
            key: row.key,
            name: row.name.clone(),
            scheduler: row.scheduler,
            origin: row.origin,
            servers,
            stats: total,
        }
    }

    fn server_state(&self, index: u32, row: &ServerRow) -> ServerState {
        let entry = self.maps.servers.get(index);
        // A count that is being moved may be below zero for a moment.
        let count = |word: Option<u32>| word.filter(|count| count >> 31 == 0).unwrap_or(0);
        ServerState {
            server: row.server,
            origin: row.origin,
            active: count(entry.map(|entry| entry.active.load())),
            inactive: count(entry.map(|entry| entry.inactive.load())),
            stats: stats::raw(&self.maps, index).since(stats::base(&self.maps.server_base, index)),
            local: row.hop.as_ref().is_some_and(|hop| hop.local),
            draining_removed: row.removed.is_some(),
            next_hop: row
                .hop
                .as_ref()
                .map(|hop| describe_hop(hop, row.server.address())),
        }
    }

    /// Makes a server, or revives one that was removed and still has connections; the list is not yet
    /// published.
    fn insert_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<u32, ChangeError> {
        let service = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?
            .index;
        if self.server_index(key, server.socket_addr()).is_ok() {
            return Err(ChangeError::ServerExists {
                service: *key,
                server: server.socket_addr(),
            });
        }
        let revived = self.rows.servers.iter().find(|(_, row)| {
            row.removed.is_some()
                && row.service == *key
                && row.server.socket_addr() == server.socket_addr()
                && row.server.method() == server.method()
        });
        let index = match revived {
            Some((index, _)) => *index,
            None => {
                let limit = SERVERS;
                let index = self.rows.free_server(limit).ok_or(ChangeError::NoRoom {
                    what: "real server",
                    limit: limit.into(),
                })?;
                stats::write_base(&self.maps.server_base, index, stats::raw(&self.maps, index));
                if let Some(entry) = self.maps.servers.get(index) {
                    entry.active.store(0);
                    entry.inactive.store(0);
                    entry.hop_ifindex.store(0);
                }
                index
            }
        };
        let sequence = self.rows.sequence();
        // The same server under another service, or before, has its next hop already.
        let hop = self
            .rows
            .servers
            .values()
            .find(|row| row.server.address() == server.address())
            .and_then(|row| row.hop.clone());
        let mut row = ServerRow {
            service: *key,
            server: *server,
            origin,
            hop: None,
            removed: None,
        };
        if let Some(entry) = self.maps.servers.get(index) {
            wire::store(&entry.address, wire::words(server.address()));
            entry.port.store(u32::from(server.port().get().to_be()));
            entry.weight.store(server.weight().get());
            entry.service.store(service);
            entry.sequence.store(sequence);
            let v6 = if server.address().is_ipv6() {
                Entry::V6
            } else {
                0
            };
            let configured = if origin == Origin::Configured {
                Entry::CONFIGURED
            } else {
                0
            };
            entry.flags.store(Entry::IN_USE | v6 | configured);
            write_method(entry, server.method(), false);
            if let Some(hop) = &hop {
                write_hop(entry, &row, Some(hop));
            }
        }
        row.hop = hop;
        self.rows.servers.insert(index, row);
        if let Some(row) = self.rows.service_mut(key) {
            row.servers.insert(0, index);
        }
        Ok(index)
    }

    /// Publishes the service's list. `shift` is how many servers were put at its head.
    fn publish(&mut self, key: &ServiceKey, shift: u32) -> Result<(), ChangeError> {
        let row = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?
            .clone();
        let length = row.servers.len() as u32;
        let version = row.region.version.wrapping_add(1) & 0xffff;
        let region =
            self.rows
                .regions
                .allocate(length, MEMBERS, version)
                .ok_or(ChangeError::NoRoom {
                    what: "list of real servers",
                    limit: MEMBERS.into(),
                })?;
        for (place, index) in row.servers.iter().enumerate() {
            if let Some(word) = self.maps.members.get(region.offset + place as u32) {
                word.store(u64::from(*index));
            }
        }
        if let Some(entry) = self.maps.services.get(row.index) {
            entry.members.swap(region.pack());
            if shift > 0 {
                let cursor = entry.cursor.load();
                let moved = (cursor as u32 & 0xffff).wrapping_add(shift).min(length);
                entry
                    .cursor
                    .cas(cursor, cursor & !0xffff | u64::from(moved));
            }
        }
        self.rows.regions.retire(row.region);
        if let Some(row) = self.rows.service_mut(key) {
            row.region = region;
        }
        self.weigh(key);
        Ok(())
    }

    /// Computes what wrr needs to know of all weights (IPVS: `ip_vs_wrr_dest_changed`).
    fn weigh(&mut self, key: &ServiceKey) {
        let Some(row) = self.rows.service(key) else {
            return;
        };
        let weights = row
            .servers
            .iter()
            .filter_map(|index| self.rows.servers.get(index))
            .map(|row| row.server.weight().get());
        let (mut step, mut largest) = (0, 0);
        for weight in weights.filter(|weight| *weight > 0) {
            step = gcd(step, weight);
            largest = largest.max(weight);
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
        let (old_step, old_top) = (entry.weight_step.load(), entry.weight_top.load());
        entry.weight_step.store(step);
        entry.weight_top.store(top);
        if row.scheduler == Scheduler::Wrr && (old_step, old_top) != (step, top) {
            let cursor = entry.cursor.load();
            let current = (cursor >> 32) as u32;
            let current = if current > top {
                top
            } else if step > 1 {
                (current / step) * step + 1
            } else {
                current
            };
            entry.cursor.cas(cursor, u64::from(current) << 32);
        }
    }

    fn server_index(&self, key: &ServiceKey, server: SocketAddr) -> Result<u32, ChangeError> {
        let row = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?;
        let is_it = |index: &&u32| {
            self.rows
                .servers
                .get(index)
                .is_some_and(|row| row.server.socket_addr() == server)
        };
        row.servers
            .iter()
            .find(is_it)
            .copied()
            .ok_or(ChangeError::NoSuchServer {
                service: *key,
                server,
            })
    }

    /// Takes a server out of its service's list; its connections end from now on.
    fn retire_server(&mut self, key: &ServiceKey, index: u32) -> Result<(), ChangeError> {
        let Some(row) = self.rows.service_mut(key) else {
            return Err(ChangeError::NoSuchService(*key));
        };
        let position = row
            .servers
            .iter()
            .position(|other| *other == index)
            .unwrap_or(0) as u32;
        row.servers.retain(|other| *other != index);
        let service = row.index;
        self.publish(key, 0)?;
        if let Some(entry) = self.maps.services.get(service) {
            let cursor = entry.cursor.load();
            let next = cursor as u32 & 0xffff;
            if next > position {
                entry
                    .cursor
                    .cas(cursor, cursor & !0xffff | u64::from(next - 1));
            }
        }
        if let Some(entry) = self.maps.servers.get(index) {
            entry.flags.store(entry.flags.load() | Entry::REMOVED);
        }
        if let Some(row) = self.rows.servers.get_mut(&index) {
            row.removed = Some(self.sweep.pass + 1);
        }
        Ok(())
    }

    /// Undoes an insertion that was not published.
    fn forget_server(&mut self, key: &ServiceKey, index: u32) {
        if let Some(row) = self.rows.service_mut(key) {
            row.servers.retain(|other| *other != index);
        }
        if let Some(entry) = self.maps.servers.get(index) {
            entry.flags.store(entry.flags.load() | Entry::REMOVED);
        }
        if let Some(row) = self.rows.servers.get_mut(&index) {
            row.removed = Some(self.sweep.pass + 1);
        }
    }

    /// Removes a service from the kernel and from the rows.
    fn take_service(&mut self, key: &ServiceKey) {
        let _ = self
            .maps
            .service_index
            .remove(&Plain(wire::service_key(key)));
        let Some(place) = self.rows.services.iter().position(|row| row.key == *key) else {
            return;
        };
        for index in self.rows.services[place].servers.clone() {
            self.forget_server(key, index);
        }
        let row = self.rows.services.remove(place);
        if let Some(entry) = self.maps.services.get(row.index) {
            entry.flags.store(0);
            entry.members.swap(0);
        }
        self.rows.regions.retire(row.region);
    }

    /// Brings the address index up to date.
    fn write_addresses(&mut self) -> Result<(), ChangeError> {
        let mut wanted: BTreeMap<AddressKey4, u32> = BTreeMap::new();
        for row in &self.rows.services {
            let protocol = wire::protocol_number(row.key.protocol());
            let mut note = |address: IpAddr, bit: u32| {
                let key = wire::address_key(address, protocol);
                *wanted
                    .entry((key.address, key.protocol, key.family))
                    .or_default() |= bit;
            };
            note(row.key.address(), meaning::VIRTUAL);
            for server in row
                .servers
                .iter()
                .filter_map(|index| self.rows.servers.get(index))
            {
                if server.server.method() == Method::Nat {
                    note(server.server.address(), meaning::NAT_SERVER);
                }
            }
        }
        let key_of = |(address, protocol, family): AddressKey4| {
            Plain(AddressKey {
                address,
                protocol,
                family,
                zero: 0,
            })
        };
        for (key, bits) in &wanted {
            if self.addresses.get(key) != Some(bits) {
                self.maps
                    .addresses
                    .insert(key_of(*key), bits, 0)
                    .map_err(|error| kernel_error("adding to the address index", &error))?;
            }
        }
        for key in self
            .addresses
            .keys()
            .filter(|key| !wanted.contains_key(key))
        {
            let _ = self.maps.addresses.remove(&key_of(*key));
        }
        self.addresses = wanted;
        Ok(())
    }

    /// A whole sweep is done: what it did not find is free.
    fn end_pass(&mut self) {
        self.sweep.pass += 1;
        self.sweep.found = std::mem::take(&mut self.sweep.live);
        let pass = self.sweep.pass;
        let free: Vec<u32> = self
            .rows
            .servers
            .iter()
            .filter(|(_, row)| row.removed.is_some_and(|removed| removed < pass))
            .filter(|(index, _)| {
                self.maps
                    .servers
                    .get(**index)
                    .is_some_and(|entry| entry.seen.load() != pass)
            })
            .map(|(index, _)| *index)
            .collect();
        for index in free {
            let counted =
                stats::raw(&self.maps, index).since(stats::base(&self.maps.server_base, index));
            if let Some(row) = self.rows.servers.remove(&index)
                && let Some(service) = self.rows.service(&row.service)
            {
                let kept = stats::base(&self.maps.service_base, service.index).plus(counted);
                stats::write_base(&self.maps.service_base, service.index, kept);
            }
            if let Some(entry) = self.maps.servers.get(index) {
                entry.flags.store(0);
            }
        }
    }
}

/// Whether a director of these sizes is in `directory`, whole.
fn is_ready(directory: &PathBuf, sizes: Sizes) -> Result<bool, OpenError> {
    if !directory.exists() {
        return Ok(false);
    }
    let ready = object::check(directory, sizes).is_ok()
        && Maps::open(directory)?
            .settings
            .get(0)
            .is_some_and(|settings| settings.flags.load() & Settings::READY != 0);
    if !ready {
        // A start that did not get far: nothing forwards by it.
        object::remove_tree(directory).map_err(|error| {
            OpenError::kernel(format!("removing {}", directory.display()), error)
        })?;
    }
    Ok(ready)
}

fn write_method(entry: &Entry, asked: Method, local: bool) {
    let asked = wire::method(asked);
    let used = if local { rvs_abi::Method::Local } else { asked };
    let flags = entry.flags.load() & !(15 << 12) | (asked as u32) << 12;
    entry.flags.store(Entry::with_method(flags, used));
}

/// Writes a next hop. The link addresses are unknown while the rest changes.
fn write_hop(entry: &Entry, row: &ServerRow, hop: Option<&Hop>) {
    entry.flags.store(entry.flags.load() & !Entry::HOP_KNOWN);
    let Some(hop) = hop else {
        entry.hop_ifindex.store(0);
        return;
    };
    let neighbour = hop.gateway.unwrap_or(row.server.address());
    wire::store(&entry.hop_address, wire::words(neighbour));
    if let Some(own) = hop.source {
        wire::store(&entry.own_address, wire::words(own));
    }
    entry.hop_mtu.store(hop.mtu);
    let family = u32::from(wire::family_of(neighbour)) << 16;
    entry
        .flags
        .store(entry.flags.load() & !(0xff << 16) | family);
    write_method(entry, row.server.method(), hop.local);
    entry.hop_ifindex.store(hop.ifindex);
    if let Some(macs) = hop.macs {
        for (word, bytes) in entry.hop_macs.iter().zip(macs.chunks_exact(4)) {
            word.store(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        entry.flags.store(entry.flags.load() | Entry::HOP_KNOWN);
    }
}

fn describe_hop(hop: &Hop, server: IpAddr) -> String {
    if hop.local {
        return "local".to_owned();
    }
    let via = hop
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    let device = links::name(hop.ifindex).unwrap_or_else(|| format!("interface {}", hop.ifindex));
    format!("{server}{via} dev {device} mtu {}", hop.mtu)
}

fn tcp_timeout(timeouts: &Timeouts, state: TcpState) -> std::time::Duration {
    let tcp = &timeouts.tcp;
    match state {
        TcpState::None => tcp.none,
        TcpState::Established => tcp.established,
        TcpState::SynSent => tcp.syn_sent,
        TcpState::SynRecv => tcp.syn_recv,
        TcpState::FinWait => tcp.fin_wait,
        TcpState::TimeWait => tcp.time_wait,
        TcpState::Close => tcp.close,
        TcpState::CloseWait => tcp.close_wait,
        TcpState::LastAck => tcp.last_ack,
        TcpState::Listen => tcp.listen,
        TcpState::SynAck => tcp.synack,
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn kernel_error(call: &'static str, error: &aya::maps::MapError) -> ChangeError {
    ChangeError::Kernel {
        call,
        source: std::io::Error::other(object::describe(error)),
    }
}

/// Statistics as users count them.
impl From<rvs_abi::ServerStats> for Stats {
    fn from(stats: rvs_abi::ServerStats) -> Self {
        Self {
            connections: stats.connections,
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        }
    }
}
