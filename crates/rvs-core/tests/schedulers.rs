//! The schedulers against plain models of IPVS's, written from its rules and sharing no code with them.

use proptest::prelude::*;
use rvs_abi::{Method, Scheduler, Server, Service};
use rvs_core::{Flow, NONE, schedule::choose};
use rvs_fixtures::{Hops, Memory, ServerSpec, Surroundings, World, place::Family};

fn director(scheduler: Scheduler, weights: &[u32]) -> Memory {
    let mut world = World::new().service(Family::V4.vip(0), 80, 6);
    for weight in weights {
        world = world.server_spec(ServerSpec {
            host: 0,
            port: 80,
            method: Method::Direct,
            weight: *weight,
            hops: Hops::Known,
            tunnel: 0,
            is_mixed: false,
            upper: 0,
            lower: 0,
            mtu: 1500,
        });
    }
    if let Some(service) = world.services.last_mut() {
        service.scheduler = scheduler;
    }
    world.memory(&Surroundings::default())
}

fn pick(memory: &Memory) -> Option<usize> {
    let chosen = choose(memory, &Flow::default(), 0, NONE);
    (chosen != NONE).then_some(chosen as usize)
}

/// rr: the next eligible after the last chosen, circular.
struct RoundRobin {
    last: Option<usize>,
}

impl RoundRobin {
    fn next(&mut self, weights: &[u32]) -> Option<usize> {
        let start = self.last.map_or(0, |last| last + 1);
        let chosen = (0..weights.len())
            .map(|step| (start + step) % weights.len())
            .find(|at| weights[*at] > 0)?;
        self.last = Some(chosen);
        Some(chosen)
    }
}

/// wrr, as `ip_vs_wrr.c` walks: `at` is the last server that was taken, the list's head if none.
struct WeightedRoundRobin {
    at: Option<usize>,
    current: i64,
    step: i64,
    top: i64,
}

impl WeightedRoundRobin {
    fn new(weights: &[u32]) -> Self {
        let divisor = weights
            .iter()
            .filter(|weight| **weight > 0)
            .fold(0, |a, b| {
                let (mut a, mut b) = (a, i64::from(*b));
                while b != 0 {
                    (a, b) = (b, a % b);
                }
                a
            });
        let step = divisor.max(1);
        let largest = weights.iter().max().map_or(0, |weight| i64::from(*weight));
        let top = if largest > 0 { largest - (step - 1) } else { 0 };
        Self {
            at: None,
            current: top,
            step,
            top,
        }
    }

    fn next(&mut self, weights: &[u32]) -> Option<usize> {
        self.next_but(weights, &[])
    }

    /// `full` are those that are overloaded.
    fn next_but(&mut self, weights: &[u32], full: &[bool]) -> Option<usize> {
        if self.top == 0 {
            return None;
        }
        let last = self.at;
        let (mut place, mut last_pass, mut restarted, mut stop) = (last, false, false, None);
        loop {
            let from = place.map_or(0, |place| place + 1);
            for (at, weight) in weights.iter().enumerate().skip(from) {
                if i64::from(*weight) >= self.current && full.get(at) != Some(&true) {
                    self.at = Some(at);
                    return Some(at);
                }
                if Some(at) == stop {
                    return None;
                }
            }
            place = None;
            self.current -= self.step;
            if self.current <= 0 {
                self.current = self.top;
                if last_pass || last.is_none() {
                    self.at = None;
                    return None;
                }
                restarted = true;
            }
            last_pass = self.current <= self.step;
            if last_pass && restarted && last.is_some() {
                stop = last;
            }
        }
    }
}

/// An active connection costs as much as 256 inactive.
fn overhead(active: u32, inactive: u32) -> u128 {
    u128::from(active) * 256 + u128::from(inactive)
}

/// Least connections, for their weight or not: the first of the least.
fn least(servers: &[(u32, u32, u32)], by_weight: bool) -> Option<usize> {
    let mut best: Option<(usize, u128, u128)> = None;
    for (at, (weight, active, inactive)) in servers.iter().enumerate() {
        if *weight == 0 {
            continue;
        }
        let (load, weight) = (
            overhead(*active, *inactive),
            if by_weight { u128::from(*weight) } else { 1 },
        );
        // load / weight < best load / best weight
        if best.is_none_or(|(_, best_load, best_weight)| load * best_weight < best_load * weight) {
            best = Some((at, load, weight));
        }
    }
    best.map(|(at, _, _)| at)
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..6_u32, 2 => 1..200_u32, 1 => Just(100), 1 => Just(0x7fff_ffff)]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..4_u32, 1 => 0..1_000_000_u32, 1 => 0..16_777_216_u32]
}

