//! Weighted least connections (`net/netfilter/ipvs/ip_vs_wlc.c`): the least overhead for the weight.

use rvs_abi::Server;

use super::{Counting, load::Rule};

/// The rule of wlc, and of lc.
pub(super) struct Overhead {
    pub(super) counting: Counting,
    /// Weights above this count as much.
    pub(super) most: u32,
}

/// Weights count as they are.
pub(super) const MOST: u32 = u32::MAX;

impl Rule for Overhead {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        let weight = u64::from(weight.min(self.most));
        Some((self.counting.overhead(server), weight))
    }
}
