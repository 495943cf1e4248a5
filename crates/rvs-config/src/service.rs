//! A virtual service and its real servers.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::method::Method;
use crate::scheduler::Scheduler;
use crate::server::{Server, ServerError, Weight};
use crate::service_key::ServiceKey;
use crate::text::serde_as_text;

/// How many real servers one service can have.
pub const MAX_SERVERS: usize = 1024;

/// A virtual service: what its clients connect to, and the real servers that answer.
///
/// The servers are in the order of their declaration, no two have the same address and port, all are of the
/// service's address family, and those that see the client's own packets (tunnel, direct) have the service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    key: ServiceKey,
    name: Option<String>,
    scheduler: Scheduler,
    servers: Vec<Server>,
}

impl Service {
    /// A service that has no servers yet.
    pub const fn new(key: ServiceKey, scheduler: Scheduler) -> Service {
        Service {
            key,
            name: None,
            scheduler,
            servers: Vec::new(),
        }
    }

    /// The same service under a name for people.
    pub fn named(self, name: &str) -> Result<Service, ServiceError> {
        let length = name.chars().count();
        if length == 0 || length > 64 || name.chars().any(char::is_control) {
            return Err(ServiceError::Name(name.to_owned()));
        }
        Ok(Service {
            name: Some(name.to_owned()),
            ..self
        })
    }

    /// The same service with these servers after those it has.
    pub fn with_servers(
        mut self,
        servers: impl IntoIterator<Item = Server>,
    ) -> Result<Service, ServiceError> {
        for server in servers {
            self.add_server(server)?;
        }
        Ok(self)
    }

    /// Its identity.
    pub const fn key(&self) -> ServiceKey {
        self.key
    }

    /// Its name for people.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How it chooses.
    pub const fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// Its real servers, in the order of their declaration.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server with this address and port.
    pub fn server(&self, server: SocketAddr) -> Option<&Server> {
        self.servers
            .iter()
            .find(|known| known.socket_addr() == server)
    }

    /// Lets it choose by another scheduler.
    pub const fn set_scheduler(&mut self, scheduler: Scheduler) {
        self.scheduler = scheduler;
    }

    /// Adds a server behind the others.
    pub fn add_server(&mut self, server: Server) -> Result<(), ServiceError> {
        self.fits(&server)?;
        if self.server(server.socket_addr()).is_some() {
            return Err(ServiceError::DuplicateServer {
                service: self.key,
                server: server.socket_addr(),
            });
        }
        if self.servers.len() >= MAX_SERVERS {
            return Err(ServiceError::TooManyServers {
                service: self.key,
                server: server.socket_addr(),
            });
        }
        self.servers.push(server);
        Ok(())
    }

    /// Changes the method and weight of the server with this address and port, in its place.
    pub fn edit_server(&mut self, server: Server) -> Result<(), ServiceError> {
        self.fits(&server)?;
        let known = self
            .servers
            .iter_mut()
            .find(|known| known.socket_addr() == server.socket_addr())
            .ok_or(ServiceError::NoSuchServer {
                service: self.key,
                server: server.socket_addr(),
            })?;
        *known = server;
        Ok(())
    }

    /// Takes a server away.
    pub fn remove_server(&mut self, server: SocketAddr) -> Result<Server, ServiceError> {
        let index = self
            .servers
            .iter()
            .position(|known| known.socket_addr() == server)
            .ok_or(ServiceError::NoSuchServer {
                service: self.key,
                server,
            })?;
        Ok(self.servers.remove(index))
    }

    /// Whether this could be a server of this service.
    fn fits(&self, server: &Server) -> Result<(), ServiceError> {
        if server.address().is_ipv4() != self.key.address().is_ipv4() {
            let (service, server, method) = (self.key, server.socket_addr(), server.method());
            return Err(match method {
                Method::Tunnel => ServiceError::MixedTunnel { service, server },
                Method::Nat | Method::Direct => ServiceError::MixedFamilies {
                    service,
                    server,
                    method,
                },
            });
        }
        match server.method() {
            Method::Nat => Ok(()),
            Method::Tunnel | Method::Direct if server.port() == self.key.port() => Ok(()),
            method @ (Method::Tunnel | Method::Direct) => Err(ServiceError::PortMismatch {
                service: self.key,
                server: server.socket_addr(),
                method,
            }),
        }
    }
}

