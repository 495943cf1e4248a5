//! The documents hold what they say: links lead somewhere, configurations parse, counters are the
//! program's, commands exist. Whether prose is true, no test can say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rvs_abi::{Counter, Verdict};
use rvs_config::Config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file with this ending, except in what is built or hidden.
fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            if name != "target" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn markdown() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), ".md", &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The manual and the readme: what users read.
fn manual() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    files(&root().join("docs/src"), ".md", &mut found);
    found
}

/// Fenced blocks with their language and the number of their first line, and the text outside them.
fn blocks(text: &str) -> (Vec<(String, usize, String)>, String) {
    let (mut blocks, mut outside) = (Vec::new(), String::new());
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(language), None) => {
                open = Some((language.trim().to_owned(), number + 2, String::new()));
            }
            (None, Some((language, at, body))) => {
                open = Some((language, at, format!("{body}{line}\n")));
            }
            (None, None) => {
                outside.push_str(line);
                outside.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block without an end: {open:?}");
    (blocks, outside)
}

/// Inline code; an odd backtick begins none.
fn inline_code(outside: &str) -> Vec<String> {
    outside
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
        .map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// A heading's anchor, as mdBook and GitHub make it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn relative_links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for file in markdown() {
        let (_, outside) = blocks(&read(&file));
        for part in outside.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() {
                file.clone()
            } else {
                file.parent().expect("a directory").join(path)
            };
            let found = path.exists()
                && (place.is_empty()
                    || blocks(&read(&path))
                        .1
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == place));
            if !found {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(links > 30, "{links}");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_chapter_is_in_the_summary() {
    let directory = root().join("docs/src");
    let summary = read(&directory.join("SUMMARY.md"));
    let mut chapters = Vec::new();
    files(&directory, ".md", &mut chapters);
    for chapter in chapters {
        let name = chapter
            .strip_prefix(&directory)
            .expect("inside")
            .display()
            .to_string();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name} is not in SUMMARY.md"
        );
    }
}

#[test]
fn the_table_of_counters_is_the_programs() {
    let text = read(&root().join("docs/src/counters.md"));
    let table: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = Counter::ALL
        .iter()
        .map(|counter| {
            let verdict = match counter.verdict() {
                Verdict::Pass => "passed",
                Verdict::Drop => "dropped",
                Verdict::Answer => "answered",
                Verdict::Note => "noted",
            };
            format!("| `{}` | {verdict} | {} |", counter.name(), counter.help())
        })
        .collect();
    assert_eq!(
        table,
        expected,
        "the table ought to be:\n{}",
        expected.join("\n")
    );
}

#[test]
fn counters_named_elsewhere_exist() {
    let known: BTreeSet<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let prefixes = ["pass_", "drop_", "answer_", "icmp_"];
    for file in manual() {
        let (_, outside) = blocks(&read(&file));
        for code in inline_code(&outside) {
            // Two knobs are called like counters.
            let is_knob = ["drop_entry", "drop_packet"]
                .iter()
                .any(|knob| code.split(' ').next() == Some(knob));
            let is_counter = !is_knob && prefixes.iter().any(|prefix| code.starts_with(prefix));
            assert!(
                !is_counter || known.contains(code.as_str()),
                "{}: {code}",
                file.display()
            );
        }
    }
}

#[test]
fn configurations_parse() {
    let mut parsed = 0;
    for file in manual() {
        for (language, at, body) in blocks(&read(&file)).0 {
            if language == "toml" {
                let place = format!("{}, block at line {at}", file.display());
                if let Err(errors) = Config::parse(&body, &place) {
                    panic!("{errors}");
                }
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 6, "{parsed}");
}

/// The words in the list of commands that `--help` prints, itself aside.
fn commands(words: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_rvs"))
        .args(words)
        .arg("--help")
        .output()
        .expect("rvs runs");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The words after `rvs`, if it is a command line of it.
fn words_of(line: &str) -> Option<Vec<&str>> {
    let line = line.trim_start_matches("# ").trim_start_matches("$ ");
    let words: Vec<&str> = line.strip_prefix("rvs ")?.split_whitespace().collect();
    Some(words)
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())
}

#[test]
fn commands_in_the_documents_exist() {
    let known = commands(&[]);
    let nested = ["service", "server", "realserver"];
    let mut seen = 0;
    for file in manual() {
        let (blocks, outside) = blocks(&read(&file));
        let shown = blocks
            .iter()
            .filter(|(language, _, _)| matches!(language.as_str(), "sh" | "console"))
            .flat_map(|(_, _, body)| body.lines().map(str::to_owned));
        for line in shown.chain(inline_code(&outside)) {
            let Some(words) = words_of(&line) else {
                continue;
            };
            let Some(first) = words.first().filter(|word| is_word(word)) else {
                continue;
            };
            seen += 1;
            assert!(known.contains(*first), "{}: {line}", file.display());
            if nested.contains(first)
                && let Some(second) = words.get(1).filter(|word| is_word(word))
            {
                let below = commands(&[first]);
                assert!(below.contains(*second), "{}: {line}", file.display());
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn manual_pages_name_every_command() {
    let page = read(&root().join("docs/man/rvs.8"));
    let chapter = read(&root().join("docs/src/commands.md"));
    for command in commands(&[]) {
        let named = |line: &str| {
            line.starts_with(".It Cm ") && line.split_whitespace().nth(2) == Some(command.as_str())
        };
        assert!(page.lines().any(named), "rvs.8 lacks {command}");
        let in_chapter = [format!("`rvs {command}`"), format!("`rvs {command} ")]
            .iter()
            .any(|code| chapter.contains(code));
        assert!(in_chapter, "commands.md lacks {command}");
    }
    for first in ["service", "server", "realserver"] {
        for second in commands(&[first]).iter().filter(|word| *word != "help") {
            assert!(
                page.contains(&format!(".It Cm {first} {second}")),
                "rvs.8 lacks {first} {second}"
            );
        }
    }
}

#[test]
fn manual_pages_name_every_key_of_the_configuration() {
    let page = read(&root().join("docs/man/rvs.toml.5"));
    let chapter = read(&root().join("docs/src/configuration.md"));
    let example = read(&root().join("crates/rvs-config/examples/rvs.toml"));
    let keys: BTreeSet<&str> = example
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| {
            key.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(
            page.contains(&format!(".It Cm {key}")),
            "rvs.toml.5 lacks {key}"
        );
        assert!(
            ["", "tcp.", "sctp."]
                .iter()
                .any(|protocol| chapter.contains(&format!("`{protocol}{key}`"))),
            "configuration.md lacks {key}"
        );
    }
}
