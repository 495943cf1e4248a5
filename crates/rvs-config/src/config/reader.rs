//! From TOML to the model.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::walk::{Complaints, Table, expected};
use super::{Config, ConfigErrors};
use crate::director::{Attach, Compat, Director, ForwardingOnStop, InterfaceName, TableSize};
use crate::knobs::{ABSENT, Defence, KnobError, Knobs, absent, parse_count};
use crate::match_rule::MatchRule;
use crate::method::Method;
use crate::options::ServiceOptions;
use crate::persistence::{Persistence, PersistenceTimeout};
use crate::scheduler::SchedulerFlags;
use crate::service::{ServerAddress, ServerParts, Service};
use crate::service_key::{Protocol, ServiceKey};
use crate::services::{MAX_RULES_IN_ALL, MAX_SERVERS_IN_ALL, Services};
use crate::timeouts::{OwnTimeouts, Timeouts, Timer, parse_timeout};

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

/// The keys of the table [director] that are no knobs.
const DIRECTOR: [&str; 11] = [
    "instance",
    "interfaces",
    "attach",
    "connections",
    "connections_v6",
    "local_clients",
    "socket",
    "bpffs",
    "forwarding_on_stop",
    "compat",
    "timeouts",
];

fn director(complaints: &mut Complaints, root: Table<'_>) -> Option<Director> {
    let Some(value) = root.get("director") else {
        complaints.add(
            0..0,
            "the table [director] is missing: it says at least interfaces = [\"eth0\"]",
        );
        return None;
    };
    let known: Vec<&str> = DIRECTOR
        .into_iter()
        .chain(KNOBS)
        .chain(ABSENT.into_iter().filter(|name| {
            value
                .get_ref()
                .as_table()
                .is_some_and(|table| table.contains_key(*name))
        }))
        .collect();
    let table = Table::new(complaints, value, "director", &known)?;
    for (key, _) in table.values {
        if let Some(reason) = absent(key.get_ref()) {
            complaints.add(
                key.span(),
                format!("director.{} does not exist: {reason}", key.get_ref()),
            );
        }
    }
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
        local_clients: table.flag(complaints, "local_clients").unwrap_or_default(),
        forwarding_on_stop: table
            .choice(
                complaints,
                "forwarding_on_stop",
                ForwardingOnStop::ALL,
                ForwardingOnStop::name,
            )
            .unwrap_or_default(),
        timeouts: Timeouts::defaults(compat).with(&timeouts(
            complaints,
            table,
            "director.timeouts",
        )),
        knobs: knobs(complaints, table, compat),
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

/// The names of the fields of [`Knobs`].
const KNOBS: [&str; 21] = [
    "expire_nodest_conn",
    "expire_quiescent_template",
    "conn_reuse_mode",
    "sloppy_tcp",
    "sloppy_sctp",
    "schedule_icmp",
    "nat_icmp_send",
    "snat_reroute",
    "pmtu_disc",
    "ignore_tunneled",
    "cache_bypass",
    "backup_only",
    "run_estimation",
    "drop_entry",
    "drop_packet",
    "secure_tcp",
    "amemthresh",
    "am_droprate",
    "lblc_expiration",
    "lblcr_expiration",
    "mh_table_size",
];

fn knobs(complaints: &mut Complaints, table: Table<'_>, compat: Option<Compat>) -> Knobs {
    let mut knobs = Knobs::defaults(compat);
    let mut flag = |knob: &mut bool, key: &str| {
        if let Some(value) = table.flag(complaints, key) {
            *knob = value;
        }
    };
    flag(&mut knobs.expire_nodest_conn, "expire_nodest_conn");
    flag(
        &mut knobs.expire_quiescent_template,
        "expire_quiescent_template",
    );
    flag(&mut knobs.sloppy_tcp, "sloppy_tcp");
    flag(&mut knobs.sloppy_sctp, "sloppy_sctp");
    flag(&mut knobs.schedule_icmp, "schedule_icmp");
    flag(&mut knobs.nat_icmp_send, "nat_icmp_send");
    flag(&mut knobs.snat_reroute, "snat_reroute");
    flag(&mut knobs.pmtu_disc, "pmtu_disc");
    flag(&mut knobs.ignore_tunneled, "ignore_tunneled");
    flag(&mut knobs.cache_bypass, "cache_bypass");
    flag(&mut knobs.backup_only, "backup_only");
    flag(&mut knobs.run_estimation, "run_estimation");
    let mut number = |key: &str, parse: fn(&str) -> Result<u32, KnobError>| {
        table.number_or_text(complaints, key, parse)
    };
    knobs.amemthresh = number("amemthresh", parse_count).unwrap_or(knobs.amemthresh);
    knobs.am_droprate = number("am_droprate", parse_count).unwrap_or(knobs.am_droprate);
    let mut defence = |knob: &mut Defence, key: &str| {
        if let Some(value) = table.number(complaints, key) {
            *knob = value;
        }
    };
    defence(&mut knobs.drop_entry, "drop_entry");
    defence(&mut knobs.drop_packet, "drop_packet");
    defence(&mut knobs.secure_tcp, "secure_tcp");
    if let Some(mode) = table.number(complaints, "conn_reuse_mode") {
        knobs.conn_reuse_mode = mode;
    }
    if let Some(size) = table.number(complaints, "mh_table_size") {
        knobs.mh_table_size = size;
    }
    let mut time = |knob: &mut Duration, key: &str| {
        if let Some(value) = table.number_or_text(complaints, key, parse_timeout) {
            *knob = value;
        }
    };
    time(&mut knobs.lblc_expiration, "lblc_expiration");
    time(&mut knobs.lblcr_expiration, "lblcr_expiration");
    knobs
}

/// The timeouts that the table `timeouts` names.
fn timeouts(complaints: &mut Complaints, parent: Table<'_>, name: &str) -> OwnTimeouts {
    let mut own = OwnTimeouts::NONE;
    let Some(value) = parent.get("timeouts") else {
        return own;
    };
    let Some(table) = Table::new(complaints, value, name, &["tcp", "udp", "sctp"]) else {
        return own;
    };
    own.set(
        Timer::Udp,
        table.number_or_text(complaints, "udp", parse_timeout),
    );
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let Some(value) = table.get(protocol.name()) else {
            continue;
        };
        let states: Vec<&str> = Timer::of(protocol).map(Timer::name).collect();
        let name = format!("{name}.{protocol}");
        let Some(table) = Table::new(complaints, value, &name, &states) else {
            continue;
        };
        for timer in Timer::of(protocol) {
            own.set(
                timer,
                table.number_or_text(complaints, timer.name(), parse_timeout),
            );
        }
    }
    own
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
    let (mut servers, mut rules) = (0, 0);
    for value in list.iter() {
        let Some((service, key_at, name_at)) = service(complaints, value) else {
            continue;
        };
        for (sum, more, most, what) in [
            (
                &mut servers,
                service.servers().len(),
                MAX_SERVERS_IN_ALL,
                "real servers",
            ),
            (
                &mut rules,
                service.options().rules.len(),
                MAX_RULES_IN_ALL,
                "match rules",
            ),
        ] {
            let before = *sum;
            *sum += more;
            // Said once.
            if before <= most && *sum > most {
                complaints.add(
                    key_at.clone(),
                    format!("with {} there are more than {most} {what}", service.key()),
                );
            }
        }
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
    const KNOWN: [&str; 13] = [
        "name",
        "address",
        "protocol",
        "port",
        "scheduler",
        "scheduler_flags",
        "persistence",
        "one_packet",
        "timeouts",
        "move_udp",
        "match",
        "method",
        "servers",
    ];
    let table = Table::new(complaints, value, "service", &KNOWN)?;
    let method: Option<Method> = table.word(complaints, "method");
    let key = service_key(complaints, table, value.span());
    let options = options(complaints, table);
    // What is wrong with the options is said at the service's address.
    let address_at = table.span("address").unwrap_or(value.span());
    let mut service = match key {
        Some(key) => complaints
            .check(address_at, Service::new(key, options))
            .or_else(|| placeholder(key)),
        None => placeholder(ServiceKey::PLACEHOLDER),
    }?;
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
        let (Some((address, parts, at)), Some(key)) = (parts, key) else {
            continue;
        };
        if let Some(server) = complaints.check(at.clone(), address.server(key, parts)) {
            complaints.check(at, service.add_server(server));
        }
    }
    key?;
    let key_at = table.span("address").unwrap_or(value.span());
    let name_at = table.span("name").unwrap_or(value.span());
    Some((service, key_at, name_at))
}

