//! What the director's own host sends: clients and real servers on it.

use rvs_abi::{Counter, Method};

use super::{
    forwarding::{answer, first, forwarded, name_of, next, one},
    icmp::{Kind, kinds, quoted},
};
use crate::{Case, Hops, Recipe, Step, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            cases.push(server_here(family, protocol));
            for method in [Method::Nat, Method::Direct, Method::Tunnel] {
                cases.push(client_here(family, protocol, method, 0));
                cases.push(client_here(family, protocol, method, 300 * 250));
            }
            cases.push(both_here(family, protocol));
            for kind in kinds(family) {
                cases.push(error_to_server_here(family, protocol, &kind));
            }
        }
    }
    cases
}

/// A request as it is given to the server on the director: translated, its link addresses and its time to live as they were.
fn given(packet: &Recipe, family: Family) -> Recipe {
    let server = (family.server(0), 8080);
    packet.clone().destination(server)
}

/// The reply of a server on the director as it leaves, or is given to the client: translated, its link addresses and its
/// time to live as they were.
fn left(packet: &Recipe, family: Family) -> Recipe {
    packet.clone().source((family.vip(0), 80))
}

fn server_here(family: Family, protocol: u8) -> Case {
    let name = format!(
        "a NAT server on the director, {}, {}: the request is translated for it, and so is its reply on its way out",
        family.name(),
        name_of(protocol)
    );
    let world = one(family, protocol, Method::Nat).but(|server| server.hops = Hops::Here);
    let opened = if protocol == 6 { (1, 0) } else { (0, 1) };
    let request = |packet: &Recipe| {
        Step::becomes(packet, &given(packet, family))
            .counts(&[Counter::PassLocal])
            .received(0)
    };
    let reply = |packet: &Recipe| {
        Step::becomes(packet, &left(packet, family))
            .local()
            .counts(&[Counter::LocalReply])
            .replied(0)
    };
    let steps = vec![
        request(&first(family, protocol)).opens(0, opened.0, opened.1),
        reply(&answer(family, protocol, "SA")),
        request(&next(family, protocol)),
        // A packet for the host itself is no hop.
        request(&next(family, protocol).ttl(1)),
        reply(&answer(family, protocol, "A")),
        // Nor is one that the host itself sends.
        reply(&answer(family, protocol, "A").ttl(1)),
    ];
    Case::new(name, &world, steps)
}

/// `persistence` in ticks; 0 is none.
fn client_here(family: Family, protocol: u8, method: Method, persistence: u32) -> Case {
    let name = format!(
        "{method:?} for a client on the director, {}, {}{}: the reply comes in on the loopback interface",
        family.name(),
        name_of(protocol),
        if persistence == 0 { "" } else { ", persistent" }
    );
    let mut world = one(family, protocol, method);
    if persistence != 0 {
        world = world.persistent(persistence);
    }
    let opened = if protocol == 6 { (1, 0) } else { (0, 1) };
    let request = |packet: &Recipe| Step::request(packet, 0, &forwarded(packet, method, 0)).local();
    let reply = |flags| {
        let (packet, delivered) = if method == Method::Nat {
            let packet = answer(family, protocol, flags);
            let delivered = left(&packet, family);
            (packet, delivered)
        } else {
            let packet = answer(family, protocol, flags).source((family.vip(0), 80));
            (packet.clone(), packet)
        };
        Step::sends(&packet, &delivered.macs([0; 6], [0; 6]))
            .counts(&[Counter::LocalReply])
            .replied(0)
    };
    let steps = vec![
        request(&first(family, protocol)).opens(0, opened.0, opened.1),
        reply("SA"),
        request(&next(family, protocol)),
        reply("A"),
    ];
    Case::new(name, &world, steps)
}

/// An error about a reply of the server on the director. As any packet to the host it may have used up its time to live.
fn error_to_server_here(family: Family, protocol: u8, kind: &Kind) -> Case {
    let world = one(family, protocol, Method::Nat).but(|server| server.hops = Hops::Here);
    let opened = if protocol == 6 { (1, 0) } else { (0, 1) };
    let packet = first(family, protocol);
    let reply = answer(family, protocol, "SA");
    let seen = left(&reply, family);
    let input = kind.message(family.gateway(), family.vip(0), &quoted(&seen, &seen));
    let output = kind.message(family.gateway(), family.server(0), &quoted(&reply, &seen));
    let step = |input: &Recipe, output: &Recipe| {
        Step::becomes(input, output).counts(&[Counter::IcmpForward])
    };
    Case::new(
        format!(
            "a NAT server on the director, {}, {}: {} about its reply reaches it",
            family.name(),
            name_of(protocol),
            kind.name()
        ),
        &world,
        vec![
            Step::becomes(&packet, &given(&packet, family))
                .counts(&[Counter::PassLocal])
                .received(0)
                .opens(0, opened.0, opened.1),
            step(&input, &output),
            step(&input.ttl(1), &output.ttl(1)),
        ],
    )
}

fn both_here(family: Family, protocol: u8) -> Case {
    let name = format!(
        "client and NAT server on the director, {}, {}",
        family.name(),
        name_of(protocol)
    );
    let world = one(family, protocol, Method::Nat).but(|server| server.hops = Hops::Here);
    let opened = if protocol == 6 { (1, 0) } else { (0, 1) };
    let (first, answer) = (first(family, protocol), answer(family, protocol, "SA"));
    let steps = vec![
        Step::sends(&first, &given(&first, family).macs([0; 6], [0; 6]))
            .local()
            .counts(&[Counter::PassLocal])
            .received(0)
            .opens(0, opened.0, opened.1),
        Step::becomes(&answer, &left(&answer, family))
            .local()
            .counts(&[Counter::LocalReply])
            .replied(0),
    ];
    Case::new(name, &world, steps)
}
