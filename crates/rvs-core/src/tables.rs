//! The director's memory: services, servers, connections, settings, clock and counters.

use rvs_abi::{
    AddressKey, Counter, FragmentKey, FragmentNote, Role, Server, Service, ServiceKey, Settings,
    Slot4, Slot6, Word32,
};
use rvs_table::{Hash, HashKey, Place, Record, Store};

use crate::state::counts;

/// No index.
pub const NONE: u32 = u32::MAX;

/// What the data path reads and writes beside the packet.
pub trait Tables {
    /// The coarse clock, in ticks.
    fn now(&self) -> u32;

    /// Any number.
    fn random(&self) -> u32;

    /// The director's settings.
    fn settings(&self) -> Option<&Settings>;

    /// A service by index.
    fn service(&self, index: u32) -> Option<&Service>;

    /// A server by index.
    fn server(&self, index: u32) -> Option<&Server>;

    /// The server index at a place of the members array.
    fn member(&self, place: u32) -> Option<u32>;

    /// Calls `step` for `0..count` until it says `false`. (A plain loop of a thousand rounds is more
    /// than the verifier takes; the kernel side uses `bpf_loop`.)
    fn repeat<S: Step<Self>>(&self, count: u32, step: &mut S)
    where
        Self: Sized,
    {
        for round in 0..count {
            if !step.step(self, round) {
                break;
            }
        }
    }

    /// The index of the service that listens at `key`.
    fn find_service(&self, key: &ServiceKey) -> Option<u32>;

    /// What an address means for fragments (see [`rvs_abi::service::address`]).
    fn find_address(&self, key: &AddressKey) -> u32;

    /// What the first fragment of this packet left.
    fn find_note(&self, key: &FragmentKey) -> Option<FragmentNote>;

    /// Leaves a note for the later fragments of this packet.
    fn put_note(&self, key: &FragmentKey, note: &FragmentNote);

    /// An IPv4 slot.
    fn slot4(&self, index: u32) -> Option<&Slot4>;

    /// An IPv6 slot.
    fn slot6(&self, index: u32) -> Option<&Slot6>;

    /// How many live IPv4 slots lie in windows of `level`.
    fn spill4(&self, level: u32) -> Option<&Word32> {
        self.settings()?.spill4.get(level as usize)
    }

    /// How many live IPv6 slots lie in windows of `level`.
    fn spill6(&self, level: u32) -> Option<&Word32> {
        self.settings()?.spill6.get(level as usize)
    }

    /// [`Store::holds`] of the IPv4 table.
    fn holds4(&self, record: &Record<1>, role: Role, index: u32) -> bool
    where
        Self: Sized,
    {
        self.slot4(index)
            .is_some_and(|slot| record.is_of(role, slot))
    }

    /// [`Store::hash`] for the IPv4 table.
    fn hash4(&self, record: &Record<1>, role: Role) -> Hash
    where
        Self: Sized,
    {
        Hash::of(&record.key(role), Connections4(self).hash_key())
    }

    /// [`Store::claim`] in the IPv4 table.
    fn claim4(&self, hash: Hash, now: u32) -> u64
    where
        Self: Sized,
    {
        rvs_table::claim(&Connections4(self), hash, now).map_or(Place::NONE, Place::pack)
    }

    /// [`Store::write`] in the IPv4 table.
    fn write4(&self, record: &Record<1>, role: Role, place: u64, pair: u64)
    where
        Self: Sized,
    {
        rvs_table::write(&Connections4(self), record, role, place, pair);
    }

    /// [`Store::look_again`] in the IPv4 table.
    fn look_again4(&self, record: &Record<1>, role: Role, hash: Hash, place: u64) -> u64
    where
        Self: Sized,
    {
        rvs_table::look_again(&Connections4(self), record, role, hash, place).pack()
    }

    /// [`Store::abandon`] in the IPv4 table.
    fn abandon4(&self, hash: Hash, place: u64, now: u32)
    where
        Self: Sized,
    {
        rvs_table::abandon(&Connections4(self), hash, place, now);
    }

    /// [`Store::holds`] of the IPv6 table.
    fn holds6(&self, record: &Record<4>, role: Role, index: u32) -> bool
    where
        Self: Sized,
    {
        self.slot6(index)
            .is_some_and(|slot| record.is_of(role, slot))
    }

    /// [`Store::hash`] for the IPv6 table.
    fn hash6(&self, record: &Record<4>, role: Role) -> Hash
    where
        Self: Sized,
    {
        Hash::of(&record.key(role), Connections6(self).hash_key())
    }

    /// [`Store::claim`] in the IPv6 table.
    fn claim6(&self, hash: Hash, now: u32) -> u64
    where
        Self: Sized,
    {
        rvs_table::claim(&Connections6(self), hash, now).map_or(Place::NONE, Place::pack)
    }

    /// [`Store::write`] in the IPv6 table.
    fn write6(&self, record: &Record<4>, role: Role, place: u64, pair: u64)
    where
        Self: Sized,
    {
        rvs_table::write(&Connections6(self), record, role, place, pair);
    }

    /// [`Store::look_again`] in the IPv6 table.
    fn look_again6(&self, record: &Record<4>, role: Role, hash: Hash, place: u64) -> u64
    where
        Self: Sized,
    {
        rvs_table::look_again(&Connections6(self), record, role, hash, place).pack()
    }

    }

    /// The same value, of which the verifier knows nothing. See [`Step`].
    fn veiled(&self, value: u32) -> u32 {
        value
