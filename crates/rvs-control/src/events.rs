//! What changed, in a bounded ring for those who ask later, and sent to those who listen now.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rvs_config::{Method, Scheduler, Server, ServiceKey, Weight};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::reconcile::Change;
use crate::wire;

/// How many events are kept.
pub const KEPT: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum What {
    Started {
        #[serde(flatten)]
        adoption: wire::Adoption,
    },
    ServiceAdded {
        service: ServiceKey,
        scheduler: Scheduler,
    },
    ServiceChanged {
        service: ServiceKey,
        scheduler: Scheduler,
    },
    ServiceRemoved {
        service: ServiceKey,
    },
    ServerAdded {
        service: ServiceKey,
        server: SocketAddr,
        method: Method,
        weight: Weight,
    },
    ServerChanged {
        service: ServiceKey,
        server: SocketAddr,
        method: Method,
        weight: Weight,
    },
    ServerRemoved {
        service: ServiceKey,
        server: SocketAddr,
    },
    Zeroed {
        service: Option<ServiceKey>,
    },
    TimeoutsChanged,
    KnobsChanged,
    DefencesChanged {
        #[serde(flatten)]
        defences: wire::Defences,
    },
    SchedulingChanged {
        on: bool,
    },
    Reloaded {
        changes: usize,
    },
    ReloadRefused {
        error: String,
    },
}

impl What {
    /// What a change is, once it is done.
    pub fn of(change: &Change) -> Vec<What> {
        match change {
            Change::AddService { service, .. } => {
                let added = What::ServiceAdded {
                    service: service.key(),
                    scheduler: service.scheduler(),
                };
                let servers = service
                    .servers()
                    .iter()
                    .map(|server| What::server_added(service.key(), server));
                std::iter::once(added).chain(servers).collect()
            }
            Change::SetOptions { key, options } => vec![What::ServiceChanged {
                service: *key,
                scheduler: options.scheduler,
            }],
            Change::RemoveService { key } => vec![What::ServiceRemoved { service: *key }],
            Change::AddServer { key, server, .. } => vec![What::server_added(*key, server)],
            Change::SetServer { key, server } => vec![What::ServerChanged {
                service: *key,
                server: server.socket_addr(),
                method: server.method(),
                weight: server.weight(),
            }],
            Change::RemoveServer { key, server } => vec![What::ServerRemoved {
                service: *key,
                server: *server,
            }],
        }
    }

    fn server_added(service: ServiceKey, server: &Server) -> What {
        What::ServerAdded {
            service,
            server: server.socket_addr(),
            method: server.method(),
            weight: server.weight(),
        }
    }
}

/// An event: what happened, when, and as the how manieth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// From 1, without gaps, for as long as the daemon runs.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// The ring.
#[derive(Debug)]
pub struct Events {
    kept: VecDeque<Event>,
    last: u64,
    listeners: broadcast::Sender<Event>,
}

impl Events {
    /// An empty ring.
    pub fn new() -> Events {
        Events {
            kept: VecDeque::new(),
            last: 0,
            listeners: broadcast::Sender::new(KEPT),
        }
    }

    /// Notes an event and tells the listeners.
    pub fn note(&mut self, now: SystemTime, what: What) {
        self.last += 1;
        let event = Event {
            number: self.last,
            time: seconds(now),
            what,
        };
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        // That nobody listens is no fault.
        let _ = self.listeners.send(event.clone());
        self.kept.push_back(event);
    }

    /// The events after this number that are still kept.
    pub fn after(&self, number: u64) -> Vec<Event> {
        self.kept
            .iter()
            .filter(|event| event.number > number)
            .cloned()
            .collect()
    }

    /// The events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.listeners.subscribe()
    }
}

impl Default for Events {
    fn default() -> Self {
        Events::new()
    }
}

/// Seconds since 1970; a clock that is set earlier reads 0.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut events = Events::new();
        for _ in 0..KEPT + 5 {
            events.note(SystemTime::UNIX_EPOCH, What::TimeoutsChanged);
        }
        let kept = events.after(0);
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.first().map(|event| event.number), Some(6));
        assert_eq!(events.after(KEPT as u64 + 4).len(), 1);
        let json = serde_json::to_string(&kept.first()).expect("json");
        assert_eq!(json, r#"{"number":6,"time":0,"event":"timeouts_changed"}"#);
    }
}
