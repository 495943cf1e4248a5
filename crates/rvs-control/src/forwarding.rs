//! What this crate needs of a data plane, so that tests can do with one in memory.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rvs_config::{Compat, Knobs, Server, Service, ServiceKey, ServiceOptions, Timeouts};

use rvs_dataplane::Dataplane;
pub use rvs_dataplane::hops::{Asker, Hop};
pub use rvs_dataplane::{
    Adoption, ChangeError, Connection, InterfaceState, OpenError, Origin, ServerState,
    ServiceState, Stats, TableState, Tick, Totals,
};

/// A data plane. Its methods block, but not for long; a refused change changes nothing.
pub trait Forwarding: Send {
    /// All services in the order in which they were added.
    fn services(&self) -> Vec<ServiceState>;
    /// One service.
    fn service(&self, key: &ServiceKey) -> Option<ServiceState>;
    /// One server that was not removed.
    fn server(&self, key: &ServiceKey, server: SocketAddr) -> Option<ServerState>;
    /// How a service treats its clients.
    fn options(&self, key: &ServiceKey) -> Option<ServiceOptions>;
    /// The service that has this name.
    fn named(&self, name: &str) -> Option<ServiceKey>;
    /// Lets the packets see those changes that wait for more of their kind and are due. Returns after how long more will
    /// be.
    fn publish_due(&mut self) -> Option<Duration>;
    /// Lets the packets see all changes.
    fn publish_all(&mut self);
    /// Adds a service with its servers, all or nothing.
    fn add_service(&mut self, service: &Service, origin: Origin) -> Result<(), ChangeError>;
    /// Calls a service by another name.
    fn set_name(&mut self, key: &ServiceKey, name: Option<&str>);
    /// Changes how a service treats its clients.
    fn set_options(
        &mut self,
        key: &ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), ChangeError>;
    /// Removes a service and its servers.
    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError>;
    /// Adds a server to a service.
    fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError>;
    /// Changes everything else of the server with the same address and port.
    fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError>;
    /// Removes a server from a service; its connections may go on for a while.
    fn remove_server(&mut self, key: &ServiceKey, server: SocketAddr) -> Result<(), ChangeError>;
    /// What was counted over all.
    fn totals(&self) -> Totals;
    /// Zeroes the statistics of one service or of everything.
    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError>;
    /// Every counter.
    fn counters(&self) -> Vec<(rvs_abi::Counter, u64)>;
    /// Visits every connection until told to stop (`false`); there may be millions.
    fn for_each_connection(&self, visit: &mut dyn FnMut(Connection) -> bool);
    /// Visits the connections of a slice of the tables, which begins at this place (0 for the first), and says where the
    /// next begins.
    fn for_slice(&self, place: u64, visit: &mut dyn FnMut(Connection)) -> Option<u64>;
    /// How full the tables are.
    fn table(&self) -> TableState;
    /// Does a second's work.
    fn tick(&mut self) -> Tick;
    /// Where the traffic is taken from.
    fn interfaces(&self) -> Vec<InterfaceState>;
    /// Changes the timeouts, from now on.
    fn set_timeouts(&mut self, timeouts: &Timeouts);
    /// Turns the knobs, from now on.
    fn set_knobs(&mut self, knobs: &Knobs, compat: Option<Compat>);
    /// Whether new connections are taken.
    fn set_scheduling(&mut self, on: bool);
    /// Whether it does.
    fn scheduling(&self) -> bool;
    /// The servers' addresses, to which ways must be known.
    fn server_addresses(&self) -> Vec<IpAddr>;
    /// Takes in the ways to them.
    fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]);
    /// Stops forwarding and removes everything from the kernel.
    fn detach(self: Box<Self>) -> Result<(), OpenError>;
}

impl Forwarding for Dataplane {
    fn services(&self) -> Vec<ServiceState> {
        Dataplane::services(self)
    }

    fn service(&self, key: &ServiceKey) -> Option<ServiceState> {
        Dataplane::service(self, key)
    }

    fn server(&self, key: &ServiceKey, server: SocketAddr) -> Option<ServerState> {
        Dataplane::server(self, key, server)
    }

    fn options(&self, key: &ServiceKey) -> Option<ServiceOptions> {
        Dataplane::options(self, key).cloned()
    }

    fn named(&self, name: &str) -> Option<ServiceKey> {
        Dataplane::named(self, name)
    }

    fn publish_due(&mut self) -> Option<Duration> {
        Dataplane::publish_due(self)
    }

    fn publish_all(&mut self) {
        Dataplane::publish_all(self);
    }

    fn add_service(&mut self, service: &Service, origin: Origin) -> Result<(), ChangeError> {
        Dataplane::add_service(self, service, origin)
    }

    fn set_name(&mut self, key: &ServiceKey, name: Option<&str>) {
        Dataplane::set_name(self, key, name);
    }

    fn set_options(
        &mut self,
        key: &ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), ChangeError> {
        Dataplane::set_options(self, key, options)
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError> {
        Dataplane::remove_service(self, key)
    }

    fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError> {
        Dataplane::add_server(self, key, server, origin)
    }

    fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError> {
        Dataplane::set_server(self, key, server)
    }

    fn remove_server(&mut self, key: &ServiceKey, server: SocketAddr) -> Result<(), ChangeError> {
        Dataplane::remove_server(self, key, server)
    }

    fn totals(&self) -> Totals {
        Dataplane::totals(self)
    }

    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError> {
        Dataplane::zero(self, key)
    }

    fn counters(&self) -> Vec<(rvs_abi::Counter, u64)> {
        Dataplane::counters(self)
    }

    fn for_each_connection(&self, visit: &mut dyn FnMut(Connection) -> bool) {
        Dataplane::for_each_connection(self, visit);
    }

    fn for_slice(&self, place: u64, visit: &mut dyn FnMut(Connection)) -> Option<u64> {
        Dataplane::for_slice(self, place, visit)
    }

    fn table(&self) -> TableState {
        Dataplane::table(self)
    }

    fn tick(&mut self) -> Tick {
        Dataplane::tick(self)
    }

    fn interfaces(&self) -> Vec<InterfaceState> {
        Dataplane::interfaces(self)
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) {
        Dataplane::set_timeouts(self, timeouts);
    }

    fn set_knobs(&mut self, knobs: &Knobs, compat: Option<Compat>) {
        Dataplane::set_knobs(self, knobs, compat);
    }

    fn set_scheduling(&mut self, on: bool) {
        Dataplane::set_scheduling(self, on);
    }
    fn scheduling(&self) -> bool {
        Dataplane::scheduling(self)
    }

    fn server_addresses(&self) -> Vec<IpAddr> {
        Dataplane::server_addresses(self)
    }

    fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        Dataplane::apply_hops(self, hops);
    }

    fn detach(self: Box<Self>) -> Result<(), OpenError> {
        Dataplane::detach(*self)
    }
}
