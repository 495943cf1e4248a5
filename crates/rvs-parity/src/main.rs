//! Parity with the kernel's IPVS: scenarios, each written once, played to the kernel's director and to RVS and compared.
//!
//! The kernel's side is recorded (`record`): RVS is played on any kernel and compared with the recording. Both can also
//! be played beside each other, in the guest, whose kernel has `ip_vs`. A difference fails the run unless the scenario
//! names the heading of the manual (`docs/src/parity.md`) that explains it; so does an explanation that nothing needs.
//!
//! It needs root, makes namespaces of its own and touches nothing else. `cargo xtask parity` runs it. It is no measure of
//! speed.

mod checksum;
mod compare;
mod describe;
mod director;
mod identity;
mod network;
mod packet;
mod place;
mod play;
mod record;
mod report;
mod scenario;
mod scenarios;
mod stage;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Scope;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use compare::{compare, shown};
use play::{Directors, Played, Players, Which, play_all};
use record::{MadeWith, Recording, Records};
use report::Outcome;
use scenario::{Plays, Scenario};

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    action: Action,
    /// The program `rvs`
    #[arg(long, global = true, value_name = "FILE", default_value = "rvs")]
    rvs: PathBuf,
    /// Only the scenarios that every run plays there
    #[arg(long = "where", global = true)]
    place: Option<Place>,
    /// Only scenarios whose names contain this, or one of these, with commas between
    #[arg(long, global = true, value_name = "PATTERN")]
    only: Option<String>,
    /// So many scenarios at a time
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 1)]
    jobs: usize,
    /// Also write the results here, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The place in which RVS is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    Host,
    Guest,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the scenarios, as JSON
    List,
    /// Play to one director and print what is seen
    Show { director: Which },
    /// Play to the kernel's IPVS and write what is seen into the directory of its series below this one
    Record {
        records: PathBuf,
        /// Write nothing: compare with what was recorded before
        #[arg(long)]
        check: bool,
    },
    /// Play to RVS and compare with what was recorded here
    Recorded {
        records: PathBuf,
        /// Keep directors from one scenario to the next
        #[arg(long)]
        reuse: bool,
    },
    /// Play to the kernel's IPVS and to RVS and compare; then compare the kernel with what was recorded here
    Beside { records: PathBuf },
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
    let chosen: Vec<&Scenario> = all.iter().filter(|one| args.chooses(one)).collect();
    if chosen.is_empty() {
        bail!("no scenario has such a name");
    }
    match &args.action {
        Action::List => {
            let list: Vec<_> = chosen.iter().map(|scenario| scenario.listed()).collect();
            println!("{}", serde_json::to_string_pretty(&list)?);
            Ok(true)
        }
        Action::Show { director } => show(args, *director, &chosen),
        Action::Record { records, check } => record(args, records, *check, &all, &chosen),
        Action::Recorded { records, reuse } => {
            let directors = if *reuse {
                Directors::Reused
            } else {
                Directors::Fresh
            };
            recorded(args, records, directors, &all, chosen)
        }
        Action::Beside { records } => beside(args, records, &all, &chosen),
    }
}

impl Args {
    fn chooses(&self, scenario: &Scenario) -> bool {
        let is_named = |only: &str| only.split(',').any(|only| scenario.name.contains(only));
        let is_played = match scenario.plays {
            Plays::OnHost => self.place != Some(Place::Guest),
            Plays::InGuestToo => true,
            Plays::InGuest => self.place != Some(Place::Host),
        };
        is_played && self.only.as_deref().is_none_or(is_named)
    }

    fn players(&self, which: Which, directors: Directors) -> Players<'_> {
        Players {
            which,
            rvs: &self.rvs,
            jobs: self.jobs,
            directors,
        }
    }

    /// Writes the results, sums them up in the words of Rust's own test runner, and says whether all are good.
    fn close(&self, all: &[Scenario], outcomes: &[Outcome], start: Instant) -> Result<bool> {
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(&outcomes)?;
            std::fs::write(file, text).with_context(|| file.display().to_string())?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
        println!(
            "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
            if failed == 0 { "ok" } else { "FAILED" },
            outcomes.len() - failed,
            all.len() - outcomes.len(),
            start.elapsed().as_secs_f64(),
        );
        Ok(failed == 0)
    }
}

