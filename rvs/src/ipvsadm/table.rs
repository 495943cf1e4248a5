//! The director as ipvsadm sees it: services, servers, counters, connections, timeouts.
//!
//! The front end is written against this trait and knows nothing of how a director is reached.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::{Protocol, Server, ServiceKey, ServiceOptions};

/// What happened since the counters were last zeroed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) connections: u64,
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// What a service has, besides its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceEntry {
    pub(crate) key: ServiceKey,
    pub(crate) options: ServiceOptions,
    pub(crate) stats: Stats,
    /// The same quantities per second.
    pub(crate) rates: Stats,
    /// In the director's own order.
    pub(crate) servers: Vec<ServerEntry>,
}

/// What a real server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerEntry {
    pub(crate) server: Server,
    pub(crate) active: u32,
    pub(crate) inactive: u32,
    /// Persistence templates.
    pub(crate) persistent: u32,
    pub(crate) stats: Stats,
    /// The same quantities per second.
    pub(crate) rates: Stats,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionEntry {
    /// None for a template of a service by firewall mark.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) client: SocketAddr,
    /// Of such a template, the mark in the place of an address.
    pub(crate) virtual_address: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// LVS's name of the state, such as `FIN_WAIT`.
    pub(crate) state: String,
    pub(crate) expires: Duration,
    /// Of a template that a persistence engine made: its name, and what it found.
    pub(crate) engine: Option<(String, String)>,
}

/// The timeouts that ipvsadm knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeoutValues {
    pub(crate) tcp: Duration,
    pub(crate) tcp_fin: Duration,
    pub(crate) udp: Duration,
}

/// New timeouts; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeoutChange {
    pub(crate) tcp: Option<Duration>,
    pub(crate) tcp_fin: Option<Duration>,
    pub(crate) udp: Option<Duration>,
}

/// A director's table of virtual services.
pub(crate) trait Table {
    /// The number of connection slots, for the listing's first line.
    fn size(&mut self) -> Result<u64, TableError>;
    /// All services, in the director's own order.
    fn services(&mut self) -> Result<Vec<ServiceEntry>, TableError>;
    /// Visits all connections, in the director's own order, until one cannot be taken. There may be millions.
    fn connections(
        &mut self,
        visit: &mut dyn FnMut(ConnectionEntry) -> io::Result<()>,
    ) -> Result<(), TableError>;
    /// Adds a service without servers.
    fn add_service(&mut self, key: ServiceKey, options: &ServiceOptions) -> Result<(), TableError>;
    /// Gives a service another scheduler with its flags, other persistence, and one-packet scheduling or not.
    fn edit_service(&mut self, key: ServiceKey, options: &ServiceOptions)
    -> Result<(), TableError>;
    /// Removes a service and its servers.
    fn delete_service(&mut self, key: ServiceKey) -> Result<(), TableError>;
    /// Removes all services.
    fn clear(&mut self) -> Result<(), TableError>;
    /// Adds a server to a service.
    fn add_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError>;
    /// Changes a server's method, tunnel, weight and thresholds.
    fn edit_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError>;
    /// Removes a server from a service.
    fn delete_server(&mut self, key: ServiceKey, server: SocketAddr) -> Result<(), TableError>;
    /// Zeroes the counters of one service and its servers, or of all.
    fn zero(&mut self, key: Option<ServiceKey>) -> Result<(), TableError>;
    /// The timeouts.
    fn timeouts(&mut self) -> Result<TimeoutValues, TableError>;
    /// Changes timeouts.
    fn set_timeouts(&mut self, change: TimeoutChange) -> Result<(), TableError>;
    /// Waits until packets see what was changed: IPVS has a change in force when its command returns.
    fn wait_until_published(&mut self);
}

/// Why the director refused. Each prints in the words in which ipvsadm reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TableError {
    #[error("Service already exists")]
    ServiceExists,
    #[error("No such service")]
    NoSuchService,
    /// A command on a server names a service that is not there.
    #[error("Service not defined")]
    ServiceNotDefined,
    #[error("Destination already exists")]
    DestinationExists,
    #[error("No such destination")]
    NoSuchDestination,
    #[error("Scheduler or persistence engine not found")]
    SchedulerNotFound,
    #[error("Invalid operation.  Possibly wrong module version, address not unicast, ...")]
    Invalid,
    #[error("Numerical result out of range")]
    OutOfRange,
    #[error("Memory allocation problem")]
    NoMemory,
    #[error("Permission denied (you must be root)")]
    PermissionDenied,
    /// Whoever visits has had enough.
    #[error("{1}")]
    Visitor(io::ErrorKind, String),
    /// What IPVS has no words for, such as a daemon that cannot be reached.
    #[error("{0}")]
    Other(String),
}
