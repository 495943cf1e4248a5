//! Weighted overflow (`net/netfilter/ipvs/ip_vs_ovf.c`): the largest weight among those with no more active
//! connections than weight.

use rvs_abi::Server;

use super::{Counting, load::Rule};

/// The rule of ovf, and of fo.
pub(super) struct Heaviest {
    pub(super) counting: Counting,
    /// Which bits of the active connections' number count.
    pub(super) mask: u32,
}

/// All of them.
pub(super) const MASK: u32 = u32::MAX;

impl Rule for Heaviest {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        let weight = u64::from(weight);
        // One load for all: the least for its weight is the heaviest.
        (self.counting.active(server) & u64::from(self.mask) <= weight).then_some((1, weight))
    }
}
