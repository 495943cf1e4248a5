//! The services' addresses: whether anybody finds them here, and nobody else.

use std::net::IpAddr;

use super::super::facts::Facts;
use super::super::finding::Finding;
use crate::realserver::network::{Address, Family};
use crate::realserver::state::{State, is_silent};

pub(super) fn examine(facts: &Facts, findings: &mut Vec<Finding>) {
    for vip in facts.vips() {
        examine_place(facts, vip, findings);
        // Elsewhere than on the address's own network nobody asks for it.
        let link = link_of(&facts.network, vip);
        let rivals = facts.rivals.get(&vip).into_iter().flatten();
        for (device, mac) in rivals.filter(|(device, _)| link.is_none_or(|link| link == device)) {
            findings.push(Finding::fail(
                "arp",
                format!("{} answers ARP for {vip} on {device}, too", mac_text(*mac)),
                format!("on that host: rvs realserver up --vip {vip}"),
            ));
        }
    }
}

fn examine_place(facts: &Facts, vip: IpAddr, findings: &mut Vec<Finding>) {
    let network = &facts.network;
    let onto = link_of(network, vip)
        .or_else(|| facts.interfaces.first().map(String::as_str))
        .unwrap_or("INTERFACE");
    let add = add_command(vip, onto);
    let places: Vec<&Address> = network.places(vip).collect();
    if places.is_empty() {
        findings.push(match link_of(network, vip) {
            Some(link) => Finding::fail(
                "vip",
                format!("{vip} is on no interface: nobody on {link} finds it"),
                &add,
            ),
            None => Finding::warn(
                "vip",
                format!("{vip} is on no interface: only routers that know the way send it here"),
                &add,
            ),
        });
    }
    for place in places {
        let device = network.name(place.ifindex);
        if network.is_loopback(place.ifindex) {
            examine_loopback(facts, vip, device, &add, findings);
        } else if facts.interfaces.iter().any(|name| name == device) {
            findings.push(Finding::ok("vip", format!("{vip} is on {device}")));
        } else {
            findings.push(Finding::warn(
                "vip",
                format!("{vip} is on {device}, where RVS does not sit"),
                format!("add \"{device}\" to `interfaces`, or: {add}"),
            ));
        }
        if Family::of(vip) == Family::V6 && !place.never_source {
            findings.push(Finding::warn(
                "source",
                format!("{vip} on {device} may become the source of this host's own traffic"),
                format!(
                    "ip -6 address change {vip}/{} dev {device} preferred_lft 0",
                    place.length
                ),
            ));
        }
    }
}

/// For IPv4, every interface answers for addresses on `lo`, unless told not to; for IPv6, none.
fn examine_loopback(
    facts: &Facts,
    vip: IpAddr,
    device: &str,
    add: &str,
    findings: &mut Vec<Finding>,
) {
    let network = &facts.network;
    let Some(link) = link_of(network, vip) else {
        findings.push(Finding::ok("vip", format!("{vip} is on {device}")));
        return;
    };
    let is_found = match Family::of(vip) {
        Family::V4 => !is_silent(network.effective(link, "arp_ignore")),
        Family::V6 => false,
    };
    findings.push(if is_found {
        Finding::ok("vip", format!("{vip} is on {device}"))
    } else {
        Finding::fail(
            "vip",
            format!("{vip} is on {device}, for which {link} does not answer"),
            format!(
                "ip address del {vip}/{} dev {device}; {add}",
                Family::of(vip).full_length()
            ),
        )
    });
}

/// The interface whose network an address belongs to.
fn link_of(network: &State, vip: IpAddr) -> Option<&str> {
    network
        .addresses
        .iter()
        .find(|own| {
            own.length < Family::of(vip).full_length()
                && !network.is_loopback(own.ifindex)
                && same_network(own.address, vip, own.length)
        })
        .map(|own| network.name(own.ifindex))
}

fn same_network(a: IpAddr, b: IpAddr, length: u8) -> bool {
    // IPv4 in the upper bits, so that a prefix is a prefix for both.
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let rest = 128_u32.saturating_sub(u32::from(length));
    let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
    a.is_ipv4() == b.is_ipv4() && (bits(a) ^ bits(b)) & mask == 0
}

fn add_command(vip: IpAddr, device: &str) -> String {
    match vip {
        IpAddr::V4(_) => format!("ip address add {vip}/32 dev {device}"),
        IpAddr::V6(_) => {
            format!("ip -6 address add {vip}/128 dev {device} nodad preferred_lft 0")
        }
    }
}

pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
