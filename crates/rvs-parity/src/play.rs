//! Playing scenarios: one after another or several at a time, each to a director in namespaces of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::director::{Director, Kernel, Rvs};
use crate::identity::Identity;
use crate::record::Recording;
use crate::scenario::{Note, Scenario, Value};
use crate::stage::Stage;

/// A kind of director.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// The running kernel's IPVS.
    Kernel,
    /// RVS.
    Rvs,
}

/// The result of playing a scenario.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) notes: Vec<Note>,
    pub(crate) identity: String,
    pub(crate) took: Duration,
    /// The last lines of the director's log.
    pub(crate) log: String,
}

impl Played {
    /// As it is kept, if the script came to its end.
    pub(crate) fn recording(&self) -> Option<Recording> {
        let is_whole = self.notes.iter().all(|note| note.step != FAILURE);
        is_whole.then(|| Recording {
            identity: self.identity.clone(),
            seconds: self.took.as_secs(),
            notes: self.notes.clone(),
        })
    }
}

/// How scenarios are played.
#[derive(Debug)]
pub(crate) struct Players<'a> {
    pub(crate) which: Which,
    /// The program `rvs`.
    pub(crate) rvs: &'a Path,
    /// So many at a time.
    pub(crate) jobs: usize,
    /// Whether a director that is cleared serves for the next scenario too: its start takes seconds in an emulated guest.
    pub(crate) directors: Directors,
}

/// How long a director of RVS lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directors {
    /// For one scenario.
    Fresh,
    /// For as many as want the same marks.
    Reused,
}

/// A script that fails ends its notes by saying so. It names the director, so that two that fail alike differ.
const FAILURE: &str = "the script's end";

/// Plays all, in the order given as far as there are players, and sends what each gave with its place in the list.
pub(crate) fn play_all(
    players: &Players<'_>,
    chosen: &[&Scenario],
    sender: &Sender<(usize, Played)>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..players.jobs.max(1))
            .map(|number| {
                let next = &next;
                scope.spawn(move || work(players, number, chosen, next, sender))
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

/// One player: takes the next scenario until none is left.
fn work(
    players: &Players<'_>,
    number: usize,
    chosen: &[&Scenario],
    next: &AtomicUsize,
    sender: &Sender<(usize, Played)>,
) -> Result<()> {
    keep_to_one_processor(players, number)?;
    let mut director = players.director()?;
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(scenario) = chosen.get(at) else {
            return Ok(());
        };
        let played = play(scenario, players.which, director.as_mut());
        if players.directors == Directors::Fresh {
            drop(director);
            director = players.director()?;
        }
        if sender.send((at, played)).is_err() {
            return Ok(());
        }
    }
}

impl Players<'_> {
    fn director(&self) -> Result<Box<dyn Director>> {
        Ok(match self.which {
            Which::Kernel => Box::new(Kernel::new()?),
            Which::Rvs => Box::new(Rvs::new(PathBuf::from(self.rvs))?),
        })
    }
}

/// Packets of one processor keep their order; a thread's programs inherit its choice.
fn keep_to_one_processor(players: &Players<'_>, number: usize) -> Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    // Beside each other, the two kinds of directors are on different processors.
    let number = match players.which {
        Which::Kernel => number,
        Which::Rvs => number + 1,
    };
    let mut set = CpuSet::new();
    set.set(number % processors);
    Ok(sched_setaffinity(None, &set)?)
}

/// Plays one scenario to a director that this starts for it.
pub(crate) fn play(scenario: &Scenario, which: Which, director: &mut dyn Director) -> Played {
    let begin = Instant::now();
    let mut identity = Identity::default();
    identity.settings(scenario.knobs, scenario.marks);
    let started = director.start(scenario.knobs, scenario.marks);
    let mut stage = Stage::new(director, identity);
    let ended = started.and_then(|()| (scenario.script)(&mut stage));
    let (mut notes, identity) = stage.finish();
    if let Err(error) = ended {
        notes.push(Note {
            step: FAILURE.to_owned(),
            value: Value::Lines(vec![format!("{which:?}: {error:#}")]),
        });
    }
    Played {
        notes,
        identity: identity.text(),
        took: begin.elapsed(),
        log: director.log(),
    }
}
