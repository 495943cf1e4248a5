//! The engine of dh, sh and mh: a table behind the service's list, made by [`super::build`], tells for each hash a
//! position in the list.
//!
//! Where the server that a hash leads to is not eligible, IPVS's dh has no destination, and its sh and mh only with
//! their fallback flags another one. Here there is always another: a keyed hash leads on, time and again, so that
//! the clients of a server that is away spread over all others; who finds nobody in so many attempts takes the next
//! of the list.
//!
//! IPVS's sh with fallback probes bucket by bucket, from twice the hash on; that is kept for exact services only.

use rvs_abi::{Scheduler, Service, service::Region};

use super::{dh, eligible, hash, is_exact, mh, sh};
use crate::{Flow, NONE, Tables, tables::Step};

/// Hashes that are tried before the list is walked.
const ATTEMPTS: u32 = 16;

/// Which way to go on from an entry whose server is not eligible: by the keyed hash of the key and the attempt's
/// number. The ways are numbers, so that they can be veiled.
const SPREAD: u32 = 0;
/// Bucket by bucket, from twice the first on.
const EXACT: u32 = 1;
/// By the keyed hash of the key and a number, which begins at the first entry.
const EXACT_MAGLEV: u32 = 2;

struct Probe {
    region: Region,
    avoid: u32,
    key: u32,
    first: u32,
    probing: u32,
    chosen: u32,
}

impl<T: Tables> Step<T> for Probe {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let size = self.region.table;
        let onward = |from: u32| {
            let place = from.wrapping_add(self.first);
            if place >= size { place - size } else { place }
        };
        let entry = match self.probing {
            EXACT => onward(onward(round)),
            EXACT_MAGLEV => mh::entry(self.key, onward(round), size),
            _ => mh::entry(self.key, round + 1, size),
        };
        let position = position(tables, self.region, entry);
        if position >= self.region.length {
            return self.probing == SPREAD;
        }
        let place = self.region.offset.wrapping_add(position);
        if let Some((index, _, _)) = eligible(tables, place, self.avoid) {
            self.chosen = index;
        }
        self.chosen == NONE
    }
}

/// The next eligible of the list, circular.
struct Next {
    region: Region,
    avoid: u32,
    start: u32,
    chosen: u32,
}

impl<T: Tables> Step<T> for Next {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let mut position = self.start.wrapping_add(round);
        if position >= self.region.length {
            position -= self.region.length;
        }
        let place = self.region.offset.wrapping_add(position);
        if let Some((index, _, _)) = eligible(tables, place, self.avoid) {
            self.chosen = index;
        }
        self.chosen == NONE
    }
}

/// The choice of dh, sh and mh.
#[inline(always)]
pub fn by_hash<T: Tables>(tables: &T, flow: &Flow, service: u32, avoid: u32) -> u32 {
    let Some(service) = tables.service(service) else {
        return NONE;
    };
    let region = Region::unpack(service.members.load());
    let (flags, scheduler) = (service.flags.load(), service.scheduler.load());
    let exact = is_exact(service);
    let is_dh = scheduler == Scheduler::Dh as u32;
    let is_mh = scheduler == Scheduler::Mh as u32;
    let key = if is_dh {
        dh::key(flow)
    } else {
        sh::key(flow, flags)
    };
    let first = if is_mh {
        mh::entry(key, 0, region.table)
    } else {
        hash::bucket(key, region.table)
    };
    if region.table != 0 {
        let position = position(tables, region, first);
        if position < region.length {
            let place = region.offset.wrapping_add(position);
            if let Some((index, _, _)) = eligible(tables, place, avoid) {
                return index;
            }
        } else if exact {
            return NONE;
        }
    }
    if exact && (region.table == 0 || is_dh || flags & Service::FALLBACK == 0) {
        return NONE;
    }
    let mut probe = Probe {
        region,
        avoid,
        key,
        first,
        probing: tables.veiled(match (exact, is_mh) {
            (true, false) => EXACT,
            (true, true) => EXACT_MAGLEV,
            (false, _) => SPREAD,
        }),
        chosen: tables.veiled(NONE),
    };
    let attempts = if exact { region.table } else { ATTEMPTS };
    tables.repeat(attempts, &mut probe);
    if probe.chosen != NONE || exact {
        return probe.chosen;
    }
    let mut next = Next {
        region,
        avoid,
        start: mh::entry(key, 0, region.length),
        chosen: tables.veiled(NONE),
    };
    tables.repeat(region.length, &mut next);
    next.chosen
}

/// What the table says at `entry`.
#[inline(always)]
fn position<T: Tables>(tables: &T, region: Region, entry: u32) -> u32 {
    let place = region
        .offset
        .wrapping_add(region.length)
        .wrapping_add(entry >> 2);
    let word = tables.member_word(place).unwrap_or(u64::MAX);
    (word >> ((entry & 3) * 16)) as u32 & 0xffff
}
