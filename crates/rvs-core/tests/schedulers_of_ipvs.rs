//! sed, nq, fo, ovf, twos, dh, sh, mh, lblc and lblcr against plain models, written from IPVS's rules and sharing no code
//! with them.

use proptest::prelude::*;
use rvs_abi::{Method, Scheduler, Server, Service};
use rvs_core::{Flow, NONE, schedule::choose};
use rvs_fixtures::{Hops, Memory, ServerSpec, Surroundings, World, place::Family};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn director(scheduler: Scheduler, flags: u32, weights: &[u32]) -> Memory {
    let mut world = World::new().service(Family::V4.vip(0), 80, TCP);
    for (host, weight) in weights.iter().enumerate() {
        world = world.server_spec(ServerSpec {
            // Places have addresses for a few hosts only; ports tell the others apart.
            host: 0,
            port: 1000 + host as u16,
            method: Method::Direct,
            weight: *weight,
            hops: Hops::Known,
            mtu: 1500,
            lower: 0,
            tunnel: 0,
            is_mixed: false,
            upper: 0,
        });
    }
    if let Some(service) = world.services.last_mut() {
        service.scheduler = scheduler;
        service.flags |= flags;
    }
    world.memory(&Surroundings::default())
}

fn flow(client: u32, port: u16, destination: u32, protocol: u8) -> Flow {
    Flow {
        source: [client.to_be(), 0, 0, 0],
        destination: [destination.to_be(), 0, 0, 0],
        ports: u32::from(port.to_be()) | u32::from(80_u16.to_be()) << 16,
        protocol,
        family: 4,
        ..Flow::default()
    }
}

fn pick(memory: &Memory, flow: &Flow, avoid: Option<usize>) -> Option<usize> {
    let avoid = avoid.map_or(NONE, |avoid| avoid as u32);
    let chosen = choose(memory, flow, 0, avoid);
    (chosen != NONE).then_some(chosen as usize)
}

/// A server as the models see it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    weight: u32,
    active: u32,
    inactive: u32,
    /// Removed or over its threshold.
    out: bool,
}

