//! From the model to TOML, such that reading it gives the same model.

use std::fmt::{Display, Write};
use std::path::Path;

use super::Config;
use crate::director::Director;
use crate::method::Method;
use crate::server::Weight;
use crate::service::Service;
use crate::timeouts::{Timeouts, timeout_text};

pub(super) fn write(config: &Config) -> String {
    let mut out = String::new();
    director(&mut out, &config.director);
    for service in &config.services {
        self::service(&mut out, service);
    }
    out
}

fn director(out: &mut String, director: &Director) {
    let defaults = Director::new(director.instance.clone(), Vec::new());
    out.push_str("[director]\n");
    if director.instance != crate::director::Name::default() {
        line(out, "instance", quoted(director.instance.as_str()));
    }
    let interfaces: Vec<String> = director
        .interfaces
        .iter()
        .map(|name| quoted(name.as_str()))
        .collect();
    line(
        out,
        "interfaces",
        format_args!("[{}]", interfaces.join(", ")),
    );
    if director.attach != defaults.attach {
        line(out, "attach", quoted(director.attach.name()));
    }
    if director.connections != defaults.connections {
        line(out, "connections", director.connections);
    }
    if director.connections_v6 != defaults.connections_v6 {
        line(out, "connections_v6", director.connections_v6);
    }
    if director.socket != defaults.socket {
        line(out, "socket", path(&director.socket));
    }
    if director.bpffs != defaults.bpffs {
        line(out, "bpffs", path(&director.bpffs));
    }
    if director.forwarding_on_stop != defaults.forwarding_on_stop {
        line(
            out,
            "forwarding_on_stop",
            quoted(director.forwarding_on_stop.name()),
        );
    }
    if let Some(compat) = director.compat {
        line(out, "compat", quoted(compat.name()));
    }
    timeouts(
        out,
        &director.timeouts,
        &Timeouts::defaults(director.compat),
    );
}

fn timeouts(out: &mut String, timeouts: &Timeouts, defaults: &Timeouts) {
    if timeouts.udp != defaults.udp {
        out.push_str("\n[director.timeouts]\n");
        line(out, "udp", quoted(&timeout_text(timeouts.udp)));
    }
    let entries = timeouts
        .tcp
        .entries()
        .into_iter()
        .zip(defaults.tcp.entries());
    let changed: Vec<_> = entries
        .filter(|(own, default)| own != default)
        .map(|(own, _)| own)
        .collect();
    if !changed.is_empty() {
        out.push_str("\n[director.timeouts.tcp]\n");
    }
    for (state, timeout) in changed {
        line(out, state, quoted(&timeout_text(timeout)));
    }
}

fn service(out: &mut String, service: &Service) {
    out.push_str("\n[[service]]\n");
    if let Some(name) = service.name() {
        line(out, "name", quoted(name));
    }
    line(out, "address", quoted(&service.key().to_string()));
    line(out, "scheduler", quoted(service.scheduler().name()));
    let Some(first) = service.servers().first() else {
        return;
    };
    let default: Method = first.method();
    line(out, "method", quoted(default.name()));
    out.push_str("servers = [\n");
    for server in service.servers() {
        let address = quoted(&server.socket_addr().to_string());
        let method = (server.method() != default)
            .then(|| format!(", method = {}", quoted(server.method().name())));
        let weight = (server.weight() != Weight::default())
            .then(|| format!(", weight = {}", server.weight()));
        if method.is_none() && weight.is_none() {
            push(out, format_args!("    {address},\n"));
        } else {
            let (method, weight) = (method.unwrap_or_default(), weight.unwrap_or_default());
            push(
                out,
                format_args!("    {{ address = {address}{method}{weight} }},\n"),
            );
        }
    }
    out.push_str("]\n");
}

fn line(out: &mut String, key: &str, value: impl Display) {
    push(out, format_args!("{key} = {value}\n"));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(text);
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
