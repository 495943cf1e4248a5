//! Weighted fail-over (`net/netfilter/ipvs/ip_vs_fo.c`): the largest weight.

use rvs_abi::Server;

use super::load::Rule;

pub(super) struct Fo;

impl Rule for Fo {
    #[inline(always)]
    fn judge(&self, _server: &Server, weight: u32) -> Option<(u64, u64)> {
        // One load for all: the least for its weight is the heaviest.
        Some((1, u64::from(weight)))
    }
}
