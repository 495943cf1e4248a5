//! The tag word of a slot: what it is, whose it may be, and how often it was used.
//!
//! Bits 0..3 state, 3..11 generation, 11..32 fingerprint. The generation is raised at every claim
//! and outlives clearing, so that a pair index kept elsewhere is never taken for a later tenant
//! (until 256 tenancies later, each of which lasted a quarantine).

/// Never used since the table was made, or cleared: a search ends here.
pub const EMPTY: u32 = 0;
/// Claimed; its words are being written.
pub const BUSY: u32 = 1;
/// Readable, not yet known to be the only one.
pub const FRESH: u32 = 2;
/// Readable.
pub const LIVE: u32 = 3;
/// Ended; a search passes by.
pub const DEAD: u32 = 4;
/// A tombstone that may become empty.
pub const CLEARING: u32 = 5;

const STATE: u32 = 7;
const GENERATION: u32 = 0xff;
const FINGERPRINT_SHIFT: u32 = 11;

/// The fingerprint's bits.
pub const FINGERPRINT: u32 = 0xffff_ffff >> FINGERPRINT_SHIFT;

/// The state.
#[inline(always)]
pub const fn state(tag: u32) -> u32 {
    tag & STATE
}

/// The generation.
#[inline(always)]
pub const fn generation(tag: u32) -> u32 {
    tag >> 3 & GENERATION
}

/// Whether the slot's words may be read.
#[inline(always)]
pub const fn readable(tag: u32) -> bool {
    state(tag) == LIVE || state(tag) == FRESH
}

/// The same slot, in another state.
#[inline(always)]
pub const fn with_state(tag: u32, state: u32) -> u32 {
    tag & !STATE | state
}

/// The tag of a slot just claimed: next generation, new fingerprint.
#[inline(always)]
pub const fn claimed(before: u32, fingerprint: u32) -> u32 {
    busy(generation(before) + 1, fingerprint)
}

/// The tag of a claimed slot of this generation.
#[inline(always)]
pub const fn busy(generation: u32, fingerprint: u32) -> u32 {
    BUSY | (generation & GENERATION) << 3 | fingerprint << FINGERPRINT_SHIFT
}

/// Whether the fingerprint agrees.
#[inline(always)]
pub const fn agrees(tag: u32, fingerprint: u32) -> bool {
    tag >> FINGERPRINT_SHIFT == fingerprint
}
