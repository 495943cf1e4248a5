//! Integration tests, each a process of its own, several at a time, and what each leaves when it fails.
//!
//! A test has a log and a directory of evidence (`RVS_LAB_EVIDENCE`: its namespaces' traffic and logs), which is kept only
//! when it fails. One that runs past its limit is ended and has failed; so has one that passed but left something behind.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::artifacts::TestProgram;
use super::groups::{self, Share};
use super::history::History;
use super::leftovers;
use super::plan::Plan;
use super::summary::Summary;
use crate::process;

/// The most that a test may take, and the time after that in which it writes down what there is.
const LIMIT: Duration = Duration::from_secs(420);
const GRACE: Duration = Duration::from_secs(20);
/// How often a running test is looked at.
const POLL: Duration = Duration::from_millis(10);

/// One test of a program.
#[derive(Clone, Debug)]
struct Case {
    program: TestProgram,
    test: String,
    share: Share,
}

/// How a case ended.
#[derive(Debug)]
struct Ended {
    case: Case,
    took: Duration,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// And why, in a line.
    Failed(String),
}

/// Whether other tests may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Others,
    Nothing,
}

impl Company {
    fn suits(self, share: Share) -> bool {
        match self {
            Self::Others => share != Share::Alone,
            Self::Nothing => share == Share::Alone,
        }
    }
}

/// Runs the integration tests of these programs that want such company.
pub(crate) fn run(
    programs: &[TestProgram],
    plan: &Plan,
    company: Company,
    history: &mut History,
    times: &mut Vec<(String, f64)>,
) -> Result<Summary> {
    let programs: Vec<_> = programs.iter().filter(|one| one.is_host()).collect();
    groups::check(&programs, plan)?;
    let mut summary = Summary::default();
    let mut cases = Vec::new();
    for program in &programs {
        let listed = program.tests(plan.only.as_deref())?;
        if company == Company::Others {
            summary.ignored += listed.ignored;
        }
        let all = listed.run.into_iter().map(|test| Case {
            share: groups::share(&program.package, &program.target, &test),
            program: TestProgram::clone(program),
            test,
        });
        cases.extend(all.filter(|case| company.suits(case.share)));
    }
    let logs = logs();
    // Logs and evidence of an earlier run would be taken for this one's.
    for case in &cases {
        drop(fs::remove_dir_all(case.directory(&logs)));
    }
    let total = cases.len();
    let mut failures = Vec::new();
    let mut done = 0;
    side_by_side(in_order(cases, history), plan.jobs, &logs, |ended| {
        done += 1;
        let name = ended.case.name();
        let seconds = ended.took.as_secs_f64();
        history.set_test(&name, seconds);
        times.push((name.clone(), seconds));
        let (word, why) = match &ended.verdict {
            Verdict::Passed => ("ok    ", String::new()),
            Verdict::Failed(why) => ("FAILED", format!(": {why}")),
        };
        println!("{word} {seconds:6.1} s [{done}/{total}] {name}{why}");
        match ended.verdict {
            Verdict::Passed => {
                summary.passed += 1;
                drop(fs::remove_dir_all(ended.case.directory(&logs)));
            }
            Verdict::Failed(why) => {
                summary.failed += 1;
                failures.push((ended.case, why));
            }
        }
    })?;
    for (case, why) in &failures {
        case.report(&logs, why);
    }
    Ok(summary)
}

/// The directory in which logs and evidence of failed tests are kept.
fn logs() -> PathBuf {
    process::target_directory().join("tests/failed")
}

/// The longest come first, those of unknown length before them.
fn in_order(mut cases: Vec<Case>, history: &History) -> VecDeque<Case> {
    let seconds = |case: &Case| history.test(&case.name()).unwrap_or(f64::MAX);
    cases.sort_by(|one, other| seconds(other).total_cmp(&seconds(one)));
    cases.into()
}

/// Starts cases in their order, each as soon as there are slots enough for it, and hands over each that has ended.
fn side_by_side(
    mut waiting: VecDeque<Case>,
    slots: usize,
    logs: &Path,
    mut ended: impl FnMut(Ended),
) -> Result<()> {
    let (sender, receiver) = channel();
    let weight = |case: &Case| match case.share {
        Share::One => 1,
        Share::Two => 2.min(slots),
        Share::Alone => slots,
    };
    let mut free = slots;
    std::thread::scope(|scope| {
        loop {
            while let Some(case) = waiting.pop_front_if(|case| weight(case) <= free) {
                free -= weight(&case);
                let sender = sender.clone();
                scope.spawn(move || watch(case, logs, &sender));
            }
            if free == slots {
                return Ok(());
            }
            let one: Ended = receiver.recv().context("a test's watcher is gone")?;
            free += weight(&one.case);
            ended(one);
        }
    })
}

