//! Maglev hashing (`net/netfilter/ipvs/ip_vs_mh.c`; Eisenbud et al., NSDI 2016): by the client's address, with
//! mh-port and its port, as sh, but by a keyed hash and in a table of which a change of servers moves little.

use super::hash;

/// The entry of a table of `size` where the search for `key` begins, and, for later `attempt`s, goes on.
#[inline(always)]
pub(super) fn entry(key: u32, attempt: u32, size: u32) -> u32 {
    hash::keyed(key.wrapping_add(attempt), hash::BEGIN, size)
}
