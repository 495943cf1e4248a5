//! The schedulers by name. Their rules are the data plane's.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// How a service chooses the real server of a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    #[default]
    Wlc,
}

impl Scheduler {
    /// Every scheduler there is.
    pub const ALL: [Scheduler; 4] = [Scheduler::Rr, Scheduler::Wrr, Scheduler::Lc, Scheduler::Wlc];

    /// LVS's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scheduler {
    type Err = UnknownScheduler;

    fn from_str(text: &str) -> Result<Self, UnknownScheduler> {
        Scheduler::ALL
            .into_iter()
            .find(|scheduler| scheduler.name() == text)
            .ok_or_else(|| UnknownScheduler(text.to_owned()))
    }
}

/// A word that names no scheduler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scheduler \"{0}\" (known: rr, wrr, lc, wlc)")]
pub struct UnknownScheduler(pub String);

serde_as_text!(Scheduler);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse(), Ok(scheduler));
            assert!(
                UnknownScheduler(String::new())
                    .to_string()
                    .contains(scheduler.name())
            );
        }
        assert_eq!(Scheduler::default(), Scheduler::Wlc);
        assert_eq!(
            "nosuch"
                .parse::<Scheduler>()
                .expect_err("nosuch")
                .to_string(),
            "unknown scheduler \"nosuch\" (known: rr, wrr, lc, wlc)"
        );
    }
}
