//! A data plane in memory, for tests: it keeps what it is told and forwards nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rvs_abi::Counter;
use rvs_config::{
    Compat, Knobs, MAX_SERVERS, MAX_SERVICES, Server, Service, ServiceKey, ServiceOptions, Timeouts,
};

use crate::forwarding::{
    ChangeError, Connection, Forwarding, Hop, InterfaceState, OpenError, Origin, ServerState,
    ServiceState, Stats, TableState, Tick, Totals,
};

/// How many connections make a slice: few, so that tests have several.
const SLICE: usize = 2;

/// The data plane's whole state. Tests may set any of it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Memory {
    pub services: Vec<ServiceState>,
    pub connections: Vec<Connection>,
    pub counters: Vec<(Counter, u64)>,
    pub interfaces: Vec<InterfaceState>,
    pub timeouts: Timeouts,
    pub knobs: Knobs,
    pub scheduling: bool,
    pub ticks: u64,
    /// How many services fit.
    pub room: usize,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Memory {
        Memory {
            services: Vec::new(),
            connections: Vec::new(),
            counters: Counter::ALL.iter().map(|&counter| (counter, 0)).collect(),
            interfaces: vec![InterfaceState {
                name: "eth0".to_owned(),
                ifindex: 2,
                tc: "tcx",
                xdp: false,
            }],
            timeouts: Timeouts::defaults(None),
            knobs: Knobs::defaults(None),
            scheduling: true,
            ticks: 0,
            room: MAX_SERVICES,
        }
    }

    fn service_mut(&mut self, key: &ServiceKey) -> Result<&mut ServiceState, ChangeError> {
        self.services
            .iter_mut()
            .find(|service| service.key == *key)
            .ok_or(ChangeError::NoSuchService(*key))
    }

    fn server_mut(
        &mut self,
        key: &ServiceKey,
        server: SocketAddr,
    ) -> Result<&mut ServerState, ChangeError> {
        let missing = ChangeError::NoSuchServer {
            service: *key,
            server,
        };
        self.service_mut(key)?
            .servers
            .iter_mut()
            .find(|state| state.server.socket_addr() == server)
            .ok_or(missing)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

fn state(server: Server, origin: Origin) -> ServerState {
    ServerState {
        server,
        origin,
        active: 0,
        inactive: 0,
        persistent: 0,
        stats: Stats::default(),
        counted: Stats::default(),
        local: false,
        draining_removed: false,
        next_hop: None,
    }
}

impl Forwarding for Memory {
    fn services(&self) -> Vec<ServiceState> {
        self.services.clone()
    }

    fn service(&self, key: &ServiceKey) -> Option<ServiceState> {
        self.services
            .iter()
            .find(|service| service.key == *key)
            .cloned()
    }

    fn server(&self, key: &ServiceKey, server: SocketAddr) -> Option<ServerState> {
        Forwarding::service(self, key)?
            .servers
            .into_iter()
            .find(|state| state.server.socket_addr() == server && !state.draining_removed)
    }

    fn options(&self, key: &ServiceKey) -> Option<ServiceOptions> {
        Forwarding::service(self, key).map(|service| service.options)
    }

    fn named(&self, name: &str) -> Option<ServiceKey> {
        let named = |service: &&ServiceState| service.name.as_deref() == Some(name);
        self.services.iter().find(named).map(|service| service.key)
    }

    fn publish_due(&mut self) -> Option<Duration> {
        None
    }

    fn publish_all(&mut self) {}

    fn add_service(&mut self, service: &Service, origin: Origin) -> Result<(), ChangeError> {
        if self.service_mut(&service.key()).is_ok() {
            return Err(ChangeError::ServiceExists(service.key()));
        }
        if self.services.len() >= self.room {
            return Err(ChangeError::NoRoom {
                what: "service",
                limit: self.room as u64,
            });
        }
        self.services.push(ServiceState {
            key: service.key(),
            name: service.name().map(str::to_owned),
            options: service.options().clone(),
            origin,
            servers: service
                .servers()
                .iter()
                .rev()
                .map(|&server| state(server, origin))
                .collect(),
            stats: Stats::default(),
            counted: Stats::default(),
        });
        Ok(())
    }

    fn set_name(&mut self, key: &ServiceKey, name: Option<&str>) {
        if let Ok(service) = self.service_mut(key) {
            service.name = name.map(str::to_owned);
        }
    }

    fn set_options(
        &mut self,
        key: &ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), ChangeError> {
        self.service_mut(key)?.options = options.clone();
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError> {
        self.service_mut(key)?;
        self.services.retain(|service| service.key != *key);
        Ok(())
    }

    fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError> {
        let servers = &mut self.service_mut(key)?.servers;
        if servers
            .iter()
            .any(|state| state.server.socket_addr() == server.socket_addr())
        {
            return Err(ChangeError::ServerExists {
                service: *key,
                server: server.socket_addr(),
            });
        }
        if servers.len() >= MAX_SERVERS {
            return Err(ChangeError::TooManyServers {
                service: *key,
                server: server.socket_addr(),
            });
        }
        servers.insert(0, state(*server, origin));
        Ok(())
    }

    fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError> {
        self.server_mut(key, server.socket_addr())?.server = *server;
        Ok(())
    }

    fn remove_server(&mut self, key: &ServiceKey, server: SocketAddr) -> Result<(), ChangeError> {
        self.server_mut(key, server)?;
        self.service_mut(key)?
            .servers
            .retain(|state| state.server.socket_addr() != server);
        Ok(())
    }

    fn totals(&self) -> Totals {
        let sum = |of: fn(&ServiceState) -> Stats| {
            self.services
                .iter()
                .map(of)
                .fold(Stats::default(), Stats::plus)
        };
        Totals {
            counted: sum(|service| service.counted),
            shown: sum(|service| service.stats),
        }
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError> {
        if let Some(key) = key {
            self.service_mut(key)?;
        }
        for service in &mut self.services {
            if key.is_none_or(|key| service.key == *key) {
                service.stats = Stats::default();
                for state in &mut service.servers {
                    state.stats = Stats::default();
                }
            }
        }
        Ok(())
    }

    fn counters(&self) -> Vec<(Counter, u64)> {
        self.counters.clone()
    }

    fn for_each_connection(&self, visit: &mut dyn FnMut(Connection) -> bool) {
        for connection in &self.connections {
            if !visit(connection.clone()) {
                return;
            }
        }
    }

    fn for_slice(&self, place: u64, visit: &mut dyn FnMut(Connection)) -> Option<u64> {
        let begin = usize::try_from(place).unwrap_or(usize::MAX);
        let rest = self.connections.get(begin..).unwrap_or_default();
        for connection in rest.iter().take(SLICE) {
            visit(connection.clone());
        }
        (rest.len() > SLICE).then_some(place + SLICE as u64)
    }

    fn table(&self) -> TableState {
        TableState {
            slots4: 1 << 20,
            used4: self.connections.len() as u64,
            slots6: 1 << 18,
            used6: 0,
            refused: 0,
        }
    }

    fn tick(&mut self) -> Tick {
        self.ticks += 1;
        Tick::default()
    }

    fn interfaces(&self) -> Vec<InterfaceState> {
        self.interfaces.clone()
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) {
        self.timeouts = *timeouts;
    }

    fn set_knobs(&mut self, knobs: &Knobs, _compat: Option<Compat>) {
        self.knobs = *knobs;
    }

    fn scheduling(&self) -> bool {
        self.scheduling
    }
    fn set_scheduling(&mut self, on: bool) {
        self.scheduling = on;
    }

    fn server_addresses(&self) -> Vec<IpAddr> {
        let servers = self.services.iter().flat_map(|service| &service.servers);
        servers.map(|state| state.server.address()).collect()
    }

    fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        for state in self
            .services
            .iter_mut()
            .flat_map(|service| &mut service.servers)
        {
            if let Some((_, hop)) = hops.iter().find(|(to, _)| *to == state.server.address()) {
                state.next_hop = hop.map(|hop| format!("{} mtu {}", hop.ifindex, hop.mtu));
            }
        }
    }

    fn detach(self: Box<Self>) -> Result<(), OpenError> {
        Ok(())
    }
}
