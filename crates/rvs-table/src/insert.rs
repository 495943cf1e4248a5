//! Making connections.

use rvs_abi::{
    Method, Slot,
    slot::{Link, Role},
};

use crate::{Hash, Key, LEVELS, Store, WINDOW, elapsed, kill::kill_at, tag};

/// A connection to be made. Packet byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record<const N: usize> {
    /// The client's address.
    pub client: [u32; N],
    /// The virtual service's address.
    pub virtual_address: [u32; N],
    /// The real server's address; only NAT needs it.
    pub server_address: [u32; N],
    /// The client's and the virtual service's port, as they lie in a request.
    pub ports: u32,
    /// The real server's port as it lies in a packet; only NAT needs it.
    pub server_port: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// A [`Method`] as a number.
    pub method: u32,
    /// Index of the real server.
    pub server: u32,
    /// The first [`rvs_abi::slot::State`].
    pub state: u32,
    /// Packets seen so far.
    pub packets: u32,
    /// The first stamp.
    pub stamp: u32,
    /// Index of the slot that controls the connection.
    pub control: u32,
    /// That slot's generation, or [`rvs_abi::slot::NO_CONTROL`].
    pub control_generation: u32,
}

impl<const N: usize> Record<N> {
    /// Whether `slot` holds what the packets show that the slot of this role matches.
    #[inline(always)]
    pub fn is_of<const PAD: usize>(&self, role: Role, slot: &Slot<N, PAD>) -> bool {
        let (source, destination, ports) = match role {
            Role::Request => (&self.client, &self.virtual_address, self.ports),
            Role::Reply => (
                &self.server_address,
                &self.client,
                self.server_port & 0xffff | self.ports << 16,
            ),
        };
        if slot.head.ports.load() != ports
            || u32::from(Link(slot.head.link.load()).protocol()) != self.protocol
        {
            return false;
        }
        for i in 0..N {
            if slot.source[i].load() != source[i] || slot.destination[i].load() != destination[i] {
                return false;
            }
        }
        true
    }

    /// What the packets show that the slot of this role matches.
    #[inline(always)]
    pub fn key(&self, role: Role) -> Key<N> {
        match role {
            Role::Request => self.request_key(),
            Role::Reply => self.reply_key(),
        }
    }

    /// What the client's packets show.
    #[inline(always)]
    pub fn request_key(&self) -> Key<N> {
        Key {
            source: self.client,
            destination: self.virtual_address,
            ports: self.ports,
            protocol: self.protocol,
        }
    }

    /// What the server's packets show.
    #[inline(always)]
    pub fn reply_key(&self) -> Key<N> {
        Key {
            source: self.server_address,
            destination: self.client,
            ports: self.server_port & 0xffff | self.ports << 16,
            protocol: self.protocol,
        }
    }
}

/// How an insertion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Made; the request slot's index, and whether it lies beyond its first window.
    New {
        /// Index of the request slot.
        index: u32,
        /// The first window was full.
        spilled: bool,
    },
    /// Another CPU was first; the request slot's index.
    Exists(u32),
    /// NAT: the server already has a connection with this client address and port.
    ReplyTaken,
    /// No room.
    Full,
    /// Another CPU was making the same connection, or clearing up where ours would have gone.
    Race,
}

impl Inserted {
    /// As one number, for those who can only pass numbers: a code above bit 32, an index below.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        let (code, index) = match self {
            Self::New {
                index,
                spilled: false,
            } => (0, index),
            Self::New {
                index,
                spilled: true,
            } => (1, index),
            Self::Exists(index) => (2, index),
            Self::ReplyTaken => (3, 0),
            Self::Full => (4, 0),
            Self::Race => (5, 0),
        };
        code << 32 | u64::from(index)
    }

    /// What [`Inserted::pack`] packed.
    #[inline(always)]
    pub fn unpack(number: u64) -> Self {
        let index = number as u32;
        match number >> 32 {
            0 => Self::New {
                index,
                spilled: false,
            },
            1 => Self::New {
                index,
                spilled: true,
            },
            2 => Self::Exists(index),
            3 => Self::ReplyTaken,
            4 => Self::Full,
            _ => Self::Race,
        }
    }
}