/// A service in place of one whose options are wrong, so that its servers can be looked at.
fn placeholder(key: ServiceKey) -> Option<Service> {
    let options = ServiceOptions {
        persistence: Some(Persistence::new(PersistenceTimeout::default())),
        ..ServiceOptions::default()
    };
    Service::new(key, options).ok()
}

fn options(complaints: &mut Complaints, table: Table<'_>) -> ServiceOptions {
    let scheduler = table.word(complaints, "scheduler");
    let mut options = ServiceOptions {
        scheduler: scheduler.unwrap_or_default(),
        persistence: persistence(complaints, table),
        one_packet: table.flag(complaints, "one_packet").unwrap_or_default(),
        timeouts: timeouts(complaints, table, "service.timeouts"),
        move_udp: table.flag(complaints, "move_udp").unwrap_or_default(),
        rules: table
            .words::<MatchRule>(complaints, "match")
            .into_iter()
            .map(|(rule, _)| rule)
            .collect(),
        scheduler_flags: SchedulerFlags::NONE,
    };
    for (word, at) in table.words::<String>(complaints, "scheduler_flags") {
        // Whether a flag fits can only be said of a scheduler that is known.
        if scheduler.is_none() && table.get("scheduler").is_some() {
            continue;
        }
        let flags = SchedulerFlags::parse(options.scheduler, [word.as_str()]);
        if let Some(flags) = complaints.check(at, flags) {
            options.scheduler_flags = options.scheduler_flags.and(flags);
        }
    }
    options
}

