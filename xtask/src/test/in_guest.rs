//! Tests in the guest, on the oldest kernel that RVS supports: what only that kernel can show.

use std::process::Command;

use anyhow::{Result, bail};

use super::artifacts::TestProgram;
use crate::{guest, parity, process};

/// Tests for the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// Test programs: package and target.
    programs: &'static [(&'static str, &'static str)],
    /// Whether it plays the scenarios that represent their files.
    parity: bool,
}

/// Every run: every program passes this kernel's verifier, everything forwards in short, and parity holds by clsact too.
pub(crate) const USUAL: Selection = Selection {
    programs: &[("rvs-dataplane", "load_gate"), ("rvs", "short")],
    parity: true,
};

/// With `--full`: devices and hooks, programs that are attached otherwise on this kernel, and what needs its modules.
pub(crate) const FULL: Selection = Selection {
    programs: &[
        ("rvs", "e2e_devices"),
        ("rvs", "e2e_local"),
        ("rvs", "kernel_ends"),
        ("rvs", "real_ipvsadm"),
    ],
    parity: false,
};

/// The limit in seconds; the guest is emulated where the machine has no KVM.
const LIMIT_SECONDS: &str = "3600";

/// The command that runs a selection in one guest, programs as they were built; with a pattern, only tests of such
/// names, and none if there are no such.
pub(crate) fn command(
    selection: Selection,
    programs: &[TestProgram],
    only: Option<&str>,
) -> Result<Option<Command>> {
    let mut script = String::new();
    for &(package, target) in selection.programs {
        let Some(program) = programs
            .iter()
            .find(|program| program.is_integration(package, target))
        else {
            bail!("package {package} has no integration test {target} to run in the guest");
        };
        let listed = program.tests(only)?;
        if listed.ignored > 0 || !listed.run.is_empty() {
            script.push_str(&lines(program, only));
        }
    }
    if selection.parity && only.is_none() {
        let command = process::shown(&parity::guest_command());
        script.push_str(&format!("echo; {command} || status=1\n"));
    }
    if script.is_empty() {
        return Ok(None);
    }
    let mut runner = guest::runner();
    runner.current_dir(process::repository());
    runner.args(["--timeout", LIMIT_SECONDS]);
    runner.args(["--env", "RVS_IN_GUEST=1", "--env", "RUST_BACKTRACE=1"]);
    runner.args(["--", "bash", "-c"]);
    runner.arg(format!("status=0\n{script}exit $status\n"));
    Ok(Some(runner))
}

/// Runs a test program as cargo would.
fn lines(program: &TestProgram, only: Option<&str>) -> String {
    let mut command = Command::new(&program.executable);
    command
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .args(["--test-threads=1", "--include-ignored"])
        .args(only);
    let directory = process::quoted(program.directory.as_os_str());
    let title = program.name();
    let command = process::shown(&command);
    format!(
        "echo; echo '     Running {title} on Linux '$(uname -r)\n(cd {directory} && {command}) || status=1\n"
    )
}
