//! The namespaces of one director: its own, and one for the outer ends of its links.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::director::Knob;
use crate::place;
use crate::wire::{Wire, enter};

/// Kept small and free of surprises.
const SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
];

/// A director's network. Dropped, it is gone.
///
/// Its names are formed as those of the tests' labs (`rvs-PID-NUMBER-HOST`), so that what a killed run leaves behind is
/// found and removed like theirs.
#[derive(Debug)]
pub(crate) struct Network {
    director: String,
    world: String,
}

/// The director's interface to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstLink {
    /// The end of a link.
    Plain,
    /// A device above the end of a link, which is called [`BELOW`].
    AboveAnother,
}

/// See [`FirstLink::AboveAnother`].
pub(crate) const BELOW: &str = "below0";

impl Network {
    /// Makes it anew; the calling thread is in the director's namespace afterwards, and with it all that it starts.
    pub(crate) fn new(first: FirstLink) -> Result<(Self, Wire)> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("rvs-{}-{number}", std::process::id());
        let network = Self {
            director: format!("{prefix}-director"),
            world: format!("{prefix}-world"),
        };
        let (director, world) = (&network.director, &network.world);
        ip_batch(&[], &format!("netns add {director}\nnetns add {world}\n"))?;
        enter(&path(director))?;
        for (key, value) in SYSCTLS {
            sysctl(&format!("net/{key}"), value)?;
        }
        ip_batch(
            &[],
            &match first {
                FirstLink::Plain => format!("link add eth0 type veth peer name c0 netns {world}\n"),
                FirstLink::AboveAnother => format!(
                    "link add {BELOW} type veth peer name c0 netns {world}
link set {BELOW} address {} addrgenmode none up
link add eth0 link {BELOW} type macvlan mode passthru
",
                    place::mac_text(place::WAN_MAC)
                ),
            },
        )?;
        ip_batch(
            &[],
            &format!("link add eth1 type veth peer name s0 netns {world}\n"),
        )?;
        let ups = "link set c0 addrgenmode none up\nlink set s0 addrgenmode none up\n";
        ip_batch(&["-n", world], ups)?;
        ip_batch(&[], &place::director_lines())?;
        for end in ["eth0", "eth1"] {
            // What the director sends has its checksums filled in, as on a wire.
            run(Command::new("ethtool").args(["-K", end, "tx", "off", "gso", "off", "tso", "off"]))?;
        }
        let wire = Wire::open(&path(world))?;
        enter(&path(director))?;
        Ok((network, wire))
    }

    fn remove(&self) {
        for name in [&self.director, &self.world] {
            if path(name).exists() {
                // A failure leaves it to the next sweep.
                let _ = run(Command::new("ip").args(["netns", "del", name]));
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where what comes by the tunnel from the last of the real servers is unwrapped, if scenarios with these settings have
/// such a device: those about `ignore_tunneled`. Made where it is not there yet.
pub(crate) fn tunnel_device(knobs: &[Knob]) -> Result<Option<&'static str>> {
    if !knobs.iter().any(|(name, _)| *name == "ignore_tunneled") {
        return Ok(None);
    }
    let name = "tap1";
    if run(Command::new("ip").args(["link", "show", name])).is_err() {
        ip_batch(&[], &format!("{}\n", place::tunnel_words(name)))?;
        // Else it looks for routers and for listeners.
        sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        ip_batch(&[], &format!("link set {name} up\n"))?;
    }
    Ok(Some(name))
}

/// Makes a link of the director take packets of this size and no larger.
pub(crate) fn narrow(end: &str, mtu: u32) -> Result<()> {
    run(Command::new("ip").args(["link", "set", end, "mtu", &mtu.to_string()]))
}

/// Writes a value below `/proc/sys`, of the namespace that the calling thread is in.
pub(crate) fn sysctl(key: &str, value: &str) -> Result<()> {
    let file = Path::new("/proc/sys").join(key);
    std::fs::write(&file, value).with_context(|| format!("{}: {value}", file.display()))
}

/// Runs a command to its end; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Gives netfilter rules, in the namespace that the calling thread is in.
pub(crate) fn nft(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft");
    feed(nft.args(["-f", "-"]), rules)
}

fn ip_batch(words: &[&str], lines: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    feed(ip.args(words).args(["-batch", "-"]), lines)
}

/// Runs a command with this standard input to its end; an error unless it succeeds.
fn feed(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", said.trim());
    }
    Ok(())
}

fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}