/// A time, or a table with one.
fn persistence(complaints: &mut Complaints, table: Table<'_>) -> Option<Persistence> {
    let value = table.get("persistence")?;
    if value.get_ref().as_table().is_none() {
        if value.get_ref().as_integer().is_none() && value.get_ref().as_str().is_none() {
            let what = "a time or a table { timeout = \"5m\", netmask = \"255.255.255.0\" }";
            complaints.add(
                value.span(),
                expected("service.persistence", what, value.get_ref()),
            );
            return None;
        }
        let timeout = table.number_or_text(complaints, "persistence", str::parse)?;
        return Some(Persistence::new(timeout));
    }
    let known = ["timeout", "netmask", "engine"];
    let table = Table::new(complaints, value, "service.persistence", &known)?;
    Some(Persistence {
        timeout: table
            .number_or_text(complaints, "timeout", str::parse)
            .unwrap_or_default(),
        netmask: table.number_or_text(complaints, "netmask", str::parse),
        engine: table.word(complaints, "engine"),
    })
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
    let port = port(complaints, table);
    let text = table.text(complaints, "address");
    let address = text.and_then(|text| {
        let address = text.parse::<IpAddr>();
        let message = format!("{text:?} is not an IP address (port and protocol are given apart)");
        complaints.check(address_at.clone(), address.map_err(|_| message))
    });
    complaints.check(address_at, ServiceKey::new(protocol?, address?, port?))
}

/// A port in a field of its own.
fn port(complaints: &mut Complaints, table: Table<'_>) -> Option<u16> {
    table.number_or_text(complaints, "port", |text| {
        text.parse()
            .map_err(|_| format!("{text} is not a port from 0 to 65535"))
    })
}

/// A server as written, and where its address is.
fn server_parts(
    complaints: &mut Complaints,
    value: &Spanned<DeValue<'_>>,
    default_method: Method,
) -> Option<(ServerAddress, ServerParts, Span)> {
    let mut parts = ServerParts {
        method: default_method,
        ..ServerParts::default()
    };
    if let Some(text) = value.get_ref().as_str() {
        let address = complaints.check(value.span(), text.parse())?;
        return Some((address, parts, value.span()));
    }
    if value.get_ref().as_table().is_none() {
        let what = "an address or a table { address = \"10.1.0.21:80\", weight = 1 }";
        complaints.add(value.span(), expected("a server", what, value.get_ref()));
        return None;
    }
    let known = [
        "address",
        "port",
        "method",
        "tunnel",
        "weight",
        "upper_threshold",
        "lower_threshold",
    ];
    let table = Table::new(complaints, value, "servers", &known)?;
    parts.method = table.word(complaints, "method").unwrap_or(default_method);
    parts.tunnel = table.word(complaints, "tunnel").unwrap_or_default();
    parts.weight = table.number(complaints, "weight").unwrap_or_default();
    let mut threshold = |key: &str| {
        table
            .number_or_text(complaints, key, parse_count)
            .map_or(0, u64::from)
    };
    parts.upper = threshold("upper_threshold");
    parts.lower = threshold("lower_threshold");
    let port = port(complaints, table);
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
        (None, Some(port)) => address.port = Some(port),
        (Some(_) | None, None) => {}
    }
    Some((address, parts, at))
}
