//! Forgetting what lblc and lblcr remember, once a minute (IPVS: `ip_vs_lblc_check_expire`).
//!
//! Every thirtieth time all addresses go that nobody asked for during the scheduler's expiration. In between, a service
//! with too many loses some of those that were idle for six minutes.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rvs_abi::{LocalityKey, locality::MANY};
use rvs_config::Scheduler;

use crate::{dataplane::Dataplane, object::Maps, shared::Plain};

/// Words of a memory.
pub(crate) const WORDS: usize = size_of::<rvs_abi::Locality>() / 4;
/// `BPF_EXIST`
const ONLY_IF_THERE: u64 = 2;
const PAUSE: Duration = Duration::from_secs(60);
/// Between two looks at everything.
const WHOLE: u32 = 30;
/// Idle seconds after which an address may go where there are too many.
const IDLE_SECONDS: u32 = 6 * 60;

/// When to look again.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    due: Option<Instant>,
    round: u32,
}

/// How old, in ticks, an address of a service must be to go.
#[derive(Clone, Copy, Debug)]
struct Rule {
    expiration: u32,
    idle: u32,
    whole: bool,
}

impl Dataplane {
    /// Does a minute's work, once a minute.
    pub(crate) fn thin_localities(&mut self) {
        let now = Instant::now();
        if self.localities.due.is_some_and(|due| due > now) {
            return;
        }
        self.localities.due = Some(now + PAUSE);
        let users: BTreeMap<u32, Scheduler> = self
            .rows
            .services
            .values()
            .filter(|row| remembers(row.options.scheduler))
            .map(|row| (row.index, row.options.scheduler))
            .collect();
        if users.is_empty() {
            return;
        }
        self.localities.round = self.localities.round.wrapping_add(1);
        let (tick, _) = self.clock();
        let mut ages: BTreeMap<u32, Vec<(u32, LocalityKey)>> = BTreeMap::new();
        for (Plain(key), words) in self.maps.localities.iter().filter_map(Result::ok) {
            let age = tick.wrapping_sub(words[0]);
            ages.entry(key.service).or_default().push((age, key));
        }
        for (service, mut ages) in ages {
            let expiration = match users.get(&service) {
                Some(Scheduler::Lblcr) => self.knobs.lblcr_expiration,
                Some(_) => self.knobs.lblc_expiration,
                None => Duration::ZERO,
            };
            let rule = Rule {
                expiration: crate::options::ticks(expiration, self.ticks),
                idle: IDLE_SECONDS.saturating_mul(self.ticks),
                whole: self.localities.round.is_multiple_of(WHOLE) || !users.contains_key(&service),
            };
            let count = ages.len() as u32;
            let gone = stale(&mut ages, rule);
            for key in &gone {
                let _ = self.maps.localities.remove(&Plain(*key));
            }
            if let Some(entry) = self.maps.services.get(service) {
                entry.localities.store(count - gone.len() as u32);
            }
        }
    }

    /// Forgets everything of a service.
    pub(crate) fn forget_localities(&mut self, service: u32) {
        let keys: Vec<LocalityKey> = self
            .maps
            .localities
            .keys()
            .filter_map(|key| key.ok().map(|key| key.0))
            .filter(|key| key.service == service)
            .collect();
        for key in keys {
            let _ = self.maps.localities.remove(&Plain(key));
        }
        if let Some(entry) = self.maps.services.get(service) {
            entry.localities.store(0);
        }
    }

    /// Forgets these servers, in order of their indexes, which will be others'.
    pub(crate) fn forget_servers(&mut self, gone: &[u32]) {
        let mut services: Vec<u32> = gone
            .iter()
            .filter_map(|index| self.rows.service(&self.rows.servers.get(index)?.service?))
            .filter(|row| remembers(row.options.scheduler))
            .map(|row| row.index)
            .collect();
        if services.is_empty() {
            return;
        }
        services.sort_unstable();
        services.dedup();
        let known: Vec<(LocalityKey, [u32; WORDS])> = self
            .maps
            .localities
            .iter()
            .filter_map(|known| known.ok().map(|(key, words)| (key.0, words)))
            .filter(|(key, _)| services.binary_search(&key.service).is_ok())
            .collect();
        for (key, words) in known {
            if let Some(words) = without(words, gone) {
                // Only if it is still there. Another server that joins just now may be lost: it joins again.
                let _ = self
                    .maps
                    .localities
                    .insert(Plain(key), words, ONLY_IF_THERE);
            }
        }
    }
}

