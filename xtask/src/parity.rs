//! `cargo xtask parity`: RVS beside the kernel's IPVS, scenario by scenario. What is compared, and what may differ, is in
//! `docs/src/parity.md`; how, in `rvs-parity`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{guest, process, setup};

/// The limit for the guest, in seconds; it is emulated where the machine has no KVM.
const GUEST_SECONDS: &str = "5400";

/// Scenarios that are played at a time on the host. They wait more than they compute.
const HOST_JOBS: usize = 6;

/// The same for the kernel alone in the guest, which is emulated.
const RECORD_JOBS: usize = 4;

/// The kernel series whose recordings RVS is compared with.
const SERIES: &str = "6.1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Play both sides in the guest, and say which recordings are stale.
    #[arg(long, conflicts_with_all = ["guest", "record", "show"])]
    full: bool,
    /// Play the scenarios that represent their files to RVS in the guest.
    #[arg(long, conflicts_with_all = ["record", "show"])]
    guest: bool,
    /// Play to the kernel's IPVS in the guest and write the recordings.
    #[arg(long, conflicts_with = "show")]
    record: bool,
    /// Write nothing: compare a second recording with the first.
    #[arg(long, requires = "record")]
    check: bool,
    /// The guest's kernel, a Debian package: linux-image-amd64 if it is not given.
    #[arg(long, value_name = "PACKAGE")]
    kernel: Option<OsString>,
    /// Only scenarios whose names contain this, or one of these, with commas between.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// So many scenarios at a time.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// Play to one director alone (kernel, in the guest, or rvs, on the host) and print what is seen.
    #[arg(long, value_name = "DIRECTOR")]
    show: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure()?;
    process::run(process::cargo().args(["build", "--package", "rvs", "--package", "rvs-parity"]))?;
    let mut command = args.command()?;
    if let Some(only) = &args.only {
        command.args(["--only", only]);
    }
    let status = command.status().context("rvs-parity")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Args {
    fn command(&self) -> Result<Command> {
        let jobs = |default: usize| self.jobs.unwrap_or(default).to_string();
        Ok(match self.show.as_deref() {
            Some("kernel") => self.in_guest(&["show", "kernel"])?,
            Some(director) => {
                let mut command = program();
                command.args(["show", director]);
                command
            }
            None if self.record => {
                let records = records();
                let mut command = self.guest();
                command.arg("--writable").arg(&records).arg("--");
                command.arg(executable()).arg("record").arg(&records);
                command.args(["--jobs", &jobs(RECORD_JOBS)]);
                if self.check {
                    command.arg("--check");
                }
                command
            }
            None if self.full => beside()?,
            None if self.guest => self.in_guest(&guest_words())?,
            None => recorded(self.jobs)?,
        })
    }

    fn guest(&self) -> Command {
        let mut command = guest();
        if let Some(kernel) = &self.kernel {
            command.arg("--kernel").arg(kernel);
        }
        command
    }

    fn in_guest<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Result<Command> {
        let mut command = self.guest();
        command.arg("--").arg(executable()).args(words);
        Ok(command)
    }
}

/// Every scenario to RVS on the host, compared with the recordings, by programs that are built already. The results are
/// written to [`results`] too.
pub(crate) fn recorded(jobs: Option<usize>) -> Result<Command> {
    let mut command = program();
    command.arg("recorded").arg(records().join(SERIES));
    command.args(["--where", "host"]);
    command.args(["--jobs", &jobs.unwrap_or(HOST_JOBS).to_string()]);
    command.arg("--json").arg(results()?);
    Ok(command)
}

/// Both sides in the guest, by programs that are built already.
pub(crate) fn beside() -> Result<Command> {
    let results = results()?;
    let mut command = guest();
    if let Some(directory) = results.parent() {
        command.arg("--writable").arg(directory);
    }
    command.arg("--").arg(executable());
    command.arg("beside").arg(records());
    command.arg("--rvs").arg(rvs()).arg("--json").arg(results);
    Ok(command)
}

/// The command for a guest that plays the scenarios that represent their files to RVS.
pub(crate) fn guest_command() -> Command {
    let mut command = Command::new(executable());
    command.args(guest_words());
    command
}

fn guest_words() -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["recorded".into(), records().join(SERIES).into()];
    words.extend(["--where", "guest", "--reuse", "--rvs"].map(OsString::from));
    words.push(rvs().into());
    words
}

/// The results of the last run on the host, as JSON.
pub(crate) fn results() -> Result<PathBuf> {
    let directory = process::target_directory().join("parity");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory.join("results.json"))
}

fn program() -> Command {
    let mut command = process::program(executable());
    command.current_dir(process::repository());
    command.arg("--rvs").arg(rvs());
    command
}

fn guest() -> Command {
    let mut command = guest::runner();
    command.current_dir(process::repository()).args([
        "--timeout",
        GUEST_SECONDS,
        "--env",
        "RUST_BACKTRACE=1",
    ]);
    command
}

fn records() -> PathBuf {
    process::repository().join("crates/rvs-parity/records")
}

fn executable() -> PathBuf {
    process::target_directory().join("debug/rvs-parity")
}

fn rvs() -> PathBuf {
    process::target_directory().join("debug/rvs")
}
