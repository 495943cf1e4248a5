//! IPv4 that is too long for its way and may be fragmented: it goes to the daemon, with the length that fits.

use rvs_abi::{Counter, Method, Settings, Ticket};

use super::forwarding::{answer, first, forwarded, name_of, next, one, request};
use crate::{
    Case, Recipe, Step, World,
    place::{Family, NARROW_MTU},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in [6, 17] {
        for method in [Method::Nat, Method::Direct, Method::Tunnel] {
            cases.push(request_too_long(protocol, method));
            cases.push(fragments_too_long(protocol, method));
        }
        cases.push(newcomer_too_long(protocol));
        cases.push(reply_too_long(protocol));
        cases.push(tunnel_without_discovery(protocol));
    }
    cases.push(never_ipv6());
    cases.push(no_link_is_so_narrow());
    cases
}

fn name(protocol: u8, method: Method, text: &str) -> String {
    format!("IPv4, {}, {method:?}: {text}", name_of(protocol))
}

/// A server by this method, the way to which takes 1440 bytes, and the daemon.
fn world(family: Family, protocol: u8, method: Method) -> World {
    let mut world = one(family, protocol, method).but(|server| server.mtu = 1440);
    world.detours = true;
    world
}

/// How long a packet may be, by this method.
fn room(method: Method) -> usize {
    1440 - if method == Method::Tunnel { 20 } else { 0 }
}

/// The packet goes to the daemon, which is to cut it to this length.
fn goes(packet: &Recipe, room: usize) -> Step {
    let ticket = Ticket {
        kind: Ticket::CUT,
        index: room as u32,
        ..Ticket::default()
    };
    let mut bytes = packet.frame();
    for (place, word) in bytes.chunks_exact_mut(4).zip(ticket.words()) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Step::framed(packet.frame(), bytes).counts(&[Counter::CutDetour])
}

/// The connection, by a packet whose outer header, if it has one, has no random identification.
fn opened(protocol: u8, method: Method) -> Step {
    let (active, inactive) = if protocol == 6 { (1, 0) } else { (0, 1) };
    request(&first(Family::V4, protocol), method).opens(0, active, inactive)
}

fn request_too_long(protocol: u8, method: Method) -> Case {
    let room = room(method);
    let large = next(Family::V4, protocol).sized(room + 1);
    let what = super::mtu::Error::TooBig(room as u32);
    let (vip, client) = (Family::V4.vip(0), Family::V4.client());
    let told = super::mtu::error(vip, client, &large, protocol, &what);
    Case::new(
        name(protocol, method, "a request one byte too long is cut"),
        &world(Family::V4, protocol, method),
        vec![
            opened(protocol, method),
            goes(&large.clone().may_fragment(), room),
            Step::answers(&large, &told, &[Counter::AnswerTooBig]),
            request(&next(Family::V4, protocol).sized(room), method),
        ],
    )
}

fn fragments_too_long(protocol: u8, method: Method) -> Case {
    let room = room(method);
    let fragment = |offset| {
        let bytes = vec![7; 1440];
        next(Family::V4, protocol)
            .payload(&bytes)
            .fragment(offset, true)
    };
    let mut later = goes(&fragment(185), room);
    later = later.counts(&[Counter::FragmentForward]);
    Case::new(
        name(
            protocol,
            method,
            "fragments that are too long are cut again",
        ),
        &world(Family::V4, protocol, method),
        vec![opened(protocol, method), goes(&fragment(0), room), later],
    )
}

/// The connection is there when the fragments come back.
fn newcomer_too_long(protocol: u8) -> Case {
    let large = first(Family::V4, protocol).may_fragment().sized(1441);
    let (active, inactive) = if protocol == 6 { (1, 0) } else { (0, 1) };
    Case::new(
        name(
            protocol,
            Method::Nat,
            "the first packet of a connection is cut",
        ),
        &world(Family::V4, protocol, Method::Nat),
        vec![goes(&large, 1440).opens(0, active, inactive)],
    )
}

fn reply_too_long(protocol: u8) -> Case {
    let client = (Family::V4.narrow(), 40000);
    let request = first(Family::V4, protocol).source(client);
    let large = answer(Family::V4, protocol, "A")
        .destination(client)
        .sized(NARROW_MTU as usize + 1)
        .may_fragment();
    let (active, inactive) = if protocol == 6 { (1, 0) } else { (0, 1) };
    Case::new(
        name(
            protocol,
            Method::Nat,
            "a reply too long for the client's route is cut",
        ),
        &world(Family::V4, protocol, Method::Nat),
        vec![
            Step::request(&request, 0, &forwarded(&request, Method::Nat, 0))
                .opens(0, active, inactive),
            goes(&large, NARROW_MTU as usize),
        ],
    )
}

/// `pmtu_disc` off: tunnels cut what says that it must not be.
fn tunnel_without_discovery(protocol: u8) -> Case {
    let method = Method::Tunnel;
    let world = world(Family::V4, protocol, method).without(Settings::PMTU_DISC);
    let large = first(Family::V4, protocol).sized(1421);
    let (active, inactive) = if protocol == 6 { (1, 0) } else { (0, 1) };
    Case::new(
        name(
            protocol,
            method,
            "without path MTU discovery a tunnel cuts everything",
        ),
        &world,
        vec![goes(&large, 1420).opens(0, active, inactive)],
    )
}

fn never_ipv6() -> Case {
    let family = Family::V6;
    let large = first(family, 17).sized(1441);
    let what = super::mtu::Error::TooBig(1440);
    let told = super::mtu::error(family.vip(0), family.client(), &large, 17, &what);
    Case::new(
        "IPv6, UDP: nothing is cut on its way",
        &world(family, 17, Method::Nat),
        vec![
            request(&first(family, 17), Method::Nat).opens(0, 0, 1),
            Step::answers(&large, &told, &[Counter::AnswerTooBig]),
        ],
    )
}

fn no_link_is_so_narrow() -> Case {
    let mut world = one(Family::V4, 17, Method::Nat).but(|server| server.mtu = 67);
    world.detours = true;
    let large = next(Family::V4, 17).may_fragment().sized(68);
    Case::new(
        "IPv4, UDP: a way that takes less than any may is not cut for",
        &world,
        vec![
            request(&first(Family::V4, 17), Method::Nat).opens(0, 0, 1),
            Step::drops(&large, Counter::DropTooBig),
        ],
    )
}
