//! A table in memory: it keeps what it is told, and forwards nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::{Server, Service, ServiceKey, ServiceOptions};

use crate::ipvsadm::table::{
    ConnectionEntry, ServerEntry, ServiceEntry, Stats, Table, TableError, TimeoutChange,
    TimeoutValues,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvsadm) struct Memory {
    pub(super) services: Vec<ServiceEntry>,
    pub(super) connections: Vec<ConnectionEntry>,
    timeouts: TimeoutValues,
}

impl Memory {
    pub(in crate::ipvsadm) fn new() -> Memory {
        let [tcp, tcp_fin, udp] = [900, 120, 300].map(Duration::from_secs);
        let timeouts = TimeoutValues { tcp, tcp_fin, udp };
        Memory {
            services: Vec::new(),
            connections: Vec::new(),
            timeouts,
        }
    }

    fn service(
        &mut self,
        key: ServiceKey,
        missing: TableError,
    ) -> Result<&mut ServiceEntry, TableError> {
        self.services
            .iter_mut()
            .find(|service| service.key == key)
            .ok_or(missing)
    }
}

impl Table for Memory {
    fn size(&mut self) -> Result<u64, TableError> {
        Ok(4096)
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>, TableError> {
        Ok(self.services.clone())
    }

    fn connections(
        &mut self,
        visit: &mut dyn FnMut(ConnectionEntry) -> io::Result<()>,
    ) -> Result<(), TableError> {
        for entry in self.connections.clone() {
            visit(entry).map_err(|error| TableError::Visitor(error.kind(), error.to_string()))?;
        }
        Ok(())
    }

    fn add_service(&mut self, key: ServiceKey, options: &ServiceOptions) -> Result<(), TableError> {
        let options = fitting(key, options)?;
        if self.service(key, TableError::NoSuchService).is_ok() {
            return Err(TableError::ServiceExists);
        }
        let (stats, rates, servers) = (Stats::default(), Stats::default(), Vec::new());
        self.services.push(ServiceEntry {
            key,
            options,
            stats,
            rates,
            servers,
        });
        Ok(())
    }

    fn edit_service(
        &mut self,
        key: ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), TableError> {
        let options = fitting(key, options)?;
        self.service(key, TableError::NoSuchService)?.options = options;
        Ok(())
    }

    fn delete_service(&mut self, key: ServiceKey) -> Result<(), TableError> {
        self.service(key, TableError::NoSuchService)?;
        self.services.retain(|service| service.key != key);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), TableError> {
        self.services.clear();
        Ok(())
    }

    fn add_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError> {
        let service = self.service(key, TableError::ServiceNotDefined)?;
        let known = Service::new(key, service.options.clone());
        known
            .and_then(|known| known.with_servers([server]))
            .map_err(|error| TableError::Other(error.to_string()))?;
        let servers = &mut service.servers;
        if servers
            .iter()
            .any(|entry| entry.server.socket_addr() == server.socket_addr())
        {
            return Err(TableError::DestinationExists);
        }
        let (stats, rates) = (Stats::default(), Stats::default());
        servers.insert(
            0,
            ServerEntry {
                server,
                active: 0,
                inactive: 0,
                persistent: 0,
                stats,
                rates,
            },
        );
        Ok(())
    }

    fn edit_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError> {
        let servers = &mut self.service(key, TableError::ServiceNotDefined)?.servers;
        let known = servers
            .iter_mut()
            .find(|entry| entry.server.socket_addr() == server.socket_addr());
        known.ok_or(TableError::NoSuchDestination)?.server = server;
        Ok(())
    }

    fn delete_server(&mut self, key: ServiceKey, server: SocketAddr) -> Result<(), TableError> {
        let servers = &mut self.service(key, TableError::ServiceNotDefined)?.servers;
        let index = servers
            .iter()
            .position(|entry| entry.server.socket_addr() == server);
        servers.remove(index.ok_or(TableError::NoSuchDestination)?);
        Ok(())
    }

    fn zero(&mut self, key: Option<ServiceKey>) -> Result<(), TableError> {
        if let Some(key) = key {
            self.service(key, TableError::NoSuchService)?;
        }
        for service in self
            .services
            .iter_mut()
            .filter(|service| key.is_none_or(|key| service.key == key))
        {
            service.stats = Stats::default();
            for entry in &mut service.servers {
                entry.stats = Stats::default();
            }
        }
        Ok(())
    }

    fn timeouts(&mut self) -> Result<TimeoutValues, TableError> {
        Ok(self.timeouts)
    }

    fn wait_until_published(&mut self) {}

    fn set_timeouts(&mut self, change: TimeoutChange) -> Result<(), TableError> {
        let TimeoutValues { tcp, tcp_fin, udp } = self.timeouts;
        self.timeouts = TimeoutValues {
            tcp: change.tcp.unwrap_or(tcp),
            tcp_fin: change.tcp_fin.unwrap_or(tcp_fin),
            udp: change.udp.unwrap_or(udp),
        };
        Ok(())
    }
}

/// The options as a service with this key has them.
fn fitting(key: ServiceKey, options: &ServiceOptions) -> Result<ServiceOptions, TableError> {
    Service::new(key, options.clone())
        .map(|service| service.options().clone())
        .map_err(|error| TableError::Other(error.to_string()))
}
