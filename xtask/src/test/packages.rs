//! The workspace's packages, and which of them a change can touch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process;

/// Packages by name, and what each depends on.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    directories: BTreeMap<String, PathBuf>,
    depends_on: BTreeMap<String, BTreeSet<String>>,
}

/// The packages that a working tree's changes can touch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) packages: BTreeSet<String>,
    /// Whether the guest's own files are among them.
    pub(crate) guest: bool,
}

/// Files that a package reads without cargo's knowledge.
const READS: &[(&str, &str)] = &[
    // Its build script compiles the kernel side.
    ("rvs-dataplane", "crates/rvs-ebpf"),
    ("rvs-dataplane", "xtask/src/ebpf.rs"),
    ("rvs-bench", "crates/rvs-ebpf"),
    // Its tests read the manual, and run the programs of examples.
    ("rvs", "docs"),
    ("rvs", "README.md"),
    ("rvs", "packaging"),
    ("rvs-parity", "docs/src/parity.md"),
    // Its tests read the commands that documents advise.
    ("xtask", "docs"),
    ("xtask", "README.md"),
    // Its tests replay the fuzzers' corpora.
    ("rvs-fixtures", "fuzz"),
];

/// Programs that a package's tests run without depending on their package.
const RUNS: &[(&str, &str)] = &[("rvs-parity", "rvs")];

/// Files whose change touches every package.
const EVERYWHERE: &[&str] = &["Cargo.toml", "Cargo.lock", "clippy.toml", ".cargo"];

impl Packages {
    /// The workspace's, by `cargo metadata`.
    pub(crate) fn read() -> Result<Self> {
        let mut cargo = process::cargo();
        cargo.args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ]);
        let text = process::answer(&mut cargo).context("cargo metadata failed")?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
        Ok(Self::from_metadata(&metadata, &process::repository()))
    }

    fn from_metadata(metadata: &Value, repository: &Path) -> Self {
        let mut packages = Self::default();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let (Some(name), Some(manifest)) =
                (package["name"].as_str(), package["manifest_path"].as_str())
            else {
                continue;
            };
            let directory = Path::new(manifest).parent().unwrap_or(Path::new(""));
            let directory = directory.strip_prefix(repository).unwrap_or(directory);
            packages
                .directories
                .insert(name.to_owned(), directory.to_owned());
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let names = dependencies
                .filter(|dependency| dependency["path"].is_string())
                .filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned()));
            packages.depends_on.insert(name.to_owned(), names.collect());
        }
        for (package, program) in RUNS {
            let depends_on = packages
                .depends_on
                .entry((*package).to_owned())
                .or_default();
            depends_on.insert((*program).to_owned());
        }
        packages
    }

    /// An error that names the packages there are, unless this is one.
    pub(crate) fn require(&self, name: &str) -> Result<()> {
        if self.directories.contains_key(name) {
            return Ok(());
        }
        let names: Vec<_> = self.directories.keys().map(String::as_str).collect();
        bail!("no package {name}; there are {}", names.join(", "))
    }

    /// Whether building a package builds another one, or runs it.
    pub(crate) fn needs(&self, package: &str, other: &str) -> bool {
        package == other
            || self.depends_on.get(package).is_some_and(|depends_on| {
                depends_on
                    .iter()
                    .any(|dependency| self.needs(dependency, other))
            })
    }

    /// The packages that the working tree's changes against HEAD, new files included, can touch.
    pub(crate) fn touched_by_changes(&self) -> Result<Touched> {
        let mut files = Vec::new();
        for words in [
            &["diff", "--name-only", "HEAD"][..],
            &["ls-files", "--others", "--exclude-standard"],
        ] {
            let mut git = std::process::Command::new("git");
            git.current_dir(process::repository()).args(words);
            let text = process::answer(&mut git).context("git cannot tell what has changed")?;
            files.extend(text.lines().map(str::to_owned));
        }
        Ok(self.touched(files.iter().map(String::as_str)))
    }

    fn touched<'a>(&self, files: impl Iterator<Item = &'a str>) -> Touched {
        let mut changed = BTreeSet::new();
        let mut guest = false;
        for file in files {
            let below = |directory: &Path| Path::new(file).starts_with(directory);
            guest |= below(Path::new("guest"));
            if EVERYWHERE.iter().any(|place| below(Path::new(place))) {
                changed.extend(self.directories.keys().cloned());
            }
            let own = self.directories.iter().filter(|(_, place)| below(place));
            changed.extend(own.map(|(name, _)| name.clone()));
            let read = READS.iter().filter(|(_, place)| below(Path::new(place)));
            changed.extend(read.map(|(name, _)| (*name).to_owned()));
        }
        let packages = self
            .directories
            .keys()
            .filter(|package| changed.iter().any(|changed| self.needs(package, changed)));
        Touched {
            packages: packages.cloned().collect(),
            guest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Packages {
        let package = |name: &str, place: &str, needs: &[&str]| {
            let dependencies: Vec<_> = needs
                .iter()
                .map(|name| serde_json::json!({ "name": name, "path": "/w/x" }))
                .collect();
            let manifest = format!("/w/{place}/Cargo.toml");
            serde_json::json!({ "name": name, "manifest_path": manifest, "dependencies": dependencies })
        };
        let metadata = serde_json::json!({ "packages": [
            package("rvs-core", "crates/rvs-core", &[]),
            package("rvs-config", "crates/rvs-config", &[]),
            package("rvs-dataplane", "crates/rvs-dataplane", &["rvs-core", "rvs-config"]),
            package("rvs", "rvs", &["rvs-dataplane"]),
            package("rvs-parity", "crates/rvs-parity", &[]),
            package("xtask", "xtask", &[]),
        ]});
        Packages::from_metadata(&metadata, Path::new("/w"))
    }

    fn touched(files: &[&str]) -> Vec<String> {
        let touched = packages().touched(files.iter().copied());
        touched.packages.into_iter().collect()
    }

    #[test]
    fn a_change_touches_what_is_built_of_it_or_reads_it() {
        assert_eq!(touched(&["xtask/src/main.rs"]), ["xtask"]);
        assert_eq!(
            touched(&["crates/rvs-core/src/lib.rs"]),
            ["rvs", "rvs-core", "rvs-dataplane", "rvs-parity"]
        );
        assert_eq!(
            touched(&["crates/rvs-ebpf/src/main.rs"]),
            ["rvs", "rvs-dataplane", "rvs-parity"]
        );
        assert_eq!(
            touched(&["docs/src/parity.md"]),
            ["rvs", "rvs-parity", "xtask"]
        );
        assert_eq!(touched(&["Cargo.lock"]).len(), 6);
        assert_eq!(touched(&["LICENSE-MIT"]), [""; 0]);
        assert!(packages().touched(["guest/vm-run"].into_iter()).guest);
    }

    #[test]
    fn an_unknown_package_is_refused_by_the_known_ones() {
        assert!(packages().require("rvs").is_ok());
        let error = packages().require("rvss").expect_err("unknown").to_string();
        assert!(
            error.starts_with("no package rvss; there are rvs, "),
            "{error}"
        );
    }
}
