//! `ipvsadm -S`: the commands that make the table again.

use std::fmt::Write;

use rvs_config::{Family, Method, Protocol, ServiceKey};

use super::{Format, socket};
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
        // The ports of a mark's servers are shown by their TCP names.
        let protocol = service.key.protocol().unwrap_or(Protocol::Tcp);
        let name = |address| socket(address, protocol, format.names, names);
        let identity = match service.key {
            ServiceKey::Address(key) => format!("{} {}", option(protocol), name(key.socket_addr())),
            ServiceKey::Mark(mark) => match mark.family() {
                Family::V4 => format!("-f {}", mark.number()),
                Family::V6 => format!("-f {} -6", mark.number()),
            },
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "-A {identity} -s {}", service.scheduler);
        for entry in &service.servers {
            let server = name(entry.server.socket_addr());
            let (method, tunnel) = match entry.server.method() {
                Method::Nat => ("-m", ""),
                Method::Tunnel => ("-i", " --tun-type ipip"),
                Method::Direct => ("-g", ""),
            };
            let weight = entry.server.weight();
            let _ = writeln!(
                out,
                "-a {identity} -r {server} {method} -w {weight}{tunnel}"
            );
        }
    }
    out
}

/// The option that names a service of this protocol.
const fn option(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
    }
}
