//! What people see: tables with LVS's words.

mod grid;
#[cfg(test)]
mod tests;

use rvs_config::{ServiceOptions, Timeouts, Timer, timeout_text};
use rvs_control::wire::{Adoption, Connections, Counter, Origin, Server, Service, Stats, Status};
use serde_json::Value;

use grid::{Grid, Side};

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// A director's status, a line for each thing.
pub(crate) fn status(status: &Status) -> String {
    let mut grid = Grid::new([("", Side::Left), ("", Side::Left)]);
    let mut line = |name: &str, value: String| grid.row([name.to_owned(), value]);
    line(
        "Instance",
        format!(
            "{} (rvs {}, process {})",
            status.instance, status.version, status.pid
        ),
    );
    line("Socket", status.socket.display().to_string());
    if let Some(config) = &status.config {
        line("Configuration", config.display().to_string());
    }
    line(
        "At start",
        match status.adoption {
            Adoption::Fresh => "a new director".to_owned(),
            Adoption::Adopted => "took over a director that was forwarding".to_owned(),
            Adoption::Upgraded {
                connections,
                refused,
            } => {
                format!(
                    "took over a director of another layout: {connections} connections kept, {refused} lost"
                )
            }
        },
    );
    line(
        "Scheduling",
        match status.scheduling {
            true => "on".to_owned(),
            false => "off: no new connections are taken (rvs scheduling on)".to_owned(),
        },
    );
    let defences = &status.defences;
    if *defences != Default::default() {
        let mut up = Vec::new();
        if defences.drop_entry {
            up.push("drop_entry".to_owned());
        }
        if defences.drop_rate > 0 {
            up.push(format!("drop_packet (one in {})", defences.drop_rate));
        }
        if defences.secure_tcp {
            up.push("secure_tcp".to_owned());
        }
        line("Defences", up.join(", "));
    }
    line(
        "When stopped",
        match status.forwarding_on_stop.as_str() {
            "keep" => "forwarding goes on".to_owned(),
            _ => "forwarding stops".to_owned(),
        },
    );
    for interface in &status.interfaces {
        let xdp = if interface.xdp { ", XDP" } else { "" };
        line(
            "Interface",
            format!(
                "{} (index {}): {}{xdp}",
                interface.name, interface.ifindex, interface.tc
            ),
        );
    }
    line("Virtual services", status.services.to_string());
    line("Real servers", status.servers.to_string());
    line(
        "Connections",
        format!("{} active, {} inactive", status.active, status.inactive),
    );
    let table = &status.table;
    line("IPv4 table", fill(table.used_v4, table.slots_v4));
    line("IPv6 table", fill(table.used_v6, table.slots_v6));
    if table.refused > 0 {
        line(
            "Refused",
            format!("{} connections found no room", table.refused),
        );
    }
    let timeouts = &status.timeouts;
    line(
        "Timeouts",
        format!(
            "tcp {}, tcpfin {}, udp {}",
            timeout_text(timeouts.get(Timer::TcpEstablished)),
            timeout_text(timeouts.get(Timer::TcpFinWait)),
            timeout_text(timeouts.get(Timer::Udp)),
        ),
    );
    grid.body()
}

/// A line for each service.
pub(crate) fn services(services: &[Service]) -> String {
    let mut grid = Grid::new([
        ("Service", Side::Left),
        ("Name", Side::Left),
        ("Scheduler", Side::Left),
        ("Servers", Side::Right),
        ("ActiveConn", Side::Right),
        ("InActConn", Side::Right),
        ("CPS", Side::Right),
        ("From", Side::Left),
    ]);
    for service in services {
        let servers = service.servers.iter().filter(|server| !server.removed);
        grid.row([
            service.address.to_string(),
            service.name.clone().unwrap_or_else(|| "-".to_owned()),
            scheduler(&service.options),
            servers.count().to_string(),
            service.active.to_string(),
            service.inactive.to_string(),
            service.rates.connections.to_string(),
            from(service.origin).to_owned(),
        ]);
    }
    grid.text()
}

/// The scheduler, and whatever else is not as usual, in ipvsadm's words where it has some.
fn scheduler(options: &ServiceOptions) -> String {
    let mut words = vec![options.scheduler.to_string()];
    let flags = options.scheduler_flags.names(options.scheduler);
    if !flags.is_empty() {
        words.push(flags.join(","));
    }
    if let Some(persistence) = options.persistence {
        words.push(format!("persistent {}", persistence.timeout));
        words.extend(persistence.netmask.map(|mask| format!("mask {mask}")));
        words.extend(persistence.engine.map(|engine| format!("pe {engine}")));
    }
    for (word, said) in [
        ("ops", options.one_packet),
        ("move-udp", options.move_udp),
        ("timeouts", !options.timeouts.is_empty()),
    ] {
        if said {
            words.push(word.to_owned());
        }
    }
    if !options.rules.is_empty() {
        words.push(format!("match {}", options.rules.len()));
    }
    words.join(" ")
}

/// A line for each time-out.
pub(crate) fn timeouts(timeouts: &Timeouts) -> String {
    let mut grid = Grid::new([("Name", Side::Left), ("Time", Side::Left)]);
    for timer in Timer::all() {
        grid.row([timer.path(), timeout_text(timeouts.get(timer))]);
    }
    grid.body()
}

