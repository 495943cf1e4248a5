//! The numbers as OpenMetrics text, for Prometheus and its like.

use std::fmt::{Display, Write};

use rvs_abi::{Counter, Verdict};

use crate::wire::{Server, Service, Stats, Status};

/// The text's content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is shown, as of one moment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Snapshot {
    pub status: Status,
    pub services: Vec<Service>,
    pub counters: Vec<(Counter, u64)>,
}

/// The text.
pub fn encode(snapshot: &Snapshot) -> String {
    let mut text = Text(String::new());
    director(&mut text, snapshot);
    services(&mut text, &snapshot.services);
    servers(&mut text, &snapshot.services);
    text.0.push_str("# EOF\n");
    text.0
}

fn director(text: &mut Text, snapshot: &Snapshot) {
    let status = &snapshot.status;
    text.family("rvs", "info", "The director's version and instance.");
    let labels = [
        ("version", status.version.as_str()),
        ("instance", status.instance.as_str()),
    ];
    text.sample("rvs_info", &labels, 1);
    text.gauge("rvs_start_time_seconds", "When the daemon started.");
    text.sample("rvs_start_time_seconds", &[], status.started);
    text.gauge(
        "rvs_defence",
        "Whether a defence is in force; of drop_packet, one in how many new connections it drops.",
    );
    for (name, value) in [
        ("drop_entry", u32::from(status.defences.drop_entry)),
        ("drop_packet", status.defences.drop_rate),
        ("secure_tcp", u32::from(status.defences.secure_tcp)),
    ] {
        text.sample("rvs_defence", &[("defence", name)], value);
    }
    text.gauge("rvs_scheduling", "Whether new connections are taken.");
    text.sample("rvs_scheduling", &[], u8::from(status.scheduling));
    text.gauge("rvs_table_slots", "Slots of the connection tables.");
    text.sample(
        "rvs_table_slots",
        &[("family", "ipv4")],
        status.table.slots_v4,
    );
    text.sample(
        "rvs_table_slots",
        &[("family", "ipv6")],
        status.table.slots_v6,
    );
    text.gauge("rvs_table_used_slots", "Slots in use.");
    text.sample(
        "rvs_table_used_slots",
        &[("family", "ipv4")],
        status.table.used_v4,
    );
    text.sample(
        "rvs_table_used_slots",
        &[("family", "ipv6")],
        status.table.used_v6,
    );
    text.counter("rvs_table_refused", "Connections that found no room.");
    text.sample("rvs_table_refused_total", &[], status.table.refused);
    quantities(text, "director", |text, sample| {
        sample(text, &[], &status.counted);
    });
    text.counter(
        "rvs_reasons",
        "Packets that were passed, dropped, answered or noted, by reason.",
    );
    for &(counter, value) in &snapshot.counters {
        let verdict = match counter.verdict() {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
            Verdict::Answer => "answer",
            Verdict::Note => "note",
        };
        let labels = [("reason", counter.name()), ("verdict", verdict)];
        text.sample("rvs_reasons_total", &labels, value);
    }
}

fn services(text: &mut Text, services: &[Service]) {
    text.gauge("rvs_service_servers", "Real servers of a virtual service.");
    for service in services {
        let servers = service
            .servers
            .iter()
            .filter(|server| !server.removed)
            .count();
        text.sample(
            "rvs_service_servers",
            &service_labels(service, &service.address.to_string()),
            servers,
        );
    }
    quantities(text, "service", |text, sample| {
        for service in services {
            let address = service.address.to_string();
            sample(text, &service_labels(service, &address), &service.counted);
        }
    });
}

fn servers(text: &mut Text, services: &[Service]) {
    type Gauge = (&'static str, &'static str, fn(&Server) -> u64);
    let gauges: [Gauge; 6] = [
        ("rvs_server_weight", "A real server's weight.", |server| {
            u64::from(server.weight.get())
        }),
        (
            "rvs_server_active_connections",
            "Connections that carry data.",
            |server| u64::from(server.active),
        ),
        (
            "rvs_server_inactive_connections",
            "Connections that do not carry data, or no longer.",
            |server| u64::from(server.inactive),
        ),
        (
            "rvs_server_persistent_connections",
            "Persistence templates.",
            |server| u64::from(server.persistent),
        ),
        (
            "rvs_server_upper_threshold",
            "With so many connections it takes no more; 0 for no limit.",
            |server| u64::from(server.upper_threshold),
        ),
        (
            "rvs_server_lower_threshold",
            "With fewer connections it takes them again; 0 for three quarters of the upper threshold.",
            |server| u64::from(server.lower_threshold),
        ),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help);
        each_server(services, |labels, server| {
            text.sample(name, labels, value(server));
        });
    }
    quantities(text, "server", |text, sample| {
        each_server(services, |labels, server| {
            sample(text, labels, &server.counted);
        });
    });
}

fn each_server(services: &[Service], mut each: impl FnMut(&[(&str, &str)], &Server)) {
    for service in services {
        let address = service.address.to_string();
        // A server that was removed may be listed beside its successor at the same address.
        for server in service.servers.iter().filter(|server| !server.removed) {
            let (own, method) = (server.address.to_string(), server.method.name());
            let mut labels = service_labels(service, &address);
            labels.push(("server", own.as_str()));
            labels.push(("method", method));
            each(&labels, server);
        }
    }
}

fn service_labels<'a>(service: &'a Service, address: &'a str) -> Vec<(&'static str, &'a str)> {
    let name = service.name.as_deref().unwrap_or_default();
    vec![("service", address), ("name", name)]
}

/// Writes one sample per subject for a quantity; the caller knows the subjects.
type Sample<'a> = &'a dyn Fn(&mut Text, &[(&str, &str)], &Stats);

fn quantities(text: &mut Text, of: &str, each: impl Fn(&mut Text, Sample<'_>)) {
    type Quantity = (
        &'static str,
        &'static str,
        &'static [(&'static str, fn(&Stats) -> u64)],
    );
    let quantities: [Quantity; 3] = [
        (
            "connections",
            "Connections taken.",
            &[("", |stats| stats.connections)],
        ),
        (
            "packets",
            "Packets from clients (in) and to them (out).",
            &[
                ("in", |stats| stats.packets_in),
                ("out", |stats| stats.packets_out),
            ],
        ),
        (
            "bytes",
            "Bytes from clients (in) and to them (out).",
            &[
                ("in", |stats| stats.bytes_in),
                ("out", |stats| stats.bytes_out),
            ],
        ),
    ];
    for (quantity, help, directions) in quantities {
        let family = format!("rvs_{of}_{quantity}");
        text.counter(&family, help);
        let name = format!("{family}_total");
        each(text, &|text, labels, stats| {
            for (direction, value) in directions {
                let mut labels = labels.to_vec();
                if !direction.is_empty() {
                    labels.push(("direction", direction));
                }
                text.sample(&name, &labels, value(stats));
            }
        });
    }
}

/// The text so far.
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.family(name, "counter", help);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# TYPE {name} {kind}\n# HELP {name} {help}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let separator = if index == 0 { '{' } else { ',' };
            self.push(format_args!("{separator}{label}=\""));
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{close} {value}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(text);
    }
}
