//! Models of the table's invariants: loom runs every interleaving of a few CPUs over a table of a few
//! slots (`RUSTFLAGS="--cfg loom" cargo test -p rvs-table --release --lib`).
//!
//! Each model builds one situation of which an invariant speaks, lets the CPUs at it, and looks at
//! what is left. Where a model's CPUs do not see each other's steps in every order, it bounds the
//! pre-emptions and says so.

mod clearing;
mod pairs;
mod twins;

use std::vec::Vec;

use loom::sync::Arc;
use rvs_abi::{Method, Role, Slot4, Word32};

use crate::{Hash, HashKey, Key, LEVELS, Record, Store, tag};

/// The clock's first reading.
const NOW: u32 = 100;
/// A reading at which what died at [`NOW`] has rested.
const LATER: u32 = NOW + QUARANTINE;
const QUARANTINE: u32 = 10;

/// A small table.
struct Table {
    slots: Vec<Slot4>,
    spill: Vec<Word32>,
    hash_key: HashKey,
}

impl Table {
    /// A table of a few slots, of which those of the given windows' beginnings are wanted.
    fn new(slots: usize, hash_key: HashKey) -> Arc<Self> {
        Arc::new(Self {
            slots: (0..slots).map(|_| Slot4::default()).collect(),
            spill: (0..LEVELS).map(|_| Word32::default()).collect(),
            hash_key,
        })
    }

    fn find(&self, key: &Key<1>) -> Option<u32> {
        crate::find(self, key, Hash::of(key, self.hash_key))
    }

    fn insert(&self, record: &Record<1>, now: u32) -> crate::Inserted {
        crate::insert(self, record, now)
    }

    fn state(&self, index: u32) -> u32 {
        tag::state(self.slots[index as usize].head.tag.load())
    }

    /// Where slots in this state lie.
    fn all(&self, state: u32) -> Vec<u32> {
        (0..self.slots.len() as u32)
            .filter(|index| self.state(*index) == state)
            .collect()
    }

    /// Nothing is left half done, and the spill counts are those of the live slots.
    fn assert_settled(&self) {
        for state in [tag::BUSY, tag::FRESH, tag::CLEARING] {
            assert_eq!(self.all(state), [], "slots left in state {state}");
        }
        for level in 1..LEVELS {
            let live = self.all(tag::LIVE).into_iter().filter(|index| {
                let link = self.slots[*index as usize].head.link.load();
                rvs_abi::slot::Link(link).level() == level
            });
            assert_eq!(
                self.spill[level as usize].load(),
                live.count() as u32,
                "level {level}"
            );
        }
    }
}

impl Store<1, 0> for Table {
    fn slot(&self, index: u32) -> Option<&Slot4> {
        self.slots.get(index as usize)
    }

    fn mask(&self) -> u32 {
        self.slots.len() as u32 - 1
    }

    fn spill(&self, level: u32) -> Option<&Word32> {
        self.spill.get(level as usize)
    }

    fn quarantine(&self) -> u32 {
        QUARANTINE
    }

    fn hash_key(&self) -> HashKey {
        self.hash_key
    }
}

fn record(method: Method, client_port: u16, service: u32) -> Record<1> {
    Record {
        client: [0x0a00_0001],
        virtual_address: [service],
        server_address: [0x0a00_0101],
        ports: u32::from(client_port) | 80 << 16,
        server_port: 8080,
        protocol: 6,
        method: method as u32,
        server: 1,
        state: 3,
        packets: 1,
        stamp: NOW,
        control: 0,
        control_generation: rvs_abi::slot::NO_CONTROL,
    }
}

/// A hash key under which `wanted` holds: where windows begin is up to the hash.
fn hash_key_where(wanted: impl Fn(HashKey) -> bool) -> HashKey {
    (1..100_000)
        .map(|k0| HashKey { k0, k1: 7 })
        .find(|key| wanted(*key))
        .expect("some key does")
}

/// Where a record's window begins in a table of `slots`.
fn home(record: &Record<1>, role: Role, level: u32, key: HashKey, slots: u32) -> u32 {
    Hash::of(&record.key(role), key).home(level) & (slots - 1)
}
