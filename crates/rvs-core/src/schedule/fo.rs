//! Weighted fail-over (`net/netfilter/ipvs/ip_vs_fo.c`): the largest weight, however many connections.

/// [`super::ovf::Heaviest::mask`].
pub(super) const MASK: u32 = 0;
