//! What the API says and reads: the JSON documents, for the server and for its clients alike.

use std::net::SocketAddr;
use std::path::PathBuf;

use rvs_config::{Method, Protocol, Scheduler, ServiceKey, Timeouts, Weight};
use serde::{Deserialize, Serialize};

use crate::forwarding;
use crate::rates::{Estimator, Rates, Subject};

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Status {
    pub version: String,
    pub instance: String,
    pub pid: u32,
    /// Seconds since 1970.
    pub started: u64,
    /// When the configuration was last taken over, in seconds since 1970.
    pub loaded: u64,
    pub config: Option<PathBuf>,
    pub socket: PathBuf,
    pub adoption: Adoption,
    /// Whether new connections are taken.
    pub scheduling: bool,
    pub forwarding_on_stop: String,
    pub services: usize,
    pub servers: usize,
    pub active: u64,
    pub inactive: u64,
    pub table: Table,
    pub interfaces: Vec<Interface>,
    pub timeouts: Timeouts,
    /// Over all services, also removed ones.
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "adoption", rename_all = "snake_case")]
pub enum Adoption {
    /// Nothing.
    Fresh,
    /// A director that goes on as it was.
    Adopted,
    /// A director of another layout.
    Upgraded {
        /// Connections copied.
        connections: u64,
        /// Connections that found no room.
        refused: u64,
    },
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Table {
    pub slots_v4: u64,
    pub used_v4: u64,
    pub slots_v6: u64,
    pub used_v6: u64,
    pub refused: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Interface {
    pub name: String,
    pub ifindex: u32,
    pub tc: String,
    pub xdp: bool,
}

/// Who asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file.
    Configured,
    /// Somebody, while the director ran.
    Runtime,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Service {
    pub address: ServiceKey,
    pub name: Option<String>,
    pub scheduler: Scheduler,
    pub origin: Origin,
    pub active: u64,
    pub inactive: u64,
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
    /// Newest first.
    pub servers: Vec<Server>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Server {
    pub address: SocketAddr,
    pub method: Method,
    pub weight: Weight,
    pub origin: Origin,
    /// Whether the address is the director's own, so that packets are delivered instead of forwarded.
    pub local: bool,
    /// Whether it was removed, and only its last connections go on.
    pub removed: bool,
    pub next_hop: Option<String>,
    pub active: u32,
    pub inactive: u32,
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
}

/// What happened: `stats` since it was last zeroed, `counted` ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Stats {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// `GET /v1/connections`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How many there are (of the service, if one was asked for).
    pub total: u64,
    /// As many of them as were asked for.
    pub connections: Vec<Connection>,
}

/// One connection, also a line of `GET /v1/connections?format=ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Connection {
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub service: SocketAddr,
    pub server: SocketAddr,
    /// LVS's name of the state.
    pub state: String,
    /// Seconds until it is forgotten, if nothing more comes.
    pub expires: u64,
    pub active: bool,
    pub packets: u32,
}

/// A counter of the director's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Counter {
    pub name: String,
    /// `pass`, `drop`, `answer` or `note`.
    pub verdict: String,
    pub help: String,
    pub value: u64,
}

/// `PUT /v1/services/{protocol}/{address}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceChange {
    /// The new scheduler.
    pub scheduler: Scheduler,
}

/// `PUT .../servers/{server}`: what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerChange {
    /// The new weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// The new forwarding method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

/// `PUT /v1/scheduling`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduling {
    /// Whether new connections are taken.
    pub on: bool,
}

/// `POST /v1/stop`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What becomes of the traffic; the configuration's word if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
}

/// What becomes of the traffic of a director that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// It goes on.
    Keep,
    /// It ends.
    Stop,
}

/// The answer to a request that changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many changes were made.
    pub changes: usize,
}