/// Why a service cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The name cannot be printed on a line of its own.
    #[error("the service name {0:?} is not 1 to 64 printable characters")]
    Name(String),
    /// The server is there already.
    #[error("the real server {server} is twice in {service}")]
    DuplicateServer {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
    },
    /// No such server.
    #[error("{service} has no real server {server}")]
    NoSuchServer {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
    },
    /// The service is full.
    #[error("{service} has {MAX_SERVERS} real servers already: no room for {server}")]
    TooManyServers {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
    },
    /// An IPv4 server of an IPv6 service, or the reverse.
    #[error(
        "the real server {server} of {service} is of another address family, which {method} cannot cross"
    )]
    MixedFamilies {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
        /// Its method.
        method: Method,
    },
    /// A tunnel between the families: LVS has it, we do not have it yet.
    #[error(
        "the real server {server} of {service} is of another address family: mixed-family tunnels are not built yet"
    )]
    MixedTunnel {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
    },
    /// Only NAT rewrites ports.
    #[error(
        "the real server {server} of {service} needs the service's port, since {method} does not rewrite ports"
    )]
    PortMismatch {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
        /// Its method.
        method: Method,
    },
    /// The server in itself is wrong.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A server's address as people write it: with a port of its own or with the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    pub(crate) address: std::net::IpAddr,
    pub(crate) port: Option<u16>,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl std::str::FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(ServerAddress {
                address: socket.ip(),
                port: Some(socket.port()),
            });
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse() {
            Ok(address) => Ok(ServerAddress {
                address,
                port: None,
            }),
            Err(_) => Err(ServerAddressError(text.to_owned())),
        }
    }
}

/// A text that is no server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a real server's address like 10.1.0.21:80, 10.1.0.21 or [2001:db8::21]:80")]
pub(crate) struct ServerAddressError(String);

impl ServerAddress {
    /// The server at this address in this service.
    pub(crate) fn server(
        self,
        service: ServiceKey,
        method: Method,
        weight: Weight,
    ) -> Result<Server, ServerError> {
        let port = match self.port {
            Some(port) => NonZeroU16::new(port).ok_or(ServerError::PortZero(self.address))?,
            None => service.port(),
        };
        Server::new(self.address, port, method, weight)
    }
}

serde_as_text!(ServerAddress);

/// The notation of a service in JSON; the same field names as in TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: ServiceKey,
    #[serde(default)]
    scheduler: Scheduler,
    #[serde(default, skip_serializing)]
    method: Method,
    #[serde(default)]
    servers: Vec<ServerNotation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerNotation {
    address: ServerAddress,
    #[serde(default)]
    method: Option<Method>,
    #[serde(default)]
    weight: Weight,
}

impl From<&Server> for ServerNotation {
    fn from(server: &Server) -> Self {
        ServerNotation {
            address: ServerAddress {
                address: server.address(),
                port: Some(server.port().get()),
            },
            method: Some(server.method()),
            weight: server.weight(),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ServerNotation::from(self).serialize(serializer)
    }
}

/// Outside a service the port must be there; the method is direct unless given.
impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let notation = ServerNotation::deserialize(deserializer)?;
        let address = notation.address.address;
        let port = notation
            .address
            .port
            .and_then(NonZeroU16::new)
            .ok_or_else(|| de::Error::custom(ServerError::PortZero(address)))?;
        Server::new(
            address,
            port,
            notation.method.unwrap_or_default(),
            notation.weight,
        )
        .map_err(de::Error::custom)
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Notation {
            name: self.name.clone(),
            address: self.key,
            scheduler: self.scheduler,
            method: Method::default(),
            servers: self.servers.iter().map(ServerNotation::from).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let notation = Notation::deserialize(deserializer)?;
        let mut service = Service::new(notation.address, notation.scheduler);
        if let Some(name) = notation.name {
            service = service.named(&name).map_err(de::Error::custom)?;
        }
        for server in notation.servers {
            let method = server.method.unwrap_or(notation.method);
            let server = server
                .address
                .server(service.key, method, server.weight)
                .map_err(de::Error::custom)?;
            service.add_server(server).map_err(de::Error::custom)?;
        }
        Ok(service)
    }
}

#[cfg(test)]
mod tests;
