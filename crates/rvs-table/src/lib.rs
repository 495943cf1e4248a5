//! The connection table's protocol: how CPUs that share nothing but words of memory find, make and
//! end connections, without a lock and without ever waiting for each other.
//!
//! The table is an array of [`Slot`]s with open addressing. A key has
//! [`LEVELS`] windows of [`WINDOW`] neighbouring slots; it lies in the first window that had room.
//! Windows beyond the first are looked at only while the table's *spill* count for that level says
//! that something lies there, so an ordinary miss costs one cache line.
//!
//! ```text
//!            claim (cas)           publish (swap)          confirm (cas)
//!   EMPTY ─────────────► BUSY ───────────────────► FRESH ───────────────► LIVE
//!     ▲                   ▲ │ abandon                │ abandon              │ expired, closed, removed
//!     │ clear (cas, look, │ └──────────────┐         │                      │
//!     │        swap)      │ claim, after   ▼         ▼                      ▼
//!     └──── CLEARING ◄────┴─ quarantine ── DEAD ◄────┴──────────────────────┘
//! ```
//!
//! Invariants, each with its models in `models.rs` and below (loom):
//! - **No twins.** Of two CPUs that insert one key at once at most one confirms. Each publishes with
//!   a full barrier and then looks again; who finds a confirmed twin adopts it, who finds one that
//!   is about to confirm gives up and drops its packet. Nobody spins, and nobody waits.
//! - **Reachable.** A search ends at a never-used slot, so no slot before a live one in its window
//!   may become never-used. Clearing marks the tombstone, *then* looks at the slots behind it; inserting
//!   takes one of those, *then* looks at the tombstone: one of the two sees the other.
//! - **Quarantine.** A dead slot is not written again before [`Store::quarantine`] ticks have gone by,
//!   longer than any program run that may still read it. (BPF gives no grace period on arrays.)
//! - **Pairs.** A NAT connection's reply slot is confirmed before its request slot, and both or
//!   neither stay. A reply tuple that is taken is seen at insertion.
//!
//! This crate knows nothing of packets, services or protocols' states.

#![no_std]

#[cfg(all(test, loom))]
extern crate std;

mod find;
mod insert;
mod key;
mod kill;
#[cfg(all(test, loom))]
mod models;
pub mod tag;

pub use find::{find, find_slot};
pub use insert::{Check, Inserted, Place, Record, abandon, claim, insert, look_again, write};
pub use key::{Hash, HashKey, Key, digest, half_siphash};
pub use kill::{clear, kill, kill_connection, pair_of};

use rvs_abi::{Role, Slot, Word32};

/// Neighbouring slots in a window.
#[cfg(not(loom))]
pub const WINDOW: u32 = 8;
/// Windows of a key.
#[cfg(not(loom))]
pub const LEVELS: u32 = 4;

/// Models check a small table.
#[cfg(loom)]
pub const WINDOW: u32 = 2;
/// Models check a small table.
#[cfg(loom)]
pub const LEVELS: u32 = 2;

/// The memory that a table lies in: a BPF array, or a vector.
pub trait Store<const N: usize, const PAD: usize> {
    /// The slot at `index`; `None` beyond the table, which masked indexes never are.
    fn slot(&self, index: u32) -> Option<&Slot<N, PAD>>;

    /// Number of slots less one; the number is a power of two.
    fn mask(&self) -> u32;

    /// How many live slots lie in windows of `level` (1..[`LEVELS`]).
    fn spill(&self, level: u32) -> Option<&Word32>;

    /// Ticks for which the dead rest.
    fn quarantine(&self) -> u32;

    /// The key of the table's hash.
    fn hash_key(&self) -> HashKey;

    // The parts of an insertion. A store overrides them only to have each verified on its own.

    /// The hash of the record's key in this role.
    fn hash(&self, record: &Record<N>, role: Role) -> Hash {
        Hash::of(&record.key(role), self.hash_key())
    }

    /// Takes the first free slot in the windows of `hash`: a [`Place`], packed.
    fn claim(&self, hash: Hash, now: u32) -> u64 {
        claim(self, hash, now).map_or(Place::NONE, Place::pack)
    }

    /// Writes the words of a claimed slot. `place` and `pair` are [`Place`]s, packed.
    fn write(&self, record: &Record<N>, role: Role, place: u64, pair: u64) {
        write(self, record, role, place, pair);
    }

    /// Whether the slot at `index` holds the record's key in this role.
    fn holds(&self, record: &Record<N>, role: Role, index: u32) -> bool {
        self.slot(index)
            .is_some_and(|slot| record.is_of(role, slot))
    }

    /// Looks, after publication, for others with our key and for holes before us: a [`Check`],
    /// packed. `place` is a [`Place`], packed.
    fn look_again(&self, record: &Record<N>, role: Role, hash: Hash, place: u64) -> u64 {
        look_again(self, record, role, hash, place).pack()
    }

    /// Gives a slot back that was claimed and not confirmed. `place` is a [`Place`], packed.
    fn abandon(&self, hash: Hash, place: u64, now: u32) {
        abandon(self, hash, place, now);
    }
}

/// Whether `since` lies at least `ticks` before `now`, on a clock that wraps. Half the clock's range
/// ahead counts as "in the future": another CPU's clock may be a tick ahead of ours.
#[inline(always)]
pub fn elapsed(now: u32, since: u32, ticks: u32) -> bool {
    let age = now.wrapping_sub(since);
    age >= ticks && age < 1 << 31
}

/// Whether the tick `until` is still to come. What lies further ahead than anybody looks is long past: it was
/// written half the clock's range ago, by a daemon that has been away since.
#[inline(always)]
pub fn is_ahead(now: u32, until: u32) -> bool {
    const FURTHEST: u32 = 1 << 24;
    until.wrapping_sub(now) < FURTHEST
}
