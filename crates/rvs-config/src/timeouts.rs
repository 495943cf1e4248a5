//! How long a silent connection is kept, by state.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::director::Compat;
use crate::service_key::Protocol;
use crate::text::nearest;

/// The longest timeout: 24 days, for which ticks suffice where a second has 1000.
const LONGEST_SECONDS: u64 = 24 * 24 * 60 * 60;

/// A state that has a timeout. The numbers are TCP's states from 0, UDP, SCTP's states, each in the sync protocol's
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the protocols' states")]
pub enum Timer {
    TcpNone,
    TcpEstablished,
    TcpSynSent,
    TcpSynRecv,
    TcpFinWait,
    TcpTimeWait,
    TcpClose,
    TcpCloseWait,
    TcpLastAck,
    TcpListen,
    TcpSynAck,
    Udp,
    SctpNone,
    SctpInit1,
    SctpInit,
    SctpCookieSent,
    SctpCookieReplied,
    SctpCookieWait,
    SctpCookie,
    SctpCookieEchoed,
    SctpEstablished,
    SctpShutdownSent,
    SctpShutdownReceived,
    SctpShutdownAckSent,
    SctpRejected,
    SctpClosed,
}

impl Timer {
    /// How many there are.
    pub const COUNT: usize = 26;

    /// Every timer with its name and IPVS's timeout in seconds.
    const TABLE: [(Timer, Protocol, &'static str, u64); Timer::COUNT] = {
        use Protocol::{Sctp, Tcp, Udp};
        [
            (Timer::TcpNone, Tcp, "none", 2),
            (Timer::TcpEstablished, Tcp, "established", 900),
            (Timer::TcpSynSent, Tcp, "syn_sent", 120),
            (Timer::TcpSynRecv, Tcp, "syn_recv", 60),
            (Timer::TcpFinWait, Tcp, "fin_wait", 120),
            (Timer::TcpTimeWait, Tcp, "time_wait", 120),
            (Timer::TcpClose, Tcp, "close", 10),
            (Timer::TcpCloseWait, Tcp, "close_wait", 60),
            (Timer::TcpLastAck, Tcp, "last_ack", 30),
            (Timer::TcpListen, Tcp, "listen", 120),
            (Timer::TcpSynAck, Tcp, "synack", 120),
            (Timer::Udp, Udp, "udp", 300),
            (Timer::SctpNone, Sctp, "none", 2),
            (Timer::SctpInit1, Sctp, "init1", 4),
            (Timer::SctpInit, Sctp, "init", 61),
            (Timer::SctpCookieSent, Sctp, "cookie_sent", 61),
            (Timer::SctpCookieReplied, Sctp, "cookie_replied", 61),
            (Timer::SctpCookieWait, Sctp, "cookie_wait", 61),
            (Timer::SctpCookie, Sctp, "cookie", 61),
            (Timer::SctpCookieEchoed, Sctp, "cookie_echoed", 61),
            (Timer::SctpEstablished, Sctp, "established", 900),
            (Timer::SctpShutdownSent, Sctp, "shutdown_sent", 61),
            (Timer::SctpShutdownReceived, Sctp, "shutdown_received", 61),
            (Timer::SctpShutdownAckSent, Sctp, "shutdown_ack_sent", 61),
            (Timer::SctpRejected, Sctp, "rejected", 4),
            (Timer::SctpClosed, Sctp, "closed", 61),
        ]
    };

    /// Every timer, in order of its number.
    pub fn all() -> impl Iterator<Item = Timer> {
        Timer::TABLE.into_iter().map(|(timer, ..)| timer)
    }

    /// The timers of a protocol, in order of their numbers.
    pub fn of(protocol: Protocol) -> impl Iterator<Item = Timer> {
        Timer::all().filter(move |timer| timer.protocol() == protocol)
    }

    /// The timer with this name.
    pub fn named(protocol: Protocol, name: &str) -> Option<Timer> {
        Timer::of(protocol).find(|timer| timer.name() == name)
    }

    /// Whose state it is.
    pub const fn protocol(self) -> Protocol {
        Timer::TABLE[self as usize].1
    }

    /// The state's name within its protocol.
    pub const fn name(self) -> &'static str {
        Timer::TABLE[self as usize].2
    }

    /// The whole name, like `tcp.established` or `udp`.
    pub fn path(self) -> String {
        match self.protocol() {
            Protocol::Udp => self.name().to_owned(),
            protocol @ (Protocol::Tcp | Protocol::Sctp) => format!("{protocol}.{}", self.name()),
        }
    }
}

/// All timeouts. Written in seconds (`900`) or with a unit (`"900s"`, `"15m"`, `"2h"`, `"1d"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts([Duration; Timer::COUNT]);

