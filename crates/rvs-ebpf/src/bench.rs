//! Programs for measuring, in an object of their own that no director loads.
//!
//! `bench_feed` (XDP) and `bench_feed_tc` write the next flow's frame over whatever the last round left
//! of the packet, and go on by a tail call to the program that is measured; without one `bench_feed`
//! sends the frame on its way, as the packet generator of live frames. `bench_nothing` and
//! `bench_nothing_tc` are what a feed is measured with, to be subtracted; `bench_sink` counts what
//! arrives and drops it; `bench_bare` stands in the director's place and decides nothing.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod plan;

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_redirect,
    macros::{classifier, map, xdp},
    maps::{Array, PerCpuArray, ProgramArray},
    programs::{TcContext, XdpContext},
};

#[map]
static PLAN: Array<[u32; plan::WORDS]> = Array::with_max_entries(1, 0);
#[map]
static XDP_TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static TC_TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The interface that [`bench_bare`] sends to.
#[map]
static WAY_OUT: Array<u32> = Array::with_max_entries(1, 0);

const NEXT: i32 = -1;

/// The next frame at XDP.
#[xdp]
pub fn bench_feed(context: XdpContext) -> u32 {
    if !fill(context.data(), context.data_end()) {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: nothing here needs dropping.
    unsafe { XDP_TARGET.tail_call(&context, 0) };
    xdp_action::XDP_TX
}

/// The next frame at tc.
#[classifier]
pub fn bench_feed_tc(context: TcContext) -> i32 {
    if fill(context.data(), context.data_end()) {
        // SAFETY: nothing here needs dropping.
        unsafe { TC_TARGET.tail_call(&context, 0) };
    }
    NEXT
}

/// The way that packets of a line take where nobody decides about them: out by the interface that it is told.
#[xdp]
pub fn bench_bare(_context: XdpContext) -> u32 {
    match WAY_OUT.get(0) {
        // SAFETY: the helper takes numbers.
        Some(ifindex) => unsafe { bpf_redirect(*ifindex, 0) as u32 },
        None => xdp_action::XDP_ABORTED,
    }
}

/// Nothing, at XDP.
#[xdp]
pub fn bench_nothing(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Nothing, at tc.
#[classifier]
pub fn bench_nothing_tc(_context: TcContext) -> i32 {
    NEXT
}

/// Counts and drops UDP, whatever its ports, also in a tunnel; the rest goes on.
#[xdp]
pub fn bench_sink(context: XdpContext) -> u32 {
    let (data, end) = (context.data(), context.data_end());
    // SAFETY: the bounds are checked; bytes have no alignment.
    let is_counted = data + 24 <= end && matches!(unsafe { *((data + 23) as *const u8) }, 17 | 4);
    if !is_counted {
        return xdp_action::XDP_PASS;
    }
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}

/// Writes the next frame between `data` and `end`.
#[inline(always)]
fn fill(data: usize, end: usize) -> bool {
    let Some(plan) = PLAN.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: nobody else runs with this plan.
    let plan = unsafe { &mut *plan };
    let (state, flows) = (plan[plan::STATE], plan[plan::FLOWS]);
    let index = if flows == 0 {
        plan[plan::STATE] = state.wrapping_add(1);
        state
    } else {
        // The generator of Numerical Recipes: every value once; its high bits choose.
        let next = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        plan[plan::STATE] = next;
        ((u64::from(next) * u64::from(flows)) >> 32) as u32
    };
    if data + plan::FRAME_BYTES > end {
        return false;
    }
    let source = plan::FIRST_SOURCE.wrapping_add(index >> plan::PORT_BITS);
    let port = plan::FIRST_PORT + (index & ((1 << plan::PORT_BITS) - 1));
    // SAFETY: the bounds were checked.
    unsafe {
        let mut i = 0;
        while i < plan::FRAME_BYTES / 4 {
            store_word(data + i * 4, plan[plan::FRAME + i]);
            i += 1;
        }
        store_word(data + 26, source.to_be());
        let port = (port as u16).to_be();
        ((data + 34) as *mut u16).write_volatile(port);
        ((data + plan::BALANCE) as *mut u16).write_volatile(!port);
    }
    true
}

/// Stores a word that need not be aligned.
///
/// # Safety
/// Four bytes at `place` are writable.
#[inline(always)]
unsafe fn store_word(place: usize, word: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("*(u32 *)({0} + 0) = {1}", in(reg) place, in(reg) u64::from(word), options(nostack));
    };
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
