//! From the model to TOML, such that reading it gives the same model.

use std::fmt::{Display, Write};
use std::path::Path;
use std::time::Duration;

use super::Config;
use crate::director::Director;
use crate::knobs::Knobs;
use crate::method::Method;
use crate::options::ServiceOptions;
use crate::server::{Server, Weight};
use crate::service::Service;
use crate::service_key::Protocol;
use crate::timeouts::{OwnTimeouts, Timeouts, Timer, timeout_text};
use crate::tunnel::Tunnel;

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
    if director.local_clients {
        line(out, "local_clients", true);
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
    knobs(out, &director.knobs, &Knobs::defaults(director.compat));
    let defaults = Timeouts::defaults(director.compat);
    let own = OwnTimeouts::difference(&director.timeouts, &defaults);
    if let Some(udp) = own.get(Timer::Udp) {
        out.push_str("\n[director.timeouts]\n");
        line(out, "udp", quoted(&timeout_text(udp)));
    }
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let mut entries = own
            .iter()
            .filter(|(timer, _)| timer.protocol() == protocol)
            .peekable();
        if entries.peek().is_some() {
            push(out, format_args!("\n[director.timeouts.{protocol}]\n"));
        }
        for (timer, timeout) in entries {
            line(out, timer.name(), quoted(&timeout_text(timeout)));
        }
    }
}

fn knobs(out: &mut String, knobs: &Knobs, defaults: &Knobs) {
    let mut knob = |name: &str, own: &dyn Display, default: &dyn Display| {
        let own = own.to_string();
        if own != default.to_string() {
            line(out, name, own);
        }
    };
    let Knobs {
        expire_nodest_conn,
        expire_quiescent_template,
        conn_reuse_mode,
        sloppy_tcp,
        sloppy_sctp,
        schedule_icmp,
        nat_icmp_send,
        snat_reroute,
        pmtu_disc,
        ignore_tunneled,
        cache_bypass,
        backup_only,
        run_estimation,
        drop_entry,
        drop_packet,
        secure_tcp,
        amemthresh,
        am_droprate,
        lblc_expiration,
        lblcr_expiration,
        mh_table_size,
    } = knobs;
    knob(
        "expire_nodest_conn",
        expire_nodest_conn,
        &defaults.expire_nodest_conn,
    );
    knob(
        "expire_quiescent_template",
        expire_quiescent_template,
        &defaults.expire_quiescent_template,
    );
    knob(
        "conn_reuse_mode",
        &conn_reuse_mode.number(),
        &defaults.conn_reuse_mode.number(),
    );
    knob("sloppy_tcp", sloppy_tcp, &defaults.sloppy_tcp);
    knob("sloppy_sctp", sloppy_sctp, &defaults.sloppy_sctp);
    knob("schedule_icmp", schedule_icmp, &defaults.schedule_icmp);
    knob("nat_icmp_send", nat_icmp_send, &defaults.nat_icmp_send);
    knob("snat_reroute", snat_reroute, &defaults.snat_reroute);
    knob("pmtu_disc", pmtu_disc, &defaults.pmtu_disc);
    knob(
        "ignore_tunneled",
        ignore_tunneled,
        &defaults.ignore_tunneled,
    );
    knob("cache_bypass", cache_bypass, &defaults.cache_bypass);
    knob("backup_only", backup_only, &defaults.backup_only);
    knob("run_estimation", run_estimation, &defaults.run_estimation);
    knob(
        "drop_entry",
        &drop_entry.number(),
        &defaults.drop_entry.number(),
    );
    knob(
        "drop_packet",
        &drop_packet.number(),
        &defaults.drop_packet.number(),
    );
    knob(
        "secure_tcp",
        &secure_tcp.number(),
        &defaults.secure_tcp.number(),
    );
    knob("amemthresh", amemthresh, &defaults.amemthresh);
    knob("am_droprate", am_droprate, &defaults.am_droprate);
    let text = |time: &Duration| quoted(&timeout_text(*time));
    knob(
        "lblc_expiration",
        &text(lblc_expiration),
        &text(&defaults.lblc_expiration),
    );
    knob(
        "lblcr_expiration",
        &text(lblcr_expiration),
        &text(&defaults.lblcr_expiration),
    );
    knob("mh_table_size", mh_table_size, &defaults.mh_table_size);
}

fn service(out: &mut String, service: &Service) {
    out.push_str("\n[[service]]\n");
    if let Some(name) = service.name() {
        line(out, "name", quoted(name));
    }
    line(out, "address", quoted(&service.key().to_string()));
    options(out, service.options());
    let Some(first) = service.servers().first() else {
        return;
    };
    let default: Method = first.method();
    line(out, "method", quoted(default.name()));
    out.push_str("servers = [\n");
    for server in service.servers() {
        let address = quoted(&server.socket_addr().to_string());
        let rest = server_rest(server, default);
        if rest.is_empty() {
            push(out, format_args!("    {address},\n"));
        } else {
            push(out, format_args!("    {{ address = {address}{rest} }},\n"));
        }
    }
    out.push_str("]\n");
}

fn options(out: &mut String, options: &ServiceOptions) {
    line(out, "scheduler", quoted(options.scheduler.name()));
    let list = |words: Vec<String>| format!("[{}]", words.join(", "));
    let flags = options.scheduler_flags.names(options.scheduler);
    if !flags.is_empty() {
        line(
            out,
            "scheduler_flags",
            list(flags.into_iter().map(quoted).collect()),
        );
    }
    if let Some(persistence) = options.persistence {
        let timeout = quoted(&persistence.timeout.to_string());
        let netmask = persistence
            .netmask
            .map(|mask| format!(", netmask = {}", quoted(&mask.to_string())));
        let engine = persistence
            .engine
            .map(|engine| format!(", engine = {}", quoted(engine.name())));
        match (netmask, engine) {
            (None, None) => line(out, "persistence", timeout),
            (netmask, engine) => {
                let (netmask, engine) = (netmask.unwrap_or_default(), engine.unwrap_or_default());
                line(
                    out,
                    "persistence",
                    format_args!("{{ timeout = {timeout}{netmask}{engine} }}"),
                );
            }
        }
    }
    if options.one_packet {
        line(out, "one_packet", true);
    }
    if options.move_udp {
        line(out, "move_udp", true);
    }
    if !options.rules.is_empty() {
        let rules = options.rules.iter().map(|rule| quoted(&rule.to_string()));
        line(out, "match", list(rules.collect()));
    }
    for (timer, timeout) in options.timeouts.iter() {
        let key = format!("timeouts.{}", timer.path());
        line(out, &key, quoted(&timeout_text(timeout)));
    }
}

/// What is to be said of a server beside its address.
fn server_rest(server: &Server, default: Method) -> String {
    let mut rest = String::new();
    if server.method() != default {
        rest += &format!(", method = {}", quoted(server.method().name()));
    }
    if server.tunnel() != Tunnel::default() {
        rest += &format!(", tunnel = {}", quoted(&server.tunnel().to_string()));
    }
    if server.weight() != Weight::default() {
        rest += &format!(", weight = {}", server.weight());
    }
    let thresholds = server.thresholds();
    if thresholds.upper() != 0 {
        rest += &format!(", upper_threshold = {}", thresholds.upper());
    }
    if thresholds.lower() != 0 {
        rest += &format!(", lower_threshold = {}", thresholds.lower());
    }
    rest
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
