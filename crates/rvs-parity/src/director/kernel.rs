//! The kernel's IPVS, by the real ipvsadm. A namespace has a director of its own, so each scenario gets a fresh one.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Director, Knob, Mark};
use crate::network::{FirstLink, Network, nft, run, sysctl, tunnel_device};
use crate::wire::Wire;

const MODULES: &[&str] = &[
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_sed",
    "ip_vs_nq",
    "ip_vs_fo",
    "ip_vs_ovf",
    "ip_vs_dh",
    "ip_vs_sh",
    "ip_vs_mh",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_ftp",
    "ip_vs_pe_sip",
    "ipip",
    "ip6_tunnel",
    "sit",
    "fou",
    "ip_gre",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Kernel {
    network: Option<(Network, Wire)>,
}

impl Kernel {
    /// Loads what IPVS consists of.
    pub(crate) fn new() -> Result<Self> {
        for module in MODULES {
            // A kernel may lack one; the scenario that needs it fails and says so.
            let _ = run(Command::new("modprobe").arg(module));
        }
        if !std::path::Path::new("/proc/net/ip_vs").exists() {
            bail!("this kernel has no IPVS: this program is for the guest (cargo xtask parity)");
        }
        Ok(Self { network: None })
    }
}

impl Director for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn start(&mut self, knobs: &[Knob], marks: &[Mark]) -> Result<()> {
        self.network = None;
        self.network = Some(Network::new(FirstLink::Plain)?);
        tunnel_device(knobs)?;
        if knobs.iter().any(|(name, _)| *name == "cache_bypass") {
            take_marked(marks)?;
        }
        for (name, value) in knobs {
            sysctl(&format!("net/ipv4/vs/{name}"), value)?;
        }
        if marks.is_empty() {
            Ok(())
        } else {
            mark(marks)
        }
    }

    fn wire(&mut self) -> Result<&mut Wire> {
        let network = self.network.as_mut().context("no director was started")?;
        Ok(&mut network.1)
    }

    fn ipvsadm(&self) -> Command {
        Command::new("ipvsadm")
    }

    fn log(&self) -> String {
        String::new()
    }
}

/// Routes marked packets to the director itself, wherever they go to: IPVS sees no others of clients.
fn take_marked(marks: &[Mark]) -> Result<()> {
    run(Command::new("ip").args("route add local default dev lo table 100".split(' ')))?;
    for (_, mark) in marks {
        let rule = format!("rule add fwmark {mark} lookup 100");
        run(Command::new("ip").args(rule.split(' ')))?;
    }
    Ok(())
}

/// Marks by netfilter, as one does it.
fn mark(marks: &[Mark]) -> Result<()> {
    // A table for each family: user-mode Linux has no tables for both.
    let mut rules = String::new();
    for family in ["ip", "ip6"] {
        let of_family = |address: &str| address.contains(':') == (family == "ip6");
        rules += &format!(
            "table {family} parity {{ chain marks {{ type filter hook prerouting priority mangle;\n"
        );
        for (address, mark) in marks.iter().filter(|(address, _)| of_family(address)) {
            rules += &format!("{family} daddr {address} meta mark set {mark}\n");
        }
        rules += "}\n}\n";
    }
    nft(&rules)
}
