//! The hash functions of dh, sh, mh, lblc and lblcr. No secret is in them: every director, one with IPVS too,
//! comes to the same answer.

use rvs_table::HashKey;

/// mh: the key by which servers begin, and by which clients are looked up.
pub(super) const BEGIN: HashKey = HashKey {
    k0: 2_654_435_761,
    k1: 2_654_435_761,
};
/// mh: the key by which servers step on.
#[cfg(not(target_arch = "bpf"))]
pub(super) const STEP: HashKey = HashKey {
    k0: 2_654_446_892,
    k1: 2_654_446_892,
};

/// An address, folded into one number in host order; IPv6 by exclusive or of its words.
#[inline(always)]
pub(super) fn fold(address: &[u32; 4]) -> u32 {
    u32::from_be(address[0] ^ address[1] ^ address[2] ^ address[3])
}

/// The high bits of a product with the golden ratio (`hash_32`), as many as number `buckets`, a power of two.
#[inline(always)]
pub(super) fn bucket(key: u32, buckets: u32) -> u32 {
    const GOLDEN_RATIO: u32 = 0x61c8_8647;
    let bits = 31 - (buckets | 1).leading_zeros();
    (u64::from(key.wrapping_mul(GOLDEN_RATIO)) << bits >> 32) as u32
}

/// A keyed hash of one number (`hsiphash` on machines of 64 bits), reduced to `size`.
#[inline(always)]
pub(super) fn keyed(number: u32, key: HashKey, size: u32) -> u32 {
    rvs_table::half_siphash(number, key)
        .checked_rem(size)
        .unwrap_or(0)
}
