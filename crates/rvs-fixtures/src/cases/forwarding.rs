//! The four methods: first packets, later packets, replies.

use rvs_abi::{Counter, Method};

use crate::{
    Case, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            for method in [Method::Nat, Method::Tunnel, Method::Direct, Method::Local] {
                cases.push(forwards(family, protocol, method));
            }
            cases.push(nat_replies(family, protocol));
        }
    }
    cases
}

/// "TCP" or "UDP".
pub(super) fn name_of(protocol: u8) -> &'static str {
    if protocol == 6 { "TCP" } else { "UDP" }
}

/// The client's request to the first virtual service: a SYN, or a datagram.
pub(super) fn first(family: Family, protocol: u8) -> Recipe {
    let (client, service) = ((family.client(), 40000), (family.vip(0), 80));
    if protocol == 6 {
        Recipe::tcp(client, service, "S").tcp_options(&[2, 4, 5, 0xb4])
    } else {
        Recipe::udp(client, service)
    }
}

/// What follows it.
pub(super) fn next(family: Family, protocol: u8) -> Recipe {
    if protocol == 6 {
        first(family, protocol).tcp_options(&[]).flags("A")
    } else {
        first(family, protocol).payload(b"another question")
    }
}

/// What leaves for server `host` by this method.
pub(super) fn forwarded(packet: &Recipe, method: Method, host: usize) -> Recipe {
    let family = packet.family();
    let aged = packet.clone().aged().to_server(host);
    match method {
        Method::Nat => aged.destination((family.server(host), 8080)),
        Method::Tunnel => aged.wrapped(family.own(), family.server(host)),
        Method::Direct | Method::Local | Method::Bypass => aged,
    }
}

/// A request's step by this method to server 0.
pub(super) fn request(packet: &Recipe, method: Method) -> Step {
    if method == Method::Local {
        Step::passes(packet, Counter::PassLocal).received(0)
    } else {
        Step::request(packet, 0, &forwarded(packet, method, 0))
    }
}

/// One service with one server of this method.
pub(super) fn one(family: Family, protocol: u8, method: Method) -> World {
    World::new()
        .service(family.vip(0), 80, protocol)
        .server(0, method)
}

fn forwards(family: Family, protocol: u8, method: Method) -> Case {
    let name = format!(
        "{method:?}, {}, {}: the first packet makes a connection, the next ones follow it",
        family.name(),
        name_of(protocol)
    );
    let (opened, later) = if protocol == 6 {
        ((1, 0), (1, 0))
    } else {
        ((0, 1), (0, 1))
    };
    let steps = vec![
        request(&first(family, protocol), method).opens(0, opened.0, opened.1),
        request(&next(family, protocol), method).census(0, later.0, later.1),
        request(&next(family, protocol).payload(b"odd"), method),
        request(&next(family, protocol).payload(b"even"), method),
    ];
    Case::new(name, &one(family, protocol, method), steps)
}

/// The server's packet to the client.
pub(super) fn answer(family: Family, protocol: u8, flags: &'static str) -> Recipe {
    let (server, client) = ((family.server(0), 8080), (family.client(), 40000));
    if protocol == 6 {
        Recipe::tcp(server, client, flags)
    } else {
        Recipe::udp(server, client).payload(b"answer")
    }
    .from_server(0)
}

/// What of it leaves for the client.
pub(super) fn translated(packet: &Recipe, family: Family) -> Recipe {
    packet
        .clone()
        .aged()
        .source((family.vip(0), 80))
        .to_client(CLIENT_MAC)
}

fn nat_replies(family: Family, protocol: u8) -> Case {
    let name = format!(
        "Nat, {}, {}: replies come from the virtual service",
        family.name(),
        name_of(protocol)
    );
    let reply = |flags| {
        let packet = answer(family, protocol, flags);
        Step::reply(&packet, 0, &translated(&packet, family))
    };
    let open = if protocol == 6 { (1, 0) } else { (0, 1) };
    let steps = vec![
        request(&first(family, protocol), Method::Nat).opens(0, open.0, open.1),
        reply("SA"),
        request(&next(family, protocol), Method::Nat),
        reply("A"),
        reply("PA"),
        request(&next(family, protocol), Method::Nat),
    ];
    Case::new(name, &one(family, protocol, Method::Nat), steps)
}