fn watch(case: Case, logs: &Path, sender: &Sender<Ended>) {
    let start = Instant::now();
    let verdict = case
        .run(logs)
        .unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
    let took = start.elapsed();
    // The receiver lives as long as the scope in which this runs.
    let _ = sender.send(Ended {
        case,
        took,
        verdict,
    });
}

impl Case {
    fn name(&self) -> String {
        let TestProgram {
            package, target, ..
        } = &self.program;
        format!("{package} {target} {}", self.test)
    }

    fn directory(&self, logs: &Path) -> PathBuf {
        logs.join(format!("{}.{}", self.program.target, self.test))
    }

    fn log(&self, logs: &Path) -> PathBuf {
        self.directory(logs).join("output.txt")
    }

    fn run(&self, logs: &Path) -> Result<Verdict> {
        let directory = self.directory(logs);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let log = self.log(logs);
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = self
            .program
            .command()
            .args(["--exact", &self.test, "--nocapture"])
            .env("RVS_LAB_EVIDENCE", &directory)
            .env("RVS_LAB_DEADLINE_SECONDS", LIMIT.as_secs().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.executable.display().to_string())?;
        let pid = child.id();
        let deadline = Instant::now() + LIMIT + GRACE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(POLL);
        };
        let left = leftovers::of_process(pid)?;
        Ok(verdict(status, &left))
    }

    /// Everything that a person needs who wants to know why it failed.
    fn report(&self, logs: &Path, why: &str) {
        println!("\n--- {} failed: {why}", self.name());
        let log = fs::read(self.log(logs)).unwrap_or_default();
        print!("{}", String::from_utf8_lossy(&log));
        println!(
            "--- alone:    cargo xtask test --package {} --only {}",
            self.program.package, self.test
        );
        println!("--- evidence: {}", self.directory(logs).display());
    }
}

fn verdict(status: Option<ExitStatus>, left: &[String]) -> Verdict {
    match status {
        None => Verdict::Failed(format!("it ran longer than {} s", LIMIT.as_secs())),
        Some(status) if !status.success() => Verdict::Failed(status.to_string()),
        Some(_) if !left.is_empty() => Verdict::Failed(format!("it left {}", left.join(", "))),
        Some(_) => Verdict::Passed,
    }
}

impl TestProgram {
    /// The program, still without words, as cargo would start it.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::program(&self.executable);
        command
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .env("RUST_BACKTRACE", "1");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::artifacts::Kind;
    use std::os::unix::process::ExitStatusExt as _;

    fn case(test: &str, share: Share) -> Case {
        Case {
            program: TestProgram {
                package: "rvs".into(),
                target: "e2e".into(),
                kind: Kind::Integration,
                executable: "/bin/true".into(),
                directory: "/".into(),
            },
            test: test.into(),
            share,
        }
    }

    #[test]
    fn the_longest_begin() {
        let mut history = History::default();
        history.set_test("rvs e2e long", 9.0);
        history.set_test("rvs e2e short", 1.0);
        let cases = vec![
            case("short", Share::One),
            case("long", Share::Two),
            case("new", Share::One),
        ];
        let order: Vec<_> = in_order(cases, &history)
            .into_iter()
            .map(|case| case.test)
            .collect();
        assert_eq!(order, ["new", "long", "short"]);
    }

    #[test]
    fn all_run_and_one_alone_runs_alone() {
        let directory = std::env::temp_dir().join(format!("xtask-cases-{}", std::process::id()));
        let cases = [Share::One, Share::Two, Share::One, Share::Alone, Share::One];
        let cases = cases.iter().zip("abcde".chars());
        let cases: VecDeque<_> = cases
            .map(|(share, name)| case(&name.to_string(), *share))
            .collect();
        let mut names = Vec::new();
        side_by_side(cases, 2, &directory, |ended| {
            assert_eq!(ended.verdict, Verdict::Passed);
            names.push(ended.case.test);
        })
        .expect("all end");
        let _ = fs::remove_dir_all(&directory);
        assert_eq!(names.last().map(String::as_str), Some("e"));
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn what_is_left_behind_fails_a_test_that_passed() {
        let passed = Some(ExitStatus::from_raw(0));
        assert_eq!(verdict(passed, &[]), Verdict::Passed);
        assert_eq!(
            verdict(passed, &["rvs-1-0-client".to_owned()]),
            Verdict::Failed("it left rvs-1-0-client".to_owned())
        );
        assert_ne!(verdict(None, &[]), Verdict::Passed);
        assert_ne!(verdict(Some(ExitStatus::from_raw(9)), &[]), Verdict::Passed);
    }
}
