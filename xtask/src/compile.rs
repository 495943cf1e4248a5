//! Running cargo with its progress shown, and an estimate of the end.
//!
//! Cargo's messages tell what it has finished, its tree of dependencies what there is to do. A crate counts as
//! long as it is known to take; between two messages the pace is taken to go on.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;
use crate::progress::Progress;

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

const EACH: u64 = 1000;
/// Crates that take much longer than others: how many times as long. The names are those of the targets.
const HEAVY: &[(&str, u64)] = &[
    ("rvs_dataplane", 30),
    ("rvs", 12),
    ("rvs_control", 8),
    ("syn", 4),
    ("tokio", 4),
];

/// The crates that there are to build.
pub(crate) enum Work {
    /// These crates, by the names of their targets; some of them may be there already.
    Crates(BTreeSet<String>),
    /// So many.
    Count(u64),
}

/// Runs cargo to its end.
pub(crate) fn run(cargo: &mut Command, label: &str, work: Work) -> Result<()> {
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| process::shown(cargo))?;
    let output = child.stdout.take().context("no pipe from cargo")?;
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        process::each_line(output, |line| {
            // The other end listens until this one is gone.
            let _ = send.send(Finished::from_message(line));
        })
    });
    let mut progress = Progress::new(label);
    let mut pace = Pace::new(work);
    let start = Instant::now();
    loop {
        match receive.recv_timeout(REDRAW_INTERVAL) {
            Ok(Some(finished)) => pace.finished(&finished, start.elapsed()),
            Ok(None) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.at(pace.done(start.elapsed()), pace.total());
    }
    drop(progress);
    if let Ok(read) = reader.join() {
        read?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed ({status})", process::shown(cargo));
    }
    Ok(())
}

/// The crates that a package needs, itself included, as cargo tells.
pub(crate) fn crates_of(package: &str) -> BTreeSet<String> {
    let mut cargo = process::cargo();
    cargo.args(["tree", "--package", package, "--edges", "normal,build"]);
    cargo.args(["--prefix", "none", "--format", "{p}"]);
    // Without it the progress is a guess, and nothing else is lost.
    crates_of_tree(&process::answer(&mut cargo).unwrap_or_default())
}

fn crates_of_tree(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(target_name)
        .collect()
}

fn target_name(package: &str) -> String {
    package.replace('-', "_")
}

fn weight(name: &str) -> u64 {
    let heavy = HEAVY.iter().find(|(heavy, _)| *heavy == name);
    EACH * heavy.map_or(1, |(_, times)| *times)
}

/// A crate that is there.
#[derive(Debug, Eq, PartialEq)]
struct Finished {
    name: String,
    /// It was there before.
    is_fresh: bool,
}

impl Finished {
    fn from_message(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let target = &message["target"];
        let is_script = target["kind"]
            .as_array()?
            .iter()
            .any(|kind| kind == "custom-build");
        (!is_script).then(|| {
            Some(Self {
                name: target_name(target["name"].as_str()?),
                is_fresh: message["fresh"] == true,
            })
        })?
    }
}

/// How the work goes on, in weights of crates.
struct Pace {
    waiting: BTreeSet<String>,
    unnamed: u64,
    total: u64,
    done: u64,
    last: Duration,
}

impl Pace {
    fn new(work: Work) -> Self {
        let (waiting, unnamed) = match work {
            Work::Crates(crates) => (crates, 0),
            Work::Count(count) => (BTreeSet::new(), count),
        };
        Self {
            total: waiting.iter().map(|name| weight(name)).sum::<u64>() + unnamed * EACH,
            waiting,
            unnamed,
            done: 0,
            last: Duration::ZERO,
        }
    }

    fn finished(&mut self, finished: &Finished, now: Duration) {
        let weight = weight(&finished.name);
        let mut was_waited_for = self.waiting.remove(&finished.name);
        if !was_waited_for && self.unnamed > 0 {
            self.unnamed -= 1;
            was_waited_for = true;
        }
        match (was_waited_for, finished.is_fresh) {
            (true, true) => self.total -= weight,
            (true, false) => {
                self.done += weight;
                self.last = now;
            }
            // A crate in two versions, or for the host and the target.
            (false, true | false) => {}
        }
    }

    /// The part that is done, with what a crate that takes long has probably done.
    fn done(&self, now: Duration) -> u64 {
        let longest = self.waiting.iter().map(|name| weight(name)).max();
        let longest = longest.unwrap_or(self.unnamed.min(1) * EACH);
        let since = now.saturating_sub(self.last);
        let guess = if self.last.is_zero() {
            0.0
        } else {
            self.done as f64 * since.as_secs_f64() / self.last.as_secs_f64()
        };
        self.done + (guess as u64).min(longest)
    }

    fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn built(name: &str, is_fresh: bool) -> Finished {
        Finished {
            name: name.into(),
            is_fresh,
        }
    }

    #[test]
    fn a_tree_names_each_crate_once() {
        let tree = "rvs v0.1.0 (/work/rvs)\nclap v4.5.1\nserde_derive v1.0.1 (proc-macro)\nclap v4.5.1 (*)\n\nrvs-abi v0.1.0 (/work/abi)\n";
        assert_eq!(
            crates_of_tree(tree),
            crates(&["clap", "rvs", "rvs_abi", "serde_derive"])
        );
    }

    #[test]
    fn only_finished_crates_count() {
        let lib = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"rvs-abi"},"fresh":false}"#;
        assert_eq!(Finished::from_message(lib), Some(built("rvs_abi", false)));
        assert_eq!(
            Finished::from_message(&lib.replace("false", "true")),
            Some(built("rvs_abi", true))
        );
        for other in [
            &lib.replace("lib", "custom-build"),
            r#"{"reason":"build-finished","success":true}"#,
            "error: something",
            "",
        ] {
            assert_eq!(Finished::from_message(other), None, "{other}");
        }
    }

    #[test]
    fn a_crate_that_was_there_is_no_work() {
        let mut pace = Pace::new(Work::Crates(crates(&["a", "b", "c"])));
        pace.finished(&built("a", true), Duration::from_secs(1));
        pace.finished(&built("b", false), Duration::from_secs(2));
        pace.finished(&built("b", false), Duration::from_secs(3));
        assert_eq!((pace.done, pace.total()), (1000, 2000));
    }

    #[test]
    fn crates_without_names_are_counted() {
        let mut pace = Pace::new(Work::Count(2));
        pace.finished(&built("a", false), Duration::from_secs(1));
        assert_eq!((pace.done, pace.total()), (1000, 2000));
        assert_eq!(pace.done(Duration::from_secs(100)), 2000);
    }

    #[test]
    fn between_two_messages_the_pace_goes_on_for_a_while() {
        let mut pace = Pace::new(Work::Crates(crates(&["a", "b", "rvs_dataplane"])));
        assert_eq!(pace.done(Duration::from_secs(9)), 0);
        pace.finished(&built("a", false), Duration::from_secs(2));
        assert_eq!(pace.done(Duration::from_secs(2)), 1000);
        assert_eq!(pace.done(Duration::from_secs(4)), 2000);
        assert_eq!(pace.done(Duration::from_secs(1000)), 31_000);
    }
}
