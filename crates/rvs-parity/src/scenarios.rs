//! The scenarios, by what they are about.

mod bypass;
mod counters;
mod defences;
mod ftp;
mod icmp;
mod icmp_tunnels;
mod ipsec;
mod knobs;
mod limits;
mod listings;
mod marks;
mod methods;
mod persistence;
mod schedulers;
mod sctp;
mod sip;
mod states;

use std::net::{IpAddr, SocketAddr};

use crate::place::FIRST_SERVER;
use crate::scenario::Scenario;

/// All of them, in the order in which they are played.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all: Vec<_> = [
        ("methods", methods::all()),
        ("states", states::all()),
        ("counters", counters::all()),
        ("icmp", icmp::all()),
        ("icmp_tunnels", icmp_tunnels::all()),
        ("ipsec", ipsec::all()),
        ("listings", listings::all()),
        ("schedulers", schedulers::all()),
        ("persistence", persistence::all()),
        ("marks", marks::all()),
        ("bypass", bypass::all()),
        ("limits", limits::all()),
        ("sctp", sctp::all()),
        ("ftp", ftp::all()),
        ("sip", sip::all()),
        ("knobs", knobs::all()),
        ("defences", defences::all()),
    ]
    .into_iter()
    .flat_map(|(file, scenarios)| {
        scenarios
            .into_iter()
            .map(move |scenario| Scenario { file, ..scenario })
    })
    .collect();
    // Stable, so that those of the same settings follow one another.
    all.sort_by_key(|scenario| (scenario.knobs, scenario.marks));
    all
}

/// An address and a port.
fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// Lines for `ipvsadm -R`: a service with servers of these weights, 10.1.0.21 (or its IPv6 sister) first.
fn service(words: &str, scheduler: &str, method: &str, weights: &[u32]) -> String {
    let mut lines = format!("-A {words} -s {scheduler}\n");
    // Without what says more of the service than its name.
    let name = words.split(" -").next().unwrap_or(words);
    let port = name
        .rsplit_once(':')
        .map_or(String::new(), |(_, port)| format!(":{port}"));
    let (net, end) = if name.contains('[') {
        ("[2001:db8:1::", "]")
    } else {
        ("10.1.0.", "")
    };
    for (n, weight) in (FIRST_SERVER..).zip(weights) {
        lines += &format!("-a {name} -r {net}{n}{end}{port} {method} -w {weight}\n");
    }
    lines
}
