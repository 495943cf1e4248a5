//! Several services and servers at once.

use rvs_abi::Method;

use super::forwarding::{forwarded, next};
use crate::{
    Case, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                in_turn(family),
                shared(family),
                one_port(family),
                many_clients(family),
            ]
        })
        .collect()
}

fn in_turn(family: Family) -> Case {
    let mut world = World::new().service(family.vip(0), 80, 6);
    for host in 0..3 {
        world = world.server(host, Method::Nat);
    }
    let steps = (0..6).map(|n| {
        let packet = next(family, 6).flags("S").port(40000 + n);
        let server = usize::from(n) % 3;
        Step::request(&packet, server, &forwarded(&packet, Method::Nat, server)).opens(
            server,
            u32::from(n) / 3 + 1,
            0,
        )
    });
    Case::new(
        format!("{}: servers take turns", family.name()),
        &world,
        steps.collect(),
    )
}

/// Two NAT services share a real server's port; the client's ports tell their replies apart.
fn shared(family: Family) -> Case {
    let world = World::new()
        .service(family.vip(0), 80, 6)
        .server(0, Method::Nat)
        .service(family.vip(1), 80, 6)
        .server(0, Method::Nat);
    let request = |n: usize, flags| {
        let packet = next(family, 6).flags(flags).port(40000 + n as u16);
        let packet = packet.destination((family.vip(n), 80));
        Step::request(&packet, n, &forwarded(&packet, Method::Nat, 0))
    };
    let reply = |n: usize| {
        let client = (family.client(), 40000 + n as u16);
        let packet = Recipe::tcp((family.server(0), 8080), client, "SA").from_server(0);
        let sent = packet
            .clone()
            .aged()
            .source((family.vip(n), 80))
            .to_client(CLIENT_MAC);
        Step::reply(&packet, n, &sent)
    };
    let steps = vec![
        request(0, "S").opens(0, 1, 0),
        request(1, "S").opens(1, 1, 0),
        reply(1),
        reply(0),
        request(0, "A"),
        request(1, "A"),
        reply(0),
        reply(1),
    ];
    let name = format!(
        "{}: two services share a server, and no reply goes astray",
        family.name()
    );
    Case::new(name, &world, steps)
}

/// One client port towards several services on one server.
fn one_port(family: Family) -> Case {
    let mut world = World::new();
    for n in 0..4 {
        world = world
            .service(family.vip(n), 80, 6)
            .server(0, Method::Direct);
    }
    let steps = (0..4).map(|n| {
        let packet = next(family, 6).flags("S").destination((family.vip(n), 80));
        Step::request(&packet, n, &forwarded(&packet, Method::Direct, 0)).opens(n, 1, 0)
    });
    let name = format!(
        "{}: one client port towards many services is many connections",
        family.name()
    );
    Case::new(name, &world, steps.collect())
}

fn many_clients(family: Family) -> Case {
    let world = World::new()
        .service(family.vip(0), 80, 17)
        .server(0, Method::Nat);
    let mut steps = Vec::new();
    for n in 0..40 {
        let client = (family.client(), 1000 + n);
        let packet = Recipe::udp(client, (family.vip(0), 80));
        steps.push(
            Step::request(&packet, 0, &forwarded(&packet, Method::Nat, 0)).opens(
                0,
                0,
                u32::from(n) + 1,
            ),
        );
    }
    for n in (0..40).rev() {
        let client = (family.client(), 1000 + n);
        let packet = Recipe::udp((family.server(0), 8080), client).from_server(0);
        let sent = packet
            .clone()
            .aged()
            .source((family.vip(0), 80))
            .to_client(CLIENT_MAC);
        steps.push(Step::reply(&packet, 0, &sent));
    }
    let name = format!(
        "{}: forty clients of one server each get their own replies",
        family.name()
    );
    Case::new(name, &world, steps)
}
