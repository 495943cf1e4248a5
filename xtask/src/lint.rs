//! `cargo xtask lint`: form and lints of all that is Rust here: the workspace, the kernel side and the fuzz targets,
//! which are outside of it because another compiler or another tool builds them.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow};

use crate::ebpf::{self, Compiler};
use crate::{process, setup};

/// Manifests outside the workspace.
const OUTSIDE: [&str; 2] = ["crates/rvs-ebpf/Cargo.toml", FUZZ];
const FUZZ: &str = "fuzz/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args) -> Result<ExitCode> {
    // Needs nothing, and takes no time.
    checked("form", process::cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in OUTSIDE {
        let mut cargo = process::cargo();
        checked(
            "form",
            cargo.args(["fmt", "--check", "--manifest-path", manifest]),
        )?;
    }
    setup::ensure()?;
    checked("lints of the workspace", &mut workspace())?;
    checked("lints of the kernel side", &mut kernel_side()?)?;
    checked("lints of the fuzz targets", &mut fuzz_targets())?;
    Ok(ExitCode::SUCCESS)
}

fn checked(what: &str, command: &mut Command) -> Result<()> {
    println!("== {what}");
    process::run(command)
}

fn workspace() -> Command {
    let mut cargo = process::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--"]);
    cargo.args(["-D", "warnings"]);
    cargo
}

/// With the compiler, flags and environment of the build. Clippy has to be that of the compiler.
fn kernel_side() -> Result<Command> {
    let compiler = Compiler::find().context("no compiler for bpfel-unknown-none")?;
    let cargo = |subcommand| {
        let target = process::target_directory().join("lint-ebpf");
        ebpf::cargo(
            &compiler,
            subcommand,
            &["-Dwarnings"],
            &process::repository(),
            &target,
        )
        .map_err(|error| anyhow!(error))
    };
    match &compiler {
        Compiler::Debian(_) => {
            let clippy = setup::debian_clippy().context("Debian's clippy does not start")?;
            let mut cargo = cargo("check")?;
            // As `cargo clippy` does, which would take the clippy that is beside it.
            cargo.env("RUSTC_WORKSPACE_WRAPPER", clippy);
            Ok(cargo)
        }
        Compiler::Nightly => cargo("clippy"),
    }
}

fn fuzz_targets() -> Command {
    let mut cargo = process::cargo();
    // libfuzzer-sys compiles libFuzzer, which takes a C++ compiler, unless it is told of a library. Nothing is linked
    // with it here, so it need not exist.
    let library = PathBuf::from("/nonexistent/libfuzzer.a");
    cargo.env("CUSTOM_LIBFUZZER_PATH", library);
    // As cargo-fuzz sets it: some code is there for fuzzing only.
    cargo.env("RUSTFLAGS", "--cfg fuzzing");
    cargo.args(["clippy", "--locked", "--manifest-path", FUZZ]);
    cargo.arg("--target-dir");
    cargo.arg(process::target_directory().join("lint-fuzz"));
    cargo.args(["--all-targets", "--", "-D", "warnings"]);
    cargo
}