/// The answer to a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line for people.
    pub error: String,
    /// One word for programs.
    pub code: Code,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Code {
    Invalid,
    TooLarge,
    NoSuchPath,
    WrongMethod,
    NoSuchService,
    NoSuchServer,
    ServiceExists,
    ServerExists,
    NoRoom,
    BadConfiguration,
    Kernel,
    Stopping,
}

impl From<forwarding::Adoption> for Adoption {
    fn from(adoption: forwarding::Adoption) -> Self {
        match adoption {
            forwarding::Adoption::Fresh => Adoption::Fresh,
            forwarding::Adoption::Adopted => Adoption::Adopted,
            forwarding::Adoption::Upgraded {
                connections,
                refused,
            } => Adoption::Upgraded {
                connections,
                refused,
            },
        }
    }
}

impl From<forwarding::Origin> for Origin {
    fn from(origin: forwarding::Origin) -> Self {
        match origin {
            forwarding::Origin::Configured => Origin::Configured,
            forwarding::Origin::Runtime => Origin::Runtime,
        }
    }
}

impl From<forwarding::Stats> for Stats {
    fn from(stats: forwarding::Stats) -> Self {
        Stats {
            connections: stats.connections,
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        }
    }
}

impl From<forwarding::TableState> for Table {
    fn from(table: forwarding::TableState) -> Self {
        Table {
            slots_v4: table.slots4,
            used_v4: table.used4,
            slots_v6: table.slots6,
            used_v6: table.used6,
            refused: table.refused,
        }
    }
}

impl From<forwarding::InterfaceState> for Interface {
    fn from(interface: forwarding::InterfaceState) -> Self {
        Interface {
            name: interface.name,
            ifindex: interface.ifindex,
            tc: interface.tc.to_owned(),
            xdp: interface.xdp,
        }
    }
}

impl From<&forwarding::Connection> for Connection {
    fn from(connection: &forwarding::Connection) -> Self {
        Connection {
            protocol: connection.protocol,
            client: connection.client,
            service: connection.service,
            server: connection.server,
            state: connection.state.to_owned(),
            expires: connection.expires.as_secs(),
            active: connection.active,
            packets: connection.packets,
        }
    }
}

impl From<(rvs_abi::Counter, u64)> for Counter {
    fn from((counter, value): (rvs_abi::Counter, u64)) -> Self {
        let verdict = match counter.verdict() {
            rvs_abi::Verdict::Pass => "pass",
            rvs_abi::Verdict::Drop => "drop",
            rvs_abi::Verdict::Answer => "answer",
            rvs_abi::Verdict::Note => "note",
        };
        Counter {
            name: counter.name().to_owned(),
            verdict: verdict.to_owned(),
            help: counter.help().to_owned(),
            value,
        }
    }
}

impl Service {
    /// A service as it is, with its rates.
    pub fn of(state: forwarding::ServiceState, rates: &Estimator) -> Service {
        let key = state.key;
        let servers: Vec<Server> = state
            .servers
            .into_iter()
            .map(|server| {
                let address = server.server.socket_addr();
                Server {
                    address,
                    method: server.server.method(),
                    weight: server.server.weight(),
                    origin: server.origin.into(),
                    local: server.local,
                    removed: server.draining_removed,
                    next_hop: server.next_hop,
                    active: server.active,
                    inactive: server.inactive,
                    stats: server.stats.into(),
                    counted: server.counted.into(),
                    rates: if server.draining_removed {
                        Rates::default()
                    } else {
                        rates.rates(Subject::Server(key, address))
                    },
                }
            })
            .collect();
        Service {
            address: key,
            name: state.name,
            scheduler: state.scheduler,
            origin: state.origin.into(),
            active: servers.iter().map(|server| u64::from(server.active)).sum(),
            inactive: servers
                .iter()
                .map(|server| u64::from(server.inactive))
                .sum(),
            stats: state.stats.into(),
            counted: state.counted.into(),
            rates: rates.rates(Subject::Service(key)),
            servers,
        }
    }
}
