//! Looking a key up.

use rvs_abi::Slot;

use crate::{Hash, Key, LEVELS, Store, WINDOW, tag};

/// The index of the live slot that holds `key`.
#[inline(always)]
pub fn find<const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &S,
    key: &Key<N>,
    hash: Hash,
) -> Option<u32> {
    find_slot(store, key, hash).map(|(index, _)| index)
}

/// [`find`], with the slot itself: what comes next need not look it up again.
#[inline(always)]
pub fn find_slot<'a, const N: usize, const PAD: usize, S: Store<N, PAD> + ?Sized>(
    store: &'a S,
    key: &Key<N>,
    hash: Hash,
) -> Option<(u32, &'a Slot<N, PAD>)> {
    let mask = store.mask();
    let fingerprint = hash.fingerprint();
    for level in 0..LEVELS {
        if level > 0 && store.spill(level)?.load() == 0 {
            continue;
        }
        let home = hash.home(level);
        for step in 0..WINDOW {
            let index = home.wrapping_add(step) & mask;
            let slot = store.slot(index)?;
            let seen = slot.head.tag.load();
            if tag::state(seen) == tag::EMPTY {
                break;
            }
            if tag::readable(seen) && tag::agrees(seen, fingerprint) && key.is_of(slot) {
                return Some((index, slot));
            }
        }
    }
    None
}
