//! Least connections (`net/netfilter/ipvs/ip_vs_lc.c`): the least overhead; weights count as zero or not.

use rvs_abi::Server;

use super::{Counting, load::Rule};

pub(super) struct Lc(pub(super) Counting);

impl Rule for Lc {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        Some((self.0.overhead(server), u64::from(weight.min(1))))
    }
}