/// The memory without these servers, which are in order, if it has any of them.
fn without(words: [u32; WORDS], gone: &[u32]) -> Option<[u32; WORDS]> {
    let left = |index| gone.binary_search(&index).is_err().then_some(index);
    let rest = with_servers(words, left);
    (rest != words).then_some(rest)
}

/// The memory with its servers under the indexes that they have now; those that have none are left out.
fn with_servers(mut words: [u32; WORDS], now: impl Fn(u32) -> Option<u32>) -> [u32; WORDS] {
    // Two words of time, then servers, each plus 1.
    for word in words.iter_mut().skip(2) {
        *word = word
            .checked_sub(1)
            .and_then(&now)
            .map_or(0, |index| index + 1);
    }
    words
}

/// Lets the new director remember what the old one did, its services and servers by their new indexes.
pub(crate) fn copy(
    new: &mut Maps,
    old: &Maps,
    services: &HashMap<u32, u32>,
    server: impl Fn(u32) -> Option<u32>,
) {
    for (Plain(key), words) in old.localities.iter().filter_map(Result::ok) {
        let Some(service) = services.get(&key.service) else {
            continue;
        };
        let key = LocalityKey {
            service: *service,
            ..key
        };
        if new
            .localities
            .insert(Plain(key), with_servers(words, &server), 0)
            .is_err()
        {
            return;
        }
        if let Some(entry) = new.services.get(*service) {
            entry.localities.add(1);
        }
    }
}

/// Whether the scheduler remembers addresses.
pub(crate) const fn remembers(scheduler: Scheduler) -> bool {
    matches!(scheduler, Scheduler::Lblc | Scheduler::Lblcr)
}

/// Which of a service's addresses go, the oldest first.
fn stale(ages: &mut [(u32, LocalityKey)], rule: Rule) -> Vec<LocalityKey> {
    ages.sort_unstable_by(|a, b| b.cmp(a));
    let (least, most) = if rule.whole {
        (rule.expiration, ages.len())
    } else {
        let beyond = ages.len().saturating_sub(MANY as usize);
        (rule.idle, (beyond * 4 / 3).min(MANY as usize / 2))
    };
    ages.iter()
        .take(most)
        // A tick that the clock has not reached yet is no age.
        .filter(|(age, _)| *age > least && *age < u32::MAX / 2)
        .map(|(_, key)| *key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ages: impl IntoIterator<Item = u32>) -> Vec<(u32, LocalityKey)> {
        let key = |number| LocalityKey {
            service: 1,
            address: [number, 0, 0, 0],
        };
        ages.into_iter().zip((0..).map(key)).collect()
    }

    const RULE: Rule = Rule {
        expiration: 1000,
        idle: 100,
        whole: false,
    };

    #[test]
    fn a_server_that_is_gone_leaves_every_place_that_it_had() {
        let mut words = [0; WORDS];
        // Last asked for, last changed; the servers 3, 0, 3 and 9.
        words[..7].copy_from_slice(&[4, 10, 4, 1, 0, 4, 10]);
        assert_eq!(without(words, &[7]), None);
        let mut rest = [0; WORDS];
        rest[..7].copy_from_slice(&[4, 10, 0, 1, 0, 0, 10]);
        assert_eq!(without(words, &[3, 7]), Some(rest));
        rest[3] = 0;
        rest[6] = 0;
        assert_eq!(without(words, &[0, 3, 9]), Some(rest));
    }

    #[test]
    fn few_stay_until_they_expire() {
        let mut ages = addresses([5, 2000, 1000, 1001, u32::MAX]);
        assert!(stale(&mut ages, RULE).is_empty());
        let whole = Rule {
            whole: true,
            ..RULE
        };
        let gone: Vec<u32> = stale(&mut ages, whole)
            .iter()
            .map(|key| key.address[0])
            .collect();
        assert_eq!(gone, [1, 3]);
    }

    #[test]
    fn many_lose_their_idle() {
        // 300 too many: 400 may go.
        let mut ages = addresses((0..MANY + 300).map(|number| number % 200));
        let gone = stale(&mut ages, RULE);
        assert_eq!(gone.len(), 400);
        let mut busy = addresses((0..MANY + 300).map(|number| number % 100));
        assert!(stale(&mut busy, RULE).is_empty());
        let mut flood = addresses((0..4 * MANY).map(|_| 500));
        assert_eq!(stale(&mut flood, RULE).len(), MANY as usize / 2);
    }
}
