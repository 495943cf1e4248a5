//! Least connections (`net/netfilter/ipvs/ip_vs_lc.c`): as wlc, and weights count as zero or not.

/// [`super::wlc::Overhead::most`].
pub(super) const MOST: u32 = 1;
