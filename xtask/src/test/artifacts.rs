//! Finding test programs in what `cargo test --no-run --message-format=json` prints.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::answer;

/// One test program that cargo built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TestProgram {
    pub(crate) package: String,
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) executable: PathBuf,
    /// The package's own directory: where cargo starts its tests.
    pub(crate) directory: PathBuf,
}

/// Where a test program's tests are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Beside the code, in a library or a program.
    Unit,
    /// In a file of `tests/`.
    Integration,
}

impl TestProgram {
    /// The test program that a message of cargo tells of, if it tells of one.
    pub(crate) fn from_message(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        let directory = manifest.parent()?.to_path_buf();
        let kinds = message["target"]["kind"].as_array()?;
        Some(Self {
            package: directory.file_name()?.to_str()?.to_owned(),
            target: message["target"]["name"].as_str()?.to_owned(),
            kind: if kinds.iter().any(|kind| kind == "test") {
                Kind::Integration
            } else {
                Kind::Unit
            },
            executable: PathBuf::from(message["executable"].as_str()?),
            directory,
        })
    }

    pub(crate) fn is_integration(&self, package: &str, target: &str) -> bool {
        self.kind == Kind::Integration && self.package == package && self.target == target
    }

    /// Its tests whose names contain this. (The program is asked; nothing is run.)
    pub(crate) fn tests(&self, only: Option<&str>) -> Result<Listed> {
        let list = |words: &[&str]| {
            let mut list = Command::new(&self.executable);
            list.current_dir(&self.directory).args(words).args(only);
            answer(&mut list).with_context(|| format!("{} cannot list its tests", self.target))
        };
        let ignored = list(&["--list", "--ignored"])?;
        let ignored: Vec<_> = names(&ignored).collect();
        let all = list(&["--list"])?;
        Ok(Listed {
            run: names(&all)
                .filter(|name| !ignored.contains(name))
                .map(str::to_owned)
                .collect(),
            ignored: ignored.len() as u64,
        })
    }
}

/// A program's tests.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) run: Vec<String>,
    /// So many are left out unless asked for.
    pub(crate) ignored: u64,
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integration_test_is_found() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/rvs-dataplane#0.1.0",
            "manifest_path":"/w/crates/rvs-dataplane/Cargo.toml",
            "target":{"kind":["test"],"crate_types":["bin"],"name":"load_gate","src_path":"/w/crates/rvs-dataplane/tests/load_gate.rs"},
            "profile":{"opt_level":"0","test":true},"features":[],
            "filenames":["/w/target/debug/deps/load_gate-1"],"executable":"/w/target/debug/deps/load_gate-1","fresh":true}"#;
        let expected = TestProgram {
            package: "rvs-dataplane".into(),
            target: "load_gate".into(),
            kind: Kind::Integration,
            executable: "/w/target/debug/deps/load_gate-1".into(),
            directory: "/w/crates/rvs-dataplane".into(),
        };
        assert_eq!(TestProgram::from_message(line), Some(expected));
    }

    #[test]
    fn other_messages_are_none() {
        for line in [
            "",
            "   Compiling x",
            "[1]",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"x"},"profile":{"test":false},"executable":null}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"x"},"profile":{"test":true},"executable":null}"#,
        ] {
            assert_eq!(TestProgram::from_message(line), None, "{line}");
        }
    }
}
