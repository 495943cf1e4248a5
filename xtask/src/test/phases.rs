//! The phases of a test run: what each is, what it needs, and whether every run has it.

use clap::ValueEnum;

/// One part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Phase {
    /// Tests inside libraries and programs, and integration tests of pure crates.
    Unit,
    /// loom's models of the connection table.
    Models,
    /// Examples in the documentation.
    Examples,
    /// Integration tests on this machine's kernel, each in namespaces of its own.
    Host,
    /// Those of them that measure time, or need the machine for themselves.
    Alone,
    /// Every parity scenario, played to RVS and compared with the recordings.
    Parity,
    /// The load gate, a short end-to-end form and a few parity scenarios on Linux 6.1.
    Guest,
    /// The other end-to-end tests on Linux 6.1.
    GuestFull,
    /// Every parity scenario in the guest, beside the kernel's own IPVS.
    ParityFull,
}

/// A phase's needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A compiler.
    Nothing,
    /// Root, namespaces and the right to load BPF programs.
    Root,
    /// The same, and the guest.
    Guest,
}

impl Phase {
    /// All of them, in the order in which they run.
    pub(crate) const ALL: [Self; 9] = [
        Self::Unit,
        Self::Examples,
        Self::Models,
        Self::Parity,
        Self::Host,
        Self::Guest,
        Self::GuestFull,
        Self::ParityFull,
        Self::Alone,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Models => "models",
            Self::Examples => "examples",
            Self::Host => "host",
            Self::Alone => "alone",
            Self::Parity => "parity",
            Self::Guest => "guest",
            Self::GuestFull => "guest-full",
            Self::ParityFull => "parity-full",
        }
    }

    /// A description, for `--list`.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Unit => "tests inside the crates, and integration tests of pure ones",
            Self::Models => "loom's models of the connection table",
            Self::Examples => "examples in the documentation",
            Self::Host => "integration tests, each in namespaces of its own",
            Self::Alone => "those that measure time or need the machine for themselves",
            Self::Parity => "every parity scenario, against the recordings",
            Self::Guest => "Linux 6.1: load gate, short end-to-end form, parity of each file",
            Self::GuestFull => "Linux 6.1: the other end-to-end tests",
            Self::ParityFull => "Linux 6.1: every parity scenario beside the kernel's IPVS",
        }
    }

    pub(crate) fn needs(self) -> Needs {
        match self {
            Self::Unit | Self::Models | Self::Examples => Needs::Nothing,
            Self::Host | Self::Alone | Self::Parity => Needs::Root,
            Self::Guest | Self::GuestFull | Self::ParityFull => Needs::Guest,
        }
    }

    /// Whether others may run at the same time. The guest computes on one processor most of the time; what is played on the
    /// host waits more than it computes.
    pub(crate) fn is_in_background(self) -> bool {
        self.needs() == Needs::Guest
    }

    /// Whether it runs without `--full`.
    pub(crate) fn is_usual(self) -> bool {
        match self {
            Self::Unit
            | Self::Models
            | Self::Examples
            | Self::Host
            | Self::Alone
            | Self::Parity
            | Self::Guest => true,
            Self::GuestFull | Self::ParityFull => false,
        }
    }
}

impl Needs {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "neither",
            Self::Root => "root",
            Self::Guest => "root, guest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_in_the_list_by_its_name() {
        for phase in Phase::value_variants() {
            assert!(Phase::ALL.contains(phase), "{phase:?}");
            let value = phase.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), phase.name());
        }
        assert_eq!(Phase::ALL.len(), Phase::value_variants().len());
    }
}
