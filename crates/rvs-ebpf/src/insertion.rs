//! Making a connection, in global BPF functions: what `rvs_table::insert` does, part by part, so that
//! the verifier checks each part once and no stack holds them all.

use rvs_abi::Role;
use rvs_abi::sweep::Insertion;
use rvs_core::{
    Flow, Intent, Tables, connection, restore,
    state::counts,
    tables::{Connections4, Connections6},
};
use rvs_table::{Check, Hash, Place, Record, Store};

use crate::maps::Maps;

macro_rules! insertion {
    (
        $words:literal, $table:ident, $slot:ident, $insert:ident, $restore:ident, $open:ident, $restore_stage:ident,
        $make_way_core:ident, $make_way_to:ident, $settle_core:ident, $settle:ident,
        $holds:ident, $hash:ident, $claim:ident, $write:ident, $look_again:ident, $abandon:ident
    ) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $open(flow: *const Flow, intent: *const Intent) -> u64 {
            // SAFETY: the verifier knows that each pointer is null or points to the whole of what it says.
            match unsafe { (flow.as_ref(), intent.as_ref()) } {
                (Some(flow), Some(intent)) => connection::$insert(&Maps, flow, intent),
                _ => u64::MAX,
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $restore_stage(insertion: *const Insertion) -> u32 {
            // SAFETY: as above.
            unsafe { insertion.as_ref() }.map_or(0, |insertion| restore::$restore(&Maps, insertion))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $make_way_to(insertion: *const Insertion) -> u32 {
            // SAFETY: as above.
            unsafe { insertion.as_ref() }
                .map_or(0, |insertion| restore::$make_way_core(&Maps, insertion))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $settle(insertion: *const Insertion) -> u32 {
            // SAFETY: as above.
            unsafe { insertion.as_ref() }
                .map_or(0, |insertion| restore::$settle_core(&Maps, insertion))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $holds(record: *const Record<$words>, role: u32, index: u32) -> u32 {
            // SAFETY: as above.
            let Some(record) = (unsafe { record.as_ref() }) else {
                return 0;
            };
            u32::from(
                Maps.$slot(index)
                    .is_some_and(|slot| record.is_of(role_of(role), slot)),
            )
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $hash(record: *const Record<$words>, role: u32) -> u64 {
            // SAFETY: as above.
            unsafe { record.as_ref() }.map_or(0, |record| {
                Hash::of(&record.key(role_of(role)), $table(&Maps).hash_key()).bits()
            })
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $claim(hash: u64, now: u32) -> u64 {
            rvs_table::claim(&$table(&Maps), Hash::from_bits(hash), now)
                .map_or(Place::NONE, Place::pack)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $abandon(hash: u64, place: u64, now: u32) -> u32 {
            rvs_table::abandon(&$table(&Maps), Hash::from_bits(hash), place, now);
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $write(
            record: *const Record<$words>,
            role: u32,
            place: u64,
            pair: u64,
        ) -> u32 {
            // SAFETY: as above.
            if let Some(record) = unsafe { record.as_ref() } {
                rvs_table::write(&$table(&Maps), record, role_of(role), place, pair);
            }
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $look_again(
            record: *const Record<$words>,
            role: u32,
            hash: u64,
            place: u64,
        ) -> u64 {
            // SAFETY: as above.
            match unsafe { record.as_ref() } {
                Some(record) => {
                    let (role, hash) = (role_of(role), Hash::from_bits(hash));
                    rvs_table::look_again(&$table(&Maps), record, role, hash, place).pack()
                }
                None => Check::Race.pack(),
            }
        }
    };
}

insertion!(
    1,
    Connections4,
    slot4,
    insert4,
    insert4,
    rvs_open4,
    rvs_restore4,
    make_way4,
    rvs_make_way_to4,
    settle4,
    rvs_settle4,
    rvs_holds4,
    rvs_hash4,
    rvs_claim4,
    rvs_write4,
    rvs_look_again4,
    rvs_abandon4
);
insertion!(
    4,
    Connections6,
    slot6,
    insert6,
    insert6,
    rvs_open6,
    rvs_restore6,
    make_way6,
    rvs_make_way_to6,
    settle6,
    rvs_settle6,
    rvs_holds6,
    rvs_hash6,
    rvs_claim6,
    rvs_write6,
    rvs_look_again6,
    rvs_abandon6
);

/// [`counts::enter`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_enter(server: u32, state: u32, control: u64, words: u32) -> u32 {
    counts::enter(&Maps, server, state, control, words)
}

/// [`counts::leave`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_leave(server: u32, state: u32, control: u64, words: u32) -> u32 {
    counts::leave(&Maps, server, state, control, words)
}

#[inline(always)]
fn role_of(number: u32) -> Role {
    if number == Role::Reply as u32 {
        Role::Reply
    } else {
        Role::Request
    }
}
