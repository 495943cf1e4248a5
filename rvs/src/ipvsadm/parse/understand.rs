//! From a command line that ipvsadm would accept to a command that RVS has.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::{
    Engine, GreChecksum, GueChecksum, Method, Persistence, PersistenceTimeout, Protocol, Scheduler,
    SchedulerFlags, Server, ServiceKey, ServiceOptions, Thresholds, Tunnel, Weight,
};

use super::{Request, ServiceId, ServiceProtocol, TunnelType};
use crate::ipvsadm::command::{Command, Failure, OptionsArgument, ServerArgument, Wanted, What};
use crate::ipvsadm::options::{Action, Item};
use crate::ipvsadm::print::Format;
use crate::ipvsadm::table::{TableError, TimeoutChange};

/// What ipvsadm does without any words.
pub(super) fn list_all() -> Result<Command, Failure> {
    Ok(Command::List {
        what: What::Services(Wanted::All),
        format: Format::default(),
    })
}

/// The command that a checked request asks for.
pub(super) fn command(request: &Request) -> Result<Command, Failure> {
    if request.has(Item::Daemon) {
        return Err(Failure::not_built("the sync daemon (--daemon)"));
    }
    match request.action {
        Action::AddService => Ok(Command::AddService {
            key: key(request).ok_or_else(impossible)?,
            options: options_argument(request),
        }),
        Action::EditService => match key(request) {
            Some(key) => Ok(Command::EditService {
                key,
                options: options_argument(request),
            }),
            None => Err(Failure::refused(TableError::NoSuchService.to_string())),
        },
        Action::DeleteService => Ok(Command::DeleteService { key: key(request) }),
        Action::Flush => Ok(Command::Clear),
        Action::AddServer => Ok(Command::AddServer {
            key: key(request),
            server: server_argument(request),
        }),
        Action::EditServer => Ok(Command::EditServer {
            key: key(request),
            server: server_argument(request),
        }),
        Action::DeleteServer => {
            let (address, port) = request.server.ok_or_else(impossible)?;
            Ok(Command::DeleteServer {
                key: key(request),
                server: SocketAddr::new(address, port),
            })
        }
        Action::List => {
            let what = if request.has(Item::Connection) {
                What::Connections
            } else if request.has(Item::Timeout) {
                What::Timeouts
            } else {
                What::Services(wanted(request))
            };
            Ok(Command::List {
                what,
                format: request.format,
            })
        }
        Action::Set => {
            let value = |seconds: u64| (seconds != 0).then(|| Duration::from_secs(seconds));
            let [tcp, tcp_fin, udp] = request.timeouts.map(value);
            Ok(Command::Set {
                change: TimeoutChange { tcp, tcp_fin, udp },
            })
        }
        Action::StartDaemon => Err(Failure::not_built("the sync daemon (--start-daemon)")),
        Action::StopDaemon => Err(Failure::not_built("the sync daemon (--stop-daemon)")),
        Action::Restore => Ok(Command::Restore),
        Action::Save => Ok(Command::Save {
            format: request.format,
        }),
        Action::Zero => Ok(Command::Zero {
            key: wanted(request),
        }),
    }
}

/// What the kernel says of an address that it does not take.
fn impossible() -> Failure {
    Failure::refused(TableError::Invalid.to_string())
}

/// The service's key, or none if no service can have it.
fn key(request: &Request) -> Option<ServiceKey> {
    match request.service? {
        ServiceId::Mark { number, family } => Some(ServiceKey::mark(number, family)),
        ServiceId::Address {
            protocol,
            address,
            port,
        } => {
            let protocol = match protocol {
                ServiceProtocol::Tcp => Protocol::Tcp,
                ServiceProtocol::Udp => Protocol::Udp,
                ServiceProtocol::Sctp => Protocol::Sctp,
            };
            ServiceKey::new(protocol, address, port).ok()
        }
    }
}

fn wanted(request: &Request) -> Wanted {
    if request.has(Item::ServiceAddress) {
        Wanted::One(key(request))
    } else {
        Wanted::All
    }
}

fn options_argument(request: &Request) -> OptionsArgument {
    match options(request) {
        Ok(options) => OptionsArgument::Possible(Box::new(options)),
        Err(error) => OptionsArgument::Impossible(error),
    }
}

/// The service's options, or what the kernel would find wrong first.
fn options(request: &Request) -> Result<ServiceOptions, TableError> {
    let scheduler: Scheduler = match request.scheduler.as_str() {
        "" => Scheduler::default(),
        name => name.parse().map_err(|_| TableError::SchedulerNotFound)?,
    };
    let words = request.flags.split(',').filter(|flag| !flag.is_empty());
    let scheduler_flags =
        SchedulerFlags::parse(scheduler, words).map_err(|_| TableError::Invalid)?;
    let engine: Option<Engine> = match request.engine.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|_| TableError::SchedulerNotFound)?),
    };
    let persistence = match (request.persistence, engine) {
        (Some(seconds), engine) => Some(Persistence {
            timeout: PersistenceTimeout::from_secs(seconds).map_err(|_| TableError::Invalid)?,
            netmask: request.netmask,
            engine,
        }),
        (None, None) => None,
        (None, Some(engine)) => {
            let message = format!("the persistence engine {engine} needs persistence (-p)");
            return Err(TableError::Other(message));
        }
    };
    Ok(ServiceOptions {
        scheduler_flags,
        persistence,
        one_packet: request.has(Item::Ops),
        ..ServiceOptions::new(scheduler)
    })
}

fn server_argument(request: &Request) -> ServerArgument {
    let Ok(thresholds) = Thresholds::new(request.upper_threshold, request.lower_threshold) else {
        return ServerArgument::OutOfRange;
    };
    let Ok(weight) = Weight::new(request.weight) else {
        return ServerArgument::OutOfRange;
    };
    match server(request, weight) {
        Some(server) => ServerArgument::Possible(server.with_thresholds(thresholds)),
        None => ServerArgument::Nowhere(TableError::Invalid),
    }
}

fn server(request: &Request, weight: Weight) -> Option<Server> {
    let (address, own_port) = request.server?;
    let port = match (request.method, request.service) {
        // These do not rewrite ports, so that the service's is the only one there can be.
        (Method::Tunnel | Method::Direct, Some(ServiceId::Address { port, .. })) => port,
        (Method::Nat, _) | (_, Some(ServiceId::Mark { .. }) | None) => own_port,
    };
    let server = Server::new(address, port, request.method, weight).ok()?;
    match request.method {
        Method::Tunnel => server.with_tunnel(tunnel(request)?).ok(),
        Method::Nat | Method::Direct => Some(server),
    }
}

/// The kind of tunnel; none where a port is missing, which was looked at before.
fn tunnel(request: &Request) -> Option<Tunnel> {
    Some(match request.tunnel {
        TunnelType::Ipip => Tunnel::Ipip,
        TunnelType::Gue => Tunnel::Gue {
            port: request.tunnel_port?,
            checksum: if request.has(Item::TunCsum) {
                GueChecksum::Csum
            } else if request.has(Item::TunRemCsum) {
                GueChecksum::Remcsum
            } else {
                GueChecksum::None
            },
        },
        TunnelType::Gre => Tunnel::Gre {
            checksum: if request.has(Item::TunCsum) {
                GreChecksum::Csum
            } else {
                GreChecksum::None
            },
        },
    })
}
