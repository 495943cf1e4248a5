//! The schedulers by name, and their flags. Their rules are the data plane's.

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
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Maglev hashing.
    Mh,
    /// Weighted fail-over.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Power of two choices, weighted.
    Twos,
    /// None: no new connections but those of templates.
    None,
}

impl Scheduler {
    /// Every scheduler there is.
    pub const ALL: [Scheduler; 15] = [
        Scheduler::Rr,
        Scheduler::Wrr,
        Scheduler::Lc,
        Scheduler::Wlc,
        Scheduler::Dh,
        Scheduler::Sh,
        Scheduler::Lblc,
        Scheduler::Lblcr,
        Scheduler::Sed,
        Scheduler::Nq,
        Scheduler::Mh,
        Scheduler::Fo,
        Scheduler::Ovf,
        Scheduler::Twos,
        Scheduler::None,
    ];

    /// LVS's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
            Scheduler::Dh => "dh",
            Scheduler::Sh => "sh",
            Scheduler::Lblc => "lblc",
            Scheduler::Lblcr => "lblcr",
            Scheduler::Sed => "sed",
            Scheduler::Nq => "nq",
            Scheduler::Mh => "mh",
            Scheduler::Fo => "fo",
            Scheduler::Ovf => "ovf",
            Scheduler::Twos => "twos",
            Scheduler::None => "none",
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
#[error("unknown scheduler \"{0}\" (known: {known})", known = known())]
pub struct UnknownScheduler(pub String);

fn known() -> String {
    Scheduler::ALL.map(Scheduler::name).join(", ")
}

serde_as_text!(Scheduler);

/// IPVS's three flags of a scheduler. What they mean, the scheduler says: the first lets sh and mh fall back on
/// another server, the second lets them look at the client's port too; the third means nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchedulerFlags(u8);

impl SchedulerFlags {
    /// No flag.
    pub const NONE: SchedulerFlags = SchedulerFlags(0);
    /// `flag-1`, `sh-fallback`, `mh-fallback`: IPVS's `IP_VS_SVC_F_SCHED1`.
    pub const FIRST: SchedulerFlags = SchedulerFlags(1);
    /// `flag-2`, `sh-port`, `mh-port`: IPVS's `IP_VS_SVC_F_SCHED2`.
    pub const SECOND: SchedulerFlags = SchedulerFlags(2);
    /// `flag-3`: IPVS's `IP_VS_SVC_F_SCHED3`.
    pub const THIRD: SchedulerFlags = SchedulerFlags(4);

    /// Every name of a flag: the flag, and the scheduler if it is only that one's.
    const NAMES: [(&'static str, SchedulerFlags, Option<Scheduler>); 7] = [
        ("sh-fallback", SchedulerFlags::FIRST, Some(Scheduler::Sh)),
        ("sh-port", SchedulerFlags::SECOND, Some(Scheduler::Sh)),
        ("mh-fallback", SchedulerFlags::FIRST, Some(Scheduler::Mh)),
        ("mh-port", SchedulerFlags::SECOND, Some(Scheduler::Mh)),
        ("flag-1", SchedulerFlags::FIRST, None),
        ("flag-2", SchedulerFlags::SECOND, None),
        ("flag-3", SchedulerFlags::THIRD, None),
    ];

    /// The flags that these words name for this scheduler.
    pub fn parse<'a>(
        scheduler: Scheduler,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<SchedulerFlags, SchedulerFlagError> {
        words
            .into_iter()
            .try_fold(SchedulerFlags::NONE, |flags, word| {
                let (_, flag, whose) = SchedulerFlags::NAMES
                    .into_iter()
                    .find(|(name, ..)| *name == word)
                    .ok_or_else(|| SchedulerFlagError::Unknown(word.to_owned()))?;
                match whose {
                    Some(owner) if owner != scheduler => Err(SchedulerFlagError::Unfit {
                        flag: word.to_owned(),
                        owner,
                        scheduler,
                    }),
                    Some(_) | None => Ok(flags.and(flag)),
                }
            })
    }

    /// The flags that there are, by the names that they have for this scheduler.
    pub fn names(self, scheduler: Scheduler) -> Vec<&'static str> {
        [
            SchedulerFlags::FIRST,
            SchedulerFlags::SECOND,
            SchedulerFlags::THIRD,
        ]
        .into_iter()
        .filter(|flag| self.has(*flag))
        .filter_map(|flag| {
            let fits = |whose: Option<Scheduler>| whose.is_none_or(|owner| owner == scheduler);
            SchedulerFlags::NAMES
                .into_iter()
                .find(|(_, known, whose)| *known == flag && fits(*whose))
                .map(|(name, ..)| name)
        })
        .collect()
    }

