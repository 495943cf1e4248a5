//! Shortest expected delay (`net/netfilter/ipvs/ip_vs_sed.c`): the least `(active + 1) / weight`, the load as it will
//! be with the new connection.

use rvs_abi::Server;

use super::{Counting, load::Rule};

/// The rule of sed, and of nq.
pub(super) struct Delay {
    pub(super) counting: Counting,
    /// The load of a server with nothing to do, 0 or 1.
    pub(super) idle: u32,
}

/// The new connection counts.
pub(super) const IDLE: u32 = 1;

impl Rule for Delay {
    #[inline(always)]
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)> {
        let active = self.counting.active(server);
        let new = (active + u64::from(self.idle)).min(1);
        Some((active + new, u64::from(weight)))
    }
}
