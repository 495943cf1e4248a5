//! How much happens per second, estimated as IPVS does it: every two seconds a quarter of the way to what was just
//! seen, so that a rate follows a change within some ten seconds and does not jump.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::ServiceKey;
use serde::{Deserialize, Serialize};

use crate::forwarding::{ServiceState, Stats};

/// How often the counts are looked at.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// A service, or one of its servers.
type Subject = (ServiceKey, Option<SocketAddr>);

/// The quantities of [`Stats`], per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Rates {
    pub connections: f64,
    pub packets_in: f64,
    pub packets_out: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
}

/// The rates of all services and servers.
#[derive(Debug, Default)]
pub struct Estimator {
    seen: BTreeMap<Subject, (Stats, Rates)>,
    since: Duration,
}

impl Estimator {
    /// Whether the counts are due, after this much more time.
    pub fn is_due(&mut self, passed: Duration) -> bool {
        self.since = self.since.saturating_add(passed);
        self.since >= INTERVAL
    }

    /// Takes in the counts.
    pub fn observe(&mut self, services: &[ServiceState]) {
        let seconds = self.since.as_secs_f64();
        self.since = Duration::ZERO;
        if seconds <= 0.0 {
            return;
        }
        let mut seen = BTreeMap::new();
        for service in services {
            let servers = service
                .servers
                .iter()
                .map(|state| (Some(state.server.socket_addr()), state.stats));
            for (server, stats) in std::iter::once((None, service.stats)).chain(servers) {
                let subject = (service.key, server);
                let rates = match self.seen.get(&subject) {
                    Some((before, rates)) => towards(*rates, *before, stats, seconds),
                    None => Rates::default(),
                };
                seen.insert(subject, (stats, rates));
            }
        }
        self.seen = seen;
    }

    /// The rates of a service or of one of its servers.
    pub fn rates(&self, service: ServiceKey, server: Option<SocketAddr>) -> Rates {
        self.seen
            .get(&(service, server))
            .map(|(_, rates)| *rates)
            .unwrap_or_default()
    }
}

fn towards(rates: Rates, before: Stats, now: Stats, seconds: f64) -> Rates {
    let step = |rate: f64, before: u64, now: u64| {
        // Fewer than before: they were zeroed in between.
        let seen = now.checked_sub(before).unwrap_or(now);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seen = seen as f64 / seconds;
        rate + (seen - rate) / 4.0
    };
    Rates {
        connections: step(rates.connections, before.connections, now.connections),
        packets_in: step(rates.packets_in, before.packets_in, now.packets_in),
        packets_out: step(rates.packets_out, before.packets_out, now.packets_out),
        bytes_in: step(rates.bytes_in, before.bytes_in, now.bytes_in),
        bytes_out: step(rates.bytes_out, before.bytes_out, now.bytes_out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::Origin;

    #[test]
    fn a_steady_flow_is_found_and_a_zeroed_counter_is_no_flood() {
        let key = "tcp://10.0.0.1:80".parse().expect("key");
        let mut service = ServiceState {
            key,
            name: None,
            scheduler: rvs_config::Scheduler::Rr,
            origin: Origin::Runtime,
            servers: Vec::new(),
            stats: Stats::default(),
        };
        let mut estimator = Estimator::default();
        for _ in 0..60 {
            service.stats.packets_in += 100;
            if estimator.is_due(Duration::from_secs(1)) {
                estimator.observe(std::slice::from_ref(&service));
            }
        }
        let steady = estimator.rates(key, None);
        assert!((steady.packets_in - 100.0).abs() < 1.0, "{steady:?}");
        assert!(steady.bytes_in.abs() < f64::EPSILON, "{steady:?}");
        service.stats = Stats::default();
        assert!(estimator.is_due(INTERVAL));
        estimator.observe(std::slice::from_ref(&service));
        let zeroed = estimator.rates(key, None);
        assert!((zeroed.packets_in - 75.0).abs() < 1.0, "{zeroed:?}");
        estimator.is_due(INTERVAL);
        estimator.observe(&[]);
        assert_eq!(estimator.rates(key, None), Rates::default());
    }
}
