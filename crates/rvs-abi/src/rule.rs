//! Match rules: which packets belong to a service by firewall mark although nobody marked them.

use crate::Word32;

/// One rule. The first that fits in the list that [`crate::Settings::rules`] names gives the packet its mark.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Rule {
    /// The first destination address, its words in host order; IPv4 in the first.
    pub first: [Word32; 4],
    /// The last.
    pub last: [Word32; 4],
    /// The first destination port in bits 0..16, the last in 16..32; host order.
    pub ports: Word32,
    /// Protocol in bits 0..8 (0 is any), IP version in 8..16.
    pub what: Word32,
    /// The mark.
    pub mark: Word32,
    spare: [Word32; 5],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Rule>() == 64);

/// The most rules of a director. The array holds two lists of as many: the one in use and the next.
pub const RULES: u32 = 1024;

/// [`crate::Settings::rules`] of a list of `count` rules at `offset`.
pub const fn list(offset: u32, count: u32) -> u32 {
    offset << 16 | count
}

/// Offset and count of a list.
#[inline(always)]
pub const fn of_list(word: u32) -> (u32, u32) {
    (word >> 16, word & 0xffff)
}
