//! Never queue (`net/netfilter/ipvs/ip_vs_nq.c`): the first server with nothing to do, else as sed.

/// [`super::sed::Delay::idle`]. No load at all ends the walk, whatever the weight.
pub(super) const IDLE: u32 = 0;
