//! `ipvsadm -S`: the commands that make the table again.

use std::fmt::Write;

use rvs_config::{
    Family, GreChecksum, GueChecksum, Method, Protocol, Server, ServiceKey, ServiceOptions, Tunnel,
};

use super::{Format, mask, scheduler_flags, socket};
use crate::ipvsadm::names::Names;
use crate::ipvsadm::print::services::sorted;
use crate::ipvsadm::table::ServiceEntry;

/// One line for each service and server.
pub(in crate::ipvsadm) fn save(
    services: Vec<ServiceEntry>,
    format: Format,
    names: &Names,
) -> String {
    let mut out = String::new();
    for service in sorted(services, format.order) {
        // The ports of a mark's servers are of no protocol, and so have no names.
        let protocol = service.key.protocol();
        let name = |address| socket(address, protocol, format.names, names);
        let identity = match service.key {
            ServiceKey::Address(key) => {
                format!("{} {}", option(key.protocol()), name(key.socket_addr()))
            }
            ServiceKey::Mark(mark) => match mark.family() {
                Family::V4 => format!("-f {}", mark.number()),
                Family::V6 => format!("-f {} -6", mark.number()),
            },
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "-A {identity} {}", options(&service.options));
        for entry in &service.servers {
            let server = name(entry.server.socket_addr());
            let method = match entry.server.method() {
                Method::Nat => "-m",
                Method::Tunnel => "-i",
                Method::Direct => "-g",
            };
            let weight = entry.server.weight();
            let _ = writeln!(
                out,
                "-a {identity} -r {server} {method} -w {weight}{}{}",
                thresholds(&entry.server),
                tunnel(&entry.server)
            );
        }
    }
    out
}

/// A service's options, beginning with its scheduler.
fn options(options: &ServiceOptions) -> String {
    let mut out = format!("-s {}", options.scheduler);
    if let Some(persistence) = &options.persistence {
        out.push_str(&format!(" -p {}", persistence.timeout.as_secs()));
        if let Some(netmask) = persistence.netmask {
            out.push_str(&format!(" -M {}", mask(netmask)));
        }
        if let Some(engine) = persistence.engine {
            out.push_str(&format!(" --pe {engine}"));
        }
    }
    if options.one_packet {
        out.push_str(" -o");
    }
    let flags = scheduler_flags(options);
    if !flags.is_empty() {
        out.push_str(&format!(" -b {flags}"));
    }
    out
}

/// The thresholds, where there are any. The original leaves them out, and so restores servers without limits.
fn thresholds(server: &Server) -> String {
    let option = |name, threshold| match threshold {
        0 => String::new(),
        threshold => format!(" {name} {threshold}"),
    };
    let thresholds = server.thresholds();
    option("-x", thresholds.upper()) + &option("-y", thresholds.lower())
}

fn tunnel(server: &Server) -> String {
    if server.method() != Method::Tunnel {
        return String::new();
    }
    match server.tunnel() {
        Tunnel::Ipip => " --tun-type ipip".to_owned(),
        Tunnel::Gue { port, checksum } => {
            let checksum = match checksum {
                GueChecksum::None => "nocsum",
                GueChecksum::Csum => "csum",
                GueChecksum::Remcsum => "remcsum",
            };
            format!(" --tun-type gue --tun-port {port} --tun-{checksum}")
        }
        Tunnel::Gre { checksum } => {
            let checksum = match checksum {
                GreChecksum::None => "nocsum",
                GreChecksum::Csum => "csum",
            };
            format!(" --tun-type gre --tun-{checksum}")
        }
    }
}

/// The option that names a service of this protocol.
const fn option(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
    }
}