/// Plays all beside what the caller does with what comes; an error of a player comes last.
fn played<T>(
    players: &Players<'_>,
    chosen: &[&Scenario],
    each: impl FnOnce(Receiver<(usize, Played)>) -> Result<T>,
) -> Result<T> {
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        let player = scope.spawn(move || play_all(players, chosen, &sender));
        let result = each(receiver);
        join(player)?;
        result
    })
}

fn join(player: std::thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    match player.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn recorded(
    args: &Args,
    directory: &Path,
    directors: Directors,
    all: &[Scenario],
    mut chosen: Vec<&Scenario>,
) -> Result<bool> {
    let start = Instant::now();
    let records = Records::read(directory)?;
    for made_with in records.made_with() {
        println!(
            "recorded: Linux {}, {}",
            made_with.kernel, made_with.ipvsadm
        );
    }
    if args.place == Some(Place::Guest) {
        note_other_versions(&records, &MadeWith::here()?);
    }
    match directors {
        // The longest first, so that the last players end at about the same time.
        Directors::Fresh => chosen.sort_by_key(|one| {
            let seconds = records.of(one).map_or(0, |recording| recording.seconds);
            std::cmp::Reverse(seconds)
        }),
        // Other marks, and another device, need another director.
        Directors::Reused => chosen.sort_by_key(|one| (one.marks, one.plays == Plays::InGuest)),
    }
    let players = args.players(Which::Rvs, directors);
    let outcomes = played(&players, &chosen, |receiver| {
        let mut outcomes = Vec::new();
        for (at, played) in receiver {
            let Some(scenario) = chosen.get(at) else {
                continue;
            };
            let outcome = Outcome::new(scenario, records.of(scenario), &played);
            println!("{}", outcome.row());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    })?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_good()) {
        print!("\n{}\n{}", outcome.row(), outcome.details());
    }
    args.close(all, &outcomes, start)
}

fn record(
    args: &Args,
    directory: &Path,
    check: bool,
    all: &[Scenario],
    chosen: &[&Scenario],
) -> Result<bool> {
    let made_with = MadeWith::here()?;
    let directory = directory.join(made_with.series());
    let mut records = Records::read(&directory)?;
    let players = args.players(Which::Kernel, Directors::Fresh);
    let (new, failed) = played(&players, chosen, |receiver| {
        let (mut new, mut failed) = (BTreeMap::new(), 0);
        for (at, played) in receiver {
            let Some(scenario) = chosen.get(at) else {
                continue;
            };
            let Some(recording) = played.recording() else {
                let last = played.notes.last().map(|note| shown(&note.value));
                println!(
                    "{:<22} FAILED: {}",
                    scenario.name,
                    last.unwrap_or_default().join("; ")
                );
                failed += 1;
                continue;
            };
            println!(
                "{:<22} {:>4} s  {} steps",
                scenario.name,
                recording.seconds,
                recording.notes.len()
            );
            new.insert(at, recording);
        }
        Ok((new, failed))
    })?;
    if check {
        let kernel = new.iter().map(|(at, recording)| (chosen[*at], recording));
        let stale = stale(&records, kernel);
        print!("{}", stale.join(""));
        println!(
            "{} of {} recordings are as before",
            new.len() - stale.len(),
            chosen.len()
        );
        return Ok(stale.is_empty() && failed == 0);
    }
    if failed > 0 {
        bail!("{failed} scenarios came to no end: nothing is written");
    }
    for (at, recording) in new {
        records.insert(chosen[at], &made_with, recording);
    }
    records.write(&directory, all)?;
    println!("written: {}", directory.display());
    Ok(true)
}

/// Differences between the kernel now and the recording, a text for each scenario that has some.
fn stale<'a>(
    records: &Records,
    kernel: impl Iterator<Item = (&'a Scenario, &'a Recording)>,
) -> Vec<String> {
    kernel
        .filter_map(|(scenario, now)| {
            let name = scenario.name;
            let Some(before) = records.of(scenario) else {
                return Some(format!("{name}: not recorded\n"));
            };
            let (differences, _) = compare(&before.notes, &now.notes, &[]);
            let mut text = String::new();
            if before.identity != now.identity {
                text += &format!("{name}: not the scenario that was recorded\n");
            }
            for difference in differences {
                text += &format!(
                    "{name}: the recording is stale at: {}\n  recorded: {}\n  now:      {}\n",
                    difference.step,
                    difference.kernel.join("\n            "),
                    difference.rvs.join("\n            ")
                );
            }
            (!text.is_empty()).then_some(text)
        })
        .collect()
}

