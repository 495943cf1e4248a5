//! From TOML to the model.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::walk::{Complaints, Table, expected};
use super::{Config, ConfigErrors};
use crate::director::{Attach, Compat, Director, ForwardingOnStop, InterfaceName, TableSize};
use crate::method::Method;
use crate::scheduler::Scheduler;
use crate::server::Weight;
use crate::service::{ServerAddress, Service};
use crate::service_key::{Protocol, ServiceKey};
use crate::services::Services;
use crate::timeouts::{TcpTimeouts, Timeouts, parse_timeout};

/// The longest path that a unix socket's address holds.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn read(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    let mut complaints = Complaints::default();
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        complaints.add(
            error.span().unwrap_or(text.len()..text.len()),
            error.message(),
        );
    }
    if syntax_errors.is_empty() {
        let root = Table::of(
            &mut complaints,
            document.get_ref(),
            "",
            &["director", "service"],
        );
        let director = director(&mut complaints, root);
        let services = services(&mut complaints, root);
        if let (true, Some(director)) = (complaints.is_empty(), director) {
            return Ok(Config { director, services });
        }
    }
    Err(complaints.into_errors(text, file))
}

fn director(complaints: &mut Complaints, root: Table<'_>) -> Option<Director> {
    const KNOWN: [&str; 10] = [
        "instance",
        "interfaces",
        "attach",
        "connections",
        "connections_v6",
        "socket",
        "bpffs",
        "forwarding_on_stop",
        "compat",
        "timeouts",
    ];
    let Some(value) = root.get("director") else {
        complaints.add(
            0..0,
            "the table [director] is missing: it says at least interfaces = [\"eth0\"]",
        );
        return None;
    };
    let table = Table::new(complaints, value, "director", &KNOWN)?;
    if table.get("interfaces").is_none() {
        complaints.add(
            value.span(),
            "director.interfaces is missing: where does the traffic arrive?",
        );
    }
    let instance = table.word(complaints, "instance").unwrap_or_default();
    let interfaces = interfaces(complaints, table);
    let defaults = Director::new(instance, interfaces);
    let compat = table.choice(complaints, "compat", Compat::ALL, Compat::name);
    Some(Director {
        attach: table
            .choice(complaints, "attach", Attach::ALL, Attach::name)
            .unwrap_or_default(),
        connections: table_size(complaints, table, "connections").unwrap_or(defaults.connections),
        connections_v6: table_size(complaints, table, "connections_v6")
            .unwrap_or(defaults.connections_v6),
        socket: path(complaints, table, "socket", LONGEST_SOCKET_PATH).unwrap_or(defaults.socket),
        bpffs: path(complaints, table, "bpffs", 4095).unwrap_or(defaults.bpffs),
        forwarding_on_stop: table
            .choice(
                complaints,
                "forwarding_on_stop",
                ForwardingOnStop::ALL,
                ForwardingOnStop::name,
            )
            .unwrap_or_default(),
        timeouts: timeouts(complaints, table, compat),
        compat,
        instance: defaults.instance,
        interfaces: defaults.interfaces,
    })
}

fn interfaces(complaints: &mut Complaints, table: Table<'_>) -> Vec<InterfaceName> {
    let mut interfaces = Vec::new();
    let Some(list) = table.list(complaints, "interfaces") else {
        return interfaces;
    };
    if list.is_empty() {
        complaints.add(
            table.span("interfaces").unwrap_or_default(),
            "director.interfaces is empty: where does the traffic arrive?",
        );
    }
    for value in list.iter() {
        let Some(text) = value.get_ref().as_str() else {
            complaints.add(
                value.span(),
                expected("an interface", "a string", value.get_ref()),
            );
            continue;
        };
        let Some(name) = complaints.check(value.span(), text.parse::<InterfaceName>()) else {
            continue;
        };
        if interfaces.contains(&name) {
            complaints.add(value.span(), format!("the interface {name} is there twice"));
        } else {
            interfaces.push(name);
        }
    }
    interfaces
}

fn table_size(complaints: &mut Complaints, table: Table<'_>, key: &str) -> Option<TableSize> {
    table.number_or_text(complaints, key, str::parse)
}

fn path(
    complaints: &mut Complaints,
    table: Table<'_>,
    key: &str,
    longest: usize,
) -> Option<PathBuf> {
    let text = table.text(complaints, key)?;
    let what = if !Path::new(text).is_absolute() {
        "is not an absolute path".to_owned()
    } else if text.contains('\0') {
        "contains a zero byte".to_owned()
    } else if text.len() > longest {
        format!("is longer than {longest} bytes")
    } else {
        return Some(PathBuf::from(text));
    };
    complaints.add(table.span(key)?, format!("director.{key} {text:?} {what}"));
    None
}

fn timeouts(complaints: &mut Complaints, director: Table<'_>, compat: Option<Compat>) -> Timeouts {
    let mut timeouts = Timeouts::defaults(compat);
    let Some(value) = director.get("timeouts") else {
        return timeouts;
    };
    let Some(table) = Table::new(complaints, value, "director.timeouts", &["tcp", "udp"]) else {
        return timeouts;
    };
    if let Some(timeout) = table.number_or_text(complaints, "udp", parse_timeout) {
        timeouts.udp = timeout;
    }
    let Some(value) = table.get("tcp") else {
        return timeouts;
    };
    let states = TcpTimeouts::DEFAULT.entries().map(|(name, _)| name);
    let Some(table) = Table::new(complaints, value, "director.timeouts.tcp", &states) else {
        return timeouts;
    };
    for state in states {
        let timeout = table.number_or_text(complaints, state, parse_timeout);
        if let (Some(timeout), Some(entry)) = (timeout, timeouts.tcp.entry_mut(state)) {
            *entry = timeout;
        }
    }
    timeouts
}