/// Makes the connection of `record`. Nobody needs to have looked whether it exists.
#[inline(always)]
pub fn insert<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    record: &Record<N>,
    now: u32,
) -> Inserted {
    let hash = store.hash(record, Role::Request);
    if record.method != Method::Nat as u32 {
        let Some(place) = Place::unpack(store.claim(hash, now), hash) else {
            return Inserted::Full;
        };
        store.write(record, Role::Request, place.pack(), Place::NONE);
        publish(store, &place);
        return match Check::unpack(store.look_again(record, Role::Request, hash, place.pack())) {
            Check::Alone if confirm(store, &place) => Inserted::New {
                index: place.index,
                spilled: place.level > 0,
            },
            Check::Alone | Check::Race => {
                store.abandon(hash, place.pack(), now);
                Inserted::Race
            }
            Check::Twin(index) => {
                store.abandon(hash, place.pack(), now);
                Inserted::Exists(index)
            }
        };
    }

    let reply_hash = store.hash(record, Role::Reply);
    let Some(second) = Place::unpack(store.claim(reply_hash, now), reply_hash) else {
        return Inserted::Full;
    };
    let Some(first) = Place::unpack(store.claim(hash, now), hash) else {
        store.abandon(reply_hash, second.pack(), now);
        return Inserted::Full;
    };
    store.write(record, Role::Reply, second.pack(), first.pack());
    store.write(record, Role::Request, first.pack(), second.pack());
    publish(store, &second);
    publish(store, &first);
    let outcome = match Check::unpack(store.look_again(record, Role::Request, hash, first.pack())) {
        Check::Twin(index) => Inserted::Exists(index),
        Check::Race => Inserted::Race,
        Check::Alone => {
            match Check::unpack(store.look_again(record, Role::Reply, reply_hash, second.pack())) {
                Check::Twin(_) => Inserted::ReplyTaken,
                Check::Race => Inserted::Race,
                Check::Alone if confirm(store, &second) => {
                    if confirm(store, &first) {
                        return Inserted::New {
                            index: first.index,
                            spilled: first.level > 0 || second.level > 0,
                        };
                    }
                    kill_confirmed(store, &second, now);
                    Inserted::Race
                }
                Check::Alone => Inserted::Race,
            }
        }
    };
    store.abandon(hash, first.pack(), now);
    store.abandon(reply_hash, second.pack(), now);
    outcome
}

/// A slot claimed by this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it lies.
    pub index: u32,
    /// Which of the key's windows that is.
    pub level: u32,
    /// Its tag while busy.
    pub tag: u32,
}

impl Place {
    /// No place.
    pub const NONE: u64 = u64::MAX;

    /// As one number; the fingerprint is the hash's.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        u64::from(self.index)
            | u64::from(self.level & 3) << 32
            | u64::from(tag::generation(self.tag)) << 40
    }

    /// What [`Place::pack`] packed.
    #[inline(always)]
    pub fn unpack(number: u64, hash: Hash) -> Option<Self> {
        if number == Self::NONE {
            return None;
        }
        let tag = tag::busy((number >> 40) as u32, hash.fingerprint());
        Some(Self {
            index: number as u32,
            level: (number >> 32) as u32 & 3,
            tag,
        })
    }
}

/// What looking again found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nobody.
    Alone,
    /// A confirmed slot with our key.
    Twin(u32),
    /// A slot that may become one, or a hole before ours.
    Race,
}

impl Check {
    /// As one number.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        match self {
            Self::Alone => 0,
            Self::Twin(index) => 1 << 32 | u64::from(index),
            Self::Race => 2 << 32,
        }
    }

    /// What [`Check::pack`] packed.
    #[inline(always)]
    pub fn unpack(number: u64) -> Self {
        match number >> 32 {
            0 => Self::Alone,
            1 => Self::Twin(number as u32),
            _ => Self::Race,
        }
    }
}

/// Takes the first slot that is free in the key's windows.
#[inline(always)]
pub fn claim<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    hash: Hash,
    now: u32,
) -> Option<Place> {
    let mask = store.mask();
    let quarantine = store.quarantine();
    for level in 0..LEVELS {
        // Counted before it is there, so that no search misses it.
        if level > 0 {
            store.spill(level)?.add(1);
        }
        let home = hash.home(level);
        for step in 0..WINDOW {
            let index = home.wrapping_add(step) & mask;
            let slot = store.slot(index)?;
            let seen = slot.head.tag.load();
            let free = match tag::state(seen) {
                tag::EMPTY => true,
                tag::DEAD => elapsed(now, slot.head.stamp.load(), quarantine),
                _ => false,
            };
            let claimed = tag::claimed(seen, hash.fingerprint());
            if free && slot.head.tag.cas(seen, claimed) == seen {
                return Some(Place {
                    index,
                    level,
                    tag: claimed,
                });
            }
        }
        if level > 0 {
            store.spill(level)?.add(u32::MAX);
        }
    }
    None
}

