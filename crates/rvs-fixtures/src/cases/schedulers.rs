//! Every scheduler, from SYN to SYN.

use rvs_abi::{Method, Scheduler, Service};
use rvs_core::{Flow, NONE, schedule};

use super::forwarding::{forwarded, next};
use crate::{Case, Step, Surroundings, World, place, place::Family};

const WEIGHTS: [u32; 3] = [1, 3, 2];
const SYNS: u16 = 6;
const EXACT_FALLBACK: u32 = Service::EXACT | Service::FALLBACK | Service::PORT;

/// Which server takes a connection, from the active connections of all.
type Rule = fn([u32; 3]) -> usize;

pub(super) fn cases() -> Vec<Case> {
    let by_load: [(Scheduler, &str, Rule); 6] = [
        (Scheduler::Lc, "lc takes the least", |active| {
            least(active, |active, _| (active, 1))
        }),
        (Scheduler::Wlc, "wlc takes the least for the weight", |a| {
            least(a, |active, weight| (active, weight))
        }),
        (Scheduler::Sed, "sed takes the shortest delay", |active| {
            least(active, |active, weight| (active + 1, weight))
        }),
        (Scheduler::Nq, "nq takes the idle first", |active| {
            active
                .iter()
                .position(|active| *active == 0)
                .unwrap_or_else(|| least(active, |active, weight| (active + 1, weight)))
        }),
        (Scheduler::Fo, "fo takes the heaviest", |_| 1),
        (
            Scheduler::Ovf,
            "ovf takes the heaviest with room",
            |active| if active[1] <= 3 { 1 } else { 2 },
        ),
    ];
    let by_locality = [
        (Scheduler::Lblc, "lblc leaves an overburdened cache"),
        (Scheduler::Lblcr, "lblcr replicates an overburdened cache"),
    ];
    let by_hash = [
        (Scheduler::Dh, 0, "dh goes by the destination"),
        (Scheduler::Sh, Service::PORT, "sh goes by address and port"),
        (Scheduler::Mh, Service::PORT, "mh goes by address and port"),
        (Scheduler::Dh, Service::EXACT, "IPVS's dh"),
        (Scheduler::Sh, EXACT_FALLBACK, "IPVS's sh with its fallback"),
        (Scheduler::Mh, EXACT_FALLBACK, "IPVS's mh with its fallback"),
    ];
    let mut cases = Vec::new();
    for family in Family::ALL {
        for (scheduler, name, rule) in by_load {
            let mut active = [0; 3];
            let order = (0..SYNS).map(|_| {
                let server = rule(active);
                active[server] += 1;
                Some(server)
            });
            let world = world(family, scheduler, 0, WEIGHTS);
            cases.push(case(family, name, &world, order.collect()));
        }
        for (scheduler, name) in by_locality {
            let order = [0, 0, 1, 1, 1, 1].map(Some).to_vec();
            let world = world(family, scheduler, 0, WEIGHTS);
            cases.push(case(family, name, &world, order));
        }
        let only = world(family, Scheduler::Twos, 0, [0, 5, 0]);
        let name = "twos draws none of weight 0";
        cases.push(case(family, name, &only, vec![Some(1); 6]));
        for (scheduler, flags, name) in by_hash {
            // The second world's heaviest server is quiesced: its clients go elsewhere.
            for (weights, more) in [(WEIGHTS, ""), ([1, 0, 2], ", and round a quiesced server")] {
                let world = world(family, scheduler, flags, weights);
                let order = by_table(family, &world);
                cases.push(case(family, &format!("{name}{more}"), &world, order));
            }
        }
    }
    cases
}

/// The first server with the least load for its weight.
fn least(active: [u32; 3], measure: fn(u32, u32) -> (u32, u32)) -> usize {
    let of = |at: usize| measure(active[at], WEIGHTS[at]);
    let below = |a: (u32, u32), b: (u32, u32)| a.0 * b.1 < b.0 * a.1;
    let better = |best, at| if below(of(at), of(best)) { at } else { best };
    (1..3).fold(0, better)
}

/// What the tables say: they are tested for themselves, and here the engines against each other.
fn by_table(family: Family, world: &World) -> Vec<Option<usize>> {
    let memory = world.memory(&Surroundings::default());
    let choose = |n: u16| {
        let flow = Flow {
            source: place::words(family.client()),
            destination: place::words(family.vip(0)),
            ports: u32::from((40000 + n).to_be()) | u32::from(80_u16.to_be()) << 16,
            protocol: 6,
            family: match family {
                Family::V4 => 4,
                Family::V6 => 6,
            },
            ..Flow::default()
        };
        let server = schedule::choose(&memory, &flow, 0, NONE);
        (server != NONE).then_some(server as usize)
    };
    (0..SYNS).map(choose).collect()
}

fn world(family: Family, scheduler: Scheduler, flags: u32, weights: [u32; 3]) -> World {
    let mut world = World::new().service(family.vip(0), 80, 6);
    for (host, weight) in weights.into_iter().enumerate() {
        world = world
            .server(host, Method::Direct)
            .but(|server| server.weight = weight);
    }
    if let Some(service) = world.services.last_mut() {
        service.scheduler = scheduler;
        service.flags |= flags;
    }
    world
}

fn case(family: Family, name: &str, world: &World, order: Vec<Option<usize>>) -> Case {
    let mut active = [0; 3];
    let step = |(n, server): (u16, Option<usize>)| {
        let server = server?;
        let packet = next(family, 6).flags("S").port(40000 + n);
        active[server] += 1;
        let sent = forwarded(&packet, Method::Direct, server);
        Some(Step::request(&packet, server, &sent).opens(server, active[server], 0))
    };
    let steps = (0..).zip(order).filter_map(step).collect();
    Case::new(format!("{}: {name}", family.name()), world, steps)
}
