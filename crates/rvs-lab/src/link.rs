//! Links and switches: veth pairs between namespaces, bridges in namespaces of their own.

use crate::error::Result;
use crate::host::Host;
use crate::program::ip;
use std::sync::atomic::{AtomicU32, Ordering};

const BRIDGE: &str = "br0";

/// Whether an interface may hand over packets with checksums still to be filled in and longer
/// than the MTU, as virtual interfaces do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Super-packets, checksums left open: what veth does by itself.
    On,
    /// Every packet as it would be on a wire.
    Off,
}

/// A veth pair. Clones are the same link.
#[derive(Debug, Clone)]
pub struct Link {
    ends: [End; 2],
}

/// One end of a link. It names the namespace rather than holding the host, so that the lab can
/// list its links without keeping itself alive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    place: String,
    namespace: String,
    ifname: String,
}

impl Link {
    pub(crate) fn new(a: &Host, a_ifname: &str, b: &Host, b_ifname: &str) -> Result<Self> {
        ip(&[
            "link",
            "add",
            a_ifname,
            "netns",
            a.namespace(),
            "type",
            "veth",
            "peer",
            "name",
            b_ifname,
            "netns",
            b.namespace(),
        ])?;
        a.up(a_ifname)?;
        b.up(b_ifname)?;
        let link = Self {
            ends: [End::new(a, a_ifname), End::new(b, b_ifname)],
        };
        a.lab().add_link(link.clone());
        Ok(link)
    }

    /// Sets the MTU of both ends.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        let mtu = mtu.to_string();
        self.ends
            .iter()
            .try_for_each(|end| end.run("ip", &["link", "set", &end.ifname, "mtu", &mtu]))
    }

    /// Turns the offloads (checksums, scatter-gather, TSO, GSO, GRO) of both ends on or off.
    pub fn offload(&self, offload: Offload) -> Result<()> {
        let word = match offload {
            Offload::On => "on",
            Offload::Off => "off",
        };
        self.ends.iter().try_for_each(|end| {
            end.run(
                "ethtool",
                &[
                    "-K",
                    &end.ifname,
                    "tx",
                    word,
                    "sg",
                    word,
                    "tso",
                    word,
                    "gso",
                    word,
                    "gro",
                    word,
                ],
            )
        })
    }

    pub(crate) fn has_end(&self, namespace: &str, ifname: &str) -> bool {
        self.ends
            .iter()
            .any(|end| end.namespace == namespace && end.ifname == ifname)
    }
}

impl End {
    fn new(host: &Host, ifname: &str) -> Self {
        Self {
            place: host.name().to_owned(),
            namespace: host.namespace().to_owned(),
            ifname: ifname.to_owned(),
        }
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<()> {
        crate::host::run_in(&self.place, &self.namespace, program, words)
    }
}

/// A switch: a bridge that learns, without spanning tree and without multicast snooping, so that
/// it forwards from the first packet on.
#[derive(Debug)]
pub struct Switch {
    host: Host,
    ports: AtomicU32,
}

impl Switch {
    pub(crate) fn new(host: Host) -> Result<Self> {
        host.run(&[
            "ip",
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        host.up(BRIDGE)?;
        Ok(Self {
            host,
            ports: AtomicU32::new(0),
        })
    }

    /// Joins a host to the switch, by an interface of the given name.
    pub fn connect(&self, host: &Host, ifname: &str) -> Result<Link> {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let link = Link::new(host, ifname, &self.host, &port)?;
        self.host
            .run(&["ip", "link", "set", &port, "master", BRIDGE])?;
        Ok(link)
    }

    /// The host that is the switch, to capture at its ports for instance.
    pub fn host(&self) -> &Host {
        &self.host
    }
}
