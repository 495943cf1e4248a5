//! Changing services and servers: each change is whole or did not happen.

use std::{collections::HashSet, net::SocketAddr};

use rvs_abi::{AddressKey, Server as Entry, Service as ServiceEntry, service::Region};
use rvs_config::{MAX_SERVERS, Method, Server, Service, ServiceKey, ServiceOptions};

use crate::{
    ChangeError, OpenError, Origin, Stats,
    coalesce::Need,
    dataplane::Dataplane,
    localities::remembers,
    object::{self, SERVERS, SERVICES},
    options,
    rows::{ServerRow, ServiceRow},
    shared::Plain,
    stats,
    ways::write_hop,
    wire,
};

impl Dataplane {
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
            wire::store(&entry.address, wire_key.address);
            let packed = u32::from(wire_key.port)
                | u32::from(wire_key.protocol) << 16
                | u32::from(wire_key.family) << 24;
            entry.key.store(packed);
            entry.sequence.store(sequence);
            let configured = match origin {
                Origin::Configured => ServiceEntry::CONFIGURED,
                Origin::Runtime => 0,
            };
            let by_mark = match key {
                ServiceKey::Address(_) => 0,
                ServiceKey::Mark(_) => ServiceEntry::BY_MARK,
            };
            entry.flags.store(configured | by_mark | self.exact());
            options::write(entry, service.options(), key.family(), self.ticks);
            entry.flags.store(entry.flags.load() | ServiceEntry::IN_USE);
        }
        stats::write_base(&self.maps.service_base, index, Stats::default());
        self.rows.insert_service(ServiceRow {
            index,
            key,
            name: service.name().map(str::to_owned),
            options: service.options().clone(),
            origin,
            region: Region::default(),
            servers: Vec::new(),
            published: Vec::new(),
            recipe: None,
            published_at: None,
            sequence,
        });
        self.addresses.service_changed(&self.rows, &key);
        for server in service.servers() {
            if let Err(error) = self.insert_server(&key, server, origin) {
                self.take_service(&key);
                return Err(error);
            }
        }
        let done = self.publish(&key).and_then(|()| {
            self.maps
                .service_index
                .insert(Plain(wire::service_key(&key)), index, 0)
                .map_err(|error| kernel_error("adding to the service index", &error))
        });
        self.addresses_changed();
        let has_rules = !service.options().rules.is_empty();
        let done = done.and_then(|()| {
            if has_rules {
                self.write_rules()
            } else {
                Ok(())
            }
        });
        if let Err(error) = done {
            self.take_service(&key);
            self.addresses_changed();
            // What there was before had room.
            let _ = self.write_rules();
            return Err(error);
        }
        self.note_kinds();
        // Servers that came back from a service of the same address start anew.
        self.zero(Some(&key))
    }

    /// Gives a service a name for people, or takes it away.
    pub fn set_name(&mut self, key: &ServiceKey, name: Option<&str>) {
        self.rows.set_name(key, name);
    }

    /// Changes how a service treats its clients.
    pub fn set_options(
        &mut self,
        key: &ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), ChangeError> {
        let row = self
            .rows
            .service_mut(key)
            .ok_or(ChangeError::NoSuchService(*key))?;
        let former = std::mem::replace(&mut row.options, options.clone());
        let index = row.index;
        let own_timeouts = !options.timeouts.is_empty();
        let other_rules = former.rules != options.rules;
        let other_scheduler = former.scheduler != options.scheduler;
        self.rows.options_changed(key);
        // A scheduler's table must be there before the scheduler, and may go after it. The same scheduler goes on where it is.
        let done = if other_scheduler {
            self.publish(key)
        } else {
            Ok(())
        };
        let done = done.and_then(|()| {
            if other_rules {
                self.write_rules()
            } else {
                Ok(())
            }
        });
        if let Err(error) = done {
            if let Some(row) = self.rows.service_mut(key) {
                row.options = former;
            }
            self.rows.options_changed(key);
            return Err(error);
        }
        if let Some(entry) = self.maps.services.get(index) {
            options::write(entry, options, key.family(), self.ticks);
        }
        if remembers(former.scheduler) && other_scheduler {
            self.forget_localities(index);
        }
        for (index, row) in self.rows.servers_of(key) {
            if let Some(entry) = self.maps.servers.get(index) {
                options::write_server(entry, &row.server, own_timeouts);
            }
        }
        if other_scheduler {
            self.weigh(key);
        }
        self.note_kinds();
        Ok(())
    }

    /// Removes a service and its servers.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError> {
        let Some(row) = self.rows.service(key) else {
            return Err(ChangeError::NoSuchService(*key));
        };
        let had_rules = !row.options.rules.is_empty();
        self.take_service(key);
        self.addresses_changed();
        self.note_kinds();
        if had_rules {
            self.write_rules()
        } else {
            Ok(())
        }
    }

    /// Adds a server to a service.
    pub fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError> {
        let index = self.insert_server(key, server, origin)?;
        let done = self.changed(key, Need::List);
        if done.is_err() {
            self.forget_server(key, index);
        }
        self.addresses_changed();
        done
    }

    /// Changes everything else of the server with the same address and port.
    pub fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError> {
        let index = self.server_index(key, server.socket_addr())?;
        let former = self.rows.servers.get(&index).map(|row| row.server);
        self.write_server(key, index, server);
        let done = self.changed(key, Need::Weights);
        if let (Err(_), Some(former)) = (&done, former) {
            self.write_server(key, index, &former);
        }
        self.addresses_changed();
        done
    }

    fn write_server(&mut self, key: &ServiceKey, index: u32, server: &Server) {
        let own_timeouts = self
            .rows
            .service(key)
            .is_some_and(|row| !row.options.timeouts.is_empty());
        let Some(row) = self.rows.servers.get_mut(&index) else {
            return;
        };
        row.server = *server;
        let local = row.hop.as_ref().is_some_and(|hop| hop.local);
        if let Some(entry) = self.maps.servers.get(index) {
            options::write_server(entry, server, own_timeouts);
            write_method(entry, server.method(), local);
        }
        self.addresses.server_changed(&self.rows, index);
    }

    /// Removes a server from a service. Its connections end with their next packet, or with the sweep.
    pub fn remove_server(
        &mut self,
        key: &ServiceKey,
        server: SocketAddr,
    ) -> Result<(), ChangeError> {
        let index = self.server_index(key, server)?;
        self.retire_server(key, index)
    }

    /// Puts right what a process that was killed in the middle of a change left half-done.
    pub(crate) fn repair(&mut self) -> Result<(), OpenError> {
        let failed = |error: &ChangeError| {
            OpenError::kernel(
                "repairing the tables",
                std::io::Error::other(error.to_string()),
            )
        };
        let known: HashSet<rvs_abi::ServiceKey> =
            self.rows.services.keys().map(wire::service_key).collect();
        let stale: Vec<rvs_abi::ServiceKey> = self
            .maps
            .service_index
            .keys()
            .filter_map(|key| key.ok().map(|key| key.0))
            .filter(|key| !known.contains(key))
            .collect();
        for key in stale {
            let _ = self.maps.service_index.remove(&Plain(key));
        }
        for row in self.rows.services.values() {
            let (key, index) = (wire::service_key(&row.key), row.index);
            self.maps
                .service_index
                .insert(Plain(key), index, 0)
                .map_err(|error| failed(&kernel_error("service index", &error)))?;
        }
        let keys: Vec<ServiceKey> = self.rows.services.keys().copied().collect();
        for key in keys {
            if !self.is_published(&key) {
                self.publish(&key).map_err(|error| failed(&error))?;
            }
        }
        let stale: Vec<AddressKey> = self
            .maps
            .addresses
            .keys()
            .filter_map(|key| key.ok().map(|key| key.0))
            .collect();
        self.addresses.found(stale.into_iter());
        self.addresses.count_all(&self.rows);
        self.write_addresses()
            .and_then(|()| self.write_rules())
            .map_err(|error| failed(&error))?;
        self.note_kinds();
        Ok(())
    }

    /// Makes a server, or revives one that was removed and still has connections; the list is not yet
    /// published.
    pub(crate) fn insert_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<u32, ChangeError> {
        let service = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?;
        let own_timeouts = !service.options.timeouts.is_empty();
        let is_full = service.servers.len() >= MAX_SERVERS;
        let service = service.index;
        if self.server_index(key, server.socket_addr()).is_ok() {
            return Err(ChangeError::ServerExists {
                service: *key,
                server: server.socket_addr(),
            });
        }
        if is_full {
            return Err(ChangeError::TooManyServers {
                service: *key,
                server: server.socket_addr(),
            });
        }
        // The same server under another service, or before, has its next hop already.
        let hop = self
            .rows
            .at_address(server.address())
            .take(16)
            .find_map(|index| self.rows.servers.get(&index)?.hop);
        let revived = self
            .rows
            .at_socket(key, server.socket_addr())
            .find(|(_, row)| row.removed.is_some())
            .map(|(index, _)| index);
        let index = match revived {
            Some(index) => {
                // What mh knew of its weight IPVS forgets (`__ip_vs_update_dest`).
                if self.exact() != 0
                    && let Some(entry) = self.maps.servers.get(index)
                {
                    entry.last_weight.store(0);
                }
                index
            }
            None => {
                let limit = SERVERS;
                let index = self.rows.free_server(limit).ok_or(ChangeError::NoRoom {
                    what: "real server",
                    limit: limit.into(),
                })?;
                stats::write_base(&self.maps.server_base, index, stats::raw(&self.maps, index));
                stats::write_zeroed(&self.maps.server_base, index, Stats::default());
                if let Some(entry) = self.maps.servers.get(index) {
                    entry.active.store(0);
                    entry.inactive.store(0);
                    entry.persistent.store(0);
                    entry.overloaded.store(0);
                    entry.upper.store(0);
                    entry.lower.store(0);
                    entry.last_weight.store(0);
                    entry.hop_ifindex.store(0);
                }
                index
            }
        };
        let sequence = self.rows.sequence();
        let mut row = ServerRow {
            service: Some(*key),
            server: *server,
            origin,
            hop: None,
            removed: None,
        };
        if let Some(entry) = self.maps.servers.get(index) {
            wire::store(&entry.address, wire::words(server.address()));
            entry.port.store(u32::from(server.port().to_be()));
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
            options::write_server(entry, server, own_timeouts);
            write_method(entry, server.method(), false);
            if let Some(hop) = &hop {
                write_hop(entry, &row, Some(hop));
            }
        }
        row.hop = hop;
        self.rows.insert_server(index, row);
        if let Some(row) = self.rows.service_mut(key) {
            row.servers.insert(0, index);
        }
        self.addresses.server_changed(&self.rows, index);
        Ok(index)
    }

    pub(crate) fn server_index(
        &self,
        key: &ServiceKey,
        server: SocketAddr,
    ) -> Result<u32, ChangeError> {
        if self.rows.service(key).is_none() {
            return Err(ChangeError::NoSuchService(*key));
        }
        self.rows
            .at_socket(key, server)
            .find(|(_, row)| row.removed.is_none())
            .map(|(index, _)| index)
            .ok_or(ChangeError::NoSuchServer {
                service: *key,
                server,
            })
    }

    /// Takes a server out of its service's list; its connections end from now on.
    pub(crate) fn retire_server(
        &mut self,
        key: &ServiceKey,
        index: u32,
    ) -> Result<(), ChangeError> {
        let Some(row) = self.rows.service_mut(key) else {
            return Err(ChangeError::NoSuchService(*key));
        };
        let former = row.servers.clone();
        row.servers.retain(|other| *other != index);
        if let Some(row) = self.rows.servers.get_mut(&index) {
            row.removed = Some(self.sweep.pass + 1);
        }
        if let Err(error) = self.changed(key, Need::List) {
            if let Some(row) = self.rows.service_mut(key) {
                row.servers = former;
            }
            if let Some(row) = self.rows.servers.get_mut(&index) {
                row.removed = None;
            }
            return Err(error);
        }
        self.addresses.server_changed(&self.rows, index);
        self.addresses_changed();
        Ok(())
    }

    /// Undoes an insertion that was not published.
    pub(crate) fn forget_server(&mut self, key: &ServiceKey, index: u32) {
        if let Some(row) = self.rows.service_mut(key) {
            row.servers.retain(|other| *other != index);
        }
        if let Some(entry) = self.maps.servers.get(index) {
            entry.flags.store(entry.flags.load() | Entry::REMOVED);
        }
        if let Some(row) = self.rows.servers.get_mut(&index) {
            row.removed = Some(self.sweep.pass + 1);
        }
        self.addresses.server_changed(&self.rows, index);
    }

    /// Removes a service from the kernel and from the rows.
    pub(crate) fn take_service(&mut self, key: &ServiceKey) {
        let _ = self
            .maps
            .service_index
            .remove(&Plain(wire::service_key(key)));
        let servers = match self.rows.service(key) {
            Some(row) => row.servers.clone(),
            None => return,
        };
        for index in servers {
            self.forget_server(key, index);
        }
        let Some(row) = self.rows.remove_service(key) else {
            return;
        };
        self.addresses.service_changed(&self.rows, key);
        self.waiting.remove(key);
        for (index, _) in self.rows.servers_of(key) {
            // The service's index may soon be another's.
            if let Some(entry) = self.maps.servers.get(index) {
                entry.service.store(u32::MAX);
            }
        }
        if let Some(entry) = self.maps.services.get(row.index) {
            entry.flags.store(0);
            entry.members.swap(0);
        }
        if remembers(row.options.scheduler) {
            self.forget_localities(row.index);
        }
        self.rows.regions.retire(row.region);
    }
}

pub(crate) fn write_method(entry: &Entry, asked: Method, local: bool) {
    let asked = wire::method(asked);
    let used = if local { rvs_abi::Method::Local } else { asked };
    let flags = entry.flags.load() & !(15 << 12) | (asked as u32) << 12;
    entry.flags.store(Entry::with_method(flags, used));
}

pub(crate) fn kernel_error(call: &'static str, error: &aya::maps::MapError) -> ChangeError {
    ChangeError::Kernel {
        call,
        source: std::io::Error::other(object::describe(error)),
    }
}
