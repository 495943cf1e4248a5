//! What this crate needs of a data plane, and nothing of how it is done.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::{Protocol, Scheduler, Server, Service, ServiceKey, Timeouts};

/// What was found when the data plane was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Nothing: programs and tables are new.
    Fresh,
    /// A director of this very layout, which goes on as it was.
    Adopted,
    /// A director of another layout or size, whose connections were copied.
    Upgraded {
        /// How many were copied.
        connections: u64,
        /// How many found no room.
        refused: u64,
    },
}

/// Who asked for a service or a server first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    Configured,
    /// Somebody, while the director ran.
    Runtime,
}

/// What happened since the counters were last zeroed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Stats {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// A real server as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// What it is.
    pub server: Server,
    /// Who asked for it.
    pub origin: Origin,
    /// Connections that carry data.
    pub active: u32,
    /// Connections that do not, or no longer.
    pub inactive: u32,
    /// Its counts.
    pub stats: Stats,
    /// Whether its address is the director's own.
    pub local: bool,
    /// Whether it was removed, and only its last connections go on.
    pub draining_removed: bool,
    /// The way to it, for people.
    pub next_hop: Option<String>,
}

/// A virtual service as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Its identity.
    pub key: ServiceKey,
    /// Its name for people.
    pub name: Option<String>,
    /// How it chooses.
    pub scheduler: Scheduler,
    /// Who asked for it.
    pub origin: Origin,
    /// Newest first, as in the kernel's lists.
    pub servers: Vec<ServerState>,
    /// Its counts.
    pub stats: Stats,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it comes from.
    pub client: SocketAddr,
    /// The service.
    pub service: SocketAddr,
    /// The real server.
    pub server: SocketAddr,
    /// LVS's name of its state.
    pub state: &'static str,
    /// How long it is kept if nothing more comes.
    pub expires: Duration,
    /// Whether it counts as active.
    pub active: bool,
    /// Packets from the client.
    pub packets: u32,
}

/// How full the connection tables are, as last counted by the sweeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// Slots of the IPv4 table.
    pub slots4: u64,
    /// Those in use.
    pub used4: u64,
    /// Slots of the IPv6 table.
    pub slots6: u64,
    /// Those in use.
    pub used6: u64,
    /// Connections that found no room.
    pub refused: u64,
}

/// What a second's work was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Slots looked at.
    pub swept: u64,
    /// Connections that ended by their timeout.
    pub expired: u64,
}

/// An interface, and what is attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// `tcx` or `clsact`.
    pub tc: &'static str,
    /// Whether XDP is attached too.
    pub xdp: bool,
}

/// Why a change was refused. The data plane is then as it was before.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub enum ChangeError {
    /// No such service.
    #[error("no service {0}")]
    NoSuchService(ServiceKey),
    /// The service is there already.
    #[error("the service {0} is there already")]
    ServiceExists(ServiceKey),
    /// No such server.
    #[error("{service} has no real server {server}")]
    NoSuchServer {
        service: ServiceKey,
        server: SocketAddr,
    },
    /// The server is there already.
    #[error("the real server {server} is in {service} already")]
    ServerExists {
        service: ServiceKey,
        server: SocketAddr,
    },
    /// A table is full.
    #[error("no room for another {what}: the limit is {limit}")]
    NoRoom { what: &'static str, limit: u64 },
    /// The kernel refused.
    #[error("{call}: {source}")]
    Kernel {
        call: &'static str,
        source: std::io::Error,
    },
}

/// Why the data plane could not be detached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DetachError(pub String);

/// A data plane. Its methods block, but not for long; a refused change changes nothing.
pub trait Forwarding: Send {
    /// All services in the order in which they were added.
    fn services(&self) -> Vec<ServiceState>;
    /// Adds a service with its servers, all or nothing.
    fn add_service(&mut self, service: &Service, origin: Origin) -> Result<(), ChangeError>;
    /// Changes how a service chooses.
    fn set_scheduler(&mut self, key: &ServiceKey, scheduler: Scheduler) -> Result<(), ChangeError>;
    /// Removes a service and its servers.
    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), ChangeError>;
    /// Adds a server to a service.
    fn add_server(
        &mut self,
        key: &ServiceKey,
        server: &Server,
        origin: Origin,
    ) -> Result<(), ChangeError>;
    /// Changes weight and method of the server with the same address and port.
    fn set_server(&mut self, key: &ServiceKey, server: &Server) -> Result<(), ChangeError>;
    /// Removes a server from a service; its connections may go on for a while.
    fn remove_server(&mut self, key: &ServiceKey, server: SocketAddr) -> Result<(), ChangeError>;
    /// Zeroes the statistics of one service or of everything.
    fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError>;
    /// Every counter.
    fn counters(&self) -> Vec<(rvs_abi::Counter, u64)>;
    /// Every connection; there may be millions.
    fn connections(&self) -> Vec<Connection>;
    /// How full the tables are.
    fn table(&self) -> TableState;
    /// Does a second's work.
    fn tick(&mut self) -> Tick;
    /// Where the traffic is taken from.
    fn interfaces(&self) -> Vec<InterfaceState>;
    /// Changes the timeouts, from now on.
    fn set_timeouts(&mut self, timeouts: &Timeouts);
    /// Whether new connections are taken.
    fn set_scheduling(&mut self, on: bool);
    /// Stops forwarding and removes everything from the kernel.
    fn detach(self: Box<Self>) -> Result<(), DetachError>;
}
