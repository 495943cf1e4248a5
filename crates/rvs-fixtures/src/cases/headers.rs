//! Headers that are not the plainest: options, extension headers, missing checksums, classes.

use rvs_abi::{Counter, Method};

use super::forwarding::{answer, first, forwarded, name_of, next, one, request, translated};
use crate::{
    Case, Hops, Recipe, Step,
    place::{CLIENT_MAC, Family, GATEWAY_MAC, LAN, WAN, server_mac},
};

const METHODS: [Method; 3] = [Method::Nat, Method::Tunnel, Method::Direct];
/// No operation, three times, and the end.
const OPTIONS: [u8; 4] = [1, 1, 1, 0];
/// PadN over the rest of eight bytes.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in [6, 17] {
        for method in METHODS {
            cases.push(one_packet(
                format!("{method:?}, {}: IPv4 options stay", name_of(protocol)),
                &first(Family::V4, protocol).ip_options(&OPTIONS),
                protocol,
                method,
            ));
            cases.push(one_packet(
                format!(
                    "{method:?}, {}: IPv6 extension headers are looked through",
                    name_of(protocol)
                ),
                &first(Family::V6, protocol)
                    .extension(0, &PADDING)
                    .extension(60, &[[1, 12].as_slice(), &[0; 12]].concat())
                    .extension(43, &[0, 0, 0, 0, 0, 0]),
                protocol,
                method,
            ));
            cases.push(one_packet(
                format!(
                    "{method:?}, {}: an IPv6 atomic fragment is a whole packet",
                    name_of(protocol)
                ),
                &first(Family::V6, protocol).fragment(0, false),
                protocol,
                method,
            ));
        }
    }
    for family in Family::ALL {
        for tos in [0xb8, 0xb9, 0xba, 0xbb, 0x03] {
            let packet = first(family, 17).tos(tos);
            // "Congestion experienced" stays inside.
            let outer = if tos & 3 == 3 { tos - 1 } else { tos };
            let aged = packet.clone().aged().to_server(0);
            let wrapped = aged.wrapped(family.own(), family.server(0)).tos(outer);
            cases.push(Case::new(
                format!(
                    "{}: a tunnel shows the class {tos:#04x} as {outer:#04x}",
                    family.name()
                ),
                &one(family, 17, Method::Tunnel),
                vec![Step::request(&packet, 0, &wrapped).opens(0, 0, 1)],
            ));
        }
        cases.extend(ways(family));
    }
    cases.push(no_checksum());
    cases.push(padded());
    cases.push(disguised());
    cases
}

fn one_packet(name: String, packet: &Recipe, protocol: u8, method: Method) -> Case {
    let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
    let mut steps = vec![
        request(packet, method).opens(0, counts.0, counts.1),
        request(packet, method),
    ];
    if method == Method::Nat && packet.family() == Family::V4 {
        let reply = answer(Family::V4, protocol, "SA").ip_options(&OPTIONS);
        steps.push(Step::reply(&reply, 0, &translated(&reply, Family::V4)));
    }
    Case::new(name, &one(packet.family(), protocol, method), steps)
}

fn no_checksum() -> Case {
    let family = Family::V4;
    let packet = first(family, 17).without_checksum();
    let reply = answer(family, 17, "").without_checksum();
    let steps = vec![
        request(&packet, Method::Nat).opens(0, 0, 1),
        Step::reply(&reply, 0, &translated(&reply, family)),
        request(&packet, Method::Nat),
    ];
    Case::new(
        "a UDP datagram without checksum stays without",
        &one(family, 17, Method::Nat),
        steps,
    )
}

/// IPv4 options with the bytes of a transport header do not pass for one.
fn disguised() -> Case {
    let family = Family::V4;
    let ports = [40000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
    let packet = first(family, 17)
        .destination((family.vip(0), 81))
        .ip_options(&[ports.as_slice(), &[0, 8, 0, 0]].concat());
    let steps = vec![
        request(&first(family, 17), Method::Nat).opens(0, 0, 1),
        Step::passes(&packet, Counter::PassNoService),
    ];
    Case::new(
        "options that look like a transport header are none",
        &one(family, 17, Method::Nat),
        steps,
    )
}

/// Ethernet's shortest frame is longer than a short datagram.
fn padded() -> Case {
    let packet = first(Family::V4, 17).payload(b"x");
    let pad = |recipe: &Recipe| {
        let mut frame = recipe.frame();
        frame.resize(60, 0);
        frame
    };
    let step = Step::framed(pad(&packet), pad(&forwarded(&packet, Method::Nat, 0)))
        .opens(0, 0, 1)
        .moves(0, |stats, _| {
            stats.packets_in += 1;
            stats.bytes_in += 29;
        });
    Case::new(
        "padding behind a short packet is not counted",
        &one(Family::V4, 17, Method::Nat),
        vec![step],
    )
}

/// What the director knows of the way.
fn ways(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for hops in [Hops::NoNeighbour, Hops::Stale, Hops::Nothing] {
        for method in METHODS {
            let packet = first(family, 6);
            // Where the kernel looks the neighbour up, the old addresses stay until then.
            let sent = forwarded(&packet, method, 0);
            let sent = if hops == Hops::Nothing {
                sent
            } else {
                sent.macs(WAN, CLIENT_MAC)
            };
            cases.push(Case::new(
                format!(
                    "{}, {method:?}: a server is reached with hop {hops:?}",
                    family.name()
                ),
                &one(family, 6, method).but(|server| server.hops = hops),
                vec![
                    Step::request(&packet, 0, &sent).opens(0, 1, 0),
                    Step::request(&packet, 0, &sent),
                ],
            ));
        }
    }
    for method in METHODS {
        // Host 40 has no known neighbour: the route only says that the packet fits.
        let packet = first(family, 6);
        let sent = forwarded(&packet, method, 40).macs(WAN, CLIENT_MAC);
        cases.push(Case::new(
            format!(
                "{}, {method:?}: a server of which nothing is known at all is reached",
                family.name()
            ),
            &one(family, 6, method).but(|server| {
                server.host = 40;
                server.hops = Hops::Nothing;
            }),
            vec![Step::request(&packet, 0, &sent).opens(0, 1, 0)],
        ));
    }
    let packet = first(family, 6);
    cases.push(Case::new(
        format!(
            "{}: nothing goes into a tunnel that has no address of its own yet",
            family.name()
        ),
        &one(family, 6, Method::Tunnel).but(|server| server.hops = Hops::Unasked),
        vec![
            Step::drops(&packet, Counter::DropNoRoute).opens(0, 1, 0),
            Step::drops(&packet, Counter::DropNoRoute),
        ],
    ));
    let clients = [
        ("behind a gateway", family.far(), (GATEWAY_MAC, WAN)),
        (
            "whose link address is not known",
            family.stranger(),
            (LAN, server_mac(0)),
        ),
    ];
    for (name, address, macs) in clients {
        let client = (address, 40000);
        let packet = first(family, 6).source(client);
        let reply = answer(family, 6, "SA").destination(client);
        cases.push(Case::new(
            format!("{}: a reply to a client {name} leaves", family.name()),
            &one(family, 6, Method::Nat),
            vec![
                request(&packet, Method::Nat).opens(0, 1, 0),
                Step::reply(&reply, 0, &translated(&reply, family).macs(macs.0, macs.1)),
                request(&next(family, 6).source(client), Method::Nat),
            ],
        ));
    }
    cases
}
