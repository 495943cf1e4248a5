//! A director's tables in ordinary memory.

use std::cell::{Cell, OnceCell, RefCell};

use rvs_abi::{
    AddressKey, COUNTERS, Counter, FragmentKey, FragmentNote, Locality, LocalityKey, Sequence,
    SequenceKey, Server, ServerStats, Service, ServiceKey, Settings, Slot4, Slot6, Word64,
};
use rvs_core::{Flow, Tables, tables::Traffic};

/// The tables. Whoever makes them fills them in; see [`crate::World::memory`].
#[derive(Debug, Default)]
pub struct Memory {
    /// IPv4 connections.
    pub slots4: Vec<Slot4>,
    /// IPv6 connections.
    pub slots6: Vec<Slot6>,
    /// Real servers.
    pub servers: Vec<Server>,
    /// Virtual services.
    pub services: Vec<Service>,
    /// The services' lists of servers, and their schedulers' tables.
    pub members: Vec<Word64>,
    /// What lblc and lblcr remember; an entry without a key is free.
    pub localities: Vec<(OnceCell<LocalityKey>, Locality)>,
    /// The match rules.
    pub rules: Vec<rvs_abi::Rule>,
    /// The service index.
    pub index: Vec<(ServiceKey, u32)>,
    /// The address index.
    pub addresses: Vec<(AddressKey, u32)>,
    /// The settings.
    pub settings: Settings,
    /// The clock.
    pub now: Cell<u32>,
    /// What [`Tables::random`] goes on from.
    pub random: Cell<u64>,
    /// How the sequence numbers of connections are adjusted.
    pub sequences: Vec<(SequenceKey, Sequence)>,
    notes: RefCell<Vec<(FragmentKey, FragmentNote)>>,
    counts: RefCell<Vec<u64>>,
    stats: RefCell<Vec<ServerStats>>,
}

impl Memory {
    /// How far every counter is.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = self.counts.borrow().clone();
        counts.resize(COUNTERS, 0);
        counts
    }

    /// Every server's statistics.
    pub fn stats(&self) -> Vec<ServerStats> {
        let mut stats = self.stats.borrow().clone();
        stats.resize(self.servers.len(), ServerStats::default());
        stats
    }
}

impl Tables for Memory {
    fn now(&self) -> u32 {
        self.now.get()
    }

    /// xorshift64 (Marsaglia 2003).
    fn random(&self) -> u32 {
        let mut x = self.random.get() | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 16) as u32
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.services.get(index as usize)
    }

    fn server(&self, index: u32) -> Option<&Server> {
        self.servers.get(index as usize)
    }

    fn rule(&self, place: u32) -> Option<&rvs_abi::Rule> {
        self.rules.get(place as usize)
    }

    fn member_word(&self, place: u32) -> Option<u64> {
        self.members.get(place as usize).map(Word64::load)
    }

    fn locality(&self, key: &LocalityKey) -> Option<&Locality> {
        let known = |(known, _): &&(OnceCell<LocalityKey>, Locality)| known.get() == Some(key);
        self.localities
            .iter()
            .find(known)
            .map(|(_, locality)| locality)
    }

    fn remember(&self, flow: &Flow, service: u32, server: u32) -> u32 {
        let (now, key) = (
            self.now(),
            LocalityKey {
                service,
                address: flow.destination,
            },
        );
        let free = self
            .localities
            .iter()
            .find(|(known, _)| known.set(key).is_ok());
        if let Some((_, locality)) = free {
            locality.servers[0].store(server + 1);
            locality.used.store(now);
            locality.modified.store(now);
        }
        u32::from(free.is_some())
    }

    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        let found = self.index.iter().find(|(candidate, _)| candidate == key);
        found.map(|(_, index)| *index)
    }

    fn find_address(&self, key: &AddressKey) -> u32 {
        let found = self
            .addresses
            .iter()
            .find(|(candidate, _)| candidate == key);
        found.map_or(0, |(_, meaning)| *meaning)
    }

    fn find_note(&self, key: &FragmentKey) -> Option<FragmentNote> {
        let notes = self.notes.borrow();
        let found = notes.iter().find(|(candidate, _)| candidate == key);
        found.map(|(_, note)| *note)
    }

    fn put_note(&self, key: &FragmentKey, note: &FragmentNote) {
        let mut notes = self.notes.borrow_mut();
        notes.retain(|(candidate, _)| candidate != key);
        notes.push((*key, *note));
    }

    fn sequence(&self, key: &SequenceKey) -> Option<Sequence> {
        let found = self
            .sequences
            .iter()
            .find(|(candidate, _)| candidate == key);
        found.map(|(_, sequence)| *sequence)
    }

    fn slot4(&self, index: u32) -> Option<&Slot4> {
        self.slots4.get(index as usize)
    }

    fn slot6(&self, index: u32) -> Option<&Slot6> {
        self.slots6.get(index as usize)
    }

    fn count(&self, counter: Counter) {
        let mut counts = self.counts.borrow_mut();
        counts.resize(COUNTERS, 0);
        counts[counter as usize] += 1;
    }

    fn account(&self, server: u32, traffic: Traffic) {
        let mut all = self.stats.borrow_mut();
        all.resize(self.servers.len(), ServerStats::default());
        let Some(stats) = all.get_mut(server as usize) else {
            return;
        };
        match traffic {
            Traffic::Connection => stats.connections += 1,
            Traffic::In(packets, bytes) => {
                stats.packets_in += u64::from(packets);
                stats.bytes_in += u64::from(bytes);
            }
            Traffic::Out(packets, bytes) => {
                stats.packets_out += u64::from(packets);
                stats.bytes_out += u64::from(bytes);
            }
        }
    }
}