/// Writes a claimed slot's words. `place` and `pair` are [`Place`]s, packed.
#[inline(always)]
pub fn write<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    record: &Record<N>,
    role: Role,
    place: u64,
    pair: u64,
) {
    let index = place as u32;
    let Some(slot) = store.slot(index) else {
        return;
    };
    let head = &slot.head;
    let key = record.key(role);
    head.ports.store(key.ports);
    head.link.store(
        Link::new(
            record.protocol as u8,
            role,
            (place >> 32) as u32,
            record.method,
        )
        .0,
    );
    // A slot without a pair names itself, with a generation that no slot has.
    let paired = pair != Place::NONE;
    head.pair.store(if paired { pair as u32 } else { index });
    head.pair_generation.store(if paired {
        (pair >> 40) as u32
    } else {
        u32::MAX
    });
    head.state.store(record.state);
    head.stamp.store(record.stamp);
    head.server.store(record.server);
    head.control.store(record.control);
    head.control_generation.store(record.control_generation);
    head.controlled.store(0);
    let client_port = record.ports & 0xffff;
    let is_reply = role == Role::Reply;
    head.rewrite_ports.store(if is_reply {
        record.ports.rotate_left(16)
    } else {
        client_port | record.server_port << 16
    });
    head.packets
        .store(if is_reply { 0 } else { record.packets });
    let rewrite = if is_reply {
        &record.virtual_address
    } else {
        &record.server_address
    };
    #[expect(clippy::needless_range_loop, reason = "four arrays walk in step")]
    for i in 0..N {
        slot.source[i].store(key.source[i]);
        slot.destination[i].store(key.destination[i]);
        slot.rewrite[i].store(rewrite[i]);
    }
}

/// Makes a claimed slot readable, with a full barrier.
#[inline(always)]
fn publish<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(store: &S, place: &Place) {
    if let Some(slot) = store.slot(place.index) {
        slot.head.tag.swap(tag::with_state(place.tag, tag::FRESH));
    }
}

/// Looks for others with our key, and for holes before us. `place` is a [`Place`], packed.
#[inline(always)]
pub fn look_again<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    record: &Record<N>,
    role: Role,
    hash: Hash,
    place: u64,
) -> Check {
    let (ours, ours_level) = (place as u32, (place >> 32) as u32 & 3);
    let mask = store.mask();
    let home = hash.home(ours_level);
    for step in 0..WINDOW {
        let index = home.wrapping_add(step) & mask;
        if index == ours {
            break;
        }
        let Some(slot) = store.slot(index) else {
            return Check::Race;
        };
        let state = tag::state(slot.head.tag.load());
        if state == tag::EMPTY || state == tag::CLEARING {
            return Check::Race;
        }
    }

    let fingerprint = hash.fingerprint();
    for level in 0..LEVELS {
        if level > 0 && store.spill(level).is_none_or(|spill| spill.load() == 0) {
            continue;
        }
        let home = hash.home(level);
        for step in 0..WINDOW {
            let index = home.wrapping_add(step) & mask;
            let Some(slot) = store.slot(index) else {
                return Check::Race;
            };
            let seen = slot.head.tag.load();
            if !tag::agrees(seen, fingerprint) || index == ours {
                continue;
            }
            match tag::state(seen) {
                // It will look again after it is published, and see us: the lower index goes on.
                tag::BUSY if index < ours => return Check::Race,
                tag::LIVE if store.holds(record, role, index) => return Check::Twin(index),
                // It may have looked before we were there: it can only be left to itself.
                tag::FRESH if store.holds(record, role, index) => return Check::Race,
                _ => {}
            }
        }
    }
    Check::Alone
}

/// Says to everybody that this slot stays; fails where a twin ended it.
#[inline(always)]
fn confirm<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    place: &Place,
) -> bool {
    let fresh = tag::with_state(place.tag, tag::FRESH);
    store.slot(place.index).is_some_and(|slot| {
        slot.head
            .tag
            .cas(fresh, tag::with_state(place.tag, tag::LIVE))
            == fresh
    })
}

/// Gives a slot back that was not confirmed, whether it was published or not. `place` is a [`Place`], packed.
#[inline(always)]
pub fn abandon<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    hash: Hash,
    place: u64,
    now: u32,
) {
    let Some(place) = Place::unpack(place, hash) else {
        return;
    };
    let Some(slot) = store.slot(place.index) else {
        return;
    };
    if !kill_at(
        store,
        slot,
        tag::with_state(place.tag, tag::FRESH),
        place.level,
        now,
    ) {
        kill_at(store, slot, place.tag, place.level, now);
    }
}

/// Takes a confirmation back.
#[inline(always)]
fn kill_confirmed<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    place: &Place,
    now: u32,
) {
    if let Some(slot) = store.slot(place.index) {
        kill_at(
            store,
            slot,
            tag::with_state(place.tag, tag::LIVE),
            place.level,
            now,
        );
    }
}
