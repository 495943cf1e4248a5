//! Weighted overflow (`net/netfilter/ipvs/ip_vs_ovf.c`): the largest weight among those with no more active
//! connections than weight.

use rvs_abi::Server;

use super::{Counting, load::Rule};

pub(super) struct Ovf(pub(super) Counting);

impl Rule for Ovf {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        let weight = u64::from(weight);
        (self.0.active(server) <= weight).then_some((1, weight))
    }
}
