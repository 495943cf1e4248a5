//! The demo's cluster: made, prepared by RVS's own commands, and cleared away.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rvs_lab::{Child, Family, Host, Lab, Nginx, Topology, Vip};
use serde_json::Value;

use super::shown::say;
use super::{PROFILE, command};
use crate::process;

/// The real servers' names.
pub(super) const SERVERS: [&str; 3] = ["rs1", "rs2", "rs3"];

const PINS: &str = "/sys/fs/bpf/rvs";
const SOCKETS: &str = "/run/rvs";
const PREFIX: &str = "demo-";
const START_TIME: Duration = Duration::from_secs(20);

/// A forwarding method with an IP version.
#[derive(Clone, Copy)]
pub(super) struct Way {
    vip: Vip,
    /// The method's name in a configuration.
    pub(super) method: &'static str,
    family: Family,
}

impl Way {
    /// Each method with each IP version.
    pub(super) fn all() -> Vec<Self> {
        let methods = [
            (Vip::Nat, "nat"),
            (Vip::Tunnel, "tunnel"),
            (Vip::Direct, "direct"),
        ];
        Family::ALL
            .into_iter()
            .flat_map(|family| {
                methods.map(|(vip, method)| Self {
                    vip,
                    method,
                    family,
                })
            })
            .collect()
    }

    /// Where clients connect to.
    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::new(self.vip.address(self.family), 80)
    }

    fn section(self) -> String {
        let server = |number| match self.vip {
            Vip::Nat => Topology::inside_address(number, self.family),
            Vip::Tunnel | Vip::Direct => Topology::outside_address(number, self.family),
        };
        let servers: Vec<String> = (0..SERVERS.len())
            .map(|number| format!("\"{}\"", server(number)))
            .collect();
        let version = match self.family {
            Family::V4 => "",
            Family::V6 => "-v6",
        };
        format!(
            "\n[[service]]\nname = \"web-{}{version}\"\naddress = \"tcp://{}\"\nscheduler = \"rr\"\nmethod = \"{}\"\nservers = [{}]\n",
            self.method,
            self.address(),
            self.method,
            servers.join(", ")
        )
    }
}

/// Everything that the demo made. Dropped, it is cleared away, unless it was kept.
pub(super) struct Cluster {
    /// The network.
    pub(super) net: Topology,
    rvs: PathBuf,
    instance: String,
    file: PathBuf,
    text: String,
    director: Option<Child>,
    nginx: Vec<Nginx>,
    prepared: Vec<Host>,
    lab: Option<Lab>,
}

impl Cluster {
    /// Makes the hosts and links, and writes the configuration.
    pub(super) fn new(lab: Lab) -> Result<Self> {
        let net = Topology::with_real_servers(&lab, SERVERS.len())?;
        let instance = format!("{PREFIX}{}", std::process::id());
        let sections: String = Way::all().into_iter().map(Way::section).collect();
        let text = format!(
            "[director]\ninstance = \"{instance}\"\ninterfaces = [\"eth0\", \"eth1\"]\n{sections}"
        );
        let file = lab.directory().join("rvs.toml");
        fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        let rvs = rvs_program();
        std::os::unix::fs::symlink(&rvs, lab.directory().join("ipvsadm"))?;
        Ok(Self {
            net,
            rvs,
            instance,
            file,
            text,
            director: None,
            nginx: Vec::new(),
            prepared: Vec::new(),
            lab: Some(lab),
        })
    }

    /// Who is where.
    pub(super) fn picture(&self) -> String {
        let client = Topology::client_address(Family::V4);
        let mut text = format!(
            "client    {client}\ndirector  {}, {} inside; virtual addresses {}\n",
            Topology::director_address(Family::V4),
            Topology::director_inside_address(Family::V4),
            Vip::ALL
                .map(|vip| vip.address(Family::V4).to_string())
                .join(", ")
        );
        for (number, name) in SERVERS.iter().enumerate() {
            text.push_str(&format!(
                "{name}       {}, {} inside; nginx\n",
                Topology::outside_address(number, Family::V4),
                Topology::inside_address(number, Family::V4)
            ));
        }
        text.push_str("Each a network namespace of this machine; the same in IPv6, 2001:db8::/32.");
        text
    }

