//! Programs that no packet runs: user space calls them by `BPF_PROG_TEST_RUN`, with a request in
//! place of a frame and the answer where the request was.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes},
    macros::classifier,
    programs::TcContext,
};
use rvs_abi::{
    family,
    sweep::{ClockReading, Sweep},
};
use rvs_core::{
    restore::{Part, restore_by},
    sweep,
};

use crate::{
    insertion::{
        rvs_make_way_to4, rvs_make_way_to6, rvs_restore4, rvs_restore6, rvs_settle4, rvs_settle6,
    },
    maps::{self, Maps},
};

const DONE: i32 = 0;
const FAILED: i32 = 2;

/// Sweeps a slice of the connection table.
#[classifier]
pub fn rvs_sweep(context: TcContext) -> i32 {
    let mut slice = Sweep::default();
    if !read(&context, &mut slice) {
        return FAILED;
    }
    answer(&context, &sweep::sweep(&Maps, slice))
}

/// Inserts a connection as it is.
#[classifier]
pub fn rvs_insert(context: TcContext) -> i32 {
    let Some(insertion) = maps::insertion() else {
        return FAILED;
    };
    if !read(&context, insertion) {
        return FAILED;
    }
    let is_v6 = insertion.family == u32::from(family::V6);
    insertion.outcome = restore_by(|part| match (part, is_v6) {
        (Part::Settle, false) => rvs_settle4(insertion),
        (Part::Settle, true) => rvs_settle6(insertion),
        (Part::Insert, false) => rvs_restore4(insertion),
        (Part::Insert, true) => rvs_restore6(insertion),
        (Part::MakeWay, false) => rvs_make_way_to4(insertion),
        (Part::MakeWay, true) => rvs_make_way_to6(insertion),
    });
    answer(&context, insertion)
}

/// Reads the clock that the data path reads, beside the one that user space knows.
#[classifier]
pub fn rvs_clock(context: TcContext) -> i32 {
    let reading = ClockReading {
        tick: maps::now(),
        zero: 0,
        // SAFETY: no arguments.
        monotonic: unsafe { bpf_ktime_get_ns() },
        spare: [0; 6],
    };
    answer(&context, &reading)
}

/// Fills `request` where it is: a value that is returned would lie on the stack twice.
#[inline(always)]
fn read<T>(context: &TcContext, request: &mut T) -> bool {
    let place = core::ptr::from_mut(request).cast();
    // SAFETY: requests are made of integers, and the helper writes all of one, or fails.
    unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), 0, place, size_of::<T>() as u32) == 0 }
}

#[inline(always)]
fn answer<T>(context: &TcContext, answer: &T) -> i32 {
    if context.store(0, answer, 0).is_ok() {
        DONE
    } else {
        FAILED
    }
}
