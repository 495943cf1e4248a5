//! What lblc and lblcr share: the memory of destination addresses, and when a server is overburdened.
//!
//! The daemon forgets addresses (`rvs-dataplane`); here they are only remembered, and no more where a service
//! has very many.

use rvs_abi::{
    Scheduler, Server, Service,
    locality::{LocalityKey, TOO_MANY},
    service::Region,
};

use super::{Counting, is_serving, lblc, lblcr, usable};
use crate::{Flow, NONE, Tables, tables::Step};

/// One search for a server.
pub(super) struct Search<'a> {
    pub(super) flow: &'a Flow,
    service: &'a Service,
    pub(super) number: u32,
    pub(super) avoid: u32,
    pub(super) counting: Counting,
    pub(super) now: u32,
    /// lblcr: ticks after which a set that did not change shrinks.
    pub(super) expiration: u32,
}

impl Search<'_> {
    /// The choice of wlc.
    #[inline(always)]
    pub(super) fn least<T: Tables>(&self, tables: &T) -> u32 {
        tables.by_load(self.flow, self.number, self.avoid)
    }

    /// See [`is_overburdened`].
    #[inline(always)]
    pub(super) fn is_overburdened<T: Tables>(&self, tables: &T, index: u32) -> bool {
        tables.is_overburdened(self.flow, self.number, index) != 0
    }

    /// Whether the server at `index` is one of this service that takes connections; `though_overloaded`: also if it
    /// has reached its upper threshold.
    #[inline(always)]
    pub(super) fn may_serve<T: Tables>(
        &self,
        tables: &T,
        index: u32,
        though_overloaded: bool,
    ) -> bool {
        let Some(server) = tables.server(index) else {
            return false;
        };
        let serves = if though_overloaded {
            Server::is_there(server.flags.load()) && server.weight.load() > 0
        } else {
            usable(tables, index).is_some()
        };
        serves && index != self.avoid && server.service.load() == self.number
    }

    /// Remembers that the flow's address goes to `server`.
    #[inline(always)]
    pub(super) fn remember<T: Tables>(&self, tables: &T, server: u32) {
        let has_room = self.service.localities.load() < TOO_MANY;
        if has_room && tables.remember(self.flow, self.number, server) != 0 {
            self.service.localities.add(1);
        }
    }
}

/// Somebody who has not half as many active connections as weight.
struct Idle {
    offset: u32,
    counting: Counting,
    found: u32,
}

impl<T: Tables> Step<T> for Idle {
    const TOGETHER: u32 = 4;

    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let place = self.offset.wrapping_add(round);
        let Some(server) = tables.member(place).and_then(|index| tables.server(index)) else {
            return false;
        };
        // One of weight 0 has never less than half of it.
        let counts = self.counting.exact != 0 || is_serving(server);
        if counts && self.counting.active(server) * 2 < u64::from(server.weight.load()) {
            self.found = 1;
        }
        self.found == 0
    }
}

/// 1 if the server at `index` has more active connections than weight while another has not half as many, else 0.
#[inline(always)]
pub fn is_overburdened<T: Tables>(tables: &T, flow: &Flow, service: u32, index: u32) -> u32 {
    let (Some(service), Some(server)) = (tables.service(service), tables.server(index)) else {
        return 1;
    };
    let counting = Counting::of(tables, service, flow);
    if counting.active(server) <= u64::from(server.weight.load()) {
        return 0;
    }
    let region = Region::unpack(service.members.load());
    let mut idle = Idle {
        offset: region.offset,
        counting,
        found: tables.veiled(0),
    };
    tables.repeat(region.length, &mut idle);
    idle.found
}

/// The choice of lblc and lblcr.
#[inline(always)]
pub fn by_locality<T: Tables>(tables: &T, flow: &Flow, number: u32, avoid: u32) -> u32 {
    let (Some(service), Some(settings)) = (tables.service(number), tables.settings()) else {
        return NONE;
    };
    let search = Search {
        flow,
        service,
        number,
        avoid,
        counting: Counting::of(tables, service, flow),
        now: tables.now(),
        expiration: settings.lblcr_expiration.load(),
    };
    let key = LocalityKey {
        service: number,
        address: flow.destination,
    };
    let known = tables.locality(&key);
    if let Some(known) = known {
        known.used.store(search.now);
    }
    if service.scheduler.load() == Scheduler::Lblc as u32 {
        lblc::choose(tables, &search, known)
    } else {
        lblcr::choose(tables, &search, known)
    }
}
