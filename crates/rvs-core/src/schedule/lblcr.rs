//! Locality-based least connections with replication (`net/netfilter/ipvs/ip_vs_lblcr.c`): a destination address has a
//! set of servers, of which the one with the least overhead for its weight takes the connection. Where that one is
//! overburdened, the least of the whole service joins the set; a set that has not changed for a while loses the
//! server with the most.
//!
//! A set has sixteen servers at the most, in IPVS any number.

use rvs_abi::{
    Server,
    locality::{Locality, LocalityKey, SERVERS},
};

use super::{Counting, load::Measure, locality::Search, usable};
use crate::{Flow, NONE, Tables, tables::Step};

/// A set, and how its servers are looked at: newest first, which is the last.
///
/// Each question is a walk of its own: together they have more outcomes than the verifier likes to follow.
#[derive(Clone, Copy)]
struct Set<'a> {
    known: &'a Locality,
    service: u32,
}

impl Set<'_> {
    /// In round `round`: place, index and server, if the server is still one of the service.
    #[inline(always)]
    fn look<'t, T: Tables>(&self, tables: &'t T, round: u32) -> (u32, Option<(u32, &'t Server)>) {
        let place = (SERVERS as u32 - 1).wrapping_sub(round);
        let index = tables
            .locality_server(self.known, place)
            .map_or(NONE, |word| word.load().wrapping_sub(1));
        let server = tables
            .server(index)
            .filter(|server| server.service.load() == self.service);
        (place, server.map(|server| (index, server)))
    }
}

/// The usable server with the least overhead for its weight.
struct Least<'a> {
    set: Set<'a>,
    avoid: u32,
    counting: Counting,
    chosen: u32,
    measure: Measure,
}

impl<T: Tables> Step<T> for Least<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if let (_, Some((index, _))) = self.set.look(tables, round)
            && index != self.avoid
            && let Some((server, weight)) = usable(tables, index)
        {
            let measure = self.counting.measure(server, weight);
            if self.measure.is_above(measure) {
                self.chosen = index;
                self.measure = measure;
            }
        }
        true
    }
}

/// The place of the server with the most overhead for its weight, if that is not 0.
struct Most<'a> {
    set: Set<'a>,
    counting: Counting,
    place: u32,
    measure: Measure,
}

impl<T: Tables> Step<T> for Most<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let (place, server) = self.set.look(tables, round);
        if let Some((_, server)) = server {
            let weight = server.weight.load();
            let measure = self.counting.measure(server, weight);
            if weight > 0 && (self.place == NONE || measure.is_above(self.measure)) {
                self.place = place;
                self.measure = measure;
            }
        }
        true
    }
}

/// Where a server would be put.
struct Room<'a> {
    set: Set<'a>,
    /// The place behind the last server, 0 if there is none.
    end: u32,
    /// 1 if there are more servers than one.
    several: u32,
    /// Some place that is free.
    free: u32,
}

impl<T: Tables> Step<T> for Room<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let (place, server) = self.set.look(tables, round);
        if server.is_none() {
            self.free = place;
        } else if self.end == 0 {
            self.end = place.wrapping_add(1);
        } else {
            self.several = 1;
        }
        true
    }
}

/// Whether a server is in a set.
struct Contains<'a> {
    known: &'a Locality,
    server: u32,
    found: u32,
}

impl<T: Tables> Step<T> for Contains<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if tables
            .locality_server(self.known, round)
            .is_some_and(|word| word.load() == self.server.wrapping_add(1))
        {
            self.found = 1;
        }
        self.found == 0
    }
}

/// Questions to [`look`].
const LEAST: u32 = 0;
const MOST: u32 = 1;
const ROOM: u32 = 2;
const CONTAINS: u32 = 3;
/// In the answer to [`ROOM`], above the place: there are more servers than one.
const SEVERAL: u64 = 1 << 32;

/// Answers one question about the set of the flow's address: the index of the server with the least, `argument` being
/// one to avoid; the place of the one with the most; a place for another, and whether there are several; whether
/// `argument` is in it.
#[inline(always)]
pub fn look<T: Tables>(tables: &T, flow: &Flow, service: u32, argument: u32, question: u32) -> u64 {
    let key = LocalityKey {
        service,
        address: flow.destination,
    };
    let (Some(entry), Some(known)) = (tables.service(service), tables.locality(&key)) else {
        return u64::from(NONE);
    };
    let set = Set { known, service };
    let counting = Counting::of(tables, entry, flow);
    if question == LEAST {
        let mut least = Least {
            set,
            avoid: argument,
            counting,
            chosen: tables.veiled(NONE),
            measure: Measure::boundless(tables),
        };
        tables.repeat(SERVERS as u32, &mut least);
        u64::from(least.chosen)
    } else if question == MOST {
        let mut most = Most {
            set,
            counting,
            place: tables.veiled(NONE),
            measure: Measure::nothing(tables),
        };
        tables.repeat(SERVERS as u32, &mut most);
        u64::from(most.place)
    } else if question == ROOM {
        let mut room = Room {
            set,
            end: tables.veiled(0),
            several: tables.veiled(0),
            free: tables.veiled(NONE),
        };
        tables.repeat(SERVERS as u32, &mut room);
        let place = if room.end < SERVERS as u32 {
            room.end
        } else {
            room.free
        };
        u64::from(place) | if room.several != 0 { SEVERAL } else { 0 }
    } else {
        let mut contains = Contains {
            known,
            server: argument,
            found: tables.veiled(0),
        };
        tables.repeat(SERVERS as u32, &mut contains);
        u64::from(contains.found)
    }
}

#[inline(always)]
pub(super) fn choose<T: Tables>(tables: &T, search: &Search, known: Option<&Locality>) -> u32 {
    let Some(known) = known else {
        let chosen = search.least(tables);
        if chosen != NONE && search.avoid == NONE {
            search.remember(tables, chosen);
        }
        return chosen;
    };
    let ask =
        |argument, question| tables.look_at_set(search.flow, search.number, argument, question);
    let least = ask(search.avoid, LEAST) as u32;
    let idle = search.now.wrapping_sub(known.modified.load());
    if idle > search.expiration && ask(0, ROOM) & SEVERAL != 0 {
        let most = ask(0, MOST) as u32;
        if most != NONE
            && let Some(word) = tables.locality_server(known, most)
        {
            word.store(0);
            known.modified.store(search.now);
        }
    }
    if least != NONE && !search.is_overburdened(tables, least) {
        return least;
    }
    let chosen = search.least(tables);
    if chosen == NONE || search.avoid != NONE || ask(chosen, CONTAINS) != 0 {
        return chosen;
    }
    let place = ask(0, ROOM) as u32;
    if place != NONE
        && let Some(word) = tables.locality_server(known, place)
    {
        word.store(chosen.wrapping_add(1));
        known.modified.store(search.now);
    }
    chosen
}
