//! `ipvsadm -S`: the commands that make the table again.

use std::fmt::Write;

use rvs_config::{Method, Protocol, ServiceKey};

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
        let name = |address| socket(address, service.key.protocol(), format.names, names);
        let option = option(service.key);
        let address = name(service.key.socket_addr());
        // Writing to a String does not fail.
        let _ = writeln!(out, "-A {option} {address} -s {}", service.scheduler);
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
                "-a {option} {address} -r {server} {method} -w {weight}{tunnel}"
            );
        }
    }
    out
}

/// The option that names a service of this protocol.
fn option(key: ServiceKey) -> &'static str {
    match key.protocol() {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
    }
}