fn services(complaints: &mut Complaints, root: Table<'_>) -> Services {
    let mut services = Services::new();
    let Some(value) = root.get("service") else {
        return services;
    };
    let Some(list) = value.get_ref().as_array() else {
        complaints.add(
            value.span(),
            expected("service", "a list of tables ([[service]])", value.get_ref()),
        );
        return services;
    };
    for value in list.iter() {
        let Some((service, key_at, name_at)) = service(complaints, value) else {
            continue;
        };
        if services.get(service.key()).is_some() {
            complaints.add(
                key_at,
                format!("the service {} is there twice", service.key()),
            );
        } else {
            complaints.check(name_at, services.add(service));
        }
    }
    services
}

type Span = std::ops::Range<usize>;

/// A service, and where its address and its name are.
fn service(
    complaints: &mut Complaints,
    value: &Spanned<DeValue<'_>>,
) -> Option<(Service, Span, Span)> {
    const KNOWN: [&str; 7] = [
        "name",
        "address",
        "protocol",
        "port",
        "scheduler",
        "method",
        "servers",
    ];
    let table = Table::new(complaints, value, "service", &KNOWN)?;
    let scheduler: Option<Scheduler> = table.word(complaints, "scheduler");
    let method: Option<Method> = table.word(complaints, "method");
    let key = service_key(complaints, table, value.span());
    let mut service = Service::new(
        key.unwrap_or(ServiceKey::PLACEHOLDER),
        scheduler.unwrap_or_default(),
    );
    if let Some(name) = table.text(complaints, "name")
        && let Some(named) = complaints.check(table.span("name")?, service.clone().named(name))
    {
        service = named;
    }
    for value in table
        .list(complaints, "servers")
        .into_iter()
        .flat_map(|list| list.iter())
    {
        let parts = server_parts(complaints, value, method.unwrap_or_default());
        // What a server must share with its service can only be said of a service that is known.
        let (Some((address, method, weight, at)), Some(key)) = (parts, key) else {
            continue;
        };
        if let Some(server) = complaints.check(at.clone(), address.server(key, method, weight)) {
            complaints.check(at, service.add_server(server));
        }
    }
    key?;
    let key_at = table.span("address").unwrap_or(value.span());
    let name_at = table.span("name").unwrap_or(value.span());
    Some((service, key_at, name_at))
}

fn service_key(complaints: &mut Complaints, table: Table<'_>, at: Span) -> Option<ServiceKey> {
    let Some(address_at) = table.span("address") else {
        complaints.add(
            at,
            "service.address is missing: something like \"tcp://10.0.0.100:80\"",
        );
        return None;
    };
    if table.get("protocol").is_none() && table.get("port").is_none() {
        return table.word(complaints, "address");
    }
    for key in ["protocol", "port"] {
        if table.get(key).is_none() {
            complaints.add(
                address_at.clone(),
                format!("service.{key} is missing: the address is written in parts"),
            );
        }
    }
    let protocol: Option<Protocol> = table.word(complaints, "protocol");
    let port = table.number::<Port>(complaints, "port");
    let text = table.text(complaints, "address");
    let address = text.and_then(|text| {
        let address = text.parse::<IpAddr>();
        let message = format!("{text:?} is not an IP address (port and protocol are given apart)");
        complaints.check(address_at.clone(), address.map_err(|_| message))
    });
    complaints.check(address_at, ServiceKey::new(protocol?, address?, port?.0))
}

/// A port in a field of its own.
struct Port(NonZeroU16);

impl std::str::FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Port)
            .map_err(|_| format!("{text} is not a port from 1 to 65535"))
    }
}

/// A server as written, and where its address is.
fn server_parts(
    complaints: &mut Complaints,
    value: &Spanned<DeValue<'_>>,
    default_method: Method,
) -> Option<(ServerAddress, Method, Weight, Span)> {
    if let Some(text) = value.get_ref().as_str() {
        let address = complaints.check(value.span(), text.parse())?;
        return Some((address, default_method, Weight::default(), value.span()));
    }
    if value.get_ref().as_table().is_none() {
        let what = "an address or a table { address = \"10.1.0.21:80\", weight = 1 }";
        complaints.add(value.span(), expected("a server", what, value.get_ref()));
        return None;
    }
    let table = Table::new(
        complaints,
        value,
        "servers",
        &["address", "port", "method", "weight"],
    )?;
    let method = table.word(complaints, "method").unwrap_or(default_method);
    let weight = table.number(complaints, "weight").unwrap_or_default();
    let port = table.number::<Port>(complaints, "port");
    let Some(at) = table.span("address") else {
        complaints.add(
            value.span(),
            "servers.address is missing: something like \"10.1.0.21:80\"",
        );
        return None;
    };
    let mut address: ServerAddress = table.word(complaints, "address")?;
    match (address.port, port) {
        (Some(_), Some(_)) => {
            complaints.add(table.span("port")?, "the server's port is there twice");
        }
        (None, Some(Port(port))) => address.port = Some(port.get()),
        (Some(_) | None, None) => {}
    }
    Some((address, method, weight, at))
}
