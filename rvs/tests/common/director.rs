//! A daemon in a namespace, and its commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rvs_lab::{Child, Host, wait_until};
use serde_json::Value;

use super::{Outcome, in_guest};

/// The program under test.
pub(crate) const RVS: &str = env!("CARGO_BIN_EXE_rvs");

const BPFFS: &str = "/sys/fs/bpf";
/// For a daemon that was told to end.
const END_LIMIT: Duration = Duration::from_secs(60);

/// `rvs run` on a host, with a configuration, a socket and an instance of its own. When this is dropped, nothing of it
/// is left in the kernel.
#[derive(Debug)]
pub(crate) struct Director {
    host: Host,
    child: Option<Child>,
    instance: String,
    socket: PathBuf,
    file: PathBuf,
}

impl Director {
    /// Starts a director with these services (TOML), small tables, and what else `[director]` shall say.
    pub(crate) fn start(host: &Host, settings: &str, services: &str) -> Outcome<Self> {
        let mut director = Self::prepare(host);
        director.configure(settings, services)?;
        director.run()?;
        Ok(director)
    }

    /// A director that has neither a configuration nor a process yet.
    pub(crate) fn prepare(host: &Host) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{count}", std::process::id());
        let directory = host.directory();
        Self {
            host: host.clone(),
            child: None,
            socket: directory.join(format!("{instance}.sock")),
            file: directory.join(format!("{instance}.toml")),
            instance,
        }
    }

    /// Writes the configuration: `settings` replace the tables' sizes, if they name them.
    pub(crate) fn configure(&self, settings: &str, services: &str) -> Outcome {
        let mut head = format!(
            "[director]\ninstance = \"{}\"\nsocket = \"{}\"\n",
            self.instance,
            self.socket.display()
        );
        for (key, value) in [
            ("interfaces", r#"["eth0", "eth1"]"#),
            ("connections", "\"256Ki\""),
            ("connections_v6", "\"256Ki\""),
        ] {
            if !settings
                .lines()
                .any(|line| line.split(['=', ' ']).next() == Some(key))
            {
                head.push_str(&format!("{key} = {value}\n"));
            }
        }
        Ok(fs::write(
            &self.file,
            format!("{head}{settings}\n{services}"),
        )?)
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub(crate) fn run(&mut self) -> Outcome {
        let mut child = self.spawn()?;
        // `ready` is the last word of a start, and the API answers by then.
        let log = child.log().to_owned();
        let limit = Duration::from_secs(if in_guest() { 600 } else { 120 });
        child.wait_ready("ready", limit, || {
            fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|l| l.ends_with(" ready")))
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the daemon, if it runs, and starts one with other tables of so many slots for each family.
    pub(crate) fn upgrade(&mut self, slots: &str, services: &str) -> Outcome {
        self.terminate()?;
        self.configure(&table_sizes(slots), services)?;
        self.run()
    }

    /// Starts the daemon and waits for nothing.
    pub(crate) fn spawn(&self) -> Outcome<Child> {
        let mut command = self.host.command(RVS);
        command.args(["run", "--config"]).arg(&self.file);
        Ok(self.host.spawn_command(command)?)
    }

    /// The daemon dies at once (SIGKILL).
    pub(crate) fn kill(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
        }
        Ok(())
    }

    /// The daemon is asked to end (SIGTERM), and does.
    pub(crate) fn terminate(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            let status = child.terminate(END_LIMIT)?;
            assert!(status.success(), "{status}: {}", child.output());
        }
        Ok(())
    }

    /// The daemon's process, if it runs.
    pub(crate) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// The host that it runs on.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The name of the instance.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What the daemon wrote so far.
    pub(crate) fn log(&self) -> String {
        self.child.as_ref().map(Child::output).unwrap_or_default()
    }

    /// Runs a command of `rvs` for this director.
    pub(crate) fn command(&self, words: &[&str]) -> Outcome<Output> {
        let mut command = self.host.command(RVS);
        command.arg("--socket").arg(&self.socket).args(words);
        Ok(command.output()?)
    }

    /// A command that shall succeed: what it printed.
    pub(crate) fn rvs(&self, words: &str) -> Outcome<String> {
        let output = self.command(&words.split_whitespace().collect::<Vec<_>>())?;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() && stderr.is_empty() {
            return Ok(stdout);
        }
        Err(format!("rvs {words}: {}: {stdout}{stderr}", output.status).into())
    }

    /// A command that shall be refused: its one line.
    pub(crate) fn refused(&self, words: &str) -> Outcome<String> {
        let output = self.command(&words.split_whitespace().collect::<Vec<_>>())?;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() {
            return Err(format!("rvs {words} was not refused: {stdout}").into());
        }
        Ok(stderr.trim_end().to_owned())
    }

    /// A command's JSON.
    pub(crate) fn json(&self, words: &str) -> Outcome<Value> {
        let text = self.rvs(&format!("{words} --json"))?;
        serde_json::from_str(&text).map_err(|error| format!("rvs {words}: {error}: {text}").into())
    }

    /// Every counter that is not 0.
    pub(crate) fn counters(&self) -> Outcome<BTreeMap<String, u64>> {
        let stats = self.json("stats")?;
        let counters = stats["counters"].as_array().ok_or("no counters")?;
        let named = |counter: &Value| {
            Some((
                counter["name"].as_str()?.to_owned(),
                counter["value"].as_u64()?,
            ))
        };
        let all: Option<BTreeMap<_, _>> = counters.iter().map(named).collect();
        Ok(all
            .ok_or("strange counters")?
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .collect())
    }

    /// One counter.
    pub(crate) fn counter(&self, name: &str) -> Outcome<u64> {
        Ok(self.counters()?.get(name).copied().unwrap_or(0))
    }

    /// How many connections the director has.
    pub(crate) fn connections(&self) -> Outcome<u64> {
        let list = self.json("connections --limit 1")?;
        list["total"]
            .as_u64()
            .ok_or_else(|| format!("no total: {list}").into())
    }

    /// The instance's tables and links in the BPF file system.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join("rvs").join(&self.instance)
    }

    fn clear(&mut self) {
        // Stops the forwarding as a person would; what remains goes by hand.
        let asked = self.child.is_some() && self.command(&["stop", "--stop-forwarding"]).is_ok();
        if let Some(mut child) = self.child.take() {
            if !asked || child.wait(END_LIMIT).is_err() {
                let _ = child.kill();
            }
            // Captured, and shown only for a test that failed.
            println!("{}: {}", self.instance, child.output());
        }
        let pins = self.pins();
        let _ = wait_until("pins removed", Duration::from_secs(10), || {
            !pins.exists() || fs::remove_dir_all(&pins).is_ok()
        });
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        // As the log: a test that fails by an error does not panic.
        if self.child.is_some()
            && let Ok(counters) = self.counters()
        {
            println!("{}: {counters:?}", self.instance);
        }
        self.clear();
    }
}

/// The settings of tables with so many slots for each family.
pub(crate) fn table_sizes(slots: &str) -> String {
    format!("connections = \"{slots}\"\nconnections_v6 = \"{slots}\"")
}

/// A program's output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
