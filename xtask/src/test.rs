//! `cargo xtask test`: every test there is, one phase after another, and one closing line.
//!
//! A phase that cannot run has failed, and so has one that ran nothing (unless `--only` left it nothing).
//! The phases go on after a failure; only what was not built is not run.

mod artifacts;
mod report;
mod summary;

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process::{self, Show};
use crate::{guest, parity, setup};
use artifacts::{Kind, TestProgram};
use report::{Empty, Report};
use summary::Summary;

/// Test programs (package, target) that are also run in the guest, on the oldest kernel that RVS supports.
const IN_GUEST: &[(&str, &str)] = &[
    ("rvs-dataplane", "load_gate"),
    ("rvs", "short"),
    ("rvs", "e2e_devices"),
    ("rvs", "e2e_local"),
    ("rvs", "kernel_ends"),
    ("rvs", "real_ipvsadm"),
];

/// How long the guest may take; it is emulated where the machine has no KVM.
const GUEST_SECONDS: &str = "3600";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain this.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Leave out the guest.
    #[arg(long)]
    no_guest: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !process::is_root() {
        bail!("the tests make network namespaces and load eBPF programs: run this as root");
    }
    setup::ensure()?;
    let mut report = Report::default();
    match build() {
        Ok(programs) => all_phases(args, &programs, &mut report),
        Err(failure) => report.phase("build", Empty::Fails, || Err(failure)),
    }
    print!("{}", report.text());
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn all_phases(args: &Args, programs: &[TestProgram], report: &mut Report) {
    let only = args.only.as_deref();
    let empty = if only.is_some() {
        Empty::Allowed
    } else {
        Empty::Fails
    };
    report.phase("unit tests", empty, || {
        cargo_test(&["--lib", "--bins"], &[], only)
    });
    report.phase("integration tests", empty, || {
        integration_tests(programs, only)
    });
    report.phase("examples in the documentation", Empty::Allowed, || {
        cargo_test(&["--doc"], &[], only)
    });
    report.phase("model checks", empty, || model_checks(only));
    if args.no_guest {
        report.note("guest: left out, as --no-guest asks");
    } else {
        report.phase("guest", empty, || guest_step(programs, only));
        if only.is_none() {
            // Its programs were built with the tests.
            report.phase("parity with the kernel's IPVS", Empty::Fails, || {
                summarised(&mut parity::command(&["--short"])?)
            });
        }
    }
}

/// Builds all test programs and tells where they are.
fn build() -> Result<Vec<TestProgram>> {
    let mut cargo = process::cargo();
    cargo.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let mut programs = Vec::new();
    let status = process::read_lines(&mut cargo, Show::Not, |line| {
        programs.extend(TestProgram::from_message(line));
    })?;
    if !status.success() {
        bail!("{} failed ({status})", process::shown(&cargo));
    }
    Ok(programs)
}

fn integration_tests(programs: &[TestProgram], only: Option<&str>) -> Result<Summary> {
    if !programs
        .iter()
        .any(|program| program.kind == Kind::Integration)
    {
        bail!("no package has a tests/ directory");
    }
    // One test at a time: they share few cores, and some measure time or fill tables.
    cargo_test(&["--test", "*"], &["--test-threads=1"], only)
}

fn cargo_test(selection: &[&str], runner: &[&str], only: Option<&str>) -> Result<Summary> {
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(selection)
        .arg("--")
        .args(runner)
        .args(only);
    summarised(&mut cargo)
}

/// loom's models of the connection table: every interleaving, so optimised code and a build of its own.
fn model_checks(only: Option<&str>) -> Result<Summary> {
    let mut cargo = process::cargo();
    cargo.env("RUSTFLAGS", "--cfg loom").args([
        "test",
        "--package",
        "rvs-table",
        "--release",
        "--lib",
        "--target-dir",
    ]);
    cargo
        .arg(process::target_directory().join("loom"))
        .arg("--")
        .args(only);
    summarised(&mut cargo)
}

/// The test programs of [`IN_GUEST`], as built, in one guest.
fn guest_step(programs: &[TestProgram], only: Option<&str>) -> Result<Summary> {
    let mut script = String::new();
    for &(package, target) in IN_GUEST {
        let Some(program) = programs
            .iter()
            .find(|program| program.is_integration(package, target))
        else {
            bail!("package {package} has no integration test {target} to run in the guest");
        };
        if only.is_none_or(|pattern| program.has_test_named(pattern)) {
            script.push_str(&guest_lines(program, only));
        }
    }
    if script.is_empty() {
        println!("no test for the guest has such a name");
        return Ok(Summary::default());
    }
    let mut runner = guest::runner();
    runner.current_dir(process::repository());
    runner.args([
        "--timeout",
        GUEST_SECONDS,
        "--env",
        "RVS_IN_GUEST=1",
        "--env",
        "RUST_BACKTRACE=1",
    ]);
    runner.args([
        "--",
        "bash",
        "-c",
        &format!("status=0\n{script}exit $status\n"),
    ]);
    summarised(&mut runner)
}

/// Runs a test program as cargo would.
fn guest_lines(program: &TestProgram, only: Option<&str>) -> String {
    let mut command = Command::new(&program.executable);
    command
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .args(["--test-threads=1", "--include-ignored"])
        .args(only);
    let directory = process::quoted(program.directory.as_os_str());
    let title = format!("{} of {}", program.target, program.package);
    let command = process::shown(&command);
    format!(
        "echo; echo '     Running {title} on Linux '$(uname -r)\n(cd {directory} && {command}) || status=1\n"
    )
}

/// Adds up the summaries that a command prints. One that fails without telling of a failed test is a failure itself.
fn summarised(command: &mut Command) -> Result<Summary> {
    println!("$ {}", process::shown(command));
    let mut total = Summary::default();
    let status = process::read_lines(command, Show::Live, |line| {
        if let Some(summary) = Summary::from_line(line) {
            total += summary;
        }
    })?;
    if !status.success() && total.failed == 0 {
        println!("failed ({status}) without telling which test");
        total += Summary::FAILURE;
    }
    Ok(total)
}
