//! Locality-based least connections (`net/netfilter/ipvs/ip_vs_lblc.c`): a destination address keeps its server as
//! long as that is not overburdened; else the server with the least overhead for its weight (as wlc) takes the
//! address over.
//!
//! IPVS does not ask whether the remembered server has reached its upper threshold. Here it does.

use rvs_abi::Locality;

use super::locality::Search;
use crate::{NONE, Tables};

#[inline(always)]
pub(super) fn choose<T: Tables>(tables: &T, search: &Search, known: Option<&Locality>) -> u32 {
    if let Some(known) = known {
        let index = known.servers[0].load().wrapping_sub(1);
        if search.may_serve(tables, index, search.counting.exact != 0)
            && !search.is_overburdened(tables, index)
        {
            return index;
        }
    }
    let chosen = search.least(tables);
    if chosen == NONE || search.avoid != NONE {
        return chosen;
    }
    match known {
        Some(known) => known.servers[0].store(chosen.wrapping_add(1)),
        None => search.remember(tables, chosen),
    }
    chosen
}
