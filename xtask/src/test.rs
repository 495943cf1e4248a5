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

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{self, Show};
use crate::{parity, setup};
use artifacts::{Kind, TestProgram};
use cases::Company;
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
            all_phases(&plan, &programs, &mut report, &mut history);
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

/// Runs what may be beside other things in a thread of its own, until the tests that want to be alone.
fn all_phases(plan: &Plan, programs: &[TestProgram], report: &mut Report, history: &mut History) {
    let (background, others): (Vec<_>, Vec<_>) = plan
        .phases
        .iter()
        .copied()
        .partition(|phase| phase.is_in_background());
    let (alone, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|phase| *phase == Phase::Alone);
    // A guest that is all there is to see may be seen.
    let show = if others.is_empty() {
        Show::Live
    } else {
        Show::Not
    };
    std::thread::scope(|scope| {
        let guests = scope.spawn(move || {
            let ran = background.into_iter().map(|phase| {
                let start = Instant::now();
                let outcome = guest_phase(phase, plan, programs, show);
                (phase, outcome, start.elapsed())
            });
            ran.collect::<Vec<_>>()
        });
        for phase in others {
            host_phase(phase, plan, programs, report, history);
        }
        match guests.join() {
            Ok(ran) => {
                for (phase, outcome, took) in ran {
                    report.add(phase.name(), plan.empty_of(phase), outcome, took);
                }
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    for phase in alone {
        host_phase(phase, plan, programs, report, history);
    }
}

fn host_phase(
    phase: Phase,
    plan: &Plan,
    programs: &[TestProgram],
    report: &mut Report,
    history: &mut History,
) {
    let only = plan.only.as_deref();
    report.phase(phase.name(), plan.empty_of(phase), |times| match phase {
        Phase::Unit => unit_tests(plan, programs, times),
        Phase::Examples => examples(plan),
        Phase::Models => model_checks(only),
        Phase::Host => cases::run(programs, plan, Company::Others, history, times),
        Phase::Alone => cases::run(programs, plan, Company::Nothing, history, times),
        Phase::Parity => scenarios(only, times),
        Phase::Guest | Phase::GuestFull | Phase::ParityFull => {
            guest_phase(phase, plan, programs, Show::Live)
        }
    });
}

/// A phase in the guest. What is not shown as it comes is kept in a file, and shown when it has failed.
fn guest_phase(phase: Phase, plan: &Plan, programs: &[TestProgram], show: Show) -> Result<Summary> {
    let selection = match phase {
        Phase::ParityFull => None,
        Phase::GuestFull => Some(in_guest::FULL),
        Phase::Guest
        | Phase::Unit
        | Phase::Examples
        | Phase::Models
        | Phase::Host
        | Phase::Alone
        | Phase::Parity => Some(in_guest::USUAL),
    };
    let command = match selection {
        None => Some(parity::beside()?),
        Some(selection) => in_guest::command(selection, programs, plan.only.as_deref())?,
    };
    let Some(mut command) = command else {
        println!("no test for the guest has such a name");
        return Ok(Summary::default());
    };
    let mut output = String::new();
    let summary = summarised(&mut command, Fault::Counts, show, &mut output)?;
    if let Show::Not = show {
        let file = process::target_directory().join(format!("tests/{}.txt", phase.name()));
        fs::write(&file, &output).with_context(|| file.display().to_string())?;
        if summary.failed > 0 {
            println!("\n--- {} failed:\n{output}", phase.name());
        }
    }
    Ok(summary)
}

/// Every scenario to RVS on this machine, compared with the recordings.
fn scenarios(only: Option<&str>, times: &mut Times) -> Result<Summary> {
    let mut command = parity::recorded(None)?;
    // A pattern that fits no scenario is no failure.
    let fault = match only {
        Some(only) => {
            command.args(["--only", only]);
            Fault::NoSuchName
        }
        None => Fault::Counts,
    };
    let summary = summarised(&mut command, fault, Show::Live, &mut String::new())?;
    scenario_times(times)?;
    Ok(summary)
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
    summarised(&mut cargo, Fault::Counts, Show::Live, &mut String::new())
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
    summarised(&mut cargo, Fault::Counts, Show::Live, &mut String::new())
}

/// The times of parity's scenarios, from the results that it wrote.
fn scenario_times(times: &mut Times) -> Result<()> {
    let file = parity::results()?;
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
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

/// The meaning of a command's failure that tells of no failed test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A failure like another.
    Counts,
    /// No test has such a name.
    NoSuchName,
}

/// Adds up the summaries that a command prints, and adds what it prints to `output`.
fn summarised(
    command: &mut Command,
    fault: Fault,
    show: Show,
    output: &mut String,
) -> Result<Summary> {
    println!("$ {}", process::shown(command));
    let mut total = Summary::default();
    let status = process::read_lines(command, show, |line| {
        output.push_str(line);
        output.push('\n');
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
