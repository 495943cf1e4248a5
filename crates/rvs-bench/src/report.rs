//! The rows and their table.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Nothing.
    None,
    /// The value is at most this.
    AtMost(f64),
    /// The ratio to the peer is at least this.
    Ratio(f64),
}

/// One measured thing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) peer: Option<(String, f64)>,
    pub(crate) target: Target,
}

impl Row {
    pub(crate) fn new(name: &str, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            value,
            peer: None,
            target: Target::None,
        }
    }

    pub(crate) fn against(mut self, peer: &str, value: f64) -> Self {
        self.peer = Some((peer.to_owned(), value));
        self
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Ours by theirs.
    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        (*peer > 0.0).then(|| self.value / peer)
    }

    fn verdict(&self) -> String {
        let (text, reached) = match self.target {
            Target::None => return String::new(),
            Target::AtMost(limit) => (format!("<= {limit}"), self.value <= limit),
            Target::Ratio(limit) => (
                format!("ratio >= {limit}"),
                self.ratio().is_some_and(|ratio| ratio >= limit),
            ),
        };
        format!("{text} {}", if reached { "reached" } else { "MISSED" })
    }
}

/// All rows, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("  {} = {} {}", row.name, number(row.value), row.unit);
        self.rows.push(row);
    }

    /// Forgets rows that nobody asked for.
    pub(crate) fn retain(&mut self, only: &str) {
        self.rows.retain(|row| row.name.contains(only));
    }

    pub(crate) fn table(&self) -> String {
        let mut cells = vec![
            ["", "value", "unit", "peer", "peer value", "ratio", "target"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for row in &self.rows {
            let (peer, peer_value) = row
                .peer
                .as_ref()
                .map_or((String::new(), String::new()), |(name, value)| {
                    (name.clone(), number(*value))
                });
            cells.push(vec![
                row.name.clone(),
                number(row.value),
                row.unit.to_owned(),
                peer,
                peer_value,
                row.ratio()
                    .map_or(String::new(), |ratio| format!("{ratio:.2}")),
                row.verdict(),
            ]);
        }
        let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let mut table = String::new();
        for (place, row) in cells.iter().enumerate() {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if matches!(column, 1 | 4 | 5) {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                })
                .collect();
            let _ = writeln!(table, "| {} |", line.join(" | "));
            if place == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                let _ = writeln!(table, "| {} |", rules.join(" | "));
            }
        }
        table
    }

    pub(crate) fn json(&self) -> Result<String> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "unit": row.unit,
                    "value": row.value,
                    "peer": row.peer.as_ref().map(|(name, _)| name),
                    "peer_value": row.peer.as_ref().map(|(_, value)| value),
                    "ratio": row.ratio(),
                })
            })
            .collect();
        Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?))
    }
}

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len(), sorted.get(middle)) {
        (n, Some(high)) if n % 2 == 0 => (sorted[middle - 1] + high) / 2.0,
        (_, Some(value)) => *value,
        (_, None) => 0.0,
    }
}

/// Three digits or so.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        let row = Row::new("a", "ns", 64.0)
            .against("b", 128.0)
            .target(Target::AtMost(75.0));
        assert_eq!(row.ratio(), Some(0.5));
        assert_eq!(row.verdict(), "<= 75 reached");
        assert_eq!(
            row.target(Target::Ratio(0.6)).verdict(),
            "ratio >= 0.6 MISSED"
        );
    }

    #[test]
    fn rows_are_written_with_the_names_that_readers_know() {
        let mut report = Report::default();
        report.add(Row::new("x 1", "ns", 2.0).against("peer", 4.0));
        report.add(Row::new("y", "MB", 3.0));
        report.retain("x");
        let rows: Value = serde_json::from_str(&report.json().expect("json")).expect("json");
        assert_eq!(
            rows,
            json!([{"name": "x 1", "unit": "ns", "value": 2.0, "peer": "peer", "peer_value": 4.0, "ratio": 0.5}])
        );
        assert!(report.table().contains("| x 1 |  2.00 | ns   | peer |"));
    }
}
