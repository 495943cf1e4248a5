//! The director's knobs: IPVS's sysctls (`net.ipv4.vs.*`) that have a meaning here, under their own names.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::director::Compat;
use crate::timeouts::as_text;

/// All of them. What each does is said in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are IPVS's")]
pub struct Knobs {
    #[serde(deserialize_with = "switch")]
    pub expire_nodest_conn: bool,
    #[serde(deserialize_with = "switch")]
    pub expire_quiescent_template: bool,
    pub conn_reuse_mode: ReuseMode,
    #[serde(deserialize_with = "switch")]
    pub sloppy_tcp: bool,
    #[serde(deserialize_with = "switch")]
    pub sloppy_sctp: bool,
    #[serde(deserialize_with = "switch")]
    pub schedule_icmp: bool,
    #[serde(deserialize_with = "switch")]
    pub nat_icmp_send: bool,
    #[serde(deserialize_with = "switch")]
    pub snat_reroute: bool,
    #[serde(deserialize_with = "switch")]
    pub pmtu_disc: bool,
    #[serde(deserialize_with = "switch")]
    pub ignore_tunneled: bool,
    #[serde(deserialize_with = "switch")]
    pub cache_bypass: bool,
    #[serde(deserialize_with = "switch")]
    pub backup_only: bool,
    #[serde(deserialize_with = "switch")]
    pub run_estimation: bool,
    pub drop_entry: Defence,
    pub drop_packet: Defence,
    pub secure_tcp: Defence,
    /// In pages.
    pub amemthresh: u32,
    pub am_droprate: u32,
    #[serde(with = "as_text")]
    pub lblc_expiration: Duration,
    #[serde(with = "as_text")]
    pub lblcr_expiration: Duration,
    /// Not a sysctl but an option of the kernel's build: the entries of a Maglev table.
    pub mh_table_size: MaglevSize,
}

/// A switch: true or false, or a sysctl's 1 or 0.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Truth(bool),
        Number(i64),
        Text(String),
    }
    match Word::deserialize(deserializer)? {
        Word::Truth(on) => Ok(on),
        Word::Number(number @ (0 | 1)) => Ok(number == 1),
        Word::Number(other) => Err(de::Error::custom(format_args!("{other} is not {SWITCHES}"))),
        Word::Text(other) => Err(de::Error::custom(format_args!(
            "{other:?} is not {SWITCHES}"
        ))),
    }
}

const SWITCHES: &str = "a switch: true, false, 1 or 0";

impl Knobs {
    /// RVS's defaults, or IPVS's to the letter.
    pub const fn defaults(compat: Option<Compat>) -> Knobs {
        let ipvs = Knobs {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            conn_reuse_mode: ReuseMode(1),
            sloppy_tcp: false,
            sloppy_sctp: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            snat_reroute: true,
            pmtu_disc: true,
            ignore_tunneled: false,
            cache_bypass: false,
            backup_only: false,
            run_estimation: true,
            drop_entry: Defence::OFF,
            drop_packet: Defence::OFF,
            secure_tcp: Defence::OFF,
            amemthresh: 1024,
            am_droprate: 10,
            lblc_expiration: Duration::from_secs(86400),
            lblcr_expiration: Duration::from_secs(86400),
            mh_table_size: MaglevSize::IPVS,
        };
        match compat {
            Some(Compat::Ipvs) => ipvs,
            None => Knobs {
                expire_nodest_conn: true,
                expire_quiescent_template: true,
                conn_reuse_mode: ReuseMode(3),
                mh_table_size: MaglevSize::DEFAULT,
                ..ipvs
            },
        }
    }
}

/// Which connections make way for a new one with the same addresses and ports: with either bit those that are closed, with
/// bit 1 also those in FIN_WAIT of which the director sees only one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReuseMode(u8);

impl ReuseMode {
    /// Closed connections make way.
    pub const fn closed(self) -> bool {
        self.0 & 1 != 0
    }

    /// Those in FIN_WAIT make way too.
    pub const fn fin_wait(self) -> bool {
        self.0 & 2 != 0
    }

    /// IPVS's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// When a defence is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Defence(u8);

impl Defence {
    /// Never.
    pub const OFF: Defence = Defence(0);
    /// While memory is short.
    pub const AUTO: Defence = Defence(1);
    /// Always.
    pub const ON: Defence = Defence(3);

    /// IPVS's number: 0 never, 1 and 2 while memory is short, 3 always.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether it depends on memory.
    pub const fn is_automatic(self) -> bool {
        matches!(self.0, 1 | 2)
    }
}

/// How many entries a Maglev table has: a prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaglevSize(u32);

impl MaglevSize {
    /// Every size there is: IPVS's, and the paper's 65537.
    pub const ALL: [u32; 11] = [
        251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131_071,
    ];
    /// The paper's.
    pub const DEFAULT: MaglevSize = MaglevSize(65537);
    /// IPVS's, unless its kernel was built with another.
    pub const IPVS: MaglevSize = MaglevSize(4093);

