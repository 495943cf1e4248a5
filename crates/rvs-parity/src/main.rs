//! Parity with the kernel's IPVS: scenarios, each written once, played to the kernel's director and to RVS and compared.
//!
//! `cargo xtask parity` runs this program in the guest, whose kernel has `ip_vs` and which has the real `ipvsadm`. It
//! needs root, makes namespaces of its own and touches nothing else. A difference fails the run unless the scenario
//! names the heading of the manual (`docs/src/parity.md`) that explains it; so does an explanation that nothing needs.
//!
//! It is no measure of speed.

mod checksum;
mod compare;
mod describe;
mod director;
mod network;
mod packet;
mod place;
mod report;
mod scenario;
mod scenarios;
mod stage;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};

use compare::{compare, shown};
use director::{Director, Kernel, Rvs};
use report::Outcome;
use scenario::{Length, Note, Scenario, Value};
use stage::Stage;

#[derive(Debug, Parser)]
struct Args {
    /// The program `rvs`
    #[arg(long, value_name = "FILE")]
    rvs: PathBuf,
    /// A selection that takes less than three minutes
    #[arg(long)]
    short: bool,
    /// Only scenarios whose names contain this, or one of these, with commas between
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Play to one director alone and print what is seen
    #[arg(long, value_name = "DIRECTOR")]
    show: Option<Which>,
    /// Print also the differences of scenarios that need what RVS has not got yet
    #[arg(long)]
    differences: bool,
    /// List the scenarios, as JSON, and play none
    #[arg(long)]
    list: bool,
    /// Also write the results here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Kernel,
    Rvs,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rvs-parity: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let all = scenarios::all();
    let chosen: Vec<&Scenario> = all
        .iter()
        .filter(|scenario| !args.short || scenario.length == Length::Short)
        .filter(|scenario| {
            args.only
                .as_deref()
                .is_none_or(|only| only.split(',').any(|only| scenario.name.contains(only)))
        })
        .collect();
    if args.list {
        let list: Vec<_> = chosen.iter().map(|scenario| scenario.listed()).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(true);
    }
    if chosen.is_empty() {
        bail!("no scenario has such a name");
    }
    if let Some(which) = args.show {
        return show(args, which, &chosen);
    }
    let start = Instant::now();
    let (kernel_notes, rvs_notes) = (channel(), channel());
    let outcomes = std::thread::scope(|scope| {
        let players = [(Which::Kernel, kernel_notes.0), (Which::Rvs, rvs_notes.0)];
        let players = players.map(|(which, sender)| {
            let chosen = &chosen;
            scope.spawn(move || play_all(args, which, chosen, &sender))
        });
        let outcomes = compare_all(args, &chosen, &kernel_notes.1, &rvs_notes.1);
        for player in players {
            match player.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcomes
    })?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&outcomes)?;
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    // In the words of Rust's own test runner, which `cargo xtask test` adds up.
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        if failed == 0 { "ok" } else { "FAILED" },
        outcomes.len() - failed,
        all.len() - chosen.len(),
        start.elapsed().as_secs_f64(),
    );
    Ok(failed == 0)
}

/// Plays each scenario, as fast as it goes; nobody waits for the other.
fn play_all(
    args: &Args,
    which: Which,
    chosen: &[&Scenario],
    sender: &Sender<Vec<Note>>,
) -> Result<()> {
    let mut director = director(args, which)?;
    for scenario in chosen {
        if sender
            .send(play(scenario, which, director.as_mut()))
            .is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Prints a line as soon as both have played a scenario.
fn compare_all(
    args: &Args,
    chosen: &[&Scenario],
    kernel: &Receiver<Vec<Note>>,
    rvs: &Receiver<Vec<Note>>,
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for scenario in chosen {
        // One that stopped early has an error of its own, which its thread tells.
        let (Ok(kernel), Ok(rvs)) = (kernel.recv(), rvs.recv()) else {
            break;
        };
        let (differences, unused) = compare(&kernel, &rvs, scenario.explained);
        let outcome = Outcome::new(scenario, &kernel, differences, &unused);
        println!("{}", outcome.row());
        if !outcome.is_good() || args.differences {
            print!("{}", outcome.details());
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn show(args: &Args, which: Which, chosen: &[&Scenario]) -> Result<bool> {
    let mut director = director(args, which)?;
    for scenario in chosen {
        println!("== {}: {}", scenario.name, scenario.about);
        for note in play(scenario, which, director.as_mut()) {
            println!("-- {}", note.step);
            for line in shown(&note.value) {
                println!("   {line}");
            }
        }
    }
    Ok(true)
}

/// Makes a director for the calling thread, which keeps to one processor: so packets keep their order.
fn director(args: &Args, which: Which) -> Result<Box<dyn Director>> {
    let processors = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(match which {
        Which::Kernel => 0,
        Which::Rvs => 1 % processors,
    });
    sched_setaffinity(None, &set)?;
    Ok(match which {
        Which::Kernel => Box::new(Kernel::new()?),
        Which::Rvs => Box::new(Rvs::new(args.rvs.clone(), std::env::temp_dir())),
    })
}

/// A script that fails ends its notes by saying so and where, which always differs: two that fail alike have compared nothing.
fn play(scenario: &Scenario, which: Which, director: &mut dyn Director) -> Vec<Note> {
    let started = director.start(scenario.knobs, scenario.marks);
    let mut stage = Stage::new(director);
    let played = started.and_then(|()| (scenario.script)(&mut stage));
    let mut notes = stage.into_notes();
    if let Err(error) = played {
        notes.push(Note {
            step: "the script's end".to_owned(),
            value: Value::Lines(vec![format!("{which:?}: {error:#}")]),
        });
    }
    notes
}
