//! What the data plane says of itself.

use std::{net::SocketAddr, time::Duration};

use rvs_config::{Protocol, Server, ServiceKey, ServiceOptions};

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

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Stats {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What was counted, twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ever.
    pub counted: Stats,
    /// Since it was zeroed last.
    pub shown: Stats,
}

/// A real server as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// What it is.
    pub server: Server,
    /// Who asked for it.
    pub origin: Origin,
    /// Connections in an active state.
    pub active: u32,
    /// Connections in any other state.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Its counts since they were last zeroed.
    pub stats: Stats,
    /// Its counts from the beginning.
    pub counted: Stats,
    /// Whether its address is the director's own.
    pub local: bool,
    /// Whether it was removed, and its last connections are ending.
    pub draining_removed: bool,
    /// The way to it, for people.
    pub next_hop: Option<String>,
}

/// A virtual service as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Its identity.
    pub key: ServiceKey,
    /// Its name for people, as far as this process was told.
    pub name: Option<String>,
    /// How it treats its clients.
    pub options: ServiceOptions,
    /// Who asked for it.
    pub origin: Origin,
    /// Newest first, as in IPVS's lists.
    pub servers: Vec<ServerState>,
    /// Its counts since they were last zeroed.
    pub stats: Stats,
    /// Its counts from the beginning.
    pub counted: Stats,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The protocol.
    pub protocol: Protocol,
    /// Where it comes from.
    pub client: SocketAddr,
    /// Whose it is, if the service is still there.
    pub key: Option<ServiceKey>,
    /// The address and port that the client sees.
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
    /// It is no connection but what persistence remembers of a client.
    pub template: bool,
    /// A template of a service by firewall mark: the mark; else 0.
    pub mark: u32,
    /// A template of the SIP engine: the Call-ID.
    pub call: Option<String>,
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
    /// Which defences are in force.
    pub defences: crate::Defences,
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

impl Stats {
    /// What was added since `base`; counters wrap.
    pub(crate) fn since(self, base: Self) -> Self {
        Self {
            connections: self.connections.wrapping_sub(base.connections),
            packets_in: self.packets_in.wrapping_sub(base.packets_in),
            packets_out: self.packets_out.wrapping_sub(base.packets_out),
            bytes_in: self.bytes_in.wrapping_sub(base.bytes_in),
            bytes_out: self.bytes_out.wrapping_sub(base.bytes_out),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections.wrapping_add(other.connections),
            packets_in: self.packets_in.wrapping_add(other.packets_in),
            packets_out: self.packets_out.wrapping_add(other.packets_out),
            bytes_in: self.bytes_in.wrapping_add(other.bytes_in),
            bytes_out: self.bytes_out.wrapping_add(other.bytes_out),
        }
    }
}
