//! Recordings: what the kernel's IPVS showed when a scenario was played to it, as reviewed files in the tree.
//!
//! There is a directory for each kernel series and in it a file for each file of scenarios:
//!
//! ```text
//! # Written by `cargo xtask parity --record`.
//! kernel 6.1.0-42-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)
//! ipvsadm ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)
//!
//! scenario nat-tcp
//! identity 0123456789abcdef
//! seconds 3
//!   packets SYN                              a step by its kind: what came out of the director,
//!     to servers 02:01:00:00:00:15: ...
//!   lines ipvsadm -L -n                      what a command said,
//!     IP Virtual Server version 1.2.1 ...
//!   connections connections at the end       time-out in seconds and how unsure it is,
//!     60+0 TCP SYN_RECV 10.0.0.2:4001 ...
//!   shares 2 datagrams                       the largest difference allowed, then how often,
//!     100 server 21
//!   time 3000 all end                        likewise, in milliseconds
//!     60123
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};

use crate::scenario::{Connection, Note, Scenario, Value};

/// One scenario as it was played to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recording {
    /// The identity of the scenario that was played.
    pub(crate) identity: String,
    /// The time it took: long ones are begun first.
    pub(crate) seconds: u64,
    /// The notes, in the order of the steps.
    pub(crate) notes: Vec<Note>,
}

/// The versions with which a recording was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeWith {
    /// The kernel's release and version.
    pub(crate) kernel: String,
    /// `ipvsadm --version`.
    pub(crate) ipvsadm: String,
}

/// The recordings of one kernel series.
#[derive(Debug, Default)]
pub(crate) struct Records {
    files: BTreeMap<String, RecordFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordFile {
    made_with: MadeWith,
    recordings: BTreeMap<String, Recording>,
}

impl MadeWith {
    /// The running kernel, and the ipvsadm in PATH.
    pub(crate) fn here() -> Result<Self> {
        let kernel = rustix::system::uname();
        let (release, version) = (kernel.release(), kernel.version());
        let output = Command::new("ipvsadm")
            .arg("--version")
            .output()
            .context("ipvsadm")?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(Self {
            kernel: format!(
                "{} {}",
                release.to_string_lossy(),
                version.to_string_lossy()
            ),
            ipvsadm: said.lines().next().unwrap_or_default().trim().to_owned(),
        })
    }

