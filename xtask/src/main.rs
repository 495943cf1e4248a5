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
    /// Compare with the kernel's own IPVS, scenario by scenario, by recordings of it.
    Parity(parity::Args),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents, and the demo's advice.
    fn texts() -> Vec<(String, String)> {
        let mut git = std::process::Command::new("git");
        git.current_dir(process::repository());
        git.args(["ls-files", "*.md", "xtask/src/demo.rs"]);
        let names = process::answer(&mut git).expect("the names of files");
        names
            .lines()
            .map(|name| {
                let text = std::fs::read_to_string(process::repository().join(name));
                (name.to_owned(), text.expect(name))
            })
            .collect()
    }

    /// Splits as a shell does, double quotes alone.
    fn in_words(line: &str) -> Vec<&str> {
        let parts = line.split('"').enumerate();
        parts
            .flat_map(|(number, part)| match number % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            })
            .collect()
    }

    #[test]
    fn commands_that_are_advised_exist() {
        let mut found = 0;
        for (name, text) in texts() {
            for after in text.split("cargo xtask ").skip(1) {
                // Until the end of the code or line, a comment, or what may be left out.
                let words = after.split(['`', '\n', '#', '[', ')', '\\']).next();
                let words = in_words(words.unwrap_or_default());
                let line = std::iter::once("cargo xtask").chain(words.iter().copied());
                if let Err(error) = Cli::try_parse_from(line) {
                    panic!("{name}: `cargo xtask {}`: {error}", words.join(" "));
                }
                found += 1;
            }
        }
        assert!(found > 30, "{found}");
    }
}
