//! Gathers the facts. Nothing is changed: what is not known is asked of the kernel, of `nft` and
//! `ethtool` where they are installed, and, for ARP, of the network.

mod arp;
mod netfilter;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rvs_config::{Config, Service};
use rvs_dataplane::hops;

use super::facts::{Facts, System};
use crate::realserver::network::{Network, block_on};
use crate::realserver::state::State;
use crate::realserver::sysctl::Key;

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 38 | 1 << 39;
/// `statfs`'s number of the BPF file system.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// A neighbour that does not answer within this time is not there.
const PASSES: u32 = 8;
const BETWEEN_PASSES: Duration = Duration::from_millis(150);
/// Where administration programs are that a user's PATH may lack.
const MORE_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Everything about this host that matters for the configuration.
pub(crate) fn collect(config: &Config) -> anyhow::Result<Facts> {
    let director = &config.director;
    let interfaces: Vec<String> = director
        .interfaces
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    let services = config.services.as_slice().to_vec();
    let bpffs = director.bpffs.as_path();
    let servers: Vec<IpAddr> = addresses(services.iter().flat_map(|service| {
        let servers = service.servers().iter();
        servers.map(|server| server.address())
    }));
    let (network, hops) = block_on(async |mut network| {
        let state = State::collect(&network, bpffs).await?;
        let hops = ways(&mut network, &servers, interfaces.first()).await;
        Ok((state, hops))
    })?;
    Ok(Facts {
        attach: director.attach,
        system: system(bpffs),
        forwarding: forwarding(&interfaces),
        rivals: arp::rivals(&vips(&services), &interfaces),
        merging: interfaces
            .iter()
            .filter(|name| merges(name))
            .cloned()
            .collect(),
        chains: netfilter::chains(),
        old_tables: netfilter::old_tables(),
        conntrack: Path::new("/proc/sys/net/netfilter/nf_conntrack_count").exists(),
        interfaces,
        services,
        network,
        hops,
    })
}

fn vips(services: &[Service]) -> Vec<IpAddr> {
    addresses(
        services
            .iter()
            .filter_map(|service| service.key().address()),
    )
}

fn addresses(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = all.collect();
    all.sort();
    all.dedup();
    all
}

/// The ways to the servers; neighbours get some time to answer.
async fn ways(
    network: &mut Network,
    servers: &[IpAddr],
    interface: Option<&String>,
) -> BTreeMap<IpAddr, Result<hops::Hop, String>> {
    let mut found = BTreeMap::new();
    for pass in 0..PASSES {
        if pass > 0 {
            tokio::time::sleep(BETWEEN_PASSES).await;
        }
        let interface = interface.map(String::as_str);
        let results = hops::resolve_from(&mut network.handle, servers, interface).await;
        found = results
            .into_iter()
            .map(|(address, hop)| (address, hop.map_err(|error| error.to_string())))
            .collect();
        let is_waiting = |hop: &Result<hops::Hop, String>| {
            hop.as_ref()
                .is_ok_and(|hop| !hop.local && hop.macs.is_none())
        };
        if !found.values().any(is_waiting) {
            break;
        }
    }
    found
}

fn system(bpffs: &Path) -> System {
    System {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        privileged: has_capabilities(),
        jit: Key::new("net/core/bpf_jit_enable").number(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        // There with the system call, and only then.
        bpf: Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists(),
        bpffs: bpffs.to_owned(),
        mounted: rustix::fs::statfs(bpffs)
            .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == BPF_FS_MAGIC)),
    }
}

fn has_capabilities() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .is_some_and(|effective| effective & CAPABILITIES == CAPABILITIES)
}

fn forwarding(interfaces: &[String]) -> BTreeMap<Key, i64> {
    let own = interfaces
        .iter()
        .flat_map(|name| [Key::ipv4(name, "forwarding"), Key::ipv6(name, "forwarding")]);
    own.chain([
        Key::new("net/ipv4/ip_forward"),
        Key::ipv6("all", "forwarding"),
    ])
    .filter_map(|key| key.number().map(|value| (key, value)))
    .collect()
}

/// Whether an interface has LRO on, where `ethtool` can tell.
fn merges(interface: &str) -> bool {
    output("ethtool", &["-k", interface]).is_ok_and(|text| {
        text.lines()
            .any(|line| line.trim().starts_with("large-receive-offload: on"))
    })
}

/// What an installed program prints.
fn output(program: &str, words: &[&str]) -> io::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(MORE_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(io::ErrorKind::NotFound)?;
    let output = Command::new(found).args(words).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(io::Error::other(output.status.to_string()))
    }
}