/// Another patch level of the kernel should do the same. Whether it does, playing both sides shows.
fn note_other_versions(records: &Records, here: &MadeWith) {
    for other in records.made_with() {
        if other != here {
            println!(
                "note: recorded with Linux {}, {}; this is Linux {}, {}",
                other.kernel, other.ipvsadm, here.kernel, here.ipvsadm
            );
        }
    }
}

fn beside(args: &Args, directory: &Path, all: &[Scenario], chosen: &[&Scenario]) -> Result<bool> {
    let start = Instant::now();
    let made_with = MadeWith::here()?;
    let records = Records::read(&directory.join(made_with.series()))?;
    note_other_versions(&records, &made_with);
    let players = [Which::Kernel, Which::Rvs].map(|which| Players {
        jobs: 1,
        ..args.players(which, Directors::Reused)
    });
    let (mut outcomes, mut recordings) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| -> Result<()> {
        let [kernel, rvs] = &players;
        let (kernel, kernel_notes) = start_players(scope, kernel, chosen);
        let (rvs, rvs_notes) = start_players(scope, rvs, chosen);
        for scenario in chosen {
            // One that stopped early has an error of its own, which its thread tells.
            let (Ok((_, kernel)), Ok((_, rvs))) = (kernel_notes.recv(), rvs_notes.recv()) else {
                break;
            };
            let recording = Recording {
                identity: kernel.identity.clone(),
                seconds: kernel.took.as_secs(),
                notes: kernel.notes,
            };
            let outcome = Outcome::new(scenario, Some(&recording), &rvs);
            println!("{}", outcome.row());
            if !outcome.is_good() {
                print!("{}", outcome.details());
            }
            outcomes.push(outcome);
            recordings.push((*scenario, recording));
        }
        drop((kernel_notes, rvs_notes));
        join(kernel)?;
        join(rvs)
    })?;
    let kernel = recordings.iter().map(|(scenario, one)| (*scenario, one));
    let stale = stale(&records, kernel);
    print!("{}", stale.join(""));
    let is_good = args.close(all, &outcomes, start)?;
    Ok(is_good && stale.is_empty())
}

type Player<'scope> = std::thread::ScopedJoinHandle<'scope, Result<()>>;

/// Plays all, one after another, whatever becomes of the other director's.
fn start_players<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    players: &'env Players<'env>,
    chosen: &'env [&'env Scenario],
) -> (Player<'scope>, Receiver<(usize, Played)>) {
    let (sender, receiver) = channel();
    (
        scope.spawn(move || play_all(players, chosen, &sender)),
        receiver,
    )
}

fn show(args: &Args, which: Which, chosen: &[&Scenario]) -> Result<bool> {
    let players = args.players(which, Directors::Reused);
    played(&players, chosen, |receiver| {
        for (at, played) in receiver {
            let Some(scenario) = chosen.get(at) else {
                continue;
            };
            println!("== {}: {}", scenario.name, scenario.about);
            for note in played.notes {
                println!("-- {}", note.step);
                for line in shown(&note.value) {
                    println!("   {line}");
                }
            }
        }
        Ok(true)
    })
}