/// A line for each knob.
pub(crate) fn knobs(knobs: &Value) -> String {
    let mut grid = Grid::new([("Name", Side::Left), ("Value", Side::Left)]);
    for (name, value) in knobs.as_object().into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        grid.row([name.clone(), text]);
    }
    grid.body()
}

/// A line for each server.
pub(crate) fn servers(services: &[Service]) -> String {
    let mut grid = Grid::new([
        ("Service", Side::Left),
        ("Server", Side::Left),
        ("Forward", Side::Left),
        ("Weight", Side::Right),
        ("ActiveConn", Side::Right),
        ("InActConn", Side::Right),
        ("CPS", Side::Right),
        ("From", Side::Left),
        ("State", Side::Left),
        ("NextHop", Side::Left),
    ]);
    for service in services {
        for server in &service.servers {
            grid.row([
                service.address.to_string(),
                server.address.to_string(),
                forward(server),
                server.weight.to_string(),
                server.active.to_string(),
                server.inactive.to_string(),
                server.rates.connections.to_string(),
                from(server.origin).to_owned(),
                state(server).to_owned(),
                server.next_hop.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    grid.text()
}

/// What was counted for services and servers.
pub(crate) fn stats(services: &[Service]) -> String {
    let mut grid = Grid::new([
        ("Service", Side::Left),
        ("Server", Side::Left),
        ("Conns", Side::Right),
        ("InPkts", Side::Right),
        ("OutPkts", Side::Right),
        ("InBytes", Side::Right),
        ("OutBytes", Side::Right),
    ]);
    let mut row = |service: &Service, server: String, stats: &Stats| {
        grid.row([
            service.address.to_string(),
            server,
            stats.connections.to_string(),
            stats.packets_in.to_string(),
            stats.packets_out.to_string(),
            stats.bytes_in.to_string(),
            stats.bytes_out.to_string(),
        ]);
    };
    for service in services {
        row(service, "(all)".to_owned(), &service.stats);
        for server in &service.servers {
            row(service, server.address.to_string(), &server.stats);
        }
    }
    grid.text()
}

/// Every counter with its meaning.
pub(crate) fn counters(counters: &[Counter]) -> String {
    let mut grid = Grid::new([
        ("Counter", Side::Left),
        ("Count", Side::Right),
        ("Meaning", Side::Left),
    ]);
    for counter in counters {
        grid.row([
            counter.name.clone(),
            counter.value.to_string(),
            counter.help.clone(),
        ]);
    }
    grid.text()
}

/// A line for each connection, and how many more there are.
pub(crate) fn connections(connections: &Connections) -> String {
    let mut all = connections.connections.iter();
    let call = if all.any(|connection| connection.call.is_some()) {
        "Call"
    } else {
        ""
    };
    let mut grid = Grid::new([
        ("Protocol", Side::Left),
        ("Expire", Side::Right),
        ("State", Side::Left),
        ("Source", Side::Left),
        ("Virtual", Side::Left),
        ("Destination", Side::Left),
        ("InPkts", Side::Right),
        (call, Side::Left),
    ]);
    for connection in &connections.connections {
        grid.row([
            connection.protocol.to_string(),
            format!(
                "{:02}:{:02}",
                connection.expires / 60,
                connection.expires % 60
            ),
            connection.state.clone(),
            connection.client.to_string(),
            connection.service.to_string(),
            connection.server.to_string(),
            connection.packets.to_string(),
            connection.call.clone().unwrap_or_default(),
        ]);
    }
    let shown = connections.connections.len() as u64;
    match connections.total.saturating_sub(shown) {
        0 => grid.text(),
        more => format!(
            "{}({more} more: --limit {})\n",
            grid.text(),
            connections.total
        ),
    }
}

/// An event on a line: its time, its name, and what it is about.
pub(crate) fn event(event: &Value) -> String {
    let time = event
        .get("time")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let name = event.get("event").and_then(Value::as_str).unwrap_or("?");
    let mut line = format!("{} {}", utc(time), name.replace('_', " "));
    for (key, value) in event.as_object().into_iter().flatten() {
        if matches!(key.as_str(), "time" | "event" | "number") || value.is_null() {
            continue;
        }
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => value.to_string(),
        };
        line.push_str(&format!(" {key}={value}"));
    }
    line.push('\n');
    line
}

/// A time in UTC, from seconds since 1970.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: years begin in March, eras are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn fill(used: u64, slots: u64) -> String {
    format!("{used} of {slots} slots used ({})", percent(used, slots))
}

/// A part of a whole, like `12.3 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000).checked_div(whole).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn from(origin: Origin) -> &'static str {
    match origin {
        Origin::Configured => "file",
        Origin::Runtime => "run time",
    }
}

/// How a server is reached.
pub(crate) fn forward(server: &Server) -> String {
    match server.local {
        true => "local".to_owned(),
        false => server.method.to_string(),
    }
}

/// How a server stands.
pub(crate) fn state(server: &Server) -> &'static str {
    match (server.removed, server.weight.get()) {
        (true, _) => "removed",
        (false, 0) => "quiesced",
        (false, _) => "up",
    }
}