    /// The number of entries.
    pub const fn entries(self) -> u32 {
        self.0
    }
}

impl fmt::Display for MaglevSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReuseMode {
    type Err = KnobError;

    fn from_str(text: &str) -> Result<Self, KnobError> {
        match text.parse() {
            Ok(mode @ 0..=3) => Ok(ReuseMode(mode)),
            Ok(_) | Err(_) => Err(KnobError::Small(text.to_owned())),
        }
    }
}

impl FromStr for Defence {
    type Err = KnobError;

    fn from_str(text: &str) -> Result<Self, KnobError> {
        match text.parse() {
            Ok(mode @ 0..=3) => Ok(Defence(mode)),
            Ok(_) | Err(_) => Err(KnobError::Small(text.to_owned())),
        }
    }
}

impl FromStr for MaglevSize {
    type Err = KnobError;

    fn from_str(text: &str) -> Result<Self, KnobError> {
        match text.parse() {
            Ok(size) if MaglevSize::ALL.contains(&size) => Ok(MaglevSize(size)),
            Ok(_) | Err(_) => Err(KnobError::Maglev(text.to_owned())),
        }
    }
}

/// A number that a knob does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnobError {
    /// Of a knob with four positions.
    #[error("{0} is not one of 0, 1, 2, 3")]
    Small(String),
    /// Of a Maglev table.
    #[error("{0} is not the size of a Maglev table (known: {sizes})", sizes = MaglevSize::ALL.map(|size| size.to_string()).join(", "))]
    Maglev(String),
    /// Of a knob that counts.
    #[error("{0} is not a number from 0 to 2147483647")]
    Count(String),
}

/// Reads a count from 0 to 2147483647.
pub(crate) fn parse_count(text: &str) -> Result<u32, KnobError> {
    match text.parse::<u32>() {
        Ok(count) if i32::try_from(count).is_ok() => Ok(count),
        Ok(_) | Err(_) => Err(KnobError::Count(text.to_owned())),
    }
}

macro_rules! serde_as_number {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)?;
                number.to_string().parse().map_err(de::Error::custom)
            }
        }
    )+};
}
serde_as_number!(ReuseMode, Defence, MaglevSize);

/// A sysctl of IPVS that a director has not, with the reason.
pub(crate) fn absent(name: &str) -> Option<&'static str> {
    Some(match name {
        "conntrack" => "connections through the director never enter netfilter's tracking",
        "debug_level" => "the daemon's log has levels (RVS_LOG), and packets have counters",
        "est_cpulist" | "est_nice" => "the daemon estimates rates; no kernel thread does",
        "conn_lfactor" | "svc_lfactor" | "conn_max" => {
            "the connection table's size is connections and connections_v6"
        }
        "sync_threshold"
        | "sync_period"
        | "sync_refresh_period"
        | "sync_retries"
        | "sync_qlen_max"
        | "sync_sock_size"
        | "sync_ports"
        | "sync_persist_mode"
        | "sync_version" => "connections are not synchronised with other directors yet",
        _ => return None,
    })
}

/// The names of [`absent`].
pub(crate) const ABSENT: [&str; 16] = [
    "conntrack",
    "debug_level",
    "est_cpulist",
    "est_nice",
    "conn_lfactor",
    "svc_lfactor",
    "conn_max",
    "sync_threshold",
    "sync_period",
    "sync_refresh_period",
    "sync_retries",
    "sync_qlen_max",
    "sync_sock_size",
    "sync_ports",
    "sync_persist_mode",
    "sync_version",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in ["0", "1", "2", "3"] {
            assert!(number.parse::<Defence>().is_ok() && number.parse::<ReuseMode>().is_ok());
        }
        for number in ["4", "-1", ""] {
            assert_eq!(
                number.parse::<Defence>(),
                Err(KnobError::Small(number.to_owned()))
            );
        }
        assert_eq!("65537".parse(), Ok(MaglevSize::DEFAULT));
        assert_eq!(
            "65536"
                .parse::<MaglevSize>()
                .expect_err("no prime")
                .to_string(),
            "65536 is not the size of a Maglev table (known: 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131071)"
        );
        assert_eq!(parse_count("2147483647"), Ok(i32::MAX.unsigned_abs()));
        assert!(parse_count("2147483648").is_err());
    }

    #[test]
    fn json_reads_back() {
        for compat in [None, Some(Compat::Ipvs)] {
            let knobs = Knobs::defaults(compat);
            let json = serde_json::to_string(&knobs).expect("json");
            assert_eq!(serde_json::from_str::<Knobs>(&json).ok(), Some(knobs));
        }
    }

    #[test]
    fn what_is_absent_has_a_reason() {
        for name in ABSENT {
            assert!(absent(name).is_some(), "{name}");
        }
    }
}
