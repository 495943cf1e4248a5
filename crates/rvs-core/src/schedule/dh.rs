//! Destination hashing (`net/netfilter/ipvs/ip_vs_dh.c`): by the packet's destination address, for services of a
//! firewall mark before caches. Its table names the servers in turn; weights do not matter.

use super::hash;
use crate::Flow;

/// What is hashed.
#[inline(always)]
pub(super) fn key(flow: &Flow) -> u32 {
    hash::fold(&flow.destination)
}