    /// The configuration's text.
    pub(super) fn configuration(&self) -> &str {
        &self.text
    }

    /// Prepares the real servers as a person would, and starts a web server on each. What was done and printed.
    pub(super) fn start_servers(&mut self) -> Result<String> {
        let mut words = vec!["realserver".to_owned(), "up".to_owned()];
        for vip in [Vip::Tunnel, Vip::Direct] {
            for family in Family::ALL {
                words.extend(["--vip".to_owned(), vip.address(family).to_string()]);
            }
        }
        // What tunnels need includes what direct routing needs; NAT needs the routes, which are there.
        words.extend(["--method", "tunnel", "--device", "eth0"].map(str::to_owned));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut report = format!(
            "on each: {}\n",
            process::shown(&command(Path::new("rvs"), &words))
        );
        for host in &self.net.real_servers {
            self.prepared.push(host.clone());
            let text = run(host, &self.rvs, &words)?;
            if self.prepared.len() == 1 {
                report.push_str(&text);
            }
            self.nginx.push(Nginx::start(host)?);
        }
        Ok(report)
    }

    /// Checks the configuration and starts the daemon. What was done and printed.
    pub(super) fn start_director(&mut self) -> Result<String> {
        let file = self.file.to_string_lossy().into_owned();
        let host = self.net.director.clone();
        let checked = run(&host, &self.rvs, &["check", &file])?;
        let mut daemon = host.command(&self.rvs);
        daemon.args(["run", "--config", &file]);
        let mut child = host.spawn_command(daemon)?;
        let log = child.log().to_owned();
        let is_ready =
            || fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|l| l.ends_with(" ready")));
        child.wait_ready("ready", START_TIME, is_ready)?;
        let output = child.output();
        self.director = Some(child);
        Ok(format!(
            "{}\n$ rvs run --config {file}\n{}",
            checked.trim(),
            output.trim()
        ))
    }

    /// Kills the daemon (SIGKILL). Its process id.
    pub(super) fn kill_director(&mut self) -> Result<u32> {
        let mut child = self.director.take().context("no daemon runs")?;
        let pid = child.id();
        child.kill()?;
        Ok(pid)
    }

    /// A command for the director: what it prints.
    pub(super) fn rvs(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["--instance", &self.instance];
        all.extend(words);
        run(&self.net.director, &self.rvs, &all)
    }

    /// The same, as JSON.
    pub(super) fn json(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(words);
        Ok(serde_json::from_str(&self.rvs(&all)?)?)
    }

    /// How many connections the director counted for a service.
    pub(super) fn counted(&self, service: SocketAddr) -> Result<u64> {
        let address = format!("tcp://{service}");
        let list = self.json(&["services"])?;
        let found = list
            .as_array()
            .and_then(|list| list.iter().find(|one| one["address"] == address.as_str()));
        found
            .and_then(|service| service["stats"]["connections"].as_u64())
            .with_context(|| format!("the director has no service {address}"))
    }

    /// Leaves everything as it is, and says what can be done with it.
    pub(super) fn keep(mut self) -> Result<()> {
        let lab = self.lab.take().context("the lab is gone")?;
        let (rvs, instance) = (self.rvs.display(), &self.instance);
        let directory = lab.directory().to_owned();
        let (client, director) = (&self.net.client, &self.net.director);
        let enter = |host: &Host| format!("nsenter --net={}", host.namespace_path().display());
        let nat = Vip::Nat.address(Family::V4);
        let lines = [
            format!("{} curl http://{nat}/id", enter(client)),
            format!("{rvs} --instance {instance} services"),
            format!("{rvs} --instance {instance} connections"),
            format!("{rvs} --instance {instance} server drain web-nat 10.1.0.21:80"),
            format!(
                "RVS_INSTANCE={instance} {}/ipvsadm -Ln --stats",
                directory.display()
            ),
            format!(
                "{} {rvs} doctor --config {}",
                enter(director),
                self.file.display()
            ),
            format!("{} tcpdump -ni eth0", enter(director)),
            "cargo xtask demo --clear".to_owned(),
        ];
        lab.keep()?;
        say(&format!(
            "\nEverything was left running; logs are in {}. Try, as root:\n\n  {}",
            directory.display(),
            lines.join("\n  ")
        ));
        Ok(())
    }

    /// Removes everything that was made, and sees that it is gone.
    pub(super) fn clear(mut self) -> Result<()> {
        self.undo()?;
        drop(self.director.take());
        self.nginx.clear();
        drop(self.lab.take());
        let left = Path::new("/run/netns").join(self.net.director.namespace());
        ensure!(!left.exists(), "{} is still there", left.display());
        say("nothing is left: no namespace, no process, no pinned program");
        Ok(())
    }

    /// Undoes what no namespace takes with it: pins and records.
    fn undo(&mut self) -> Result<()> {
        let mut amiss = Vec::new();
        for host in self.prepared.drain(..) {
            if let Err(error) = run(&host, &self.rvs, &["realserver", "down"]) {
                amiss.push(error.to_string());
            }
        }
        if self.director.is_some() {
            if let Err(error) = self.rvs(&["stop", "--stop-forwarding"]) {
                amiss.push(error.to_string());
            }
            if let Some(mut child) = self.director.take()
                && let Err(error) = child.wait(START_TIME)
            {
                amiss.push(error.to_string());
            }
            let pins = Path::new(PINS).join(&self.instance);
            if pins.exists() {
                amiss.push(format!("{} is still there", pins.display()));
            }
        }
        remove(&self.instance);
        ensure!(amiss.is_empty(), "{}", amiss.join("; "));
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Only after a failure is there still something: the failure is what the user shall see.
        if self.lab.is_some() {
            let _ = self.undo();
        }
    }
}

