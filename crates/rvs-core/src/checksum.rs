//! The Internet checksum, whole and by difference (RFC 1071, RFC 1624).
//!
//! A one's complement sum does not care for byte order as long as all its words are taken alike, so
//! words are added as they lie in the packet and sums are written back as they come out.

/// Adds with the carry brought round.
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u32)
}

/// Folds a sum to 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// What replacing `old` by `new` adds to a sum.
#[inline(always)]
pub const fn difference(old: u32, new: u32) -> u32 {
    add(!old, new)
}

/// The difference that replacing the address `old` by `new` makes; unused words are zero in both.
#[inline(always)]
pub fn address_difference(old: &[u32; 4], new: &[u32; 4], is_v6: bool) -> u32 {
    let mut sum = difference(old[0], new[0]);
    if is_v6 {
        sum = add(sum, difference(old[1], new[1]));
        sum = add(sum, difference(old[2], new[2]));
        sum = add(sum, difference(old[3], new[3]));
    }
    sum
}

/// The checksum after `difference` (RFC 1624 equation 3).
#[inline(always)]
pub const fn update(checksum: u16, difference: u32) -> u16 {
    !fold(add(!checksum as u32, difference))
}

/// The sum of `words`.
#[inline(always)]
pub fn sum_words<const N: usize>(words: &[u32; N]) -> u32 {
    words.iter().fold(0, |sum, word| add(sum, *word))
}
