//! The project's own commands: `cargo xtask setup`, `test`, `guest` and their like.
//!
//! Each command is a module with `Args` and `run`, and one line each in [`Command`] and [`main`]. What belongs
//! to RVS itself is not here: nothing that a director needs at run time may depend on this program.

mod bench;
mod compile;
mod demo;
#[expect(
    dead_code,
    reason = "shared with the build scripts, which build; here it finds, and lints"
)]
mod ebpf;
mod guest;
mod lint;
mod parity;
mod process;
mod progress;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Guest(args) => guest::run(&args),
        Command::Parity(args) => parity::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// Tasks of the RVS project.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch what building and testing RVS needs on Debian 12 into the cache; installs nothing.
    Setup(setup::Args),
    /// Show a director at work: real requests by every method, and a daemon that dies; needs root.
    Demo(demo::Args),
    /// Check form and lints: the workspace, the kernel side, the fuzz targets.
    Lint(lint::Args),
    /// Run every test: the workspace, the model checks, the guest; needs root.
    Test(test::Args),
    /// Measure a director, in one table; needs root and a quiet machine.
    Bench(bench::Args),
    /// Run a command as root in a throw-away guest with a stock Debian kernel (Linux 6.1).
    Guest(guest::Args),
    /// Compare with the kernel's own IPVS, scenario by scenario, in the guest.
    Parity(parity::Args),
}
