//! The real servers: whether each can be reached as its forwarding method needs it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rvs_config::Method;
use rvs_dataplane::hops::Hop;

use super::super::facts::Facts;
use super::super::finding::Finding;
use crate::realserver::check::tunnel_header;
use crate::realserver::network::Family;

/// The smallest MTU that IPv6 can live with.
const LEAST_V6: u32 = 1280;

pub(super) fn examine(facts: &Facts, findings: &mut Vec<Finding>) {
    for (server, methods) in facts.servers() {
        match facts.hops.get(&server) {
            Some(Ok(hop)) if hop.local => {
                findings.push(Finding::ok("server", format!("{server} is this host")));
            }
            Some(Ok(hop)) => examine_way(facts, server, &methods, hop, findings),
            Some(Err(reason)) => {
                findings.push(Finding::fail("server", reason.clone(), add_route(server)));
            }
            None => findings.push(Finding::fail(
                "server",
                format!("the way to {server} is not known"),
                add_route(server),
            )),
        }
    }
}

fn examine_way(
    facts: &Facts,
    server: IpAddr,
    methods: &BTreeSet<Method>,
    hop: &Hop,
    findings: &mut Vec<Finding>,
) {
    let before = findings.len();
    let network = &facts.network;
    let device = network.name(hop.ifindex);
    if methods.contains(&Method::Direct)
        && let Some(gateway) = hop.gateway
    {
        findings.push(Finding::fail(
            "server",
            format!("{server} is behind {gateway}, where direct routing does not reach"),
            format!(
                "forward to {server} by method \"tunnel\" or \"nat\", or join it to this network"
            ),
        ));
    }
    let is_ethernet = network
        .devices
        .iter()
        .any(|found| found.index == hop.ifindex && found.ethernet);
    if is_ethernet && hop.macs.is_none() {
        let asked = hop.gateway.unwrap_or(server);
        let by = match Family::of(asked) {
            Family::V4 => "ARP",
            Family::V6 => "neighbour discovery",
        };
        findings.push(Finding::fail(
            "neighbour",
            format!("{asked} does not answer {by} on {device}"),
            format!("ping {asked}; ip neigh show {asked} dev {device}"),
        ));
    }
    if methods.contains(&Method::Nat) && !facts.interfaces.iter().any(|name| name == device) {
        findings.push(Finding::fail(
            "server",
            format!("{server}'s replies arrive at {device}, where RVS does not sit"),
            format!("add \"{device}\" to `interfaces`"),
        ));
    }
    if let Some(source) = hop.source.filter(|source| facts.vips().contains(source)) {
        examine_source(server, methods, device, source, findings);
    }
    if methods.contains(&Method::Tunnel) {
        examine_mtu(facts, server, hop, findings);
    }
    if findings.len() == before {
        let by = match hop.gateway {
            Some(gateway) => format!("by {gateway} on {device}"),
            None => format!("on {device}"),
        };
        findings.push(Finding::ok("server", format!("{server} is reached {by}")));
    }
}

/// A tunnel's packet whose outer source is the service's address looks to the server, which has
/// that address itself, as if it had sent it.
fn examine_source(
    server: IpAddr,
    methods: &BTreeSet<Method>,
    device: &str,
    source: IpAddr,
    findings: &mut Vec<Finding>,
) {
    let what =
        format!("this host speaks to {server} in the name of the service's address {source}");
    let dash = match source {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => " -6",
    };
    let length = Family::of(server).full_length();
    let mend = format!(
        "ip{dash} route replace {server}/{length} dev {device} src AN-ADDRESS-OF-THIS-HOST"
    );
    findings.push(if methods.contains(&Method::Tunnel) {
        Finding::fail("source", what, mend)
    } else {
        Finding::warn("source", what, mend)
    });
}

fn examine_mtu(facts: &Facts, server: IpAddr, hop: &Hop, findings: &mut Vec<Finding>) {
    let family = Family::of(server);
    let header = tunnel_header(family) + facts.tunnel_header(server);
    let inside = hop.mtu.saturating_sub(header);
    let device = facts.network.name(hop.ifindex);
    let arriving = facts
        .interfaces
        .iter()
        .filter_map(|name| facts.network.device(name))
        .filter(|device| !device.loopback)
        .map(|device| device.mtu)
        .max()
        .unwrap_or(0);
    if family == Family::V6 && inside < LEAST_V6 {
        findings.push(Finding::fail(
            "mtu",
            format!("a tunnel to {server} leaves {inside} bytes, less than IPv6 needs"),
            format!("ip link set {device} mtu {}", LEAST_V6 + header),
        ));
    } else if inside < arriving {
        findings.push(Finding::warn(
            "mtu",
            format!(
                "a tunnel to {server} leaves {inside} bytes of {arriving}: clients are told by ICMP to send less"
            ),
            format!(
                "ip link set {device} mtu {} where the network allows, or a smaller advmss on {server} (rvs realserver check)",
                arriving + header
            ),
        ));
    }
}

fn add_route(server: IpAddr) -> String {
    match server {
        IpAddr::V4(_) => format!("ip route add {server}/32 via GATEWAY"),
        IpAddr::V6(_) => format!("ip -6 route add {server}/128 via GATEWAY"),
    }
}
