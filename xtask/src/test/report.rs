//! What the phases of a test run said, and whether that is good.

use std::fmt::Write as _;

use anyhow::Result;

use super::summary::Summary;

/// May a phase run no test at all?
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Empty {
    Allowed,
    Fails,
}

#[derive(Default)]
pub(crate) struct Report {
    lines: String,
    total: Summary,
}

impl Report {
    /// Runs one phase under its heading.
    pub(crate) fn phase(
        &mut self,
        name: &str,
        empty: Empty,
        run: impl FnOnce() -> Result<Summary>,
    ) {
        println!("\n=== {name}");
        self.add(name, empty, run());
    }

    /// Says something that is no result.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.lines, "{text}");
    }

    /// Anything failed, or nothing ran: not good.
    pub(crate) fn is_good(&self) -> bool {
        self.total.failed == 0 && self.total.ran() > 0
    }

    /// One line per phase, and the plain closing line.
    pub(crate) fn text(&self) -> String {
        format!("\n{}{}\n", self.lines, self.total.closing_line())
    }

    fn add(&mut self, name: &str, empty: Empty, outcome: Result<Summary>) {
        let (summary, remark) = match outcome {
            Ok(summary) if summary.ran() > 0 || empty == Empty::Allowed => (summary, String::new()),
            Ok(_) => (Summary::FAILURE, " (it ran no test)".into()),
            Err(failure) => (Summary::FAILURE, format!(" ({failure:#})")),
        };
        self.total += summary;
        // Not in the form of the closing line, which is to be the only one.
        let verdict = match summary {
            Summary { failed: 1.., .. } => "FAILED",
            Summary { passed: 1.., .. } => "ok",
            Summary { .. } => "none to run",
        };
        self.note(&format!(
            "{name}: {verdict}; {}{remark}",
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
        report.add("a", Empty::Allowed, passed(0));
        assert!(!report.is_good());
        report.add("b", Empty::Allowed, passed(1));
        assert!(report.is_good());
        assert_eq!(
            report.text(),
            "\na: none to run; 0 passed, 0 failed\nb: ok; 1 passed, 0 failed\n1 passed, 0 failed\n"
        );
    }

    #[test]
    fn an_empty_phase_fails_unless_allowed() {
        let mut report = Report::default();
        report.add("a", Empty::Fails, passed(3));
        report.add("b", Empty::Fails, passed(0));
        assert!(!report.is_good());
        assert!(
            report
                .text()
                .ends_with("b: FAILED; 0 passed, 1 failed (it ran no test)\n3 passed, 1 failed\n")
        );
    }

    #[test]
    fn a_phase_that_cannot_run_fails() {
        let mut report = Report::default();
        report.add("a", Empty::Allowed, passed(3));
        report.add(
            "b",
            Empty::Allowed,
            Err(anyhow::anyhow!("no guest").context("b")),
        );
        assert!(!report.is_good());
        assert!(
            report
                .text()
                .ends_with("b: FAILED; 0 passed, 1 failed (b: no guest)\n3 passed, 1 failed\n")
        );
    }
}
