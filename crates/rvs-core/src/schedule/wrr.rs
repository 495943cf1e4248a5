//! Weighted round robin, LVS's interleaved one (`net/netfilter/ipvs/ip_vs_wrr.c`).
//!
//! With `di` the greatest common divisor of the weights and `mw` the largest weight less `di` plus
//! one, the current weight `cw` starts at `mw`. The walk goes on from the last server and takes the
//! first whose weight is at least `cw`; at the list's end `cw` falls by `di`, and below one it starts
//! again at `mw`. `di` and `mw` are the service's `weight_step` and `weight_top`; position and `cw`
//! are its cursor.
//!
//! Where all are overloaded IPVS loses its turn, and begins at the heaviest again. Here the turn stays.

use rvs_abi::{Service, service::Region};

use super::{eligible, is_exact};
use crate::{NONE, Tables, tables::Step};

struct Walk {
    region: Region,
    avoid: u32,
    step: u32,
    top: u32,
    position: u32,
    current: u32,
    chosen: u32,
}

impl<T: Tables> Step<T> for Walk {
    const TOGETHER: u32 = 4;

    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        if self.position >= self.region.length {
            self.position = 0;
            self.current = if self.current > self.step {
                self.current - self.step
            } else {
                self.top
            };
        }
        let place = self.region.offset.wrapping_add(self.position);
        self.position += 1;
        match eligible(tables, place, self.avoid) {
            Some((index, _, weight)) if weight >= self.current => {
                self.chosen = index;
                false
            }
            _ => true,
        }
    }
}

/// The largest weight among the eligible.
struct Heaviest {
    region: Region,
    avoid: u32,
    weight: u32,
}

impl<T: Tables> Step<T> for Heaviest {
    const TOGETHER: u32 = 4;

    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if let Some((_, _, weight)) =
            eligible(tables, self.region.offset.wrapping_add(round), self.avoid)
            && weight > self.weight
        {
            self.weight = weight;
        }
        true
    }
}

/// The server, and whether the cursor could be moved on.
#[inline(always)]
pub(super) fn choose<T: Tables>(
    tables: &T,
    service: &Service,
    region: Region,
    avoid: u32,
) -> (u32, bool) {
    let (step, top) = (service.weight_step.load().max(1), service.weight_top.load());
    if top == 0 {
        return (NONE, true);
    }
    let cursor = service.cursor.load();
    let (position, kept) = (cursor as u32 & 0xffff, (cursor >> 32) as u32);
    let current = if kept == 0 || kept > top { top } else { kept };
    let mut walk = Walk {
        region,
        avoid,
        step,
        top,
        position,
        current,
        chosen: NONE,
    };
    // While the heaviest server is eligible, two rounds always find one.
    tables.repeat(region.length * 2 + 1, &mut walk);
    if walk.chosen == NONE {
        // Else `cw` would fall, round after round, to the heaviest eligible weight: go there at once.
        let mut heaviest = Heaviest {
            region,
            avoid,
            weight: tables.veiled(0),
        };
        tables.repeat(region.length, &mut heaviest);
        if heaviest.weight == 0 {
            // IPVS begins anew then, unless this round was the last one that it had left (`err_over`).
            if is_exact(service) && avoid == NONE && (position == 0 || current > step) {
                service.cursor.cas(cursor, u64::from(top) << 32);
            }
            return (NONE, true);
        }
        let rounds = top.saturating_sub(heaviest.weight).div_ceil(step);
        walk.current = top.saturating_sub(rounds.wrapping_mul(step)).max(1);
        walk.position = 0;
        tables.repeat(region.length, &mut walk);
    }
    if walk.chosen == NONE {
        return (NONE, true);
    }
    let moved = u64::from(walk.position & 0xffff) | u64::from(walk.current) << 32;
    (walk.chosen, service.cursor.cas(cursor, moved) == cursor)
}
