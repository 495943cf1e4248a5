//! Ending connections, and making their slots usable again.

use rvs_abi::{
    Slot,
    slot::{Link, Role},
};

use crate::{Store, WINDOW, elapsed, tag};

/// Ends the slot at `index` if its tag is still `seen`; says whether this call did it.
///
/// Whoever ends a slot releases what it was counted in; nobody does so twice.
#[inline(always)]
pub fn kill<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    slot: &Slot<N, PAD>,
    seen: u32,
    now: u32,
) -> bool {
    let level = Link(slot.head.link.load()).level();
    kill_at(store, slot, seen, level, now)
}

/// As [`kill`], for a slot whose level is known although its words may not be written yet.
#[inline(always)]
pub(crate) fn kill_at<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    slot: &Slot<N, PAD>,
    seen: u32,
    level: u32,
    now: u32,
) -> bool {
    // Before the tag: a slot that is seen dead must be seen to rest.
    slot.head.stamp.store(now);
    if slot.head.tag.cas(seen, tag::with_state(seen, tag::DEAD)) != seen {
        return false;
    }
    if level > 0
        && let Some(spill) = store.spill(level)
    {
        spill.add(u32::MAX);
    }
    true
}

/// The other slot of a NAT connection, if both still belong together, with its index and tag.
#[inline(always)]
pub fn pair_of<'a, const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &'a S,
    slot: &Slot<N, PAD>,
) -> Option<(u32, &'a Slot<N, PAD>, u32)> {
    let index = slot.head.pair.load() & store.mask();
    let pair = store.slot(index)?;
    let seen = pair.head.tag.load();
    (tag::readable(seen) && tag::generation(seen) == slot.head.pair_generation.load())
        .then_some((index, pair, seen))
}

/// Ends the connection whose *request* slot is `slot`, its reply slot first; says whether this call
/// ended the request slot, and so has to release the connection's counts.
///
/// One that is not confirmed yet is left to its maker: of its reply slot killed and its request slot
/// confirmed in between, half a connection would remain.
#[inline(always)]
pub fn kill_connection<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    slot: &Slot<N, PAD>,
    seen: u32,
    paired: bool,
    now: u32,
) -> bool {
    if tag::state(seen) != tag::LIVE {
        return false;
    }
    if paired
        && let Some((_, pair, pair_seen)) = pair_of(store, slot)
        && Link(pair.head.link.load()).role() == Role::Reply
    {
        kill(store, pair, pair_seen, now);
    }
    kill(store, slot, seen, now)
}

/// Makes the tombstone at `index` never-used again, where no search needs to pass it: what follows it
/// within a window holds nothing before the next never-used slot. Says whether it did.
///
/// (A never-used neighbour alone would be simpler; but a table that was full once would have none,
/// and never get any again.)
#[inline(always)]
pub fn clear<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    index: u32,
    now: u32,
) -> bool {
    let Some(slot) = store.slot(index & store.mask()) else {
        return false;
    };
    let seen = slot.head.tag.load();
    if tag::state(seen) != tag::DEAD
        || !elapsed(now, slot.head.stamp.load(), store.quarantine())
        || !ends_searches(store, index)
        || slot
            .head
            .tag
            .cas(seen, tag::with_state(seen, tag::CLEARING))
            != seen
    {
        return false;
    }
    // Again, after the full barrier: an insertion may have taken a slot meanwhile. One that comes later
    // will find this slot CLEARING or EMPTY when it looks again, and give up.
    let free = ends_searches(store, index);
    slot.head.tag.swap(tag::with_state(
        seen,
        if free { tag::EMPTY } else { tag::DEAD },
    ));
    free
}

/// Whether searches that come to `index` may end there: behind it, as far as they would go on, there
/// are only tombstones, or tombstones and a never-used slot.
#[inline(always)]
fn ends_searches<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    index: u32,
) -> bool {
    let mask = store.mask();
    for step in 1..WINDOW {
        let Some(slot) = store.slot(index.wrapping_add(step) & mask) else {
            return false;
        };
        match tag::state(slot.head.tag.load()) {
            tag::EMPTY => return true,
            tag::DEAD => {}
            _ => return false,
        }
    }
    true
}
