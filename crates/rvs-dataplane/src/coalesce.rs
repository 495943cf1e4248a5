//! Many changes of one list are published as one: a first change goes to the kernel at once, those that follow within a
//! few milliseconds go together.
//!
//! What this process says of services and servers is always the newest; the kernel's lists follow within
//! [`Dataplane::publish_due`]'s word. A server that was removed keeps its place in the kernel's list, unmarked, until
//! the list without it is published: every packet sees an old list or a new one.

use std::time::{Duration, Instant};

use rvs_config::{Scheduler, ServiceKey};

use crate::{ChangeError, dataplane::Dataplane, object::MEMBERS};

/// Between two publications of a short list.
const PAUSE: Duration = Duration::from_millis(5);
/// Lists of so many words may follow each other after [`PAUSE`]; longer ones wait longer. What was published before rests
/// half a second, so that this bounds the room that the lists of one busy service take.
const SHORT: u32 = 1024;
/// After a publication that found no room.
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// What the kernel does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// What the weights add up to.
    Weights,
    /// The list.
    List,
}

/// When a service's list is to be published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    due: Instant,
    need: Need,
}

impl Dataplane {
    /// Lets the kernel know of a change now, or soon if it was told of another just now.
    pub(crate) fn changed(&mut self, key: &ServiceKey, need: Need) -> Result<(), ChangeError> {
        let row = self
            .rows
            .service(key)
            .ok_or(ChangeError::NoSuchService(*key))?;
        let words = row.region.words().max(row.servers.len() as u32);
        let need = match need {
            Need::Weights if has_table(row.options.scheduler) => Need::List,
            Need::Weights | Need::List => need,
        };
        let now = Instant::now();
        let pause = PAUSE * words.div_ceil(SHORT).max(1);
        let due = row.published_at.map_or(now, |at| at + pause);
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.need = waiting.need.max(need);
        } else if due <= now {
            return self.publish_one(key, need);
        } else {
            self.waiting.insert(*key, Waiting { due, need });
        }
        // It will find its place, unless all lists together do not.
        let row = self.rows.service(key);
        let fits = row.is_none_or(|row| {
            let table = self.recipe(row).map_or(0, |recipe| recipe.size());
            let words = row.servers.len() as u32 + table.div_ceil(4);
            self.rows.regions.fits(row.region, words)
        });
        if fits { Ok(()) } else { Err(no_room()) }
    }

    /// Tells the kernel what is due. Returns after how long more will be.
    pub fn publish_due(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.publish_until(now);
        let next = self.waiting.values().map(|waiting| waiting.due).min();
        let addresses = self.addresses.retry;
        next.into_iter()
            .chain(addresses)
            .min()
            .map(|due| due.saturating_duration_since(now))
    }

    /// Tells the kernel everything.
    pub fn publish_all(&mut self) {
        let now = Instant::now();
        for waiting in self.waiting.values_mut() {
            waiting.due = now;
        }
        self.addresses.retry = self.addresses.retry.map(|_| now);
        self.publish_until(now);
    }

    fn publish_until(&mut self, now: Instant) {
        let due: Vec<(ServiceKey, Need)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.due <= now)
            .map(|(key, waiting)| (*key, waiting.need))
            .collect();
        for (key, need) in due {
            if let Err(error) = self.publish_one(&key, need) {
                tracing::error!(%error, %key, "a list of real servers could not be published: the old one goes on");
                let due = now + RETRY;
                self.waiting.insert(key, Waiting { due, need });
            }
        }
        if self.addresses.retry.is_some_and(|due| due <= now) {
            self.addresses_changed();
        }
    }

    fn publish_one(&mut self, key: &ServiceKey, need: Need) -> Result<(), ChangeError> {
        match need {
            Need::Weights => self.weigh(key),
            Need::List => self.publish(key)?,
        }
        self.waiting.remove(key);
        if let Some(row) = self.rows.service_mut(key) {
            row.published_at = Some(Instant::now());
        }
        Ok(())
    }
}

/// Whether a scheduler looks at a table that is made of the weights.
const fn has_table(scheduler: Scheduler) -> bool {
    matches!(scheduler, Scheduler::Sh | Scheduler::Mh)
}

pub(crate) fn no_room() -> ChangeError {
    ChangeError::NoRoom {
        what: "list of real servers",
        limit: MEMBERS.into(),
    }
}
