//! `schedule_icmp`: errors about packets of no known connection, scheduled like these.

use rvs_abi::{Counter, Method, Settings};

use super::{
    forwarding::{answer, first, name_of, next, one, request, translated},
    icmp::{Kind, kinds, quoted},
};
use crate::{Case, Edit, Recipe, Step, World, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            for method in [Method::Nat, Method::Direct, Method::Tunnel] {
                cases.push(schedules(family, protocol, method, false));
                cases.push(schedules(family, protocol, method, true));
            }
        }
        cases.push(one_packet(family));
        cases.push(not_scheduled(family));
    }
    cases
}

/// The reply that an error is about: what a client saw of it.
fn seen(family: Family, protocol: u8) -> Recipe {
    translated(&answer(family, protocol, "SA"), family)
}

fn about(kind: &Kind, family: Family, packet: &Recipe) -> Recipe {
    kind.message(family.gateway(), family.vip(0), &quoted(packet, packet))
}

/// The error as it reaches the server.
fn at_server(kind: &Kind, family: Family, protocol: u8, method: Method) -> Recipe {
    let (reply, seen) = (answer(family, protocol, "SA"), seen(family, protocol));
    let whole = about(kind, family, &seen);
    match method {
        Method::Nat => kind
            .message(
                family.gateway(),
                family.server(0),
                &quoted(&reply.aged(), &seen),
            )
            .aged()
            .to_server(0),
        Method::Tunnel => whole
            .aged()
            .to_server(0)
            .wrapped(family.own(), family.server(0)),
        Method::Direct | Method::Local | Method::Bypass => whole.aged().to_server(0),
    }
}

fn schedules(family: Family, protocol: u8, method: Method, persistent: bool) -> Case {
    let mut world = one(family, protocol, method).with(Settings::SCHEDULE_ICMP);
    if persistent {
        world = world.persistent(1000);
    }
    let kind = kinds(family)[0].clone();
    let step = || {
        let input = about(&kind, family, &seen(family, protocol));
        let output = at_server(&kind, family, protocol, method);
        let step = if method == Method::Nat {
            Step::sends(&input, &output)
        } else {
            Step::request(&input, 0, &output)
        };
        step.counts(&[Counter::IcmpForward])
    };
    let mut steps = vec![step().opens(0, 0, 1), step()];
    if protocol == 17 {
        steps.push(request(&next(family, protocol), method));
    } else {
        // What the client sends moves the connection on.
        steps.push(request(&first(family, protocol), method).census(0, 1, 0));
    }
    let name = format!(
        "{}, {}, {method:?}: schedule_icmp makes a connection for what an error is about{}",
        family.name(),
        name_of(protocol),
        if persistent { ", and a template" } else { "" }
    );
    Case::new(name, &world, steps)
}

/// With one-packet scheduling the error makes a connection all the same, since it is followed there.
fn one_packet(family: Family) -> Case {
    let world = one(family, 17, Method::Direct)
        .with(Settings::SCHEDULE_ICMP)
        .with_service(|service| service.flags |= rvs_abi::Service::ONE_PACKET);
    let kind = kinds(family)[0].clone();
    let input = about(&kind, family, &seen(family, 17));
    let output = at_server(&kind, family, 17, Method::Direct);
    let steps = vec![
        Step::request(&input, 0, &output)
            .counts(&[Counter::IcmpForward])
            .opens(0, 0, 1),
    ];
    let text = "schedule_icmp and one-packet scheduling";
    Case::new(format!("{}: {text}", family.name()), &world, steps)
}

fn not_scheduled(family: Family) -> Case {
    let world: World = one(family, 17, Method::Direct).with(Settings::SCHEDULE_ICMP);
    let kind = kinds(family)[0].clone();
    let reply = seen(family, 17);
    let of = |source| about(&kind, family, &reply.clone().source(source));
    let esp = Recipe::raw(family.vip(0), family.client(), 50).payload(&[0; 8]);
    let to_another = kind.message(family.gateway(), family.vip(1), &quoted(&reply, &reply));
    let steps = vec![
        Step::passes(&of((family.vip(0), 81)), Counter::PassIcmp),
        Step::passes(&to_another, Counter::PassIcmp),
        Step::passes(&about(&kind, family, &esp), Counter::PassIcmp),
        Step::Edit(Edit::Weight(0, 0)),
        Step::drops(&of((family.vip(0), 80)), Counter::DropNoDestination),
        Step::passes(
            &Recipe::raw(family.client(), family.vip(0), 50),
            Counter::PassOther,
        ),
    ];
    let text = "what schedule_icmp does not schedule goes on to the host, or nowhere";
    Case::new(format!("{}: {text}", family.name()), &world, steps)
}