impl Seen {
    fn usable(self) -> bool {
        self.weight > 0 && !self.out
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    let weight = prop_oneof![1 => Just(0), 4 => 1..6_u32, 1 => 1..300_u32];
    let count = || prop_oneof![2 => 0..4_u32, 1 => 0..1000_u32];
    (weight, count(), count(), prop::bool::weighted(0.2)).prop_map(
        |(weight, active, inactive, out)| Seen {
            weight,
            active,
            inactive,
            out,
        },
    )
}

fn apply(memory: &Memory, servers: &[Seen]) {
    for (at, (server, seen)) in memory.servers.iter().zip(servers).enumerate() {
        server.active.store(seen.active);
        server.inactive.store(seen.inactive);
        if seen.out {
            // Both ways of being out take turns.
            if at % 2 == 0 {
                server.flags.store(server.flags.load() | Server::CAPPED);
                server.overloaded.store(1);
            } else {
                server.flags.store(server.flags.load() | Server::REMOVED);
            }
        }
    }
}

/// The first usable server that no other beats; `beats(a, b)` says whether a is strictly better.
fn best(
    servers: &[Seen],
    usable: impl Fn(usize) -> bool,
    beats: impl Fn(&Seen, &Seen) -> bool,
) -> Option<usize> {
    let mut best: Option<usize> = None;
    for at in (0..servers.len()).filter(|at| usable(*at)) {
        if best.is_none_or(|best| beats(&servers[at], &servers[best])) {
            best = Some(at);
        }
    }
    best
}

proptest! {
    #[test]
    fn the_schedulers_by_load_are_the_models(
        servers in prop::collection::vec(seen(), 1..9),
        udp in any::<bool>(),
        exact in any::<bool>(),
        avoid in prop::option::of(0..9_usize),
    ) {
        let flags = if exact { Service::EXACT } else { 0 };
        let weights: Vec<u32> = servers.iter().map(|seen| seen.weight).collect();
        let flow = flow(1, 1, 1, if udp { UDP } else { TCP });
        let active = |seen: &Seen| u64::from(if udp && !exact { seen.active + seen.inactive } else { seen.active });
        let overhead = |seen: &Seen| {
            u64::from(seen.active) * if exact { 257 } else { 256 } + u64::from(seen.inactive)
        };
        let usable = |at: usize| servers[at].usable() && avoid != Some(at);
        let per_weight = |a: (u64, u32), b: (u64, u32)| a.0 * u64::from(b.1) < b.0 * u64::from(a.1);
        let delay = |a: &Seen, b: &Seen| per_weight((active(a) + 1, a.weight), (active(b) + 1, b.weight));
        let idle = (0..servers.len()).find(|at| usable(*at) && active(&servers[*at]) == 0);
        let roomy = |at: usize| usable(at) && active(&servers[at]) <= u64::from(servers[at].weight);
        for (scheduler, expected) in [
            (Scheduler::Lc, best(&servers, usable, |a, b| overhead(a) < overhead(b))),
            (Scheduler::Wlc, best(&servers, usable, |a, b| per_weight((overhead(a), a.weight), (overhead(b), b.weight)))),
            (Scheduler::Sed, best(&servers, usable, delay)),
            (Scheduler::Nq, idle.or_else(|| best(&servers, usable, delay))),
            (Scheduler::Fo, best(&servers, usable, |a, b| a.weight > b.weight)),
            (Scheduler::Ovf, best(&servers, roomy, |a, b| a.weight > b.weight)),
        ] {
            let memory = director(scheduler, flags, &weights);
            apply(&memory, &servers);
            prop_assert_eq!(pick(&memory, &flow, avoid), expected, "{:?}", scheduler);
        }
    }

    #[test]
    fn whoever_is_chosen_is_eligible_and_somebody_is_chosen_if_anybody_is(
        servers in prop::collection::vec(seen(), 1..9),
        scheduler in prop::sample::select(vec![
            Scheduler::Rr, Scheduler::Wrr, Scheduler::Twos, Scheduler::Dh, Scheduler::Sh, Scheduler::Mh,
            Scheduler::Lblc, Scheduler::Lblcr,
        ]),
        avoid in prop::option::of(0..9_usize),
        clients in prop::collection::vec(any::<u32>(), 1..30),
    ) {
        let weights: Vec<u32> = servers.iter().map(|seen| seen.weight).collect();
        let memory = director(scheduler, 0, &weights);
        apply(&memory, &servers);
        let usable = |at: usize| servers[at].usable() && avoid != Some(at);
        let anybody = (0..servers.len()).any(usable);
        for client in clients {
            let chosen = pick(&memory, &flow(client, 1, client % 5, TCP), avoid);
            prop_assert_eq!(chosen.is_some(), anybody);
            prop_assert!(chosen.is_none_or(usable));
        }
    }

    #[test]
    fn exact_sh_is_the_model(
        servers in prop::collection::vec(seen(), 1..9),
        client in any::<u32>(),
        port in any::<u16>(),
        fallback in any::<bool>(),
        by_port in any::<bool>(),
    ) {
        let mut flags = Service::EXACT;
        if fallback { flags |= Service::FALLBACK; }
        if by_port { flags |= Service::PORT; }
        let weights: Vec<u32> = servers.iter().map(|seen| seen.weight).collect();
        let memory = director(Scheduler::Sh, flags, &weights);
        apply(&memory, &servers);
        let buckets: Vec<usize> = (0..weights.len())
            .flat_map(|at| std::iter::repeat_n(at, weights[at].max(1) as usize))
            .cycle().take(256).collect();
        let key = client.wrapping_add(if by_port { u32::from(port) } else { 0 });
        let hash = (key.wrapping_mul(0x61C8_8647) >> 24) as usize;
        let mut order = vec![hash];
        if fallback { order.extend((0..256).map(|offset| (2 * hash + offset) % 256)); }
        let expected = order.into_iter().map(|bucket| buckets[bucket]).find(|at| servers[*at].usable());
        prop_assert_eq!(pick(&memory, &flow(client, port, 9, TCP), None), expected);
    }

    #[test]
    fn exact_dh_is_the_model(servers in prop::collection::vec(seen(), 1..9), destination in any::<u32>()) {
        let weights: Vec<u32> = servers.iter().map(|seen| seen.weight).collect();
        let memory = director(Scheduler::Dh, Service::EXACT, &weights);
        apply(&memory, &servers);
        let at = (destination.wrapping_mul(0x61C8_8647) >> 24) as usize % servers.len();
        let expected = servers[at].usable().then_some(at);
        prop_assert_eq!(pick(&memory, &flow(7, 7, destination, TCP), None), expected);
    }

    #[test]
    fn quiescing_moves_nobody_elses_clients(
        count in 2..9_usize,
        quiet in 0..9_usize,
        clients in prop::collection::vec(any::<u32>(), 50),
        scheduler in prop::sample::select(vec![Scheduler::Dh, Scheduler::Sh, Scheduler::Mh]),
    ) {
        let quiet = quiet % count;
        let memory = director(scheduler, 0, &vec![3; count]);
        let flow = |client| flow(client, 1, client, TCP);
        let before: Vec<_> = clients.iter().map(|client| pick(&memory, &flow(*client), None)).collect();
        memory.servers[quiet].weight.store(0);
        for (client, before) in clients.iter().zip(before) {
            let after = pick(&memory, &flow(*client), None);
            prop_assert_eq!(after == before, before != Some(quiet));
        }
    }
}

/// How often each of the servers is drawn.
fn drawn(memory: &Memory, count: usize, times: usize) -> Vec<f64> {
    let mut taken = vec![0_u32; count];
    for _ in 0..times {
        taken[pick(memory, &flow(1, 1, 1, TCP), None).expect("somebody")] += 1;
    }
    taken.iter().map(|n| f64::from(*n) / times as f64).collect()
}

#[test]
fn twos_draws_by_weight() {
    // All idle: the first drawn stays, so shares are the weights'.
    let weights = [1, 2, 3, 4];
    let shares = drawn(&director(Scheduler::Twos, 0, &weights), 4, 100_000);
    for (share, weight) in shares.iter().zip(weights) {
        assert!(
            (share - f64::from(weight) / 10.0).abs() < 0.01,
            "{shares:?}"
        );
    }
    // To the letter the first has one draw in eleven more.
    let shares = drawn(
        &director(Scheduler::Twos, Service::EXACT, &weights),
        4,
        100_000,
    );
    assert!((shares[0] - 2.0 / 11.0).abs() < 0.01, "{shares:?}");
    assert!((shares[3] - 4.0 / 11.0).abs() < 0.01, "{shares:?}");
}

#[test]
fn twos_keeps_its_odds_where_some_are_out() {
    let memory = director(Scheduler::Twos, 0, &[1, 50, 3, 7, 4]);
    for out in [1, 3] {
        let flags = &memory.servers[out].flags;
        flags.store(flags.load() | Server::REMOVED);
    }
    let shares = drawn(&memory, 5, 100_000);
    for (share, expected) in shares
        .iter()
        .zip([1.0 / 8.0, 0.0, 3.0 / 8.0, 0.0, 4.0 / 8.0])
    {
        assert!((share - expected).abs() < 0.01, "{shares:?}");
    }
}

#[test]
fn twos_takes_the_less_loaded_of_two() {
    let memory = director(Scheduler::Twos, 0, &[1, 1]);
    memory.servers[0].active.store(9);
    // Only where both draws hit the loaded one it is taken.
    let shares = drawn(&memory, 2, 100_000);
    assert!((shares[0] - 0.25).abs() < 0.01, "{shares:?}");
}

#[test]
fn an_address_stays_at_its_cache_until_that_is_overburdened() {
    let memory = director(Scheduler::Lblc, 0, &[4, 4]);
    let at = |destination| pick(&memory, &flow(1, 1, destination, TCP), None);
    assert_eq!(at(1), Some(0));
    memory.servers[0].active.store(4);
    // As much as its weight is not too much; another address goes elsewhere.
    assert_eq!((at(1), at(2)), (Some(0), Some(1)));
    // More is, while the other has not half of its weight.
    memory.servers[0].active.store(5);
    memory.servers[1].active.store(2);
    assert_eq!(at(1), Some(0));
    memory.servers[1].active.store(1);
    assert_eq!(at(1), Some(1));
    // It stays there.
    memory.servers[0].active.store(0);
    assert_eq!(at(1), Some(1));
    memory.servers[1].weight.store(0);
    assert_eq!(at(1), Some(0));
}

#[test]
fn a_set_grows_under_load_and_shrinks_with_time() {
    let memory = director(Scheduler::Lblcr, 0, &[4, 4, 4]);
    memory.settings.lblcr_expiration.store(1000);
    let at = || pick(&memory, &flow(1, 1, 1, TCP), None);
    let in_set = || {
        let (_, locality) = &memory.localities[0];
        let words = locality.servers.iter().map(rvs_abi::Word32::load);
        words.filter(|word| *word != 0).collect::<Vec<_>>()
    };
    assert_eq!(at(), Some(0));
    memory.servers[0].active.store(5);
    assert_eq!(at(), Some(1));
    assert_eq!(in_set(), [1, 2]);
    // The least of the set, not of the service.
    memory.servers[1].active.store(2);
    assert_eq!(at(), Some(1));
    memory.now.set(memory.now.get() + 1000);
    assert_eq!(at(), Some(1));
    assert_eq!(in_set(), [1, 2]);
    memory.now.set(memory.now.get() + 1);
    assert_eq!(at(), Some(1));
    assert_eq!(in_set(), [2]);
}
