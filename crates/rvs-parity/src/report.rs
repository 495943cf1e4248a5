//! What became of each scenario: a line in a table, the differences in full, and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::compare::{Difference, compare};
use crate::play::Played;
use crate::record::Recording;
use crate::scenario::{Note, Scenario, Value};

/// A scenario that both have played, or one of them before and the other now.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) about: &'static str,
    /// What was compared, in words.
    pub(crate) compared: String,
    pub(crate) verdict: Verdict,
    pub(crate) differences: Vec<Difference>,
    /// Steps whose explanation nothing needs any more.
    pub(crate) unused: Vec<&'static str>,
    /// The time that RVS's side took.
    pub(crate) milliseconds: u64,
    /// The last lines of RVS's log, where something differs.
    pub(crate) log: String,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Same,
    /// It differs, as the manual says.
    Explained,
    /// It differs and nobody says why.
    Differs,
    /// An explanation is out of date.
    Stale,
    /// The scenario is not the one that was recorded.
    Changed,
    /// There is no recording.
    NotRecorded,
}

impl Outcome {
    /// Compares what RVS showed with what the kernel's IPVS showed when it was recorded.
    pub(crate) fn new(scenario: &Scenario, kernel: Option<&Recording>, rvs: &Played) -> Self {
        let kernel_notes = kernel.map_or(&[][..], |kernel| &kernel.notes);
        let (differences, unused) = compare(kernel_notes, &rvs.notes, scenario.explained);
        let explained = differences
            .iter()
            .all(|difference| difference.heading.is_some());
        let verdict = if kernel.is_none() {
            Verdict::NotRecorded
        } else if !explained {
            Verdict::Differs
        } else if kernel.is_some_and(|kernel| kernel.identity != rvs.identity) {
            Verdict::Changed
        } else if !unused.is_empty() {
            Verdict::Stale
        } else if differences.is_empty() {
            Verdict::Same
        } else {
            Verdict::Explained
        };
        let mut outcome = Self {
            scenario: scenario.name,
            about: scenario.about,
            compared: compared(kernel_notes),
            verdict,
            differences,
            unused: unused.iter().map(|explained| explained.step).collect(),
            milliseconds: rvs.took.as_millis() as u64,
            log: String::new(),
        };
        if !outcome.is_good() {
            outcome.log.clone_from(&rvs.log);
        }
        outcome
    }

    pub(crate) fn is_good(&self) -> bool {
        match self.verdict {
            Verdict::Same | Verdict::Explained => true,
            Verdict::Differs | Verdict::Stale | Verdict::Changed | Verdict::NotRecorded => false,
        }
    }

    /// The line of the table.
    pub(crate) fn row(&self) -> String {
        let verdict = match &self.verdict {
            Verdict::Same => "same".to_owned(),
            Verdict::Explained => {
                let mut headings: Vec<&str> = self
                    .differences
                    .iter()
                    .filter_map(|difference| difference.heading)
                    .collect();
                headings.sort_unstable();
                headings.dedup();
                format!("explained: {}", headings.join(", "))
            }
            Verdict::Differs => "DIFFERS".to_owned(),
            Verdict::Stale => "OUT OF DATE".to_owned(),
            Verdict::Changed => "NOT THE SCENARIO THAT WAS RECORDED".to_owned(),
            Verdict::NotRecorded => "NOT RECORDED".to_owned(),
        };
        format!(
            "{:<22} {:<46} {:<40} {:>5.1} s  {verdict}",
            self.scenario,
            self.about,
            self.compared,
            self.milliseconds as f64 / 1000.0
        )
    }

    /// Everything that a person needs to fix it.
    pub(crate) fn details(&self) -> String {
        let mut text = String::new();
        if matches!(self.verdict, Verdict::Changed | Verdict::NotRecorded) {
            let name = self.scenario;
            let _ = writeln!(
                text,
                "  after a change of the scenario: cargo xtask parity --record --only {name}"
            );
        }
        for difference in self
            .differences
            .iter()
            .filter(|difference| difference.heading.is_none())
        {
            let _ = writeln!(text, "  at: {}", difference.step);
            for line in only_in(&difference.kernel, &difference.rvs) {
                let _ = writeln!(text, "    kernel: {line}");
            }
            for line in only_in(&difference.rvs, &difference.kernel) {
                let _ = writeln!(text, "    rvs:    {line}");
            }
        }
        for step in &self.unused {
            let _ = writeln!(
                text,
                "  {step:?} does not differ any more: remove its explanation"
            );
        }
        for line in self.log.lines() {
            let _ = writeln!(text, "    log:    {line}");
        }
        text
    }
}

/// The lines that the other does not have; all, if only their order differs.
fn only_in<'a>(lines: &'a [String], other: &[String]) -> Vec<&'a String> {
    let only: Vec<_> = lines.iter().filter(|line| !other.contains(line)).collect();
    if only.is_empty() && other.iter().all(|line| lines.contains(line)) {
        lines.iter().collect()
    } else {
        only
    }
}

fn compared(notes: &[Note]) -> String {
    let (mut texts, mut packets, mut lists, mut shares, mut times) = (0, 0, 0, 0, 0);
    for note in notes {
        match &note.value {
            Value::Lines(_) => texts += 1,
            Value::Packets(seen) => packets += seen.len().max(1),
            Value::Connections(_) => lists += 1,
            Value::Shares { .. } => shares += 1,
            Value::Time { .. } => times += 1,
        }
    }
    let parts = [
        (texts, "answers"),
        (packets, "packets"),
        (lists, "connection lists"),
        (shares, "shares"),
        (times, "times"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
}
