//! What a scenario is, and what is noted down while it plays.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::director::{Knob, Mark};
use crate::stage::Stage;

/// A scenario: written once, played to each director.
pub(crate) struct Scenario {
    /// Short, unique, for `--only`.
    pub(crate) name: &'static str,
    /// What is compared, for the table.
    pub(crate) about: &'static str,
    /// The file of `scenarios/` that it is written in: its recording is in the file of that name.
    pub(crate) file: &'static str,
    /// The places in which every run plays it.
    pub(crate) plays: Plays,
    /// Settings to begin with.
    pub(crate) knobs: &'static [Knob],
    /// Packets that get a firewall mark.
    pub(crate) marks: &'static [Mark],
    /// What happens.
    pub(crate) script: fn(&mut Stage<'_>) -> Result<()>,
    /// Differences that stand in the manual.
    pub(crate) explained: &'static [Explained],
}

/// The places in which a run of the tests plays a scenario to RVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plays {
    /// On the host alone.
    OnHost,
    /// On the host, and in the guest, whose older kernel takes RVS's programs by clsact.
    InGuestToo,
    /// In the guest alone: it needs a device that the host's kernel may not have.
    InGuest,
}

/// A difference with a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explained {
    /// The step's label begins so.
    pub(crate) step: &'static str,
    /// The heading in `docs/src/parity.md` below which the reason stands.
    pub(crate) heading: &'static str,
}

impl Scenario {
    /// A scenario for the host, with default settings.
    pub(crate) const fn new(
        name: &'static str,
        about: &'static str,
        script: fn(&mut Stage<'_>) -> Result<()>,
    ) -> Self {
        Self {
            name,
            about,
            file: "",
            plays: Plays::OnHost,
            knobs: &[],
            marks: &[],
            script,
            explained: &[],
        }
    }

    /// What `--list` says of it.
    pub(crate) fn listed(&self) -> serde_json::Value {
        let headings: Vec<_> = self
            .explained
            .iter()
            .map(|explained| explained.heading)
            .collect();
        serde_json::json!({
            "name": self.name,
            "about": self.about,
            "file": self.file,
            "in_guest": self.plays != Plays::OnHost,
            "on_host": self.plays != Plays::InGuest,
            "explained": headings,
        })
    }

    /// One of those that represent their file in the guest.
    pub(crate) const fn in_guest_too(mut self) -> Self {
        self.plays = Plays::InGuestToo;
        self
    }

    /// One that needs what only the guest's kernel is sure to have.
    pub(crate) const fn in_guest(mut self) -> Self {
        self.plays = Plays::InGuest;
        self
    }

    pub(crate) const fn knobs(mut self, knobs: &'static [Knob]) -> Self {
        self.knobs = knobs;
        self
    }

    pub(crate) const fn marks(mut self, marks: &'static [Mark]) -> Self {
        self.marks = marks;
        self
    }

    pub(crate) const fn explained(mut self, explained: &'static [Explained]) -> Self {
        self.explained = explained;
        self
    }
}

/// Something noted down at a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// Which step.
    pub(crate) step: String,
    /// What was seen.
    pub(crate) value: Value,
}

/// What was seen. How it is compared depends on what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Value {
    /// Equal, line by line.
    Lines(Vec<String>),
    /// Packets that came out, in words: equal.
    Packets(Vec<String>),
    /// Connections: equal but for the time-outs, which may differ by [`TIMEOUT_SLACK`] and by what is unsure of them.
    Connections(Vec<Connection>),
    /// How often something was chosen: as often, give or take `slack`.
    Shares {
        /// By name.
        counts: BTreeMap<String, u64>,
        /// The largest difference allowed.
        slack: u64,
    },
    /// How long something took, in milliseconds: as long, give or take `slack`.
    Time {
        /// It took so long.
        milliseconds: u64,
        /// The largest difference allowed.
        slack: u64,
    },
}

/// Seconds by which two time-outs may differ: times left are printed in whole seconds.
pub(crate) const TIMEOUT_SLACK: u64 = 2;

/// A line of `ipvsadm -Lnc`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Connection {
    /// Everything but the time: protocol, state, source, virtual, destination and what may follow.
    pub(crate) what: String,
    /// The time left in seconds and what had passed since its last packet.
    pub(crate) timeout: u64,
    /// Seconds that the command took which said it: any of them may have passed since it looked.
    pub(crate) unsure: u64,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} s)", self.what, self.timeout)
    }
}
