//! The identity of a scenario: a hash over everything that its script does to a director.
//!
//! A recording keeps it, so that a scenario that was changed without a new recording is found out. It is taken
//! from what happens and not from the source, so that it also covers the helpers that build packets, and is
//! left alone by a comment or a new name. What a script does may depend on what it saw; then a director that behaves
//! unlike the recorded one changes the identity too.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::describe::Side;
use crate::director::{Knob, Mark};

/// See the module. It grows as the script goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity(Sha256);

impl Identity {
    /// Settings and marks to begin with.
    pub(crate) fn settings(&mut self, knobs: &[Knob], marks: &[Mark]) {
        for (name, value) in knobs {
            self.add("setting", &[name.as_bytes(), value.as_bytes()]);
        }
        for (prefix, mark) in marks {
            self.add("mark", &[prefix.as_bytes(), &mark.to_be_bytes()]);
        }
    }

    /// A command of ipvsadm and its standard input.
    pub(crate) fn command(&mut self, words: &str, input: &str) {
        self.add("command", &[words.as_bytes(), input.as_bytes()]);
    }

    /// A frame that is sent into the director.
    pub(crate) fn frame(&mut self, from: Side, frame: &[u8]) {
        let side = match from {
            Side::Clients => "from clients",
            Side::Servers => "from servers",
        };
        self.add(side, &[frame]);
    }

    /// A time that passes, or that something may take.
    pub(crate) fn time(&mut self, what: &str, time: Duration) {
        self.add(what, &[&time.as_millis().to_be_bytes()]);
    }

    /// Another step, and what defines it.
    pub(crate) fn step(&mut self, what: &str, detail: &str) {
        self.add(what, &[detail.as_bytes()]);
    }

    /// 16 hexadecimal digits.
    pub(crate) fn text(&self) -> String {
        let digest = self.0.clone().finalize();
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Lengths go first, so that no two sequences of steps read the same.
    fn add(&mut self, what: &str, parts: &[&[u8]]) {
        for part in [&[what.as_bytes()], parts].concat() {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: impl Fn(&mut Identity)) -> String {
        let mut identity = Identity::default();
        steps(&mut identity);
        identity.text()
    }

    #[test]
    fn every_part_counts() {
        let one = of(|identity| identity.command("-A", "b"));
        assert_eq!(one.len(), 16);
        assert_eq!(one, of(|identity| identity.command("-A", "b")));
        for other in [
            of(|identity| identity.command("-Ab", "")),
            of(|identity| identity.command("-A", "c")),
            of(|identity| identity.frame(Side::Clients, b"-Ab")),
            of(|identity| identity.settings(&[("-A", "b")], &[])),
            of(|identity| identity.time("sleep", Duration::from_secs(1))),
        ] {
            assert_ne!(one, other);
        }
    }
}
