//! What of this host matters to a real server, as plain data: the plan and the check decide by it
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use rvs_config::Method;

use super::network::{Address, DefaultRoute, Device, Family, Network};
use super::sysctl::Key;

/// The kernel's device that takes IPv4 in IPv4 from anywhere.
pub(crate) const TUNNEL_V4: &str = "tunl0";
/// The same for IPv6 in IPv6.
pub(crate) const TUNNEL_V6: &str = "ip6tnl0";

const SETTINGS: [&str; 3] = ["arp_ignore", "arp_announce", "rp_filter"];

/// What a real server shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Sorted, none twice.
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) method: Method,
    /// Where tunnelled packets arrive, if a person said so.
    pub(crate) device: Option<String>,
    /// The director's address, if a person gave it.
    pub(crate) director: Option<IpAddr>,
}

impl Wanted {
    /// The service addresses of a family.
    pub(crate) fn of(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.vips
            .iter()
            .copied()
            .filter(move |vip| Family::of(*vip) == family)
    }

    pub(crate) fn has(&self, family: Family) -> bool {
        self.of(family).next().is_some()
    }

    /// The command that brings it about.
    pub(crate) fn command(&self) -> String {
        let mut command = format!("rvs realserver up --method {}", self.method);
        for vip in &self.vips {
            command.push_str(&format!(" --vip {vip}"));
        }
        if let Some(device) = &self.device {
            command.push_str(&format!(" --device {device}"));
        }
        command
    }
}

/// This host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) devices: Vec<Device>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) default_routes: Vec<DefaultRoute>,
    pub(crate) sysctls: BTreeMap<Key, i64>,
    /// The interfaces at which our own decapsulation sits.
    pub(crate) attached: BTreeSet<String>,
}

impl State {
    /// Looks at this host.
    pub(crate) async fn collect(network: &Network, bpffs: &Path) -> anyhow::Result<Self> {
        let devices = network.devices().await?;
        let mut sysctls = BTreeMap::new();
        let names = devices.iter().map(|device| device.name.as_str());
        for name in names.chain(["all"]) {
            for setting in SETTINGS {
                let key = Key::ipv4(name, setting);
                if let Some(value) = key.number() {
                    sysctls.insert(key, value);
                }
            }
        }
        let attached = devices
            .iter()
            .filter(|device| rvs_dataplane::decapsulation::attached(bpffs, &device.name))
            .map(|device| device.name.clone())
            .collect();
        Ok(Self {
            addresses: network.addresses().await?,
            default_routes: network.default_routes().await?,
            sysctls,
            attached,
            devices,
        })
    }

    pub(crate) fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The name of an interface, for messages.
    pub(crate) fn name(&self, ifindex: u32) -> &str {
        self.devices
            .iter()
            .find(|device| device.index == ifindex)
            .map_or("?", |device| &device.name)
    }

    /// Where an address is on this host.
    pub(crate) fn places(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        self.addresses
            .iter()
            .filter(move |place| place.address == address)
    }

    /// Whether an address is on the loopback interface, by itself.
    pub(crate) fn is_on_loopback(&self, address: IpAddr) -> bool {
        let full = Family::of(address).full_length();
        self.places(address)
            .any(|place| self.is_loopback(place.ifindex) && place.length == full)
    }

    pub(crate) fn is_loopback(&self, ifindex: u32) -> bool {
        self.devices
            .iter()
            .any(|device| device.index == ifindex && device.loopback)
    }

    /// An IPv4 setting of an interface or of `all`; 0 where there is none.
    pub(crate) fn ipv4(&self, interface: &str, name: &str) -> i64 {
        let key = Key::ipv4(interface, name);
        self.sysctls.get(&key).copied().unwrap_or(0)
    }

    /// What holds for an interface: for these settings the kernel takes the larger of the
    /// interface's own and `all`'s (`IN_DEV_MAXCONF`).
    pub(crate) fn effective(&self, interface: &str, name: &str) -> i64 {
        self.ipv4(interface, name).max(self.ipv4("all", name))
    }

    /// The interface that a family's default route leaves by.
    pub(crate) fn default_device(&self, family: Family) -> Option<&Device> {
        let ifindex = self
            .default_routes
            .iter()
            .filter(|route| route.family == family)
            .find_map(|route| route.ifindex)?;
        self.devices.iter().find(|device| device.index == ifindex)
    }

    /// The kernel's own tunnel device of a family.
    pub(crate) fn tunnel(&self, family: Family) -> Option<&Device> {
        self.device(tunnel_name(family))
    }
}

pub(crate) fn tunnel_name(family: Family) -> &'static str {
    match family {
        Family::V4 => TUNNEL_V4,
        Family::V6 => TUNNEL_V6,
    }
}

/// Whether an `arp_ignore` keeps the kernel from answering for addresses on `lo`. The values
/// between 2 and 8 do not: 3 looks at the scope only, 4 to 7 are reserved and mean nothing.
pub(crate) fn is_silent(arp_ignore: i64) -> bool {
    matches!(arp_ignore, 1 | 2 | 8)
}
