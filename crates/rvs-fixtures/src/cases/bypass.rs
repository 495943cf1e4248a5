//! `cache_bypass`: a service of a firewall mark without servers.

use rvs_abi::{Counter, Method, Settings};

use super::{
    forwarding::{first, name_of, next},
    mtu::{Error, error},
};
use crate::{Case, Edit, Recipe, Step, World, place::Family};

const MARK: u32 = 77;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            cases.push(goes_on(family, protocol, false));
            cases.push(goes_on(family, protocol, true));
        }
        cases.push(stays(family));
    }
    cases
}

fn world(family: Family) -> World {
    World::new()
        .service(family.vip(0), 0, 0)
        .marked(MARK)
        .server(0, Method::Direct)
        .with(Settings::CACHE_BYPASS)
}

fn to_the_world(packet: Recipe) -> Recipe {
    let family = packet.family();
    packet.destination((family.far(), 80))
}

fn goes_on(family: Family, protocol: u8, persistent: bool) -> Case {
    let mut world = world(family);
    if persistent {
        world = world.persistent(1000);
    }
    let packet = to_the_world(first(family, protocol));
    let mut steps = vec![
        Step::Edit(Edit::Weight(0, 0)),
        Step::passes(&packet, Counter::PassBypass).marked(MARK),
    ];
    if protocol == 6 {
        let later = to_the_world(next(family, protocol));
        steps.push(Step::passes(&later, Counter::PassNoConnection).marked(MARK));
    }
    // A server is back: new connections are its.
    let other = packet.port(1234);
    let sent = other.clone().aged().to_server(0);
    steps.push(Step::Edit(Edit::Weight(0, 1)));
    let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
    steps.push(
        Step::request(&other, 0, &sent)
            .opens(0, counts.0, counts.1)
            .marked(MARK),
    );
    let name = format!(
        "{}, {}: cache_bypass lets packets go on to where they were going{}",
        family.name(),
        name_of(protocol),
        if persistent { ", with persistence" } else { "" }
    );
    Case::new(name, &world, steps)
}

/// Where no route leads, without the knob, and for a service of an address: nobody serves this port.
fn stays(family: Family) -> Case {
    let refused = |packet: &Recipe, from| {
        let answer = error(from, family.client(), packet, 17, &Error::Unreachable);
        Step::answers(
            packet,
            &answer,
            &[Counter::DropNoDestination, Counter::AnswerUnreachable],
        )
    };
    let lost = first(family, 17).destination((family.nowhere(), 80));
    let packet = to_the_world(first(family, 17));
    let to_service = first(family, 17).destination((family.vip(1), 80));
    let world = world(family)
        .service(family.vip(1), 80, 17)
        .server(1, Method::Direct);
    let flags = world.flags & !Settings::CACHE_BYPASS | Settings::SCHEDULE;
    let steps = vec![
        Step::Edit(Edit::Weight(0, 0)),
        Step::Edit(Edit::Weight(1, 0)),
        refused(&lost, family.nowhere()).marked(MARK),
        refused(&to_service, family.vip(1)),
        Step::Edit(Edit::Flags(flags)),
        refused(&packet, family.far()).marked(MARK),
    ];
    let name = format!("{}: what cache_bypass does not let go on", family.name());
    Case::new(name, &world, steps)
}
