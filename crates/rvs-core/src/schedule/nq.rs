//! Never queue (`net/netfilter/ipvs/ip_vs_nq.c`): the first server with nothing to do, else as sed.

use rvs_abi::Server;

use super::{Counting, load::Rule};

pub(super) struct Nq(pub(super) Counting);

impl Rule for Nq {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        // No load at all ends the walk, whatever the weight.
        let load = match self.0.active(server) {
            0 => 0,
            active => active + 1,
        };
        Some((load, u64::from(weight)))
    }
}
