//! How long a silent connection is kept, by state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::director::Compat;

/// The longest timeout, IPVS's: 24 days.
const LONGEST_SECONDS: u64 = 2_147_483;

/// All timeouts. Written in seconds (`900`) or with a unit (`"900s"`, `"15m"`, `"2h"`, `"1d"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// TCP's, by state.
    pub tcp: TcpTimeouts,
    /// UDP's only state.
    #[serde(with = "as_text")]
    pub udp: Duration,
}

impl Timeouts {
    /// RVS's defaults, or IPVS's to the letter.
    pub const fn defaults(compat: Option<Compat>) -> Timeouts {
        let udp = match compat {
            // A UDP "connection" is mostly one question and one answer: minutes of memory are spent for nothing.
            None => Duration::from_secs(30),
            Some(Compat::Ipvs) => Duration::from_secs(300),
        };
        Timeouts {
            tcp: TcpTimeouts::DEFAULT,
            udp,
        }
    }
}

/// TCP's timeouts, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are TCP's states")]
pub struct TcpTimeouts {
    #[serde(with = "as_text")]
    pub none: Duration,
    #[serde(with = "as_text")]
    pub established: Duration,
    #[serde(with = "as_text")]
    pub syn_sent: Duration,
    #[serde(with = "as_text")]
    pub syn_recv: Duration,
    #[serde(with = "as_text")]
    pub fin_wait: Duration,
    #[serde(with = "as_text")]
    pub time_wait: Duration,
    #[serde(with = "as_text")]
    pub close: Duration,
    #[serde(with = "as_text")]
    pub close_wait: Duration,
    #[serde(with = "as_text")]
    pub last_ack: Duration,
    #[serde(with = "as_text")]
    pub listen: Duration,
    #[serde(with = "as_text")]
    pub synack: Duration,
}

impl TcpTimeouts {
    /// IPVS's, and ours.
    pub const DEFAULT: TcpTimeouts = TcpTimeouts {
        none: Duration::from_secs(2),
        established: Duration::from_secs(900),
        syn_sent: Duration::from_secs(120),
        syn_recv: Duration::from_secs(60),
        fin_wait: Duration::from_secs(120),
        time_wait: Duration::from_secs(120),
        close: Duration::from_secs(10),
        close_wait: Duration::from_secs(60),
        last_ack: Duration::from_secs(30),
        listen: Duration::from_secs(120),
        synack: Duration::from_secs(120),
    };

    /// Every timeout with its state's name.
    pub const fn entries(&self) -> [(&'static str, Duration); 11] {
        [
            ("none", self.none),
            ("established", self.established),
            ("syn_sent", self.syn_sent),
            ("syn_recv", self.syn_recv),
            ("fin_wait", self.fin_wait),
            ("time_wait", self.time_wait),
            ("close", self.close),
            ("close_wait", self.close_wait),
            ("last_ack", self.last_ack),
            ("listen", self.listen),
            ("synack", self.synack),
        ]
    }

    /// The timeout of the state with this name, to set it.
    pub(crate) fn entry_mut(&mut self, name: &str) -> Option<&mut Duration> {
        Some(match name {
            "none" => &mut self.none,
            "established" => &mut self.established,
            "syn_sent" => &mut self.syn_sent,
            "syn_recv" => &mut self.syn_recv,
            "fin_wait" => &mut self.fin_wait,
            "time_wait" => &mut self.time_wait,
            "close" => &mut self.close,
            "close_wait" => &mut self.close_wait,
            "last_ack" => &mut self.last_ack,
            "listen" => &mut self.listen,
            "synack" => &mut self.synack,
            _ => return None,
        })
    }
}

impl Default for TcpTimeouts {
    fn default() -> Self {
        TcpTimeouts::DEFAULT
    }
}

/// Reads `900`, `900s`, `15m`, `2h` or `1d`.
pub fn parse_timeout(text: &str) -> Result<Duration, TimeoutError> {
    let error = || TimeoutError(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86400,
        Some(_) | None => return Err(error()),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number
        .checked_mul(unit)
        .filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(error)
}

/// A timeout in the notation that [`parse_timeout`] reads.
pub fn timeout_text(timeout: Duration) -> String {
    format!("{}s", timeout.as_secs())
}

/// A text that is no timeout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a time from 1s to 2147483s, in seconds or with a unit like 30s, 15m, 2h, 1d"
)]
pub struct TimeoutError(pub String);

mod as_text {
    use super::{Duration, parse_timeout, timeout_text};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        timeout: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timeout_text(*timeout))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        parse_timeout(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (text, seconds) in [
            ("900", 900),
            ("900s", 900),
            ("15m", 900),
            ("2h", 7200),
            ("1d", 86400),
        ] {
            assert_eq!(parse_timeout(text), Ok(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "s",
            "0",
            "0s",
            "-1",
            "1.5s",
            "15 m",
            "1w",
            "2147484",
            "99999999999999999d",
            "1é",
        ] {
            assert_eq!(parse_timeout(text), Err(TimeoutError(text.to_owned())));
        }
    }

    #[test]
    fn every_state_has_its_name() {
        let mut timeouts = TcpTimeouts::DEFAULT;
        for (index, (name, _)) in TcpTimeouts::DEFAULT.entries().into_iter().enumerate() {
            *timeouts.entry_mut(name).expect(name) = Duration::from_secs(1000 + index as u64);
        }
        for (index, (name, timeout)) in timeouts.entries().into_iter().enumerate() {
            assert_eq!(timeout, Duration::from_secs(1000 + index as u64), "{name}");
        }
        assert!(timeouts.entry_mut("nosuch").is_none());
    }

    #[test]
    fn defaults() {
        assert_eq!(Timeouts::defaults(None).udp, Duration::from_secs(30));
        assert_eq!(
            Timeouts::defaults(Some(Compat::Ipvs)).udp,
            Duration::from_secs(300)
        );
        let json = serde_json::to_string(&Timeouts::defaults(None)).expect("json");
        assert!(json.contains(r#""established":"900s""#), "{json}");
        assert_eq!(
            serde_json::from_str::<Timeouts>(&json).ok(),
            Some(Timeouts::defaults(None))
        );
    }
}
