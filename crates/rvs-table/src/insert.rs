//! Making connections.

use rvs_abi::{
    Method,
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
}

impl<const N: usize> Record<N> {
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

/// Makes the connection of `record`. The caller has looked that it does not exist.
#[inline(always)]
pub fn insert<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    record: &Record<N>,
    now: u32,
) -> Inserted {
    let request = record.request_key();
    let request_hash = Hash::of(&request, store.hash_key());
    if record.method != Method::Nat as u32 {
        let Some(place) = claim(store, request_hash, now) else {
            return Inserted::Full;
        };
        write(store, &place, &request, record, Role::Request, None);
        publish(store, &place);
        return match look_again(store, &request, request_hash, &place, now) {
            Check::Alone if confirm(store, &place) => Inserted::New {
                index: place.index,
                spilled: place.level > 0,
            },
            Check::Alone | Check::Race => {
                abandon(store, &place, now);
                Inserted::Race
            }
            Check::Twin(index) => {
                abandon(store, &place, now);
                Inserted::Exists(index)
            }
        };
    }

    let reply = record.reply_key();
    let reply_hash = Hash::of(&reply, store.hash_key());
    let Some(second) = claim(store, reply_hash, now) else {
        return Inserted::Full;
    };
    let Some(first) = claim(store, request_hash, now) else {
        abandon(store, &second, now);
        return Inserted::Full;
    };
    write(store, &second, &reply, record, Role::Reply, Some(&first));
    write(
        store,
        &first,
        &request,
        record,
        Role::Request,
        Some(&second),
    );
    publish(store, &second);
    publish(store, &first);
    let outcome = match look_again(store, &request, request_hash, &first, now) {
        Check::Twin(index) => Inserted::Exists(index),
        Check::Race => Inserted::Race,
        Check::Alone => match look_again(store, &reply, reply_hash, &second, now) {
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
        },
    };
    abandon(store, &first, now);
    abandon(store, &second, now);
    outcome
}

/// A slot claimed by this CPU.
struct Place {
    index: u32,
    level: u32,
    /// The tag while busy.
    tag: u32,
}

/// What looking again found.
enum Check {
    Alone,
    /// A confirmed slot with our key.
    Twin(u32),
    /// A slot that may become one, or a hole before ours.
    Race,
}

/// Takes the first slot that is free in the key's windows.
#[inline(always)]
fn claim<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
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

/// Writes a claimed slot's words.
#[inline(always)]
fn write<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    place: &Place,
    key: &Key<N>,
    record: &Record<N>,
    role: Role,
    pair: Option<&Place>,
) {
    let Some(slot) = store.slot(place.index) else {
        return;
    };
    let head = &slot.head;
    head.ports.store(key.ports);
    head.link
        .store(Link::new(record.protocol as u8, role, place.level, record.method).0);
    // A slot without a pair names itself, with a generation that no slot has.
    head.pair.store(pair.map_or(place.index, |pair| pair.index));
    head.pair_generation
        .store(pair.map_or(u32::MAX, |pair| tag::generation(pair.tag)));
    head.state.store(record.state);
    head.stamp.store(record.stamp);
    head.server.store(record.server);
    let client_port = record.ports & 0xffff;
    head.rewrite_ports.store(match role {
        Role::Request => client_port | record.server_port << 16,
        Role::Reply => record.ports.rotate_left(16),
    });
    head.packets.store(match role {
        Role::Request => record.packets,
        Role::Reply => 0,
    });
    let rewrite = match role {
        Role::Request => &record.server_address,
        Role::Reply => &record.virtual_address,
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

/// Looks for others with our key, and for holes before us.
#[inline(always)]
fn look_again<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    key: &Key<N>,
    hash: Hash,
    place: &Place,
    now: u32,
) -> Check {
    let mask = store.mask();
    let fingerprint = hash.fingerprint();
    for level in 0..LEVELS {
        let Some(spill) = (if level > 0 {
            store.spill(level).map(rvs_abi::Word32::load)
        } else {
            Some(1)
        }) else {
            return Check::Race;
        };
        if spill == 0 {
            continue;
        }
        let home = hash.home(level);
        let mut before_ours = level == place.level;
        for step in 0..WINDOW {
            let index = home.wrapping_add(step) & mask;
            if index == place.index {
                before_ours = false;
                continue;
            }
            let Some(slot) = store.slot(index) else {
                return Check::Race;
            };
            let seen = slot.head.tag.load();
            let state = tag::state(seen);
            if before_ours && (state == tag::EMPTY || state == tag::CLEARING) {
                return Check::Race;
            }
            if !tag::agrees(seen, fingerprint) {
                continue;
            }
            if state == tag::BUSY {
                // It will look again after it is published, and see us: the lower index goes on.
                if index < place.index {
                    return Check::Race;
                }
            } else if tag::readable(seen) && key.is_of(slot) {
                if state == tag::LIVE {
                    return Check::Twin(index);
                }
                // Perhaps it has looked before we were there: then only its end keeps it from
                // confirming, and if it did confirm, the next packet will find it.
                if index < place.index || !crate::kill(store, slot, seen, now) {
                    return Check::Race;
                }
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

/// Gives a slot back that was not confirmed, whether it was published or not.
#[inline(always)]
fn abandon<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    place: &Place,
    now: u32,
) {
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
