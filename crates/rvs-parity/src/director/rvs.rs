//! RVS, by its own ipvsadm front end, with `compat = "ipvs"`.
//!
//! Starting the daemon takes seconds in an emulated guest, so it goes on from one scenario to the next when both want
//! the same settings and nothing of the first is left; else it starts anew.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Director, Knob, Mark, ipvsadm};
use crate::network::Network;
use crate::wire::Wire;

const INSTANCE: &str = "parity";
const START_LIMIT: Duration = Duration::from_secs(120);
const CLEAR_LIMIT: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(crate) struct Rvs {
    program: PathBuf,
    directory: PathBuf,
    daemon: Option<Child>,
    network: Option<(Network, Wire)>,
    configuration: String,
}

impl Rvs {
    /// The director of this program, with its files in a directory.
    pub(crate) fn new(program: PathBuf, directory: PathBuf) -> Self {
        Self {
            program,
            directory,
            daemon: None,
            network: None,
            configuration: String::new(),
        }
    }

    fn configuration(&self, knobs: &[Knob], marks: &[Mark]) -> String {
        let mut text = format!(
            "[director]
interfaces = [\"eth0\", \"eth1\"]
instance = \"{INSTANCE}\"
socket = \"{}\"
compat = \"ipvs\"
connections = \"4Ki\"
connections_v6 = \"4Ki\"
",
            self.socket().display()
        );
        for (name, value) in knobs {
            let is_plain = value.parse::<i64>().is_ok();
            text += &if is_plain {
                format!("{name} = {value}\n")
            } else {
                format!("{name} = \"{value}\"\n")
            };
        }
        for (address, mark) in marks {
            text += &format!("\n[[mark]]\nmark = {mark}\naddress = \"{address}\"\n");
        }
        text
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("parity.sock")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("parity.toml")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("parity.log")
    }

    /// Removes what is there; whether nothing is left.
    fn clear(&mut self) -> Result<bool> {
        if self.daemon.is_none() || !ipvsadm(self, "-C", "")?.stderr.is_empty() {
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
        let _ = fs::remove_dir_all(PathBuf::from("/sys/fs/bpf/rvs").join(INSTANCE));
    }

    fn run(&mut self) -> Result<()> {
        fs::write(self.file(), &self.configuration)?;
        let log = File::create(self.log())?;
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
            let log = fs::read_to_string(self.log())?;
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
        let configuration = self.configuration(knobs, marks);
        if configuration == self.configuration && self.clear()? {
            return Ok(());
        }
        self.stop();
        self.network = None;
        self.configuration.clear();
        self.network = Some(Network::new("rvs")?);
        self.configuration = configuration;
        self.run()
    }

    fn wire(&mut self) -> Result<&mut Wire> {
        let network = self.network.as_mut().context("no director was started")?;
        Ok(&mut network.1)
    }

    fn set(&mut self, (name, value): Knob) -> Result<()> {
        // Last, so that nothing goes on with these settings after the scenario.
        let head = self
            .configuration
            .lines()
            .filter(|line| line.split(' ').next() != Some(name))
            .collect::<Vec<_>>();
        let at = head
            .iter()
            .position(|line| line.starts_with("[["))
            .unwrap_or(head.len());
        let line = format!("{name} = {value}");
        let (before, after) = head.split_at(at);
        self.configuration = [before, &[&line], after].concat().join("\n") + "\n";
        fs::write(self.file(), &self.configuration)?;
        let output = self.command().arg("reload").output()?;
        if !output.status.success() {
            bail!(
                "rvs reload: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    fn ipvsadm(&self) -> Command {
        let mut command = self.command();
        command.arg("ipvsadm");
        command
    }
}

impl Drop for Rvs {
    fn drop(&mut self) {
        self.stop();
    }
}
