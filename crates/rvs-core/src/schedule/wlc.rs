//! Weighted least connections (`net/netfilter/ipvs/ip_vs_wlc.c`): the least overhead for the weight.

use rvs_abi::Server;

use super::{Counting, load::Rule};

pub(super) struct Wlc(pub(super) Counting);

impl Rule for Wlc {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        Some((self.0.overhead(server), u64::from(weight)))
    }
}