    /// Whether all of these flags are there.
    pub const fn has(self, flags: SchedulerFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags and others.
    #[must_use]
    pub const fn and(self, flags: SchedulerFlags) -> SchedulerFlags {
        SchedulerFlags(self.0 | flags.0)
    }

    /// The first in bit 0, the second in bit 1, the third in bit 2.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The flags of [`SchedulerFlags::bits`]; other bits are left out.
    pub const fn from_bits(bits: u8) -> SchedulerFlags {
        SchedulerFlags(bits & 7)
    }
}

/// Why a word is no flag of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerFlagError {
    /// Of none.
    #[error("unknown scheduler flag \"{0}\" (known: {known})", known = SchedulerFlags::NAMES.map(|(name, ..)| name).join(", "))]
    Unknown(String),
    /// Of another.
    #[error("the scheduler flag \"{flag}\" is {owner}'s: the scheduler is {scheduler}")]
    Unfit {
        /// The word.
        flag: String,
        /// Whose flag it is.
        owner: Scheduler,
        /// The scheduler.
        scheduler: Scheduler,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse(), Ok(scheduler));
        }
        assert_eq!(Scheduler::default(), Scheduler::Wlc);
        assert_eq!(
            "nosuch"
                .parse::<Scheduler>()
                .expect_err("nosuch")
                .to_string(),
            "unknown scheduler \"nosuch\" (known: rr, wrr, lc, wlc, dh, sh, lblc, lblcr, sed, nq, mh, fo, ovf, twos, none)"
        );
    }

    #[test]
    fn flags_have_names_by_scheduler() {
        for (scheduler, words, names) in [
            (Scheduler::Sh, "sh-port", "sh-port"),
            (Scheduler::Sh, "flag-1,flag-2", "sh-fallback,sh-port"),
            (Scheduler::Mh, "mh-port,mh-fallback", "mh-fallback,mh-port"),
            (Scheduler::Mh, "flag-3,flag-3", "flag-3"),
            (
                Scheduler::Rr,
                "flag-2,flag-1,flag-3",
                "flag-1,flag-2,flag-3",
            ),
        ] {
            let flags = SchedulerFlags::parse(scheduler, words.split(',')).expect(words);
            assert_eq!(flags.names(scheduler).join(","), names);
            assert_eq!(SchedulerFlags::from_bits(flags.bits()), flags);
        }
        for (scheduler, word, message) in [
            (
                Scheduler::Mh,
                "sh-port",
                "the scheduler flag \"sh-port\" is sh's: the scheduler is mh",
            ),
            (
                Scheduler::Rr,
                "mh-fallback",
                "the scheduler flag \"mh-fallback\" is mh's: the scheduler is rr",
            ),
            (
                Scheduler::Sh,
                "flag-4",
                "unknown scheduler flag \"flag-4\" (known: sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2, flag-3)",
            ),
        ] {
            assert_eq!(
                SchedulerFlags::parse(scheduler, [word])
                    .expect_err(word)
                    .to_string(),
                message
            );
        }
    }
}