#[test]
fn wrr_takes_its_known_sequence() {
    // Linux's documentation: weights 4, 3, 2 give A A B A B C A B C.
    let memory = director(Scheduler::Wrr, &[4, 3, 2]);
    let sequence: Vec<usize> = (0..18).filter_map(|_| pick(&memory)).collect();
    let round = [0, 0, 1, 0, 1, 2, 0, 1, 2];
    assert_eq!(sequence, [round, round].concat());
}

#[test]
fn a_count_that_is_below_zero_for_a_moment_is_none() {
    let memory = director(Scheduler::Lc, &[1, 1]);
    memory.servers[0].active.store(1);
    memory.servers[1].active.store(u32::MAX);
    assert_eq!(pick(&memory), Some(1));
}

#[test]
fn nothing_is_chosen_from_nothing() {
    for scheduler in [Scheduler::Rr, Scheduler::Wrr, Scheduler::Lc, Scheduler::Wlc] {
        assert_eq!(pick(&director(scheduler, &[])), None);
        assert_eq!(pick(&director(scheduler, &[0, 0])), None);
    }
}

proptest! {
    #[test]
    fn rr_is_the_models(weights in prop::collection::vec(weight(), 1..9), picks in 1..60_usize) {
        let memory = director(Scheduler::Rr, &weights);
        let mut model = RoundRobin { last: None };
        for _ in 0..picks {
            prop_assert_eq!(pick(&memory), model.next(&weights));
        }
    }

    #[test]
    fn wrr_is_the_models(weights in prop::collection::vec(weight(), 1..9), picks in 1..300_usize) {
        let small = weights.iter().all(|weight| *weight < 1000);
        // A model that counts down by one from 2^31 takes too long.
        let weights: Vec<u32> = if small { weights } else { weights.iter().map(|w| w % 1000).collect() };
        let memory = director(Scheduler::Wrr, &weights);
        let mut model = WeightedRoundRobin::new(&weights);
        for _ in 0..picks {
            prop_assert_eq!(pick(&memory), model.next(&weights), "weights {:?}", &weights);
        }
    }

    #[test]
    fn exact_wrr_is_the_models_where_servers_are_overloaded(
        weights in prop::collection::vec(0..9_u32, 1..5),
        full in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.7), 4), 1..40),
    ) {
        let memory = director(Scheduler::Wrr, &weights);
        let flags = &memory.services[0].flags;
        flags.store(flags.load() | Service::EXACT);
        let mut model = WeightedRoundRobin::new(&weights);
        for full in full {
            for (server, full) in memory.servers.iter().zip(&full) {
                server.overloaded.store(u32::from(*full));
            }
            prop_assert_eq!(pick(&memory), model.next_but(&weights, &full));
        }
    }

    #[test]
    fn wrr_serves_by_weight(weights in prop::collection::vec(0..20_u32, 1..9)) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let memory = director(Scheduler::Wrr, &weights);
        let mut taken = vec![0; weights.len()];
        for _ in 0..total {
            taken[pick(&memory).expect("somebody")] += 1;
        }
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b));
        prop_assert!(divisor > 0);
        prop_assert_eq!(taken, weights);
    }

    #[test]
    fn lc_and_wlc_are_the_models(
        servers in prop::collection::vec((weight(), count(), count()), 1..9),
    ) {
        for (scheduler, by_weight) in [(Scheduler::Lc, false), (Scheduler::Wlc, true)] {
            let weights: Vec<u32> = servers.iter().map(|server| server.0).collect();
            let memory = director(scheduler, &weights);
            for (server, (_, active, inactive)) in memory.servers.iter().zip(&servers) {
                server.active.store(*active);
                server.inactive.store(*inactive);
            }
            prop_assert_eq!(pick(&memory), least(&servers, by_weight));
        }
    }

    #[test]
    fn a_server_to_be_avoided_or_removed_is_not_chosen(
        weights in prop::collection::vec(weight(), 1..9),
        scheduler in prop::sample::select(vec![Scheduler::Rr, Scheduler::Wrr, Scheduler::Lc, Scheduler::Wlc]),
        avoid in 0..9_u32,
        removed in 0..9_usize,
        picks in 1..20,
    ) {
        let memory = director(scheduler, &weights);
        if let Some(server) = memory.servers.get(removed) {
            server.flags.store(server.flags.load() | Server::REMOVED);
        }
        let eligible = |at: usize| weights[at] > 0 && at != removed && at != avoid as usize;
        let anybody = (0..weights.len()).any(eligible);
        for _ in 0..picks {
            let chosen = choose(&memory, &Flow::default(), 0, avoid);
            prop_assert_eq!(chosen != NONE, anybody);
            prop_assert!(chosen == NONE || eligible(chosen as usize));
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
