//! What the phases of a test run said, and whether that is good.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::summary::Summary;

/// May a phase run no test at all?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Empty {
    Allowed,
    Fails,
}

/// So many of the slowest tests are named.
const SLOWEST: usize = 20;

#[derive(Default)]
pub(crate) struct Report {
    lines: String,
    total: Summary,
    phases: Vec<(String, Duration)>,
    tests: Vec<(String, f64)>,
}

impl Report {
    /// Runs one phase under its heading. It may add the seconds of its tests.
    pub(crate) fn phase(
        &mut self,
        name: &str,
        empty: Empty,
        run: impl FnOnce(&mut Vec<(String, f64)>) -> Result<Summary>,
    ) {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = run(&mut self.tests);
        self.add(name, empty, outcome, start.elapsed());
    }

    /// Notes what something took that has no tests.
    pub(crate) fn time(&mut self, name: &str, took: Duration) {
        self.phases.push((name.to_owned(), took));
        self.note(&format!("{name:<12} {:>7.1} s", took.as_secs_f64()));
    }

    /// The time that each phase took so far.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.phases
            .iter()
            .map(|(name, took)| (name.as_str(), *took))
    }

    /// Says something that is no result.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.lines, "{text}");
    }

    /// Anything failed, or nothing ran: not good.
    pub(crate) fn is_good(&self) -> bool {
        self.total.failed == 0 && self.total.ran() > 0
    }

    /// The slowest tests, one line per phase, and the plain closing line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut tests: Vec<_> = self.tests.iter().collect();
        tests.sort_by(|one, other| other.1.total_cmp(&one.1));
        if !tests.is_empty() {
            text.push_str("\nThe slowest tests:\n");
        }
        for (name, seconds) in tests.iter().take(SLOWEST) {
            let _ = writeln!(text, "{seconds:>20.1} s {name}");
        }
        format!("{text}\n{}{}\n", self.lines, self.total.closing_line())
    }

    /// Notes how a phase ended that ran elsewhere.
    pub(crate) fn add(
        &mut self,
        name: &str,
        empty: Empty,
        outcome: Result<Summary>,
        took: Duration,
    ) {
        let (summary, remark) = match outcome {
            Ok(summary) if summary.ran() > 0 || empty == Empty::Allowed => (summary, String::new()),
            Ok(_) => (Summary::FAILURE, " (it ran no test)".into()),
            Err(failure) => (Summary::FAILURE, format!(" ({failure:#})")),
        };
        self.total += summary;
        self.phases.push((name.to_owned(), took));
        // Not in the form of the closing line, which is to be the only one.
        let verdict = match summary {
            Summary { failed: 1.., .. } => "FAILED",
            Summary { passed: 1.., .. } => "ok",
            Summary { .. } => "none to run",
        };
        self.note(&format!(
            "{name:<12} {:>7.1} s  {verdict}; {}{remark}",
            took.as_secs_f64(),
            summary.closing_line()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(passed: u64) -> Result<Summary> {
        Ok(Summary {
            passed,
            ..Summary::default()
        })
    }

    #[test]
    fn nothing_run_is_not_good() {
        let mut report = Report::default();
        assert!(!report.is_good());
        report.add("a", Empty::Allowed, passed(0), Duration::ZERO);
        assert!(!report.is_good());
        report.add("b", Empty::Allowed, passed(1), Duration::ZERO);
        assert!(report.is_good());
        assert_eq!(
            report.text(),
            "\na                0.0 s  none to run; 0 passed, 0 failed\nb                0.0 s  ok; 1 passed, 0 failed\n1 passed, 0 failed\n"
        );
    }

    #[test]
    fn an_empty_phase_fails_unless_allowed() {
        let mut report = Report::default();
        report.add("a", Empty::Fails, passed(3), Duration::ZERO);
        report.add("b", Empty::Fails, passed(0), Duration::ZERO);
        assert!(!report.is_good());
        assert!(
            report
                .text()
                .ends_with("b                0.0 s  FAILED; 0 passed, 1 failed (it ran no test)\n3 passed, 1 failed\n")
        );
    }

    #[test]
    fn a_phase_that_cannot_run_fails() {
        let mut report = Report::default();
        report.add("a", Empty::Allowed, passed(3), Duration::ZERO);
        report.add(
            "b",
            Empty::Allowed,
            Err(anyhow::anyhow!("no guest").context("b")),
            Duration::ZERO,
        );
        assert!(!report.is_good());
        assert!(report.text().ends_with(
            "b                0.0 s  FAILED; 0 passed, 1 failed (b: no guest)\n3 passed, 1 failed\n"
        ));
    }
}
