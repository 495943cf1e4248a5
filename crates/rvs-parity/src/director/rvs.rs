//! RVS, by its own ipvsadm front end, with `compat = "ipvs"`.
//!
//! Starting the daemon takes seconds in an emulated guest, so it goes on from one scenario to the next when the same
//! director is started for both, both want the same marks and nothing of the first is left; other settings are
//! reloaded. Else it starts again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Director, Knob, Mark, ipvsadm};
use crate::network::{BELOW, FirstLink, Network, nft, run, tunnel_device};
use crate::wire::Wire;

/// Lines of the daemon's log that belong to a failure.
const LOG_LINES: usize = 12;
const START_LIMIT: Duration = Duration::from_secs(600);
const CLEAR_LIMIT: Duration = Duration::from_secs(12);
/// Defences are looked at once a second.
const DEFENCES_TIME: Duration = Duration::from_millis(1500);

/// Settings that are numbers; the others are on or off.
const NUMBERS: [&str; 8] = [
    "amemthresh",
    "am_droprate",
    "conn_reuse_mode",
    "drop_entry",
    "drop_packet",
    "secure_tcp",
    "lblc_expiration",
    "lblcr_expiration",
];
/// Settings of the kernel's that have no meaning here.
const NOT_HERE: [&str; 1] = ["conntrack"];

/// See the module.
#[derive(Debug)]
pub(crate) struct Rvs {
    program: PathBuf,
    /// `parity-PID-NUMBER`: what is left of a process that is no more is found by it.
    instance: String,
    directory: PathBuf,
    daemon: Option<Child>,
    network: Option<(Network, Wire)>,
    configuration: String,
    marks: Vec<Mark>,
}

impl Rvs {
    /// The director of this program, with an instance and a directory of its own.
    pub(crate) fn new(program: PathBuf) -> Result<Self> {
        static DIRECTORS: AtomicU32 = AtomicU32::new(0);
        // What RVS cannot do in the kernel goes by a TAP device; elsewhere `/dev/net/tun` is there from the beginning.
        let _ = run(Command::new("modprobe").arg("tun"));
        let number = DIRECTORS.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(format!("rvs-lab-{owner}-parity"));
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        Ok(Self {
            program,
            instance: format!("parity-{owner}"),
            directory,
            daemon: None,
            network: None,
            configuration: String::new(),
            marks: Vec::new(),
        })
    }

    fn configuration(&self, knobs: &[Knob]) -> Result<String> {
        let tunnel = tunnel_device(knobs)?;
        let tunnel = tunnel.map_or(String::new(), |name| format!(", \"{name}\""));
        let knobs = knobs.iter().filter(|(name, _)| !NOT_HERE.contains(name));
        let mut text = format!(
            "[director]
interfaces = [\"eth0\", \"eth1\"{tunnel}]
instance = \"{}\"
socket = \"{}\"
compat = \"ipvs\"
connections = \"4Ki\"
connections_v6 = \"4Ki\"
",
            self.instance,
            self.socket().display()
        );
        for (name, value) in knobs {
            text += &match (NUMBERS.contains(name), *value) {
                (true, number) => format!("{name} = {number}\n"),
                (false, switch) => format!("{name} = {}\n", switch != "0"),
            };
        }
        Ok(text)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("parity.sock")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("parity.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("parity.log")
    }

    /// Removes what is there; whether nothing is left. Connections of removed services would stay for as long as IPVS
    /// keeps them, so this also changes a setting, which the next reload restores.
    fn clear(&mut self) -> Result<bool> {
        if self.daemon.is_none() {
            return Ok(false);
        }
        let settings = ["expire_nodest_conn=1", "expire_quiescent_template=1"];
        let output = self.command().arg("knobs").args(settings).output()?;
        if !output.status.success() || !ipvsadm(self, "-C", "")?.stderr.is_empty() {
            return Ok(false);
        }
        let start = Instant::now();
        while start.elapsed() < CLEAR_LIMIT {
            if ipvsadm(self, "-Lnc", "")?.stdout.lines().count() == 2 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Turns the knobs of the director that runs; whether it took them.
    fn reload(&mut self) -> Result<bool> {
        fs::write(self.file(), &self.configuration)?;
        let output = self.command().arg("reload").output()?;
        std::thread::sleep(DEFENCES_TIME);
        Ok(output.status.success())
    }

    fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let asked = self.command().args(["stop", "--stop-forwarding"]).output();
        if !asked.is_ok_and(|output| output.status.success()) {
            // It may have died already; what is left of it is removed below.
            let _ = daemon.kill();
        }
        let _ = daemon.wait();
        let _ = fs::remove_dir_all(PathBuf::from("/sys/fs/bpf/rvs").join(&self.instance));
    }

    fn run(&mut self) -> Result<()> {
        fs::write(self.file(), &self.configuration)?;
        let log = File::create(self.log_file())?;
        let mut daemon = Command::new(&self.program)
            .args(["run", "--config"])
            .arg(self.file())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(self.log_file())?;
            if log.lines().any(|line| line.ends_with(" ready")) {
                self.daemon = Some(daemon);
                return Ok(());
            }
            if daemon.try_wait()?.is_some() {
                bail!("rvs run ended: {}", log.trim());
            }
            if start.elapsed() > START_LIMIT {
                let _ = daemon.kill();
                let _ = daemon.wait();
                bail!("rvs run does not get ready: {}", log.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--socket").arg(self.socket());
        command
    }
}

impl Director for Rvs {
    fn name(&self) -> &'static str {
        "rvs"
    }

    fn start(&mut self, knobs: &[Knob], marks: &[Mark]) -> Result<()> {
        if self.marks == marks && self.clear()? {
            let configuration = self.configuration(knobs)?;
            self.configuration = configuration;
            if self.reload()? {
                return Ok(());
            }
        }
        self.stop();
        self.network = None;
        let first = if marks.is_empty() {
            FirstLink::Plain
        } else {
            FirstLink::AboveAnother
        };
        self.network = Some(Network::new(first)?);
        self.configuration = self.configuration(knobs)?;
        self.marks = marks.to_vec();
        if !marks.is_empty() {
            mark(marks)?;
        }
        self.run()
    }

    fn wire(&mut self) -> Result<&mut Wire> {
        let network = self.network.as_mut().context("no director was started")?;
        Ok(&mut network.1)
    }

    fn ipvsadm(&self) -> Command {
        let mut command = self.command();
        command.arg("ipvsadm");
        command
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let start = lines.len().saturating_sub(LOG_LINES);
        lines.get(start..).unwrap_or_default().join("\n")
    }
}

impl Drop for Rvs {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Marks ahead of RVS, which takes packets before netfilter sees them on its own interface: a device below it, of which
/// netfilter's ingress hook sees them first.
fn mark(marks: &[Mark]) -> Result<()> {
    let mut rules = format!(
        "table netdev parity {{ chain marks {{ type filter hook ingress device \"{BELOW}\" priority 0;\n"
    );
    for (prefix, mark) in marks {
        let family = if prefix.contains(':') { "ip6" } else { "ip" };
        rules += &format!("{family} daddr {prefix} meta mark set {mark}\n");
    }
    rules += "}\n}\n";
    nft(&rules)
}
