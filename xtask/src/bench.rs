//! `cargo xtask bench`: builds `rvs-bench` in release and runs it; what it measures and how is in
//! `docs/bench.md`. It needs root, and a quiet machine.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{guest, process, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also write the rows to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only rows whose name contains this.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Beside the kernel's own IPVS, in the guest: rows whose name contains "beside ipvs".
    #[arg(long)]
    guest: bool,
    /// Runs of each row, of which the median is taken [default: 5].
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure()?;
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "rvs-bench",
    ]))?;
    if args.guest {
        return beside_ipvs(args);
    }
    let mut command = process::cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "rvs-bench",
        "--",
    ]);
    if let Some(file) = &args.json {
        // The program runs at the repository's root, wherever we were called.
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    if let Some(pattern) = &args.only {
        command.args(["--only", pattern]);
    }
    if let Some(runs) = args.runs {
        command.args(["--runs", &runs.to_string()]);
    }
    outcome(&mut command)
}

/// The guest has IPVS, which few machines at hand have. What is measured there is emulated: ratios count.
fn beside_ipvs(args: &Args) -> Result<ExitCode> {
    let mut command = guest::runner();
    command.args(["--timeout", "3600", "--"]);
    command.arg(process::target_directory().join("release/rvs-bench"));
    command.args(["--only", args.only.as_deref().unwrap_or("beside ipvs")]);
    if let Some(runs) = args.runs {
        command.args(["--runs", &runs.to_string()]);
    }
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> Result<ExitCode> {
    Ok(if command.status()?.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
