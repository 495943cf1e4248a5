//! Times that phases and tests took in the last run, in `target/tests/times.json`: for the order in which tests begin, and for `--list`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::process;

/// Seconds by name.
#[derive(Debug, Default)]
pub(crate) struct History {
    phases: BTreeMap<String, f64>,
    tests: BTreeMap<String, f64>,
}

impl History {
    /// The times of the last run; none, if they cannot be read.
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(file()).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let seconds = |key: &str| {
            let entries = value[key].as_object().into_iter().flatten();
            entries
                .filter_map(|(name, seconds)| Some((name.clone(), seconds.as_f64()?)))
                .collect()
        };
        Self {
            phases: seconds("phases"),
            tests: seconds("tests"),
        }
    }

    pub(crate) fn phase(&self, name: &str) -> Option<f64> {
        self.phases.get(name).copied()
    }

    pub(crate) fn test(&self, name: &str) -> Option<f64> {
        self.tests.get(name).copied()
    }

    pub(crate) fn set_phase(&mut self, name: &str, seconds: f64) {
        self.phases.insert(name.to_owned(), seconds);
    }

    pub(crate) fn set_test(&mut self, name: &str, seconds: f64) {
        self.tests.insert(name.to_owned(), seconds);
    }

    /// Keeps it for the next run. A failure loses an order and some numbers, nothing else.
    pub(crate) fn write(&self) {
        let file = file();
        let text = json!({ "phases": self.phases, "tests": self.tests }).to_string();
        if let Some(directory) = file.parent() {
            let _ = fs::create_dir_all(directory);
        }
        let _ = fs::write(file, text);
    }
}

fn file() -> PathBuf {
    process::target_directory().join("tests/times.json")
}
