//! The manual has what the scenarios refer to.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The scenarios, as the program lists them.
fn scenarios() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_rvs-parity"))
        .args(["list"])
        .output()
        .expect("rvs-parity runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a list in JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[test]
fn every_explanation_has_its_heading() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/parity.md");
    let manual = fs::read_to_string(&file).expect("the manual's page");
    let headings: Vec<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut used = Vec::new();
    for scenario in scenarios() {
        for explained in scenario["explained"].as_array().expect("a list") {
            let heading = text(explained).to_owned();
            assert!(
                headings.contains(&heading.as_str()),
                "{}: {} has no heading {heading:?}",
                text(&scenario["name"]),
                file.display()
            );
            used.push(heading);
        }
    }
    for heading in headings {
        assert!(
            used.iter().any(|used| used == heading),
            "{heading:?} explains nothing that a scenario shows"
        );
    }
}

#[test]
fn names_are_unique_and_short() {
    let mut names: Vec<String> = scenarios()
        .iter()
        .map(|scenario| text(&scenario["name"]).to_owned())
        .collect();
    for name in &names {
        assert!(name.len() <= 22, "{name} does not fit the table");
    }
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a name is there twice");
}
