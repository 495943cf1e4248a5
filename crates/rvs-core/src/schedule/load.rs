//! The engine of lc, wlc, sed, nq, fo and ovf: one walk over the list that keeps the server with the least
//! load for its weight. Of equals the first in the list.

use rvs_abi::{Scheduler, Server, service::Region};

use super::{Counting, fo, is_serving, lc, nq, ovf, sed, wlc};
use crate::{Flow, NONE, Tables, tables::Step};

/// What a scheduler compares.
pub(super) trait Rule {
    /// Load and weight of a server that is in service; `None` where the scheduler passes it over, as it does with one
    /// whose weight is 0.
    fn judge(&self, server: &Server, weight: u32) -> Option<(u64, u64)>;
}

/// Load for weight.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    pub(super) load: u64,
    pub(super) weight: u64,
}

impl Measure {
    /// No load, for a walk to begin with that looks for the most.
    #[inline(always)]
    pub(super) fn nothing<T: Tables>(tables: &T) -> Self {
        Self {
            load: u64::from(tables.veiled(0)),
            weight: u64::from(tables.veiled(1)),
        }
    }

    /// More load for its weight than anybody has, for a walk to begin with that looks for the least.
    #[inline(always)]
    pub(super) fn boundless<T: Tables>(tables: &T) -> Self {
        Self {
            load: u64::from(tables.veiled(1)),
            weight: u64::from(tables.veiled(0)),
        }
    }

    /// Cross-multiplied: a connection table of 2^24 slots times 257 times 2^31 fits 64 bits.
    #[inline(always)]
    pub(super) fn is_above(self, other: Self) -> bool {
        self.load.wrapping_mul(other.weight) > other.load.wrapping_mul(self.weight)
    }
}

struct Least<R> {
    offset: u32,
    avoid: u32,
    rule: R,
    chosen: u32,
    measure: Measure,
}

impl<T: Tables, R: Rule> Step<T> for Least<R> {
    const TOGETHER: u32 = 4;

    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(index) = tables.member(self.offset.wrapping_add(round)) else {
            return false;
        };
        let Some(server) = tables.server(index) else {
            return false;
        };
        if index == self.avoid || !is_serving(server) {
            return true;
        }
        // One of weight 0 is never above another.
        if let Some((load, weight)) = self.rule.judge(server, server.weight.load()) {
            let measure = Measure { load, weight };
            if self.measure.is_above(measure) {
                self.chosen = index;
                self.measure = measure;
            }
        }
        // Nobody has less than nothing.
        self.measure.load != 0
    }
}

/// The index of the member with the least load by `rule`, or [`NONE`].
#[inline(always)]
fn least<T: Tables>(tables: &T, region: Region, avoid: u32, rule: impl Rule) -> u32 {
    let mut least = Least {
        offset: region.offset,
        avoid,
        rule,
        chosen: tables.veiled(NONE),
        measure: Measure::boundless(tables),
    };
    tables.repeat(region.length, &mut least);
    least.chosen
}

/// The choice of lc, wlc, sed, nq, fo and ovf; for any other scheduler that of wlc.
#[inline(always)]
pub fn by_load<T: Tables>(tables: &T, flow: &Flow, service: u32, avoid: u32) -> u32 {
    let Some(service) = tables.service(service) else {
        return NONE;
    };
    let region = Region::unpack(service.members.load());
    let counting = Counting::of(tables, service, flow);
    let scheduler = service.scheduler.load();
    let is = |other: Scheduler| scheduler == other as u32;
    // Three walks for six schedulers, since each is work for the verifier; for the same reason it does not see what
    // makes the difference.
    let veiled = |value| tables.veiled(value);
    if is(Scheduler::Sed) || is(Scheduler::Nq) {
        let idle = veiled(if is(Scheduler::Nq) {
            nq::IDLE
        } else {
            sed::IDLE
        });
        least(tables, region, avoid, sed::Delay { counting, idle })
    } else if is(Scheduler::Fo) || is(Scheduler::Ovf) {
        let mask = veiled(if is(Scheduler::Fo) {
            fo::MASK
        } else {
            ovf::MASK
        });
        least(tables, region, avoid, ovf::Heaviest { counting, mask })
    } else {
        let most = veiled(if is(Scheduler::Lc) {
            lc::MOST
        } else {
            wlc::MOST
        });
        least(tables, region, avoid, wlc::Overhead { counting, most })
    }
}
