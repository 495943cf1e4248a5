//! Building test programs, and where they are.

use anyhow::{Result, bail};

use super::artifacts::TestProgram;
use super::plan::Plan;
use crate::process::{self, Show};

/// Builds the test programs of a plan, and with them the programs that these run.
pub(crate) fn test_programs(plan: &Plan) -> Result<Vec<TestProgram>> {
    let selection = plan.selection();
    if selection.is_empty() {
        return Ok(Vec::new());
    }
    let mut cargo = process::cargo();
    cargo.args([
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.args(selection);
    let mut programs = Vec::new();
    let status = process::read_lines(&mut cargo, Show::Not, |line| {
        programs.extend(TestProgram::from_message(line));
    })?;
    if !status.success() {
        bail!("{} failed ({status})", process::shown(&cargo));
    }
    programs
        .sort_by(|one, other| (&one.package, &one.target).cmp(&(&other.package, &other.target)));
    Ok(programs)
}