    /// `6.1` of 6.1.159.
    pub(crate) fn series(&self) -> String {
        let release = self.kernel.split(' ').next().unwrap_or_default();
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect();
        let parts: Vec<String> = release.split('.').take(2).map(digits).collect();
        parts.join(".")
    }
}

impl Records {
    /// Reads all files of a series; a directory that is not there has none.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { files }),
            Err(error) => return Err(error).with_context(|| directory.display().to_string()),
        };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(name) = name.strip_suffix(".txt") else {
                continue;
            };
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let file = RecordFile::parse(&text).with_context(|| path.display().to_string())?;
            files.insert(name.to_owned(), file);
        }
        Ok(Self { files })
    }

    /// The recording of a scenario.
    pub(crate) fn of(&self, scenario: &Scenario) -> Option<&Recording> {
        self.files.get(scenario.file)?.recordings.get(scenario.name)
    }

    /// Everything that the files were made with, without repetition.
    pub(crate) fn made_with(&self) -> Vec<&MadeWith> {
        let mut all: Vec<&MadeWith> = Vec::new();
        for file in self.files.values() {
            if !all.contains(&&file.made_with) {
                all.push(&file.made_with);
            }
        }
        all
    }

    /// Puts a recording in the place of the scenario's former one. One file cannot hold recordings of two kernels, unless
    /// every one of its scenarios is recorded again.
    pub(crate) fn insert(&mut self, scenario: &Scenario, made_with: &MadeWith, new: Recording) {
        let file = self
            .files
            .entry(scenario.file.to_owned())
            .or_insert_with(|| RecordFile {
                made_with: made_with.clone(),
                recordings: BTreeMap::new(),
            });
        if file.made_with != *made_with {
            file.recordings.clear();
            file.made_with = made_with.clone();
        }
        file.recordings.insert(scenario.name.to_owned(), new);
    }

    /// Writes the files in which these scenarios are, each with its scenarios in the order given and no others.
    pub(crate) fn write(&self, directory: &Path, all: &[Scenario]) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        for (name, file) in &self.files {
            let scenarios: Vec<_> = all.iter().filter(|one| one.file == name).collect();
            let missing = scenarios
                .iter()
                .find(|one| !file.recordings.contains_key(one.name));
            if let Some(missing) = missing {
                bail!(
                    "{}: no recording of {} by this kernel: record the whole file",
                    path(directory, name).display(),
                    missing.name
                );
            }
            let path = path(directory, name);
            fs::write(&path, file.text(&scenarios)).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn path(directory: &Path, file: &str) -> PathBuf {
    directory.join(format!("{file}.txt"))
}

impl RecordFile {
    fn text(&self, scenarios: &[&Scenario]) -> String {
        let MadeWith { kernel, ipvsadm } = &self.made_with;
        let mut text = format!(
            "# Written by `cargo xtask parity --record`.\nkernel {kernel}\nipvsadm {ipvsadm}\n"
        );
        for scenario in scenarios {
            if let Some(recording) = self.recordings.get(scenario.name) {
                let _ = write!(text, "\nscenario {}\n{}", scenario.name, recording.text());
            }
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let mut made_with = MadeWith {
            kernel: String::new(),
            ipvsadm: String::new(),
        };
        let mut recordings: BTreeMap<String, Recording> = BTreeMap::new();
        let mut current: Option<String> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let parsed = match current.as_ref().and_then(|name| recordings.get_mut(name)) {
                _ if line.is_empty() || line.starts_with('#') => Ok(()),
                Some(recording) if line.starts_with(' ') => recording.parse_line(line),
                recording => match (line.split_once(' '), recording) {
                    (Some(("kernel", rest)), None) => {
                        made_with.kernel = rest.to_owned();
                        Ok(())
                    }
                    (Some(("ipvsadm", rest)), None) => {
                        made_with.ipvsadm = rest.to_owned();
                        Ok(())
                    }
                    (Some(("scenario", name)), _) => {
                        let new = Recording::default();
                        current = Some(name.to_owned());
                        match recordings.insert(name.to_owned(), new) {
                            None => Ok(()),
                            Some(_) => Err(anyhow::anyhow!("{name} is there twice")),
                        }
                    }
                    (Some(("identity", text)), Some(recording)) => {
                        recording.identity = text.to_owned();
                        Ok(())
                    }
                    (Some(("seconds", text)), Some(recording)) => text
                        .parse()
                        .map(|seconds| recording.seconds = seconds)
                        .context("seconds"),
                    _ => Err(anyhow::anyhow!("unknown line {line:?}")),
                },
            };
            parsed.with_context(|| format!("line {number}"))?;
        }
        Ok(Self {
            made_with,
            recordings,
        })
    }
}

impl Recording {
    fn text(&self) -> String {
        let mut text = format!("identity {}\nseconds {}\n", self.identity, self.seconds);
        for Note { step, value } in &self.notes {
            let head = match value {
                Value::Lines(_) => "lines".to_owned(),
                Value::Packets(_) => "packets".to_owned(),
                Value::Connections(_) => "connections".to_owned(),
                Value::Shares { slack, .. } => format!("shares {slack}"),
                Value::Time { slack, .. } => format!("time {slack}"),
            };
            let _ = writeln!(text, "  {head} {step}");
            for line in value_lines(value) {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    /// A line of a step: its head has two spaces, what was seen four.
    fn parse_line(&mut self, line: &str) -> Result<()> {
        if let Some(line) = line.strip_prefix("    ") {
            let note = self.notes.last_mut().context("no step before it")?;
            return add_line(&mut note.value, line);
        }
        let head = line.strip_prefix("  ").context("one space")?;
        let (kind, rest) = head.split_once(' ').context("no step's name")?;
        let slack = || -> Result<(u64, &str)> {
            let (slack, step) = rest.split_once(' ').context("no step's name")?;
            Ok((slack.parse().context("slack")?, step))
        };
        let (value, step) = match kind {
            "lines" => (Value::Lines(Vec::new()), rest),
            "packets" => (Value::Packets(Vec::new()), rest),
            "connections" => (Value::Connections(Vec::new()), rest),
            "shares" => {
                let (slack, step) = slack()?;
                let counts = BTreeMap::new();
                (Value::Shares { counts, slack }, step)
            }
            "time" => {
                let (slack, step) = slack()?;
                let milliseconds = 0;
                (
                    Value::Time {
                        milliseconds,
                        slack,
                    },
                    step,
                )
            }
            other => bail!("unknown kind of step {other:?}"),
        };
        self.notes.push(Note {
            step: step.to_owned(),
            value,
        });
        Ok(())
    }
}

fn value_lines(value: &Value) -> Vec<String> {
    match value {
        Value::Lines(lines) | Value::Packets(lines) => lines.clone(),
        Value::Connections(connections) => connections
            .iter()
            .map(|one| format!("{}+{} {}", one.timeout, one.unsure, one.what))
            .collect(),
        Value::Shares { counts, .. } => counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect(),
        Value::Time { milliseconds, .. } => vec![milliseconds.to_string()],
    }
}

fn add_line(value: &mut Value, line: &str) -> Result<()> {
    match value {
        Value::Lines(lines) | Value::Packets(lines) => lines.push(line.to_owned()),
        Value::Connections(connections) => {
            let (times, what) = line.split_once(' ').context("no connection")?;
            let (timeout, unsure) = times.split_once('+').context("no time-out")?;
            connections.push(Connection {
                what: what.to_owned(),
                timeout: timeout.parse()?,
                unsure: unsure.parse()?,
            });
        }
        Value::Shares { counts, .. } => {
            let (count, name) = line.split_once(' ').context("no share")?;
            counts.insert(name.to_owned(), count.parse()?);
        }
        Value::Time { milliseconds, .. } => *milliseconds = line.parse()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with(kernel: &str) -> MadeWith {
        MadeWith {
            kernel: kernel.to_owned(),
            ipvsadm: "ipvsadm v1.31".to_owned(),
        }
    }

    fn recording() -> Recording {
        let note = |step: &str, value| Note {
            step: step.to_owned(),
            value,
        };
        Recording {
            identity: "0123456789abcdef".to_owned(),
            seconds: 41,
            notes: vec![
                note(
                    "ipvsadm -L -n",
                    Value::Lines(vec!["  -> a".into(), String::new(), " trailing ".into()]),
                ),
                note("SYN", Value::Packets(vec!["to servers x: y".into()])),
                note("nothing came", Value::Packets(vec![])),
                note(
                    "connections at the end",
                    Value::Connections(vec![Connection {
                        what: "TCP SYN_RECV 10.0.0.2:1 10.0.0.100:80".into(),
                        timeout: 60,
                        unsure: 1,
                    }]),
                ),
                note(
                    "who gets them",
                    Value::Shares {
                        counts: [("server 21".to_owned(), 180)].into(),
                        slack: 2,
                    },
                ),
                note(
                    "all end",
                    Value::Time {
                        milliseconds: 60_000,
                        slack: 3_000,
                    },
                ),
            ],
        }
    }

    fn scenario(name: &'static str) -> Scenario {
        let scenario = Scenario::new(name, "about", |_| Ok(()));
        Scenario {
            file: "methods",
            ..scenario
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = RecordFile {
            made_with: made_with("6.1.0-42-amd64 #1"),
            recordings: [("one".to_owned(), recording())].into(),
        };
        let text = file.text(&[&scenario("one")]);
        assert_eq!(RecordFile::parse(&text).expect("readable"), file, "{text}");
    }

    #[test]
    fn nonsense_is_refused_by_its_line() {
        for (text, line) in [
            ("kernel 6\nnonsense\n", "line 2"),
            ("    a line of no step\n", "line 1"),
            ("scenario a\n  words x\n", "line 2"),
            ("scenario a\n  shares x y\n", "line 2"),
            ("scenario a\n  connections x\n    60 TCP\n", "line 3"),
            ("scenario a\n\nscenario a\n", "line 3"),
            ("scenario a\nseconds many\n", "line 2"),
        ] {
            let error = RecordFile::parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(line), "{text:?}: {error:#}");
        }
    }

    #[test]
    fn a_file_has_one_kernel() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = [scenario("one"), scenario("two")];
        let (old, new) = (made_with("6.1.1 #1"), made_with("6.1.2 #1"));
        let mut records = Records::default();
        for one in &all {
            records.insert(one, &old, recording());
        }
        records.write(directory.path(), &all).expect("written");
        let mut records = Records::read(directory.path()).expect("read");
        assert_eq!(records.of(&all[1]), Some(&recording()));
        assert_eq!(records.made_with(), [&old]);
        records.insert(&all[0], &new, recording());
        assert!(records.write(directory.path(), &all).is_err());
        records.insert(&all[1], &new, recording());
        records.write(directory.path(), &all).expect("written");
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!(made_with("6.1.0-42-amd64 #1 SMP").series(), "6.1");
        assert_eq!(made_with("6.12.57+deb12-amd64").series(), "6.12");
        assert_eq!(made_with("6.18-rc1").series(), "6.18");
    }
}
