//! Source hashing (`net/netfilter/ipvs/ip_vs_sh.c`): by the client's address, with sh-port and its port. Its table
//! names each server as often in a row as its weight says.

use rvs_abi::Service;

use super::hash;
use crate::Flow;

/// What is hashed, for sh and mh.
#[inline(always)]
pub(super) fn key(flow: &Flow, flags: u32) -> u32 {
    let port = if flags & Service::PORT != 0 {
        u32::from(u16::from_be(flow.ports as u16))
    } else {
        0
    };
    hash::fold(&flow.source).wrapping_add(port)
}
