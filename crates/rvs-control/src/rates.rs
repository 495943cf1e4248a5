//! How much happens per second, by IPVS's estimator: every two seconds a quarter of the way to what was just seen, in
//! scaled integers, so that a rate follows a change within some eight seconds and does not jump.
//!
//! ```text
//!   connections, packets   seen = delta << 9   (2^10 / 2 s)     rate = (average + 0x1ff) >> 10
//!   bytes                  seen = delta << 4   (2^5 / 2 s)      rate = (average + 0xf) >> 5
//!                          average += (seen - average) >> 2
//! ```
//!
//! It looks at what was ever counted, which zeroing does not touch. Different from IPVS: a look that comes late counts
//! for the time that really passed, and an estimator that is switched off says 0 and begins anew when it is switched
//! on again, where IPVS's keeps its last words and then takes the whole pause for two seconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::ServiceKey;
use serde::{Deserialize, Serialize};

use crate::forwarding::{ServiceState, Stats};

/// How often the counts are looked at.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// How far from the interval a look may be and still count for it.
const SLACK: Duration = Duration::from_millis(50);

/// The quantities of [`Stats`], per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Rates {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What has a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The director.
    Whole,
    /// A service.
    Service(ServiceKey),
    /// One of its servers.
    Server(ServiceKey, SocketAddr),
}

/// The rates of all services and servers, and of the whole.
#[derive(Debug)]
pub struct Estimator {
    seen: BTreeMap<Subject, Estimate>,
    since: Duration,
    running: bool,
}

/// What was seen last of a subject, and the scaled averages.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    last: Stats,
    average: Stats,
}

impl Estimator {
    /// One that begins with these counts: what was counted before it is no flood.
    pub fn new(services: &[ServiceState], whole: Stats) -> Estimator {
        Estimator {
            seen: subjects(services, whole)
                .map(|(subject, counted)| (subject, Estimate::beginning(counted)))
                .collect(),
            since: Duration::ZERO,
            running: true,
        }
    }

    /// Whether the counts are due, after this much more time.
    pub fn is_due(&mut self, passed: Duration) -> bool {
        self.since = self.since.saturating_add(passed);
        self.running && self.since.saturating_add(SLACK) >= INTERVAL
    }

    /// Takes in the counts. Who is new has counted since it is there.
    pub fn observe(&mut self, services: &[ServiceState], whole: Stats) {
        let since = std::mem::take(&mut self.since);
        let before = std::mem::take(&mut self.seen);
        self.seen = subjects(services, whole)
            .map(|(subject, counted)| {
                let estimate = before.get(&subject).copied().unwrap_or_default();
                (subject, estimate.after(since, counted))
            })
            .collect();
    }

    /// Forgets the rates of a service and its servers, or of everything, as IPVS does when it zeroes statistics.
    pub fn zero(&mut self, of: Option<ServiceKey>, services: &[ServiceState], whole: Stats) {
        for (subject, counted) in subjects(services, whole) {
            let asked_for = match (of, subject) {
                (None, _) => true,
                (Some(_), Subject::Whole) => false,
                (Some(of), Subject::Service(key) | Subject::Server(key, _)) => of == key,
            };
            if asked_for {
                self.seen.insert(subject, Estimate::beginning(counted));
            }
        }
    }

    /// Goes on from these counts.
    pub fn start(&mut self, services: &[ServiceState], whole: Stats) {
        if !self.running {
            *self = Estimator::new(services, whole);
        }
    }

    /// Estimates nothing more: all rates are 0.
    pub fn stop(&mut self) {
        self.running = false;
        self.seen.clear();
    }

    /// The rates of a subject.
    pub fn rates(&self, subject: Subject) -> Rates {
        let average = self
            .seen
            .get(&subject)
            .map(|estimate| estimate.average)
            .unwrap_or_default();
        let number = |average: u64| average.saturating_add(0x1ff) >> 10;
        let bytes = |average: u64| average.saturating_add(0xf) >> 5;
        Rates {
            connections: number(average.connections),
            packets_in: number(average.packets_in),
            packets_out: number(average.packets_out),
            bytes_in: bytes(average.bytes_in),
            bytes_out: bytes(average.bytes_out),
        }
    }
}

impl Estimate {
    fn beginning(counted: Stats) -> Estimate {
        Estimate {
            last: counted,
            average: Stats::default(),
        }
    }

    fn after(self, since: Duration, now: Stats) -> Estimate {
        let (last, average) = (self.last, self.average);
        let number = |average, last, now| step(average, seen(last, now, since), 9);
        let bytes = |average, last, now| step(average, seen(last, now, since), 4);
        Estimate {
            last: now,
            average: Stats {
                connections: number(average.connections, last.connections, now.connections),
                packets_in: number(average.packets_in, last.packets_in, now.packets_in),
                packets_out: number(average.packets_out, last.packets_out, now.packets_out),
                bytes_in: bytes(average.bytes_in, last.bytes_in, now.bytes_in),
                bytes_out: bytes(average.bytes_out, last.bytes_out, now.bytes_out),
            },
        }
    }
}

/// A quarter of the way.
fn step(average: u64, seen: u64, scale: u32) -> u64 {
    // Far above any counter's reach, so that the difference has a sign.
    const MOST: u64 = i64::MAX as u64;
    let seen = seen.saturating_mul(1 << scale).min(MOST);
    average
        .min(MOST)
        .saturating_add_signed((seen.cast_signed() - average.min(MOST).cast_signed()) >> 2)
}

/// What two seconds brought.
fn seen(last: u64, now: u64, since: Duration) -> u64 {
    // Fewer than before: it was removed and is there again, and counts anew.
    let delta = now.checked_sub(last).unwrap_or(now);
    if since.abs_diff(INTERVAL) <= SLACK {
        return delta;
    }
    let scaled = u128::from(delta) * INTERVAL.as_nanos() / since.as_nanos().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Everything that has a rate, with what it ever counted. A removed server may be listed beside its successor at the
/// same address, and has none.
fn subjects(
    services: &[ServiceState],
    whole: Stats,
) -> impl Iterator<Item = (Subject, Stats)> + '_ {
    let services = services.iter().flat_map(|service| {
        let servers = service
            .servers
            .iter()
            .filter(|state| !state.draining_removed)
            .map(|state| {
                let address = state.server.socket_addr();
                (Subject::Server(service.key, address), state.counted)
            });
        std::iter::once((Subject::Service(service.key), service.counted)).chain(servers)
    });
    std::iter::once((Subject::Whole, whole)).chain(services)
}

#[cfg(test)]
mod tests;
