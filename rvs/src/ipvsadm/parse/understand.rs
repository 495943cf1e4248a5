//! From a command line that ipvsadm would accept to a command that RVS has, or to what it lacks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rvs_config::{Method, Protocol, Scheduler, Server, ServiceKey, Weight};

use super::check::mixed_families;
use super::{Request, ServiceId, ServiceProtocol, TunnelType};
use crate::ipvsadm::command::{Command, Failure, SchedulerName, ServerArgument, Wanted, What};
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
    for (item, what) in [
        (Item::Persistent, "persistence (-p)"),
        (Item::Netmask, "persistence by network (-M)"),
        (Item::Pe, "a persistence engine (--pe)"),
        (Item::Ops, "one-packet scheduling (-o)"),
        (Item::UpperThreshold, "an upper threshold (-x)"),
        (Item::LowerThreshold, "a lower threshold (-y)"),
        (Item::Daemon, "the sync daemon (--daemon)"),
    ] {
        if request.has(item) {
            return Err(Failure::not_built(what));
        }
    }
    match request.action {
        Action::AddService => {
            let key = key(request)?.ok_or_else(impossible)?;
            Ok(Command::AddService {
                key,
                scheduler: scheduler(request)?,
            })
        }
        Action::EditService => match key(request)? {
            Some(key) => Ok(Command::EditService {
                key,
                scheduler: scheduler(request)?,
            }),
            None => Err(Failure::refused(TableError::NoSuchService.to_string())),
        },
        Action::DeleteService => Ok(Command::DeleteService { key: key(request)? }),
        Action::Flush => Ok(Command::Clear),
        Action::AddServer => Ok(Command::AddServer {
            key: key(request)?,
            server: server(request)?,
        }),
        Action::EditServer => Ok(Command::EditServer {
            key: key(request)?,
            server: server(request)?,
        }),
        Action::DeleteServer => {
            let (address, port) = request.server.ok_or_else(impossible)?;
            Ok(Command::DeleteServer {
                key: key(request)?,
                server: SocketAddr::new(address, port),
            })
        }
        Action::List => {
            let what = if request.has(Item::Connection) {
                What::Connections
            } else if request.has(Item::Timeout) {
                What::Timeouts
            } else {
                What::Services(wanted(request)?)
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
            key: wanted(request)?,
        }),
    }
}

/// What the kernel says of an address that it does not take.
fn impossible() -> Failure {
    Failure::refused(TableError::Invalid.to_string())
}

/// The service's key, or none if no service can have it.
fn key(request: &Request) -> Result<Option<ServiceKey>, Failure> {
    let (protocol, address, port) = match request.service {
        None => return Ok(None),
        Some(ServiceId::Mark { .. }) => {
            return Err(Failure::not_built("a service by firewall mark (-f)"));
        }
        Some(ServiceId::Address {
            protocol,
            address,
            port,
        }) => (protocol, address, port),
    };
    let protocol = match protocol {
        ServiceProtocol::Tcp => Protocol::Tcp,
        ServiceProtocol::Udp => Protocol::Udp,
        ServiceProtocol::Sctp => return Err(Failure::not_built("SCTP (--sctp-service)")),
    };
    Ok((port != 0)
        .then(|| ServiceKey::new(protocol, address, port).ok())
        .flatten())
}

fn wanted(request: &Request) -> Result<Wanted, Failure> {
    if request.has(Item::ServiceAddress) {
        Ok(Wanted::One(key(request)?))
    } else {
        Ok(Wanted::All)
    }
}

fn scheduler(request: &Request) -> Result<SchedulerName, Failure> {
    const LATER: [&str; 11] = [
        "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none",
    ];
    if request.flags.split(',').any(|flag| !flag.is_empty()) {
        return Err(Failure::not_built("a scheduler flag (-b)"));
    }
    match request.scheduler.as_str() {
        "" => Ok(SchedulerName::Known(Scheduler::default())),
        name if LATER.contains(&name) => {
            Err(Failure::not_built(format_args!("the scheduler {name}")))
        }
        name => Ok(name
            .parse()
            .map_or(SchedulerName::Unknown, SchedulerName::Known)),
    }
}

fn server(request: &Request) -> Result<ServerArgument, Failure> {
    match request.tunnel {
        TunnelType::Ipip => {}
        TunnelType::Gue => return Err(Failure::not_built("a GUE tunnel (--tun-type gue)")),
        TunnelType::Gre => return Err(Failure::not_built("a GRE tunnel (--tun-type gre)")),
    }
    if mixed_families(request) {
        return Err(Failure::not_built(
            "a tunnel to a server of another address family",
        ));
    }
    let (address, own_port) = request.server.ok_or_else(impossible)?;
    let port = match (request.method, request.service) {
        // These do not rewrite ports, so that the service's is the only one there can be.
        (Method::Tunnel | Method::Direct, Some(ServiceId::Address { port, .. })) => port,
        (Method::Nat, _) | (_, Some(ServiceId::Mark { .. }) | None) => own_port,
    };
    Ok(possible(address, port, request)
        .map_or(ServerArgument::Impossible, ServerArgument::Possible))
}

fn possible(address: IpAddr, port: u16, request: &Request) -> Option<Server> {
    let weight = u64::try_from(request.weight)
        .ok()
        .and_then(|weight| Weight::new(weight).ok())?;
    if port == 0 {
        return None;
    }
    Server::new(address, port, request.method, weight).ok()
}