impl Timeouts {
    /// RVS's defaults, or IPVS's to the letter.
    pub fn defaults(compat: Option<Compat>) -> Timeouts {
        let mut timeouts =
            Timeouts(Timer::TABLE.map(|(_, _, _, seconds)| Duration::from_secs(seconds)));
        match compat {
            // A UDP "connection" is mostly one question and one answer: minutes of memory are spent for nothing.
            None => timeouts.set(Timer::Udp, Duration::from_secs(30)),
            Some(Compat::Ipvs) => {}
        }
        timeouts
    }

    /// How long a connection in this state is kept.
    pub const fn get(&self, timer: Timer) -> Duration {
        self.0[timer as usize]
    }

    /// Sets how long.
    pub const fn set(&mut self, timer: Timer, timeout: Duration) {
        self.0[timer as usize] = timeout;
    }

    /// These, with others where there are others.
    #[must_use]
    pub fn with(mut self, others: &OwnTimeouts) -> Timeouts {
        for (timer, timeout) in others.iter() {
            self.set(timer, timeout);
        }
        self
    }
}

/// Some timeouts: those that a service has for itself, or that are to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnTimeouts([Option<Duration>; Timer::COUNT]);

impl OwnTimeouts {
    /// None at all.
    pub const NONE: OwnTimeouts = OwnTimeouts([None; Timer::COUNT]);

    /// The timeout of this state, if there is one.
    pub const fn get(&self, timer: Timer) -> Option<Duration> {
        self.0[timer as usize]
    }

    /// Sets the timeout of this state, or takes it away.
    pub const fn set(&mut self, timer: Timer, timeout: Option<Duration>) {
        self.0[timer as usize] = timeout;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Timer, Duration)> {
        Timer::all().filter_map(|timer| Some((timer, self.get(timer)?)))
    }

    /// Where these differ from `defaults`.
    pub fn difference(timeouts: &Timeouts, defaults: &Timeouts) -> OwnTimeouts {
        let mut own = OwnTimeouts::NONE;
        for timer in Timer::all().filter(|timer| timeouts.get(*timer) != defaults.get(*timer)) {
            own.set(timer, Some(timeouts.get(timer)));
        }
        own
    }
}

/// Reads `900`, `900s`, `15m`, `2h` or `1d`.
pub fn parse_timeout(text: &str) -> Result<Duration, TimeoutError> {
    seconds(text)
        .filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| TimeoutError(text.to_owned()))
}

/// The seconds of a time, of any length.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86400,
        Some(_) | None => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// A timeout in the notation that [`parse_timeout`] reads.
pub fn timeout_text(timeout: Duration) -> String {
    format!("{}s", timeout.as_secs())
}

/// A text that is no timeout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a time from 1s to 2073600s, in seconds or with a unit like 30s, 15m, 2h, 1d"
)]
pub struct TimeoutError(pub String);

/// `{"tcp": {"established": "900s", ...}, "udp": "30s", "sctp": {...}}`
impl Serialize for Timeouts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        OwnTimeouts(self.0.map(Some)).serialize(serializer)
    }
}

/// Every timeout must be there.
impl<'de> Deserialize<'de> for Timeouts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = OwnTimeouts::deserialize(deserializer)?;
        match Timer::all().find(|timer| own.get(*timer).is_none()) {
            Some(missing) => Err(de::Error::custom(format!(
                "the timeout {} is missing",
                missing.path()
            ))),
            None => Ok(Timeouts::defaults(None).with(&own)),
        }
    }
}

/// The notation of [`Timeouts`], without what there is not.
impl Serialize for OwnTimeouts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for protocol in Protocol::ALL {
            let entries: std::collections::BTreeMap<&str, String> = self
                .iter()
                .filter(|(timer, _)| timer.protocol() == protocol)
                .map(|(timer, timeout)| (timer.name(), timeout_text(timeout)))
                .collect();
            match (protocol, entries.get("udp")) {
                (Protocol::Udp, Some(udp)) => map.serialize_entry("udp", udp)?,
                (Protocol::Tcp | Protocol::Sctp, _) if !entries.is_empty() => {
                    map.serialize_entry(protocol.name(), &entries)?;
                }
                (Protocol::Tcp | Protocol::Udp | Protocol::Sctp, _) => {}
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for OwnTimeouts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Notation {
            tcp: Option<std::collections::BTreeMap<String, Written>>,
            udp: Option<Written>,
            sctp: Option<std::collections::BTreeMap<String, Written>>,
        }
        let notation = Notation::deserialize(deserializer)?;
        let mut own = OwnTimeouts::NONE;
        own.set(Timer::Udp, notation.udp.map(|Written(timeout)| timeout));
        for (protocol, entries) in [
            (Protocol::Tcp, notation.tcp),
            (Protocol::Sctp, notation.sctp),
        ] {
            for (name, Written(timeout)) in entries.into_iter().flatten() {
                let timer = Timer::named(protocol, &name)
                    .ok_or_else(|| de::Error::custom(unknown_state(protocol, &name)))?;
                own.set(timer, Some(timeout));
            }
        }
        Ok(own)
    }
}

