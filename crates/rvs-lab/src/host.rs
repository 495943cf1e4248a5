//! A host: one network namespace, and what is done in it. File systems, process ids and users are
//! those of the machine; only the network is the host's own.

use crate::child::Child;
use crate::error::{Context as _, LabError, Result};
use crate::lab::{NAMESPACE_VARIABLE, NAMESPACES, Shared};
use crate::link::Link;
use crate::program::{output, require_program, search_path};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fmt::Display;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Set in every namespace before it has interfaces. The machine's own values would be inherited
/// for IPv4, and would make tests depend on it.
const SYSCTLS: [(&str, &str); 15] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.arp_ignore", "0"),
    ("net.ipv4.conf.default.arp_ignore", "0"),
    ("net.ipv4.conf.all.arp_announce", "0"),
    ("net.ipv4.conf.default.arp_announce", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.ip_local_port_range", "1024 65535"),
];

/// One host of a lab. Clones are the same host; a host is of no use after its lab is gone.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lab: Arc<Shared>,
    name: String,
    namespace: String,
}

impl Host {
    pub(crate) fn new(lab: Arc<Shared>, name: &str, namespace: &str) -> Self {
        let inner = Inner {
            lab,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn prepare(&self) -> Result<()> {
        for (key, value) in SYSCTLS {
            self.sysctl(key, value)?;
        }
        self.up("lo")
    }

    pub(crate) fn lab(&self) -> &Arc<Shared> {
        &self.inner.lab
    }

    /// The host's name in the lab, "client" for instance.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The namespace's name, as `ip netns` shows it.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// The file that stands for the namespace.
    pub fn namespace_path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.inner.namespace)
    }

    /// The lab's directory for logs, configurations and files.
    pub fn directory(&self) -> &Path {
        self.inner.lab.directory()
    }

    /// A command that will run on this host, with the machine's file systems (bpffs included).
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let found = program.to_str().and_then(|name| require_program(name).ok());
        command_in(self.namespace(), found.as_deref().unwrap_or(program))
    }

    /// Runs a program to its end and returns its stdout.
    pub fn run<S: AsRef<str>>(&self, words: &[S]) -> Result<String> {
        output(self.name(), &mut self.words(words)?)
    }

    /// Starts a program that stays. It is killed when the guard drops; its output is in a log.
    pub fn spawn<S: AsRef<str>>(&self, words: &[S]) -> Result<Child> {
        let command = self.words(words)?;
        self.spawn_command(command)
    }

    /// Like [`Host::spawn`], for a command made by [`Host::command`] (environment, directory).
    pub fn spawn_command(&self, command: Command) -> Result<Child> {
        Child::start(self, command)
    }

    /// Runs a closure on a fresh thread that has entered the namespace. Sockets made there stay
    /// in the namespace wherever they are used later.
    pub fn in_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        in_namespace(self.name(), self.namespace(), work)
    }

    /// Moves the calling thread, for good, into the namespace. Only for threads of one's own: on
    /// any other, what runs there next would find itself on this host.
    pub fn enter(&self) -> Result<()> {
        enter(self.name(), self.namespace())
    }

    /// Sets a sysctl (`net.ipv4.ip_forward`; a dot in an interface name is written `/`).
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = sysctl_path(key);
        self.in_namespace(|| fs::write(&path, value))?
            .at(self.name(), || format!("cannot set {key} to {value}"))
    }

    /// Reads a sysctl.
    pub fn read_sysctl(&self, key: &str) -> Result<String> {
        let path = sysctl_path(key);
        let value = self.in_namespace(|| fs::read_to_string(&path))?;
        Ok(value
            .at(self.name(), || format!("cannot read {key}"))?
            .trim()
            .to_owned())
    }

    /// Adds an address like `10.0.0.2/24` to an interface; IPv6 without duplicate address
    /// detection.
    pub fn add_address(&self, ifname: &str, address: &str) -> Result<()> {
        let mut words = vec!["address", "add", address, "dev", ifname];
        if address.contains(':') {
            words.push("nodad");
        }
        self.ip(&words)
    }

    /// Removes an address like `10.0.0.2/24`.
    pub fn remove_address(&self, ifname: &str, address: &str) -> Result<()> {
        self.ip(&["address", "del", address, "dev", ifname])
    }

    /// Adds a service's address to an interface as /32 or /128; IPv6 deprecated, so that it is
    /// never chosen as a source, and without duplicate address detection.
    pub fn add_vip(&self, ifname: &str, vip: IpAddr) -> Result<()> {
        let address = full_length(vip);
        let mut words = vec!["address", "add", address.as_str(), "dev", ifname];
        if vip.is_ipv6() {
            words.extend(["nodad", "preferred_lft", "0"]);
        }
        self.ip(&words)
    }

    /// Runs `ip route` (or `ip -6 route` when a word holds a colon) with the given words, for
    /// instance `["add", "default", "via", "10.0.0.1"]`.
    pub fn route(&self, words: &[&str]) -> Result<()> {
        self.ip(&[&[family(words), "route"], words].concat())
    }

    /// Runs `ip rule` (or `ip -6 rule` when a word holds a colon) with the given words.
    pub fn rule(&self, words: &[&str]) -> Result<()> {
        self.ip(&[&[family(words), "rule"], words].concat())
    }

    /// Sets an interface up.
    pub fn up(&self, ifname: &str) -> Result<()> {
        self.ip(&["link", "set", ifname, "up"])
    }

    /// Sets an interface down.
    pub fn down(&self, ifname: &str) -> Result<()> {
        self.ip(&["link", "set", ifname, "down"])
    }

    /// Sets the MTU of this end of a link; see [`Link::set_mtu`] for both ends.
    pub fn set_mtu(&self, ifname: &str, mtu: u32) -> Result<()> {
        self.ip(&["link", "set", ifname, "mtu", &mtu.to_string()])
    }

    /// Turns the offloads (checksums, scatter-gather, TSO, GSO, GRO) of an interface of this host
    /// and of the other end of its link on or off.
    pub fn offload(&self, ifname: &str, offload: crate::Offload) -> Result<()> {
        self.link(ifname)?.offload(offload)
    }

    /// The link that an interface of this host is an end of.
    pub fn link(&self, ifname: &str) -> Result<Link> {
        self.inner
            .lab
            .find_link(self.namespace(), ifname)
            .ok_or_else(|| LabError::Unknown {
                place: self.name().to_owned(),
                what: format!("link at interface {ifname}"),
            })
    }

    /// Adds a permanent neighbour.
    pub fn neighbour(&self, ifname: &str, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        self.replace_neighbour(ifname, address, mac, "permanent")
    }

    /// Replaces a neighbour by a stale one, which the kernel probes some time after its next use.
    pub fn stale_neighbour(&self, ifname: &str, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        self.replace_neighbour(ifname, address, mac, "stale")
    }

    fn replace_neighbour(
        &self,
        ifname: &str,
        address: IpAddr,
        mac: [u8; 6],
        state: &str,
    ) -> Result<()> {
        let (address, mac) = (address.to_string(), mac_text(mac));
        self.ip(&[
            "neigh", "replace", &address, "lladdr", &mac, "dev", ifname, "nud", state,
        ])
    }

    /// The hardware address of an interface.
    pub fn mac(&self, ifname: &str) -> Result<[u8; 6]> {
        self.in_namespace(|| crate::packet::link_address(self.name(), ifname))??
            .addr()
            .ok_or_else(|| LabError::Unknown {
                place: self.name().to_owned(),
                what: format!("hardware address at interface {ifname}"),
            })
    }

    /// The number of an interface.
    pub fn ifindex(&self, ifname: &str) -> Result<u32> {
        self.in_namespace(|| nix::net::if_::if_nametoindex(ifname))?
            .at(self.name(), || format!("no interface {ifname}"))
    }

    /// Pings an address once (`ping -c 1`), and waits for an answer or an error.
    pub fn ping(&self, address: IpAddr) -> Result<()> {
        self.run(&["ping", "-n", "-c", "1", "-W", "20", &address.to_string()])
            .map(drop)
    }

    /// Prepares this host by hand as a real server of a direct-routing or tunnel service: the
    /// service's address on `lo`, not answered for by ARP. (`rvs realserver` does more.)
    pub fn realserver_vip(&self, vip: IpAddr) -> Result<()> {
        self.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
        self.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
        self.add_vip("lo", vip)
    }

    fn ip(&self, words: &[&str]) -> Result<()> {
        let words: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !word.is_empty())
            .collect();
        let mut command = self.command("ip");
        output(self.name(), command.args(&words)).map(drop)
    }

    fn words<S: AsRef<str>>(&self, words: &[S]) -> Result<Command> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(LabError::Unknown {
                place: self.name().to_owned(),
                what: "program to run: the command is empty".to_owned(),
            });
        };
        let mut command = self.command(require_program(program.as_ref())?);
        command.args(arguments.iter().map(AsRef::as_ref));
        Ok(command)
    }
}

