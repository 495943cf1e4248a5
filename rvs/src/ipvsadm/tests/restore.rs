//! `ipvsadm -R`, line by line.

use super::memory::Memory;
use super::run;
use crate::ipvsadm::HELP;

const RESTORE: &str = include_str!("../../../tests/ipvsadm-output/11-restore.txt");

#[test]
fn every_restore() {
    let mut count = 0;
    for block in format!("\n{RESTORE}").split("\n$ ").skip(1) {
        let (input, rest) = block.split_once('\n').unwrap_or((block, ""));
        let (output, rest) = rest.split_once("[exit ").expect(block);
        let (status, saved) = rest.split_once(']').expect(block);
        let saved: String = saved
            .lines()
            .filter_map(|line| line.strip_prefix("> "))
            .map(|line| format!("{line}\n"))
            .collect();
        let mut table = Memory::new();
        let (own, own_status) = run(&mut table, &["-R"], &escapes(input));
        assert_eq!(
            (own.as_str(), own_status.to_string().as_str()),
            (output, status),
            "{input}"
        );
        assert_eq!(run(&mut table, &["-Sn"], "").0, saved, "{input}");
        count += 1;
    }
    assert_eq!(count, 33);
}

#[test]
fn help_is_the_original() {
    assert!(RESTORE.contains(HELP));
}

/// What printf's `%b` makes of a text.
fn escapes(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (c, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('v') => out.push('\x0b'),
                Some('f') => out.push('\x0c'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
        }
    }
    out
}
