//! `cargo xtask guest`: the guest runner `guest/vm-run`, wherever one stands in the checkout.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{process, setup};

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Options, `--`, the command and its arguments; `--help` explains them.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS -- COMMAND"
    )]
    words: Vec<OsString>,
}

/// Exits as the command in the guest did.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure_programs()?;
    let status = runner()
        .args(&args.words)
        .status()
        .context("guest/vm-run")?;
    // Ended by a signal: no status of its own.
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(125);
    Ok(ExitCode::from(code))
}

/// The guest runner, still without options and command.
pub(crate) fn runner() -> Command {
    process::program(process::repository().join("guest/vm-run"))
}
