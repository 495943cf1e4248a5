//! AH and ESP go with the IKE connection of the same addresses.

use rvs_abi::{Counter, Method};

use super::icmp::kinds;
use crate::{
    Case, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for method in [Method::Nat, Method::Direct, Method::Tunnel] {
            for protocol in [50, 51] {
                cases.push(follows(family, method, protocol));
            }
        }
        cases.push(too_big(family));
    }
    cases
}

fn world(family: Family, method: Method) -> World {
    World::new()
        .service(family.vip(0), 500, 17)
        .server(0, method)
        .but(|server| server.port = 500)
}

fn name(family: Family, method: Method, text: &str) -> String {
    format!("{}, {method:?}: {text}", family.name())
}

/// What leaves for the server.
fn sent(packet: &Recipe, method: Method, port: u16) -> Recipe {
    let family = packet.family();
    let aged = packet.clone().aged().to_server(0);
    match method {
        Method::Nat => aged.destination((family.server(0), port)),
        Method::Tunnel => aged.wrapped(family.own(), family.server(0)),
        Method::Direct | Method::Local | Method::Bypass => aged,
    }
}

fn ike(family: Family, method: Method) -> Step {
    let packet = Recipe::udp((family.client(), 500), (family.vip(0), 500));
    Step::request(&packet, 0, &sent(&packet, method, 500)).opens(0, 0, 1)
}

fn follows(family: Family, method: Method, protocol: u8) -> Case {
    let packet = Recipe::raw(family.client(), family.vip(0), protocol).payload(&[7; 40]);
    let forwards = |packet: &Recipe| {
        Step::request(packet, 0, &sent(packet, method, 0)).counts(&[Counter::IpsecForward])
    };
    let source = if method == Method::Nat {
        family.server(0)
    } else {
        family.vip(0)
    };
    let reply = Recipe::raw(source, family.client(), protocol)
        .payload(&[9; 40])
        .from_server(0);
    let returned = |reply: &Recipe| {
        let at_client = reply
            .clone()
            .aged()
            .source((family.vip(0), 0))
            .to_client(CLIENT_MAC);
        let step = Step::reply(reply, 0, &at_client).counts(&[Counter::IpsecForward]);
        if method == Method::Nat {
            step
        } else {
            step.counts(&[Counter::DirectReply])
        }
    };
    let from_another = Recipe::raw(family.far(), family.vip(0), protocol).payload(&[7; 40]);
    let mut steps = vec![
        // Nobody has agreed on keys yet.
        Step::passes(&packet, Counter::PassOther),
        Step::passes(&reply, Counter::PassOther),
        ike(family, method),
        forwards(&packet),
        returned(&reply),
        returned(&reply.clone().fragment(0, true)),
        returned(&reply.clone().fragment(8, false)),
        Step::passes(&from_another, Counter::PassOther),
    ];
    if method != Method::Tunnel {
        steps.push(forwards(&packet.clone().fragment(0, true)));
        steps.push(forwards(&packet.clone().fragment(8, false)));
    }
    // An error about a reply.
    let kind = kinds(family)[0].clone();
    let header = if family == Family::V4 { 20 } else { 40 };
    let quote = |packet: &Recipe| packet.ip()[..header + 8].to_vec();
    let seen = reply.clone().aged().source((family.vip(0), 0));
    let error = kind.message(family.gateway(), family.vip(0), &quote(&seen));
    steps.push(
        match method {
            Method::Nat => {
                let inside = kind
                    .message(family.gateway(), family.server(0), &quote(&reply.aged()))
                    .aged()
                    .to_server(0);
                Step::sends(&error, &inside)
            }
            Method::Direct | Method::Tunnel | Method::Local | Method::Bypass => {
                Step::request(&error, 0, &sent(&error, method, 0))
            }
        }
        .counts(&[Counter::IcmpForward]),
    );
    let text = format!("protocol {protocol} follows the key exchange");
    Case::new(name(family, method, &text), &world(family, method), steps)
}

/// The client is told, as of any packet.
fn too_big(family: Family) -> Case {
    let method = Method::Direct;
    let world = world(family, method).but(|server| server.mtu = 1400);
    let packet = Recipe::raw(family.client(), family.vip(0), 50).payload(&[7; 1400]);
    let what = super::mtu::Error::TooBig(1400);
    let (vip, client) = (family.vip(0), family.client());
    let answer = super::mtu::error(vip, client, &packet, 50, &what);
    let steps = vec![
        ike(family, method),
        Step::answers(&packet, &answer, &[Counter::AnswerTooBig]).counts(&[Counter::IpsecForward]),
    ];
    Case::new(
        name(family, method, "ESP too long for the way is answered"),
        &world,
        steps,
    )
}
