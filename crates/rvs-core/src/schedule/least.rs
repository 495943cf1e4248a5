//! Least connections and weighted least connections (`net/netfilter/ipvs/ip_vs_lc.c`,
//! `ip_vs_wlc.c`): the eligible server with the least overhead, or the least overhead for its
//! weight. Of equals the first in the list.

use rvs_abi::{Server, service::Region};

use super::eligible;
use crate::{NONE, Tables, tables::Step};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// lc.
    Connections,
    /// wlc.
    PerWeight,
}

struct Least {
    region: Region,
    avoid: u32,
    measure: Measure,
    chosen: u32,
    overhead: u64,
    weight: u64,
}

impl<T: Tables> Step<T> for Least {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some((index, server, weight)) =
            eligible(tables, self.region.offset.wrapping_add(round), self.avoid)
        else {
            return true;
        };
        let overhead = overhead(server);
        let weight = match self.measure {
            Measure::Connections => 1,
            Measure::PerWeight => u64::from(weight),
        };
        // Cross-multiplied: a connection table of 2^24 slots times 257 times 2^31 fits 64 bits.
        if self.chosen == NONE
            || self.overhead.wrapping_mul(weight) > overhead.wrapping_mul(self.weight)
        {
            self.chosen = index;
            self.overhead = overhead;
            self.weight = weight;
        }
        true
    }
}

#[inline(always)]
pub(super) fn choose<T: Tables>(tables: &T, region: Region, avoid: u32, measure: Measure) -> u32 {
    let mut least = Least {
        region,
        avoid,
        measure,
        chosen: tables.veiled(NONE),
        overhead: u64::from(tables.veiled(0)),
        weight: u64::from(tables.veiled(1)),
    };
    tables.repeat(region.length, &mut least);
    least.chosen
}

/// `ip_vs_dest_conn_overhead`: an active connection weighs 256 times, and all connections once.
#[inline(always)]
fn overhead(server: &Server) -> u64 {
    let (active, inactive) = (
        settled(server.active.load()),
        settled(server.inactive.load()),
    );
    active * 257 + inactive
}

/// A count that is being moved on another CPU may be below zero for a moment.
#[inline(always)]
fn settled(count: u32) -> u64 {
    if count >> 31 != 0 {
        0
    } else {
        u64::from(count)
    }
}
