//! What the examination of a director goes by, as plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use rvs_config::{Attach, Service};
use rvs_dataplane::hops::Hop;

use crate::realserver::state::State;
use crate::realserver::sysctl::Key;

/// A host that is, or shall be, a director, and what it shall do.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What it shall do.
    pub(crate) interfaces: Vec<String>,
    pub(crate) attach: Attach,
    pub(crate) services: Vec<Service>,
    /// What it has.
    pub(crate) system: System,
    pub(crate) network: State,
    /// Whether packets are forwarded, by interface and for the whole host.
    pub(crate) forwarding: BTreeMap<Key, i64>,
    /// The way to each real server, or why there is none.
    pub(crate) hops: BTreeMap<IpAddr, Result<Hop, String>>,
    /// Who else answers ARP for a service's address: interface and hardware address.
    pub(crate) rivals: BTreeMap<IpAddr, Vec<(String, [u8; 6])>>,
    /// Interfaces that merge packets in hardware before anybody sees them.
    pub(crate) merging: Vec<String>,
    /// Filters that packets carried by RVS do not meet.
    pub(crate) chains: Vec<Chain>,
    /// Tables of the old iptables.
    pub(crate) old_tables: Vec<String>,
    /// Whether the kernel tracks connections here.
    pub(crate) conntrack: bool,
}

/// The kernel, and what it lets us do.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// As uname says.
    pub(crate) release: String,
    pub(crate) privileged: bool,
    /// `net.core.bpf_jit_enable`.
    pub(crate) jit: Option<i64>,
    /// Whether the kernel describes its types.
    pub(crate) btf: bool,
    /// Whether the kernel has the system call at all.
    pub(crate) bpf: bool,
    pub(crate) bpffs: PathBuf,
    /// Whether one is mounted there.
    pub(crate) mounted: bool,
}

/// A chain of netfilter's that sees, or would see, traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) hook: String,
    pub(crate) drops: bool,
    pub(crate) rules: usize,
}
