//! `cargo xtask parity`: the kernel's IPVS and RVS, scenario by scenario, in one guest. What is compared, and what may
//! differ, is in `docs/src/parity.md`; how, in `rvs-parity`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{guest, process, setup};

/// How long the guest may take; it is emulated where the machine has no KVM.
const GUEST_SECONDS: &str = "3600";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A selection that takes less than three minutes.
    #[arg(long)]
    short: bool,
    /// Only scenarios whose names contain this, or one of these, with commas between.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Print also the differences that the manual explains.
    #[arg(long)]
    differences: bool,
    /// Play to one director alone (kernel or rvs) and print what is seen.
    #[arg(long, value_name = "DIRECTOR")]
    show: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure()?;
    process::run(process::cargo().args(["build", "--package", "rvs", "--package", "rvs-parity"]))?;
    let mut words = Vec::new();
    if args.short {
        words.push("--short");
    }
    if args.differences {
        words.push("--differences");
    }
    for (option, value) in [("--only", &args.only), ("--show", &args.show)] {
        if let Some(value) = value {
            words.extend([option, value]);
        }
    }
    let status = command(&words)?.status().context("guest/vm-run")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The command that plays scenarios in the guest, with programs that are built already. The results are also written
/// to `target/parity/results.json`.
pub(crate) fn command(words: &[&str]) -> Result<Command> {
    let programs = process::target_directory().join("debug");
    let results = process::target_directory().join("parity");
    fs::create_dir_all(&results).with_context(|| results.display().to_string())?;
    let mut command = guest::runner();
    command
        .current_dir(process::repository())
        .args(["--timeout", GUEST_SECONDS, "--env", "RUST_BACKTRACE=1"])
        .arg("--writable")
        .arg(&results)
        .arg("--")
        .arg(programs.join("rvs-parity"))
        .arg("--rvs")
        .arg(programs.join("rvs"))
        .arg("--json")
        .arg(PathBuf::from(&results).join("results.json"))
        .args(words);
    Ok(command)
}
