//! Shortest expected delay (`net/netfilter/ipvs/ip_vs_sed.c`): the least `(active + 1) / weight`, the load as it will
//! be with the new connection.

use rvs_abi::Server;

use super::{Counting, load::Rule};

pub(super) struct Sed(pub(super) Counting);

impl Rule for Sed {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        Some((self.0.active(server) + 1, u64::from(weight)))
    }
}
