//! The director's memory: services, servers, connections, settings, clock and counters.

use rvs_abi::{
    AddressKey, Counter, FragmentKey, FragmentNote, Locality, LocalityKey, Role, Rule, Sequence,
    SequenceKey, Server, Service, ServiceKey, Settings, Slot4, Slot6, Word32,
};
use rvs_table::{Hash, HashKey, Place, Record, Store};

use crate::{Flow, schedule, state::counts};

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

    /// The word at a place of the members array: a server's index, or four entries of a table.
    fn member_word(&self, place: u32) -> Option<u64>;

    /// The server index at a place of the members array.
    fn member(&self, place: u32) -> Option<u32> {
        self.member_word(place).map(|word| word as u32)
    }

    /// What lblc or lblcr remembers of an address.
    fn locality(&self, key: &LocalityKey) -> Option<&Locality>;

    /// Remembers that the flow's destination goes to `server`; 1 if that is new and there was room, else 0.
    fn remember(&self, flow: &Flow, service: u32, server: u32) -> u32;

    /// The word of one server of a memory.
    fn locality_server<'a>(&self, locality: &'a Locality, place: u32) -> Option<&'a Word32> {
        locality.servers.get(place as usize)
    }

    /// See [`schedule::by_turns`].
    fn by_turns(&self, service: u32, avoid: u32) -> u64
    where
        Self: Sized,
    {
        schedule::by_turns(self, service, avoid)
    }

    /// See [`schedule::by_load`].
    fn by_load(&self, flow: &Flow, service: u32, avoid: u32) -> u32
    where
        Self: Sized,
    {
        schedule::by_load(self, flow, service, avoid)
    }

    /// See [`schedule::by_chance`].
    fn by_chance(&self, service: u32, avoid: u32) -> u32
    where
        Self: Sized,
    {
        schedule::by_chance(self, service, avoid)
    }

    /// See [`schedule::by_hash`].
    fn by_hash(&self, flow: &Flow, service: u32, avoid: u32) -> u32
    where
        Self: Sized,
    {
        schedule::by_hash(self, flow, service, avoid)
    }

    /// See [`schedule::by_locality`].
    fn by_locality(&self, flow: &Flow, service: u32, avoid: u32) -> u32
    where
        Self: Sized,
    {
        schedule::by_locality(self, flow, service, avoid)
    }

    /// See [`schedule::is_overburdened`].
    fn is_overburdened(&self, flow: &Flow, service: u32, index: u32) -> u32
    where
        Self: Sized,
    {
        schedule::is_overburdened(self, flow, service, index)
    }

    /// See [`schedule::look`].
    fn look_at_set(&self, flow: &Flow, service: u32, argument: u32, question: u32) -> u64
    where
        Self: Sized,
    {
        schedule::look(self, flow, service, argument, question)
    }

    /// A match rule.
    fn rule(&self, place: u32) -> Option<&Rule>;

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

    /// How a connection's sequence numbers are adjusted.
    fn sequence(&self, key: &SequenceKey) -> Option<Sequence>;

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

    /// [`Store::abandon`] in the IPv6 table.
    fn abandon6(&self, hash: Hash, place: u64, now: u32)
    where
        Self: Sized,
    {
        rvs_table::abandon(&Connections6(self), hash, place, now);
    }

    /// See [`counts::enter`].
    fn enter(&self, server: u32, state: u32, control: u64, words: u32) -> u32
    where
        Self: Sized,
    {
        counts::enter(self, server, state, control, words)
    }

    /// See [`counts::leave`].
    fn leave(&self, server: u32, state: u32, control: u64, words: u32) -> u32
    where
        Self: Sized,
    {
        counts::leave(self, server, state, control, words)
    }

    /// The same value, of which the verifier knows nothing. See [`Step`].
    fn veiled(&self, value: u32) -> u32 {
        value
    }

    /// Counts one packet.
    fn count(&self, counter: Counter);

    /// Counts a server's traffic.
    fn account(&self, server: u32, traffic: Traffic);
}

/// One round of [`Tables::repeat`].
///
/// Linux before 6.7 verifies a round once, as if nothing had run before: what it then takes for certain (that nobody is
/// chosen yet) it wires into the program for all rounds. So a value that one round leaves to the next, and that a
/// branch depends on, has to begin as [`Tables::veiled`].
pub trait Step<T> {
    /// How many rounds the kernel side does in one call: 1, 2 or 4; more where there are often many. Where the kernel
    /// guards returns against speculation (AMD's safe RET), the way back costs more than the round itself; but each
    /// round of a call is work for the verifier.
    const TOGETHER: u32 = 1;

