//! Processes that stay while a test runs: guarded, and with their output in a file.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use crate::program::line;
use crate::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How much of a log an error shows.
const TAIL_LINES: usize = 20;

/// A process on a host. It and its descendants of the same process group are killed on drop,
/// unless the lab is kept.
#[derive(Debug)]
pub struct Child {
    host: Host,
    program: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    pub(crate) fn start(host: &Host, mut command: Command) -> Result<Self> {
        let program = line(&command);
        let stem = program
            .split(' ')
            .next()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let log = host
            .lab()
            .new_file(&format!("{}-{stem}", host.name()), "log");
        let describe = || format!("cannot write {}", log.display());
        let output = File::create(&log).at(host.name(), describe)?;
        let errors = output.try_clone().at(host.name(), describe)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .at(host.name(), || format!("cannot run `{program}`"))?;
        Ok(Self {
            host: host.clone(),
            program,
            process,
            log,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The file that has its stdout and stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that it wrote so far.
    pub fn output(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits until the condition holds; an error, with the log's tail, when the process ends
    /// before or the time is over.
    pub fn wait_ready(
        &mut self,
        what: &str,
        timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let what = format!("{}: {}: {what}", self.host, self.program);
        let mut ended = None;
        let waited = wait_until(&what, timeout, || {
            ended = self.process.try_wait().ok().flatten();
            ended.is_some() || condition()
        });
        if let Some(status) = ended {
            return Err(self.ended(status));
        }
        waited.map_err(|_| LabError::Timeout {
            what,
            timeout,
            detail: format!("; log {}:\n{}", self.log.display(), self.log_tail()),
        })
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).at(self.host.name(), || {
            format!("cannot signal {}", self.program)
        })
    }

    /// Kills it (SIGKILL) with its process group and waits for its end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.kill_group();
        self.process.wait().at(self.host.name(), || {
            format!("cannot wait for {}", self.program)
        })
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{}: end of {}", self.host, self.program);
        let mut status = None;
        wait_until(&what, timeout, || {
            status = self.process.try_wait().ok().flatten();
            status.is_some()
        })?;
        status.ok_or(LabError::Timeout {
            what,
            timeout,
            detail: String::new(),
        })
    }

    fn ended(&self, status: ExitStatus) -> LabError {
        LabError::Ended {
            place: self.host.name().to_owned(),
            program: self.program.clone(),
            status: status.to_string(),
            log: self.log.clone(),
            log_tail: self.log_tail(),
        }
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| LabError::Unknown {
                place: self.host.name().to_owned(),
                what: format!("process id of {}", self.program),
            })
    }

    fn kill_group(&mut self) {
        // Once waited for, the number may belong to somebody else, but a group keeps its number
        // while it has members, and one without members cannot be signalled.
        if let Ok(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.host.lab().is_kept() {
            self.kill_group();
            drop(self.process.wait());
        }
    }
}