/// Runs a closure on a fresh thread in a namespace whose host is not at hand.
pub(crate) fn in_namespace<T: Send>(
    place: &str,
    namespace: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(place, namespace)?;
            Ok(work())
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn enter(place: &str, namespace: &str) -> Result<()> {
    let path = Path::new(NAMESPACES).join(namespace);
    let file = File::open(&path).at(place, || format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .at(place, || format!("cannot enter {}", path.display()))
}

/// Runs a program to its end in a namespace whose host is not at hand.
pub(crate) fn run_in(place: &str, namespace: &str, program: &str, words: &[&str]) -> Result<()> {
    let program = require_program(program)?;
    output(place, command_in(namespace, &program).args(words)).map(drop)
}

/// Not `ip netns exec`, which would hide the machine's `/sys` and with it bpffs.
fn command_in(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={NAMESPACES}/{namespace}"))
        .arg("--")
        .arg(program);
    command.env(NAMESPACE_VARIABLE, namespace);
    // `rvs` looks for programs in its turn.
    command.env("PATH", search_path());
    command
}

/// An address as /32 or /128.
pub(crate) fn full_length(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn sysctl_path(key: &str) -> PathBuf {
    let path: String = key
        .chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    Path::new("/proc/sys").join(path)
}

fn family(words: &[&str]) -> &'static str {
    if words.iter().any(|word| word.contains(':')) {
        "-6"
    } else {
        "-4"
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_translated() {
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/5.rp_filter"),
            Path::new("/proc/sys/net/ipv4/conf/eth0.5/rp_filter")
        );
        assert_eq!(mac_text([2, 0, 0, 0xab, 0xcd, 0xef]), "02:00:00:ab:cd:ef");
        assert_eq!(family(&["add", "2001:db8::/64"]), "-6");
        assert_eq!(family(&["add", "default", "via", "10.0.0.1"]), "-4");
    }
}
