//! Whether this host is ready to be a real server, decided from its state alone.

use rvs_config::Method;

use super::network::Family;
use super::state::{State, Wanted, is_silent};
use super::sysctl::Key;
use crate::doctor::Finding;

/// What TCP and IP headers take of a segment's packet.
const fn headers(family: Family) -> u32 {
    match family {
        Family::V4 => 40,
        Family::V6 => 60,
    }
}

/// What a tunnel's outer header takes.
pub(crate) const fn tunnel_header(family: Family) -> u32 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Everything that matters for the method, the good and the bad.
pub(crate) fn check(state: &State, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = Vec::new();
    match wanted.method {
        Method::Nat => check_nat(state, wanted, &mut findings),
        Method::Direct => {
            check_vips(state, wanted, &mut findings);
            check_arp(state, wanted, &mut findings);
            check_rp_filter(state, wanted, &mut findings);
        }
        Method::Tunnel => {
            check_vips(state, wanted, &mut findings);
            check_arp(state, wanted, &mut findings);
            check_decapsulation(state, wanted, &mut findings);
            check_rp_filter(state, wanted, &mut findings);
            check_segments(state, wanted, &mut findings);
        }
    }
    check_replies(state, wanted, &mut findings);
    findings
}

fn check_vips(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    for vip in &wanted.vips {
        let full = Family::of(*vip).full_length();
        let mut elsewhere = false;
        for place in state.places(*vip) {
            let (device, length) = (state.name(place.ifindex), place.length);
            let remove = format!("ip address del {vip}/{length} dev {device}");
            if !state.is_loopback(place.ifindex) {
                elsewhere = true;
                let what = format!(
                    "{vip} is on {device}, where this host answers for it and takes it from the director"
                );
                findings.push(Finding::fail("vip", what, remove));
            } else if length != full {
                elsewhere = true;
                let what = format!(
                    "{vip} is on {device} as /{length}, which makes the whole network local"
                );
                findings.push(Finding::fail("vip", what, remove));
            } else if Family::of(*vip) == Family::V6 && !place.never_source {
                let what = format!("{vip} on {device} may become the source of other traffic");
                let mend =
                    format!("ip -6 address change {vip}/{length} dev {device} preferred_lft 0");
                findings.push(Finding::warn("vip", what, mend));
            } else {
                findings.push(Finding::ok("vip", format!("{vip} is on {device}")));
            }
        }
        if !elsewhere && !state.is_on_loopback(*vip) {
            let what = format!("{vip} is not on this host, which drops what is sent to it");
            findings.push(Finding::fail("vip", what, wanted.command()));
        }
    }
    if let Some(loopback) = state.devices.iter().find(|device| device.loopback)
        && !loopback.up
    {
        let what = format!("{} is down", loopback.name);
        let mend = format!("ip link set {} up", loopback.name);
        findings.push(Finding::fail("vip", what, mend));
    }
}

fn check_arp(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    if !wanted.has(Family::V4) {
        return;
    }
    let mut bad = Vec::new();
    // Those for which what `all` says would be enough.
    let (mut answering, mut asking) = (Vec::new(), Vec::new());
    for device in state.devices.iter().filter(|device| device.ethernet) {
        let name = device.name.as_str();
        let ignore = state.effective(name, "arp_ignore");
        if !is_silent(ignore) && state.ipv4(name, "arp_ignore") > 1 {
            bad.push(Finding::fail(
                "arp",
                format!("{name} answers ARP for addresses on lo (its own arp_ignore is {ignore})"),
                Key::ipv4(name, "arp_ignore").command(1),
            ));
        } else if !is_silent(ignore) {
            answering.push(name);
        }
        if state.effective(name, "arp_announce") < 2 {
            asking.push(name);
        }
    }
    if !answering.is_empty() {
        bad.push(Finding::fail(
            "arp",
            format!(
                "ARP is answered for addresses on lo, at {}",
                answering.join(", ")
            ),
            Key::ipv4("all", "arp_ignore").command(1),
        ));
    }
    if !asking.is_empty() {
        bad.push(Finding::fail(
            "arp",
            format!(
                "ARP asks in the name of addresses on lo, at {}",
                asking.join(", ")
            ),
            Key::ipv4("all", "arp_announce").command(2),
        ));
    }
    if bad.is_empty() {
        bad.push(Finding::ok(
            "arp",
            "no interface speaks ARP for addresses on lo",
        ));
    }
    findings.append(&mut bad);
}

fn check_decapsulation(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    for family in Family::ALL {
        if !wanted.has(family) {
            continue;
        }
        let outer = family.name();
        let kernel = state.tunnel(family).filter(|device| device.up);
        let finding = match (kernel, state.attached.first()) {
            (Some(device), _)
                if family == Family::V4 && state.effective(&device.name, "rp_filter") == 1 =>
            {
                let name = &device.name;
                let to = if state.ipv4("all", "rp_filter") == 0 {
                    0
                } else {
                    2
                };
                Finding::fail(
                    "decapsulation",
                    format!("{name} drops what comes out of tunnels (rp_filter is strict)"),
                    Key::ipv4(name, "rp_filter").command(to),
                )
            }
            (Some(device), _) => Finding::ok(
                "decapsulation",
                format!("{outer} tunnels end in the kernel's {}", device.name),
            ),
            (None, Some(name)) => Finding::ok(
                "decapsulation",
                format!("{outer} tunnels end in our program on {name}"),
            ),
            (None, None) => Finding::fail(
                "decapsulation",
                format!("nothing takes packets out of {outer} tunnels"),
                wanted.command(),
            ),
        };
        findings.push(finding);
    }
}

