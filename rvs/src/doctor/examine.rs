//! What would keep a director from working, decided from the facts alone.

mod servers;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rvs_config::{Attach, Method};

use super::facts::{Facts, System};
use super::finding::Finding;
use crate::realserver::network::Family;
use crate::realserver::sysctl::Key;

/// The oldest kernel whose verifier takes our programs.
const OLDEST: (u32, u32) = (6, 1);
/// The first kernel with tcx.
const TCX: (u32, u32) = (6, 6);

/// Everything that matters, the good and the bad, from the kernel up.
pub(crate) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    examine_system(&facts.system, &mut findings);
    examine_interfaces(facts, &mut findings);
    vips::examine(facts, &mut findings);
    examine_forwarding(facts, &mut findings);
    examine_rp_filter(facts, &mut findings);
    servers::examine(facts, &mut findings);
    examine_marks(facts, &mut findings);
    examine_netfilter(facts, &mut findings);
    findings
}

impl Facts {
    /// The service addresses.
    fn vips(&self) -> BTreeSet<IpAddr> {
        self.services
            .iter()
            .filter_map(|service| service.key().address())
            .collect()
    }

    /// The real servers' addresses, and how packets get there.
    pub(super) fn servers(&self) -> BTreeMap<IpAddr, BTreeSet<Method>> {
        let mut servers: BTreeMap<IpAddr, BTreeSet<Method>> = BTreeMap::new();
        for server in self.services.iter().flat_map(|service| service.servers()) {
            servers
                .entry(server.address())
                .or_default()
                .insert(server.method());
        }
        servers
    }

    /// What the largest tunnel to a server takes beside the outer IP header.
    pub(super) fn tunnel_header(&self, address: IpAddr) -> u32 {
        let servers = self.services.iter().flat_map(|service| service.servers());
        servers
            .filter(|server| server.address() == address && server.method() == Method::Tunnel)
            .map(|server| server.tunnel().header())
            .max()
            .unwrap_or(0)
    }

    fn serves(&self, family: Family) -> bool {
        self.services
            .iter()
            .any(|service| match service.key().family() {
                rvs_config::Family::V4 => family == Family::V4,
                rvs_config::Family::V6 => family == Family::V6,
            })
    }
}

/// Marks that netfilter sets come after the director: whoever comes from IPVS has them.
fn examine_marks(facts: &Facts, findings: &mut Vec<Finding>) {
    for service in &facts.services {
        let key = service.key();
        if key.address().is_none() && service.options().rules.is_empty() {
            findings.push(Finding::warn(
                "mark",
                format!(
                    "{key} has no match rule: a mark that iptables or nftables sets is not seen, since packets come to RVS first"
                ),
                "match = [\"tcp://ADDRESS:PORTS\"] in the service, unless something before RVS marks its packets",
            ));
        }
    }
}