/// Removes what demos left that were ended by force.
pub(super) fn clear_dead() -> Result<()> {
    Lab::sweep()?;
    for instance in left_over() {
        let number = instance.trim_start_matches(PREFIX);
        let is_alive = Path::new("/proc").join(number).exists();
        let is_kept = Path::new("/run/netns")
            .join(format!("rvs-{number}-0-director"))
            .exists();
        if !is_alive && !is_kept {
            remove(&instance);
        }
    }
    Ok(())
}

/// The program that the demo builds.
fn rvs_program() -> PathBuf {
    process::target_directory().join(PROFILE).join("rvs")
}

/// Removes what demos left, the kept ones too.
pub(super) fn clear_kept() -> Result<()> {
    let rvs = rvs_program();
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        // Names are rvs-PID-NUMBER-HOST; what a living process made is still in use.
        let is_left = parts.next() == Some("rvs")
            && parts
                .next()
                .is_some_and(|pid| !Path::new("/proc").join(pid).exists())
            && SERVERS.iter().any(|server| name.ends_with(server));
        if is_left && rvs.exists() {
            let net = format!("--net={}", entry.path().display());
            let rvs = rvs.to_string_lossy();
            let words = [net.as_str(), "--", &rvs, "realserver", "down"];
            // Where nothing was prepared there is nothing to undo.
            let _ = command(Path::new("nsenter"), &words).output();
        }
    }
    Lab::sweep_kept()?;
    clear_dead()
}

fn left_over() -> Vec<String> {
    let entries = fs::read_dir(PINS).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            name.strip_prefix(PREFIX)
                .is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .collect()
}

fn remove(instance: &str) {
    // What is not there needs no removal; what cannot be removed is found again by the next demo.
    let _ = fs::remove_dir_all(Path::new(PINS).join(instance));
    for ending in ["sock", "sock.lock"] {
        let _ = fs::remove_file(Path::new(SOCKETS).join(format!("{instance}.{ending}")));
    }
}

/// Runs `rvs` on a host to its end: what it printed.
fn run(host: &Host, rvs: &Path, words: &[&str]) -> Result<String> {
    let mut command = host.command(rvs);
    let output = command.args(words).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "rvs {} on {host}: {}{text}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
