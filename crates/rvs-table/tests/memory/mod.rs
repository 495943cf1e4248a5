//! A table in ordinary memory that counts the slots that it is asked for.

use std::cell::Cell;

use rvs_abi::{Method, Slot4, Word32, slot::Link};
use rvs_table::{Hash, HashKey, Inserted, Key, LEVELS, Record, Store, tag};

/// Ticks for which the dead rest.
pub(crate) const QUARANTINE: u32 = 10;

/// The hash's key, where a test does not say.
pub(crate) const KEY: HashKey = HashKey {
    k0: 0x0706_0504_0302_0100,
    k1: 0x0f0e_0d0c_0b0a_0908,
};

/// The table.
pub(crate) struct Table {
    /// Its slots.
    pub(crate) slots: Vec<Slot4>,
    spill: Vec<Word32>,
    probes: Cell<u64>,
    key: HashKey,
}

impl Table {
    #[allow(dead_code, reason = "not every test that shares this file asks")]
    /// An empty table of a power of two of slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self::with_key(slots, KEY)
    }

    /// An empty table whose hash has another key.
    pub(crate) fn with_key(slots: usize, key: HashKey) -> Self {
        Self {
            key,
            slots: (0..slots).map(|_| Slot4::default()).collect(),
            spill: (0..LEVELS).map(|_| Word32::new(0)).collect(),
            probes: Cell::new(0),
        }
    }

    #[allow(dead_code, reason = "not every test that shares this file asks")]
    /// Looks a key up.
    pub(crate) fn find(&self, key: &Key<1>) -> Option<u32> {
        rvs_table::find(self, key, Hash::of(key, self.hash_key()))
    }

    /// Makes a connection.
    pub(crate) fn insert(&self, record: &Record<1>, now: u32) -> Inserted {
        rvs_table::insert(self, record, now)
    }

    #[allow(dead_code, reason = "not every test that shares this file asks")]
    /// Slots asked for since the last call.
    pub(crate) fn probes(&self) -> u64 {
        self.probes.replace(0)
    }

    /// The live slots' links.
    pub(crate) fn live(&self) -> Vec<Link> {
        self.slots
            .iter()
            .filter(|slot| tag::state(slot.head.tag.load()) == tag::LIVE)
            .map(|slot| Link(slot.head.link.load()))
            .collect()
    }

    /// The spill counts are those of the live slots.
    pub(crate) fn assert_spill(&self) {
        let live = self.live();
        for level in 1..LEVELS {
            let count = live.iter().filter(|link| link.level() == level).count();
            assert_eq!(
                self.spill[level as usize].load() as usize,
                count,
                "level {level}"
            );
        }
    }
}

impl Store<1, 0> for Table {
    fn slot(&self, index: u32) -> Option<&Slot4> {
        self.probes.set(self.probes.get() + 1);
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
        self.key
    }
}

/// A connection of client number `client` to service number `service`, all on one server.
pub(crate) fn record(method: Method, client: u32, service: u32) -> Record<1> {
    Record {
        client: [0x0a00_0000 | client >> 14],
        virtual_address: [0xc633_6400 | service],
        server_address: [0x0a01_0001],
        ports: (1024 + (client & 0x3fff)) | u32::from(80_u16.to_be()) << 16,
        server_port: 8080,
        protocol: 6,
        method: method as u32,
        server: 0,
        state: 1,
        packets: 1,
        stamp: 0,
        control: 0,
        control_generation: rvs_abi::slot::NO_CONTROL,
    }
}