fn examine_system(system: &System, findings: &mut Vec<Finding>) {
    let release = &system.release;
    findings.push(match version(release) {
        Some(version) if version >= TCX => {
            Finding::ok("kernel", format!("Linux {release} (programs sit at tcx)"))
        }
        Some(version) if version >= OLDEST => Finding::ok(
            "kernel",
            format!("Linux {release} (programs sit at clsact)"),
        ),
        Some(_) | None => Finding::fail(
            "kernel",
            format!("Linux {release} is too old: 6.1 or later is needed"),
            "install a newer kernel",
        ),
    });
    if !system.privileged {
        findings.push(Finding::fail(
            "privileges",
            "BPF programs cannot be loaded by this user, nor everything seen that matters",
            "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        ));
    }
    if !system.bpf {
        findings.push(Finding::fail(
            "bpf",
            "the kernel has no BPF",
            "use a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_NET_CLS_BPF",
        ));
    }
    if system.jit == Some(0) {
        findings.push(Finding::warn(
            "jit",
            "BPF programs are interpreted, which takes several times as long",
            Key::new("net/core/bpf_jit_enable").command(1),
        ));
    }
    if !system.btf {
        findings.push(Finding::warn(
            "btf",
            "the kernel does not describe its types (/sys/kernel/btf/vmlinux)",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y if programs do not load",
        ));
    }
    let path = system.bpffs.display();
    findings.push(if system.mounted {
        Finding::ok("bpffs", format!("a BPF file system is at {path}"))
    } else {
        Finding::fail(
            "bpffs",
            format!("no BPF file system is at {path}"),
            format!("mount -t bpf bpf {path}"),
        )
    });
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn examine_interfaces(facts: &Facts, findings: &mut Vec<Finding>) {
    for name in &facts.interfaces {
        let Some(device) = facts.network.device(name) else {
            findings.push(Finding::fail(
                "interface",
                format!("there is no interface {name}"),
                "ip link show, and correct `interfaces` in the configuration",
            ));
            continue;
        };
        findings.push(if let Some(reason) = device.unsuitable {
            Finding::fail(
                "interface",
                format!("a director cannot sit on {name}: {reason}"),
                format!("take {name} out of `interfaces`"),
            )
        } else if !device.up {
            Finding::fail(
                "interface",
                format!("{name} is down"),
                format!("ip link set {name} up"),
            )
        } else if !device.running {
            Finding::fail(
                "interface",
                format!("{name} has no link"),
                format!("look at the cable, or at {name}'s other end"),
            )
        } else {
            Finding::ok("interface", format!("{name} is up (MTU {})", device.mtu))
        });
        if facts.attach == Attach::Xdp && device.kind.as_deref() == Some("veth") {
            findings.push(Finding::warn(
                "offload",
                format!("{name} is veth: XDP loses checksums that are still to be filled in"),
                format!("ethtool -K PEER tx off at {name}'s other end, or attach = \"auto\""),
            ));
        }
        for vlan in facts.network.devices.iter().filter(|vlan| {
            vlan.kind.as_deref() == Some("vlan")
                && vlan.parent == Some(device.index)
                && !facts.interfaces.contains(&vlan.name)
        }) {
            findings.push(Finding::warn(
                "vlan",
                format!(
                    "{name}'s tagged packets are passed on to {}, where RVS does not sit",
                    vlan.name
                ),
                format!(
                    "add \"{}\" to `interfaces` if services are there",
                    vlan.name
                ),
            ));
        }
    }
    for name in &facts.merging {
        findings.push(Finding::warn(
            "offload",
            format!("{name} merges packets for good (LRO): what is forwarded may be too long"),
            format!("ethtool -K {name} lro off"),
        ));
    }
}

/// The kernel's route look-ups for our programs, and replies that come through this host, need
/// forwarding on the interface where a packet arrives.
fn examine_forwarding(facts: &Facts, findings: &mut Vec<Finding>) {
    for family in Family::ALL {
        if !facts.serves(family) {
            continue;
        }
        let name = family.name();
        let (whole, of): (Key, fn(&str, &str) -> Key) = match family {
            Family::V4 => (Key::new("net/ipv4/ip_forward"), Key::ipv4),
            Family::V6 => (Key::ipv6("all", "forwarding"), Key::ipv6),
        };
        let value = |key: &Key| facts.forwarding.get(key).copied();
        let whole_on = value(&whole).is_none_or(|value| value != 0);
        // An interface that is not there yet will begin with what holds for the host.
        let is_off = |interface: &&String| match value(&of(interface, "forwarding")) {
            Some(value) => value == 0,
            None => !whole_on,
        };
        let off: Vec<&String> = facts.interfaces.iter().filter(is_off).collect();
        let nat = facts.servers().iter().any(|(address, methods)| {
            Family::of(*address) == family && methods.contains(&Method::Nat)
        });
        let finding = |what: String, mend: String| {
            if nat {
                Finding::fail("forwarding", what, mend)
            } else {
                Finding::warn("forwarding", what, mend)
            }
        };
        if !whole_on && off.len() == facts.interfaces.len() {
            findings.push(finding(
                format!("{name} packets are not forwarded: replies and ICMP errors get lost here"),
                whole.command(1),
            ));
        } else if off.is_empty() {
            findings.push(Finding::ok(
                "forwarding",
                format!("{name} packets are forwarded"),
            ));
        } else {
            for interface in off {
                findings.push(finding(
                    format!("{name} packets that arrive at {interface} are not forwarded"),
                    of(interface, "forwarding").command(1),
                ));
            }
        }
    }
}

fn examine_rp_filter(facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.serves(Family::V4) {
        return;
    }
    let leaves = facts.network.default_device(Family::V4);
    for name in &facts.interfaces {
        let is_leaving = leaves.is_some_and(|device| device.name == *name);
        if !is_leaving && facts.network.effective(name, "rp_filter") == 1 {
            findings.push(Finding::warn(
                "rp_filter",
                format!(
                    "what RVS passes to this host at {name} is dropped if its sender is not reached by {name} (strict)"
                ),
                Key::ipv4(name, "rp_filter").command(2),
            ));
        }
    }
}

fn examine_netfilter(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut clear = true;
    for chain in &facts.chains {
        if chain.rules == 0 && !chain.drops {
            continue;
        }
        clear = false;
        let (family, table, name, hook) = (&chain.family, &chain.table, &chain.name, &chain.hook);
        findings.push(Finding::warn(
            "firewall",
            format!(
                "packets carried by RVS do not meet the {hook} chain {family} {table} {name}{}",
                if chain.drops { ", which drops by default" } else { "" }
            ),
            format!(
                "nft list chain {family} {table} {name}; what must hold for services belongs in front of this host, or onto the real servers"
            ),
        ));
    }
    for table in &facts.old_tables {
        clear = false;
        findings.push(Finding::warn(
            "firewall",
            format!("packets carried by RVS do not meet the old iptables' table {table}"),
            format!("iptables-legacy -t {table} -S; what must hold for services belongs in front of this host, or onto the real servers"),
        ));
    }
    if clear {
        findings.push(Finding::ok(
            "firewall",
            "no rule is missed by packets that RVS carries",
        ));
    }
    if facts.conntrack {
        findings.push(Finding::ok(
            "conntrack",
            "connections carried by RVS are in its own table, not in conntrack's",
        ));
    }
}

#[cfg(test)]
mod tests;