fn unknown_state(protocol: Protocol, name: &str) -> String {
    let known: Vec<&str> = Timer::of(protocol).map(Timer::name).collect();
    let hint = match nearest(name, &known) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("known: {}", known.join(", ")),
    };
    format!("{protocol} has no state {name:?} ({hint})")
}

/// Serde for a single timeout, as text.
pub(crate) mod as_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Written, timeout_text};

    pub(crate) fn serialize<S: Serializer>(
        timeout: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timeout_text(*timeout))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Written::deserialize(deserializer).map(|Written(timeout)| timeout)
    }
}

/// A time as JSON has it: a text, or a number of seconds.
pub(crate) struct Written(pub(crate) Duration);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = TextOrNumber::deserialize(deserializer)?;
        parse_timeout(&text.0)
            .map(Written)
            .map_err(de::Error::custom)
    }
}

/// What may be written as text or as a whole number.
pub(crate) struct TextOrNumber(pub(crate) String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TextOrNumber;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
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
            "2073601",
            "99999999999999999d",
            "1é",
        ] {
            assert_eq!(parse_timeout(text), Err(TimeoutError(text.to_owned())));
        }
    }

    #[test]
    fn timers_are_where_their_numbers_say() {
        let mut timeouts = Timeouts::defaults(None);
        for (number, timer) in Timer::all().enumerate() {
            assert_eq!(timer as usize, number);
            assert_eq!(
                Timer::named(timer.protocol(), timer.name()),
                Some(timer),
                "{timer:?}"
            );
            timeouts.set(timer, Duration::from_secs(1000 + number as u64));
        }
        for (number, timer) in Timer::all().enumerate() {
            assert_eq!(
                timeouts.get(timer),
                Duration::from_secs(1000 + number as u64)
            );
        }
        assert_eq!(Timer::named(Protocol::Tcp, "nosuch"), None);
        assert_eq!(Timer::SctpShutdownSent.path(), "sctp.shutdown_sent");
    }

    #[test]
    fn defaults() {
        let udp = |compat| Timeouts::defaults(compat).get(Timer::Udp);
        assert_eq!(udp(None), Duration::from_secs(30));
        assert_eq!(udp(Some(Compat::Ipvs)), Duration::from_secs(300));
    }

    #[test]
    fn json() {
        let json = serde_json::to_string(&Timeouts::defaults(None)).expect("json");
        assert!(json.contains(r#""established":"900s""#), "{json}");
        assert_eq!(
            serde_json::from_str::<Timeouts>(&json).ok(),
            Some(Timeouts::defaults(None))
        );
        let mut own = OwnTimeouts::NONE;
        assert_eq!(serde_json::to_string(&own).ok().as_deref(), Some("{}"));
        own.set(Timer::SctpInit, Some(Duration::from_secs(5)));
        own.set(Timer::Udp, Some(Duration::from_secs(6)));
        let json = serde_json::to_string(&own).expect("json");
        assert_eq!(json, r#"{"udp":"6s","sctp":{"init":"5s"}}"#);
        assert_eq!(serde_json::from_str::<OwnTimeouts>(&json).ok(), Some(own));
        assert_eq!(
            serde_json::from_str::<OwnTimeouts>(r#"{"udp": 6, "sctp": {"init": "5"}}"#).ok(),
            Some(own)
        );
        for (json, message) in [
            (
                r#"{"tcp": {"establisht": 5}}"#,
                "tcp has no state \"establisht\" (did you mean \"established\"?)",
            ),
            (r#"{"icmp": 5}"#, "unknown field `icmp`"),
            (r#"{"udp": -1}"#, "\"-1\" is not a time"),
            (r#"{"udp": true}"#, "a text or a whole number"),
        ] {
            let error = serde_json::from_str::<OwnTimeouts>(json).expect_err(json);
            assert!(error.to_string().contains(message), "{error}");
        }
        let error = serde_json::from_str::<Timeouts>(r#"{"udp": 6}"#).expect_err("parts");
        assert!(
            error
                .to_string()
                .contains("the timeout tcp.none is missing")
        );
    }
}
