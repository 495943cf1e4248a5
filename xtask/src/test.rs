//! `cargo xtask test`: every test there is, one phase after another, and one closing line.
//!
//! A phase that cannot run has failed, and so has one that ran nothing (unless the selection left it nothing). The phases go
//! on after a failure; only what was not built is not run.

mod artifacts;
mod build;
mod cases;
mod groups;
mod history;
mod in_guest;
mod leftovers;
mod packages;
mod phases;
mod plan;
mod report;
mod summary;

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{self, Show};
use crate::{parity, setup};
use artifacts::{Kind, TestProgram};
use history::History;
use packages::Packages;
use phases::{Needs, Phase};
use plan::Plan;
use report::Report;
use summary::Summary;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names contain this.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Run only the tests of this package; may be repeated.
    #[arg(long, value_name = "PACKAGE")]
    package: Vec<String>,
    /// Run only this phase; may be repeated.
    #[arg(long, value_name = "PHASE")]
    phase: Vec<Phase>,
    /// Run only what the working tree's changes against HEAD can touch.
    #[arg(long, conflicts_with = "package")]
    changed: bool,
    /// Run all phases.
    #[arg(long, conflicts_with = "phase")]
    full: bool,
    /// Leave out the guest.
    #[arg(long)]
    no_guest: bool,
    /// Run so many integration tests at a time: by default twice as many as there are processors.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// Show the phases, what each needs and what it took last time, and run nothing.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut history = History::read();
    if args.list {
        print!("{}", plan::listing(&history));
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::new(args, &Packages::read()?)?;
    if plan.phases.is_empty() {
        println!("the changes touch no test\n0 passed, 0 failed");
        return Ok(ExitCode::SUCCESS);
    }
    let needs_root = |phase: &Phase| phase.needs() != Needs::Nothing;
    if plan.phases.iter().any(needs_root) {
        if !process::is_root() {
            bail!(
                "the tests make network namespaces and load eBPF programs: run this as root, or `--phase unit` without"
            );
        }
        let removed = leftovers::sweep()?;
        if !removed.is_empty() {
            println!("removed what a killed run left: {}", removed.join(", "));
        }
    }
    if plan.needs_setup {
        setup::ensure()?;
    }
    let mut report = Report::default();
    let start = Instant::now();
    match build::test_programs(&plan) {
        Ok(programs) => {
            report.time("build", start.elapsed());
            let mut run = Run {
                plan: &plan,
                programs: &programs,
                report: &mut report,
                history: &mut history,
            };
            for phase in &plan.phases {
                run.phase(*phase);
            }
        }
        Err(failure) => report.phase("build", plan.empty, |_| Err(failure)),
    }
    for (phase, took) in report.phases() {
        history.set_phase(phase, took.as_secs_f64());
    }
    history.write();
    print!("{}", report.text());
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A run of the tests, as far as it is.
struct Run<'a> {
    plan: &'a Plan,
    programs: &'a [TestProgram],
    report: &'a mut Report,
    history: &'a mut History,
}

impl Run<'_> {
    fn phase(&mut self, phase: Phase) {
        let (plan, programs) = (self.plan, self.programs);
        let only = plan.only.as_deref();
        let history = &mut *self.history;
        self.report
            .phase(phase.name(), plan.empty_of(phase), |times| match phase {
                Phase::Unit => unit_tests(plan, programs, times),
                Phase::Examples => examples(plan),
                Phase::Models => model_checks(only),
                Phase::Host => {
                    let programs: Vec<_> = programs.iter().filter(|one| one.is_host()).collect();
                    groups::check(&programs, plan)?;
                    cases::run(&programs, only, plan.jobs, history, times)
                }
                Phase::Parity => {
                    let mut command = parity::recorded(None)?;
                    if let Some(only) = only {
                        command.args(["--only", only]);
                    }
                    let summary = summarised(&mut command, Fault::of(only))?;
                    scenario_times(times)?;
                    Ok(summary)
                }
                Phase::Guest => in_guest::run(in_guest::USUAL, programs, only),
                Phase::GuestFull => in_guest::run(in_guest::FULL, programs, only),
                Phase::ParityFull => summarised(&mut parity::beside()?, Fault::Counts),
            });
    }
}

/// Names and seconds of what ran, for the slowest.
type Times = Vec<(String, f64)>;

/// Whole programs, one after another: their tests are short and run side by side within.
fn unit_tests(plan: &Plan, programs: &[TestProgram], times: &mut Times) -> Result<Summary> {
    let mut total = Summary::default();
    for program in programs.iter().filter(|one| !one.is_host()) {
        let start = Instant::now();
        let mut command = program.command();
        command.args(plan.only.as_deref());
        let (output, summary) = quietly(&mut command)?;
        let (name, took) = (program.name(), start.elapsed().as_secs_f64());
        if summary.failed > 0 {
            print!("{output}");
            println!("--- {name} failed");
            println!(
                "--- alone: cargo xtask test --phase unit --package {} --only NAME",
                program.package
            );
        } else if summary.ran() > 0 {
            println!("ok     {took:6.1} s {name}: {}", summary.closing_line());
        }
        times.push((name, took));
        total += summary;
    }
    Ok(total)
}

fn examples(plan: &Plan) -> Result<Summary> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--doc", "--no-fail-fast"]);
    cargo.args(plan.selection_of_libraries());
    cargo.arg("--").args(plan.only.as_deref());
    summarised(&mut cargo, Fault::Counts)
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
    summarised(&mut cargo, Fault::Counts)
}

/// The times of parity's scenarios, from the results that it wrote.
fn scenario_times(times: &mut Times) -> Result<()> {
    let file = parity::results()?;
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let results: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    for scenario in results.as_array().into_iter().flatten() {
        if let (Some(name), Some(milliseconds)) = (
            scenario["scenario"].as_str(),
            scenario["milliseconds"].as_f64(),
        ) {
            times.push((format!("parity {name}"), milliseconds / 1000.0));
        }
    }
    Ok(())
}

/// What a command's failure means that tells of no failed test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A failure like another.
    Counts,
    /// No test has such a name.
    NoSuchName,
}

impl Fault {
    fn of(only: Option<&str>) -> Self {
        match only {
            Some(_) => Self::NoSuchName,
            None => Self::Counts,
        }
    }
}

/// Adds up the summaries that a command prints.
fn summarised(command: &mut Command, fault: Fault) -> Result<Summary> {
    println!("$ {}", process::shown(command));
    let mut total = Summary::default();
    let status = process::read_lines(command, Show::Live, |line| {
        if let Some(summary) = Summary::from_line(line) {
            total += summary;
        }
    })?;
    if !status.success() && total.failed == 0 && fault == Fault::Counts {
        println!("failed ({status}) without telling which test");
        total += Summary::FAILURE;
    }
    Ok(total)
}

/// The same, with all that the command prints for the caller to show.
fn quietly(command: &mut Command) -> Result<(String, Summary)> {
    let output = command.output().with_context(|| process::shown(command))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    let mut total = Summary::default();
    for summary in text.lines().filter_map(Summary::from_line) {
        total += summary;
    }
    if !output.status.success() && total.failed == 0 {
        text += &format!("failed ({}) without telling which test\n", output.status);
        total += Summary::FAILURE;
    }
    Ok((text, total))
}

impl TestProgram {
    /// Whether its tests are run one by one, as root: integration tests that make networks.
    fn is_host(&self) -> bool {
        self.kind == Kind::Integration && plan::HOST_PACKAGES.contains(&self.package.as_str())
    }

    fn name(&self) -> String {
        format!("{} {}", self.package, self.target)
    }
}
