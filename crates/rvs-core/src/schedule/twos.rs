//! Power of two choices, weighted (`net/netfilter/ipvs/ip_vs_twos.c`): two servers drawn at random in
//! proportion to their weights; the one with less overhead for its weight, the first drawn of equals.
//!
//! IPVS draws from 0 up to the sum of all weights, both included, so that the first server of the list gets one
//! draw too many. Here a draw is from 1 on.
//!
//! The sum that is drawn from is that of all the service's weights. Where some server is not eligible a draw may lie
//! beyond the sum of the eligible: then both are repeated with that sum, which leaves the odds as they
//! would be with it in the first place.

use rvs_abi::service::Region;

use super::{Counting, eligible, is_exact, usable};
use crate::{NONE, Tables, tables::Step};

/// Finds both draws in one walk.
///
/// Sums begin at some number of 64 bits and wrap: one that began at a constant, or was bounded, newer verifiers would
/// follow from server to server.
struct Walk {
    offset: u32,
    avoid: u32,
    /// The weights so far, from that number on.
    sum: u64,
    /// The lower draw, from the same number on.
    low: u64,
    /// The higher draw, likewise.
    high: u64,
    at_low: u32,
    at_high: u32,
}

impl<T: Tables> Step<T> for Walk {
    const TOGETHER: u32 = 2;

    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some((index, _, weight)) =
            eligible(tables, self.offset.wrapping_add(round), self.avoid)
        else {
            return true;
        };
        self.sum = self.sum.wrapping_add(u64::from(weight));
        if is_before(self.sum, self.low) {
            return true;
        }
        if self.at_low == NONE {
            self.at_low = index;
        }
        if is_before(self.sum, self.high) {
            return true;
        }
        self.at_high = index;
        false
    }
}

/// Whether `sum` has not come as far as `draw`, which is less than 2^63 away.
#[inline(always)]
fn is_before(sum: u64, draw: u64) -> bool {
    (sum.wrapping_sub(draw) as i64) < 0
}

/// The choice of twos.
#[inline(always)]
pub fn by_chance<T: Tables>(tables: &T, service: u32, avoid: u32) -> u32 {
    let Some(service) = tables.service(service) else {
        return NONE;
    };
    let region = Region::unpack(service.members.load());
    let exact = is_exact(service);
    let begin = u64::from(tables.random()) << 32 | u64::from(tables.random());
    let mut sum =
        u64::from(service.weight_sum.load()) | u64::from(service.weight_sum_high.load()) << 32;
    let mut walk = Walk {
        offset: region.offset,
        avoid,
        sum: begin,
        low: begin,
        high: begin,
        at_low: tables.veiled(NONE),
        at_high: tables.veiled(NONE),
    };
    let mut draws = [0, 0];
    for _ in 0..2 {
        draws = [draw(tables, sum, exact), draw(tables, sum, exact)];
        walk.low = begin.wrapping_add(draws[0].min(draws[1]));
        walk.high = begin.wrapping_add(draws[0].max(draws[1]));
        tables.repeat(region.length, &mut walk);
        if walk.at_high != NONE {
            break;
        }
        sum = walk.sum.wrapping_sub(begin);
        if sum == 0 {
            return NONE;
        }
        walk.sum = begin;
        walk.at_low = tables.veiled(NONE);
    }
    let (first, second) = if draws[0] <= draws[1] {
        (walk.at_low, walk.at_high)
    } else {
        (walk.at_high, walk.at_low)
    };
    let counting = Counting::by_state(tables, exact);
    let measure =
        |index| usable(tables, index).map(|(server, weight)| counting.measure(server, weight));
    match (measure(first), measure(second)) {
        (Some(of_first), Some(of_second)) if of_first.is_above(of_second) => second,
        (Some(_), _) => first,
        // Weights fell while this looked.
        (None, Some(_)) => second,
        (None, None) => NONE,
    }
}

/// A number from 1 to `sum`; exactly as IPVS, from 0. Where the sum is not known, most likely far beyond it.
#[inline(always)]
fn draw<T: Tables>(tables: &T, sum: u64, exact: bool) -> u64 {
    let random = u64::from(tables.random()) << 30 ^ u64::from(tables.random());
    if exact {
        random.checked_rem(sum.wrapping_add(1)).unwrap_or(random)
    } else {
        random.checked_rem(sum).unwrap_or(random).wrapping_add(1)
    }
}
