//! A virtual service and its real servers.

mod notation;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::match_rule::MatchRule;
use crate::method::Method;
use crate::options::{MAX_RULES, ServiceOptions};
use crate::persistence::{Engine, Netmask};
use crate::scheduler::{Scheduler, SchedulerFlagError};
use crate::server::{Server, ServerError, Thresholds, Weight};
use crate::service_key::{Family, ServiceKey};
use crate::text::serde_as_text;
use crate::timeouts::Timer;
use crate::tunnel::Tunnel;

/// How many real servers one service can have.
pub const MAX_SERVERS: usize = 1024;

/// A virtual service: what its clients connect to, and the real servers that answer.
///
/// The options fit the key. The servers are in the order of their declaration, no two have the same address and port,
/// only those behind a tunnel are of another address family, and those that see the client's own packets (tunnel,
/// direct) have the service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    key: ServiceKey,
    name: Option<String>,
    options: ServiceOptions,
    servers: Vec<Server>,
}

impl Service {
    /// A service that has no servers yet.
    pub fn new(key: ServiceKey, options: ServiceOptions) -> Result<Service, ServiceError> {
        Ok(Service {
            key,
            name: None,
            options: options.of_service(key)?,
            servers: Vec::new(),
        })
    }

    /// The same service under a name for people.
    pub fn named(self, name: &str) -> Result<Service, ServiceError> {
        let length = name.chars().count();
        if length == 0 || length > 64 || name.chars().any(char::is_control) {
            return Err(ServiceError::Name(name.to_owned()));
        }
        if name.parse::<ServiceKey>().is_ok() {
            return Err(ServiceError::NameIsAddress(name.to_owned()));
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

    /// How it treats its clients.
    pub const fn options(&self) -> &ServiceOptions {
        &self.options
    }

    /// How it chooses.
    pub const fn scheduler(&self) -> Scheduler {
        self.options.scheduler
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

    /// Lets it treat its clients otherwise.
    pub fn set_options(&mut self, options: ServiceOptions) -> Result<(), ServiceError> {
        self.options = options.of_service(self.key)?;
        Ok(())
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

    /// Changes everything else of the server with this address and port, in its place.
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
        let (service, address, method) = (self.key, server.socket_addr(), server.method());
        if Family::of(server.address()) != service.family() && method != Method::Tunnel {
            return Err(ServiceError::MixedFamilies {
                service,
                server: address,
                method,
            });
        }
        match method {
            Method::Nat if server.port() == 0 && service.port() != 0 => {
                Err(ServiceError::PortZero {
                    service,
                    server: address,
                })
            }
            Method::Nat => Ok(()),
            // A mark has no port; the server's is only a name then, as in IPVS.
            Method::Tunnel | Method::Direct if matches!(service, ServiceKey::Mark(_)) => Ok(()),
            Method::Tunnel | Method::Direct if server.port() == service.port() => Ok(()),
            Method::Tunnel | Method::Direct => Err(ServiceError::PortMismatch {
                service,
                server: address,
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
    /// Commands would take the name for an address.
    #[error("the service name {0:?} is an address of a service")]
    NameIsAddress(String),
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
    /// Port 0 where the packet's port is not kept.
    #[error("port 0: the real server {server} of {service} needs a port from 1 to 65535")]
    PortZero {
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
    /// Port 0 without persistence: the connections of one client would go to several servers.
    #[error("{0} is every port of its address, which needs persistence")]
    EveryPort(ServiceKey),
    /// An IPv4 mask for IPv6 clients, or a prefix that is too long.
    #[error("the netmask {netmask} of {service} is none for {family} clients", family = service.family())]
    Netmask {
        /// The service.
        service: ServiceKey,
        /// The mask.
        netmask: Netmask,
    },
    /// Engines read UDP.
    #[error("the persistence engine {engine} reads UDP, which {service} does not take")]
    EngineWithoutUdp {
        /// The service.
        service: ServiceKey,
        /// The engine.
        engine: Engine,
    },
    /// Only UDP can be scheduled by the packet.
    #[error("one_packet is for UDP, which {0} does not take")]
    OnePacketWithoutUdp(ServiceKey),
    /// Only UDP flows can move.
    #[error("move_udp is for UDP, which {0} does not take")]
    MoveWithoutUdp(ServiceKey),
    /// A timeout of another protocol.
    #[error("the timeout {path} means nothing to {service}", path = timer.path())]
    ForeignTimeout {
        /// The service.
        service: ServiceKey,
        /// The timeout.
        timer: Timer,
    },
    /// Rules say which packets a mark's service takes.
    #[error("the match rule {rule} is for a service by firewall mark, which {service} is not")]
    RuleWithoutMark {
        /// The service.
        service: ServiceKey,
        /// The first rule.
        rule: MatchRule,
    },
    /// A rule of the other address family.
    #[error("the match rule {rule} is of another address family than {service}")]
    RuleFamily {
        /// The service.
        service: ServiceKey,
        /// The rule.
        rule: MatchRule,
    },
    /// Too many rules.
    #[error("{0} has more than {MAX_RULES} match rules")]
    TooManyRules(ServiceKey),
    /// The scheduler's flags are wrong.
    #[error(transparent)]
    Flags(#[from] SchedulerFlagError),
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
        parts: ServerParts,
    ) -> Result<Server, ServerError> {
        let port = self.port.unwrap_or_else(|| service.port());
        let thresholds = Thresholds::new(parts.upper, parts.lower)?;
        Ok(Server::new(self.address, port, parts.method, parts.weight)?
            .with_tunnel(parts.tunnel)?
            .with_thresholds(thresholds))
    }
}

/// What is written of a server beside its address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerParts {
    pub(crate) method: Method,
    pub(crate) tunnel: Tunnel,
    pub(crate) weight: Weight,
    pub(crate) upper: u64,
    pub(crate) lower: u64,
}

serde_as_text!(ServerAddress);