/// Requests come in by one interface and replies leave by the default route's; a strict filter
/// takes that for forgery where the two are not the same.
fn check_rp_filter(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    if !wanted.has(Family::V4) {
        return;
    }
    let leaves = state.default_device(Family::V4);
    for device in &state.devices {
        let name = &device.name;
        let is_leaving = leaves.is_some_and(|leaving| leaving.index == device.index);
        let is_tunnel = state
            .tunnel(Family::V4)
            .is_some_and(|tunnel| tunnel.index == device.index);
        if device.loopback
            || !device.up
            || is_leaving
            || is_tunnel
            || state.effective(name, "rp_filter") != 1
        {
            continue;
        }
        findings.push(Finding::warn(
            "rp_filter",
            format!(
                "{name} drops requests from clients that are not reached by it (rp_filter is strict)"
            ),
            Key::ipv4(name, "rp_filter").command(2),
        ));
    }
}

/// A client's full packet does not fit into a tunnel of the same MTU. The director says so to the
/// client, but where such messages are filtered, only smaller segments help.
fn check_segments(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    for route in &state.default_routes {
        let family = route.family;
        let device = state
            .devices
            .iter()
            .find(|device| Some(device.index) == route.ifindex);
        let (true, Some(device)) = (wanted.has(family), device) else {
            continue;
        };
        let most = device
            .mtu
            .saturating_sub(headers(family) + tunnel_header(family));
        let asked = route
            .advmss
            .unwrap_or(device.mtu.saturating_sub(headers(family)));
        let finding = if asked <= most {
            Finding::ok(
                "segments",
                format!(
                    "{} clients are asked for segments that fit into a tunnel ({asked} bytes)",
                    family.name()
                ),
            )
        } else {
            let via = match route.gateway {
                Some(gateway) => format!(" via {gateway}"),
                None => String::new(),
            };
            let dash = match family {
                Family::V4 => "",
                Family::V6 => " -6",
            };
            Finding::warn(
                "segments",
                format!(
                    "{} clients send segments of {asked} bytes, which take up to {} more than {}'s MTU in a tunnel: \
                     they depend on ICMP getting through",
                    family.name(),
                    asked - most,
                    device.name
                ),
                format!(
                    "ip{dash} route change default{via} dev {} advmss {most}",
                    device.name
                ),
            )
        };
        findings.push(finding);
    }
}

fn check_nat(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    for vip in &wanted.vips {
        let mut places = state.places(*vip).peekable();
        if places.peek().is_none() {
            let what = format!("{vip} is not on this host, as it must be with NAT");
            findings.push(Finding::ok("vip", what));
        }
        for place in places {
            let (device, length) = (state.name(place.ifindex), place.length);
            findings.push(Finding::fail(
                "vip",
                format!("{vip} is on {device}, but with NAT it belongs to the director alone"),
                format!("ip address del {vip}/{length} dev {device}"),
            ));
        }
    }
}

/// Where replies go.
fn check_replies(state: &State, wanted: &Wanted, findings: &mut Vec<Finding>) {
    for family in Family::ALL {
        if !wanted.has(family) {
            continue;
        }
        let director = wanted
            .director
            .filter(|address| Family::of(*address) == family);
        let gateway = match (wanted.method, director) {
            (Method::Nat, Some(director)) => director.to_string(),
            (Method::Nat, None) => "DIRECTOR".to_owned(),
            (Method::Direct | Method::Tunnel, _) => "GATEWAY".to_owned(),
        };
        let dash = match family {
            Family::V4 => "",
            Family::V6 => " -6",
        };
        let mend = format!("ip{dash} route replace default via {gateway}");
        let routes: Vec<_> = state
            .default_routes
            .iter()
            .filter(|route| route.family == family)
            .collect();
        let name = family.name();
        let finding = match (routes.first(), wanted.method, director) {
            (None, Method::Nat, _) => Finding::fail(
                "replies",
                format!("no {name} default route: replies do not get back to the director"),
                mend,
            ),
            (None, Method::Direct | Method::Tunnel, _) => Finding::warn(
                "replies",
                format!(
                    "no {name} default route: only clients on this host's networks get replies"
                ),
                mend,
            ),
            (Some(_), Method::Nat, Some(director))
                if routes.iter().all(|route| route.gateway != Some(director)) =>
            {
                Finding::warn(
                    "replies",
                    format!(
                        "the {name} default route does not lead to the director {director}: replies reach it only by a rule"
                    ),
                    mend,
                )
            }
            (Some(route), Method::Nat | Method::Direct | Method::Tunnel, _) => {
                let by = match (route.gateway, route.ifindex) {
                    (Some(gateway), _) => gateway.to_string(),
                    (None, Some(ifindex)) => state.name(ifindex).to_owned(),
                    (None, None) => "several gateways".to_owned(),
                };
                let ok = Finding::ok("replies", format!("{name} replies leave by {by}"));
                if wanted.method == Method::Nat && director.is_none() {
                    Finding {
                        what: format!("{}, which must be the director", ok.what),
                        ..ok
                    }
                } else {
                    ok
                }
            }
        };
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests;