    /// Does round number `round`; `false` ends the loop.
    fn step(&mut self, tables: &T, round: u32) -> bool;
}

/// What to add to a server's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A connection was scheduled.
    Connection,
    /// Packets and bytes from a client.
    In(u32, u32),
    /// Packets and bytes from the server.
    Out(u32, u32),
}

/// The IPv4 connections of some tables.
pub struct Connections4<'a, T>(pub &'a T);
/// The IPv6 connections of some tables.
pub struct Connections6<'a, T>(pub &'a T);

impl<T: Tables> Store<1, 0> for Connections4<'_, T> {
    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot4> {
        self.0.slot4(index)
    }
    #[inline(always)]
    fn hash(&self, record: &Record<1>, role: Role) -> Hash {
        self.0.hash4(record, role)
    }
    #[inline(always)]
    fn claim(&self, hash: Hash, now: u32) -> u64 {
        self.0.claim4(hash, now)
    }
    #[inline(always)]
    fn write(&self, record: &Record<1>, role: Role, place: u64, pair: u64) {
        self.0.write4(record, role, place, pair);
    }
    #[inline(always)]
    fn holds(&self, record: &Record<1>, role: Role, index: u32) -> bool {
        self.0.holds4(record, role, index)
    }
    #[inline(always)]
    fn look_again(&self, record: &Record<1>, role: Role, hash: Hash, place: u64) -> u64 {
        self.0.look_again4(record, role, hash, place)
    }
    #[inline(always)]
    fn abandon(&self, hash: Hash, place: u64, now: u32) {
        self.0.abandon4(hash, place, now);
    }
    #[inline(always)]
    fn mask(&self) -> u32 {
        self.0
            .settings()
            .map_or(0, |settings| settings.mask4.load())
    }
    #[inline(always)]
    fn spill(&self, level: u32) -> Option<&Word32> {
        self.0.spill4(level)
    }
    #[inline(always)]
    fn quarantine(&self) -> u32 {
        self.0
            .settings()
            .map_or(u32::MAX, |settings| settings.quarantine.load())
    }
    #[inline(always)]
    fn hash_key(&self) -> HashKey {
        self.0.settings().map_or(HashKey::default(), hash_key_of)
    }
}

impl<T: Tables> Store<4, 7> for Connections6<'_, T> {
    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot6> {
        self.0.slot6(index)
    }
    #[inline(always)]
    fn hash(&self, record: &Record<4>, role: Role) -> Hash {
        self.0.hash6(record, role)
    }
    #[inline(always)]
    fn claim(&self, hash: Hash, now: u32) -> u64 {
        self.0.claim6(hash, now)
    }
    #[inline(always)]
    fn write(&self, record: &Record<4>, role: Role, place: u64, pair: u64) {
        self.0.write6(record, role, place, pair);
    }
    #[inline(always)]
    fn holds(&self, record: &Record<4>, role: Role, index: u32) -> bool {
        self.0.holds6(record, role, index)
    }
    #[inline(always)]
    fn look_again(&self, record: &Record<4>, role: Role, hash: Hash, place: u64) -> u64 {
        self.0.look_again6(record, role, hash, place)
    }
    #[inline(always)]
    fn abandon(&self, hash: Hash, place: u64, now: u32) {
        self.0.abandon6(hash, place, now);
    }
    #[inline(always)]
    fn mask(&self) -> u32 {
        self.0
            .settings()
            .map_or(0, |settings| settings.mask6.load())
    }
    #[inline(always)]
    fn spill(&self, level: u32) -> Option<&Word32> {
        self.0.spill6(level)
    }
    #[inline(always)]
    fn quarantine(&self) -> u32 {
        self.0
            .settings()
            .map_or(u32::MAX, |settings| settings.quarantine.load())
    }
    #[inline(always)]
    fn hash_key(&self) -> HashKey {
        self.0.settings().map_or(HashKey::default(), hash_key_of)
    }
}

#[inline(always)]
pub(crate) fn hash_key_of(settings: &Settings) -> HashKey {
    let word = |low: &Word32, high: &Word32| u64::from(low.load()) | u64::from(high.load()) << 32;
    HashKey {
        k0: word(&settings.hash_key[0], &settings.hash_key[1]),
        k1: word(&settings.hash_key[2], &settings.hash_key[3]),
    }
}
