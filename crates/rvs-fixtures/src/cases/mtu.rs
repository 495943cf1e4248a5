//! What is too big, and what is too old: the answers, to the byte.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type,
    icmpv4::{self, DestUnreachableHeader},
    icmpv6,
};
use rvs_abi::{Counter, Method};
use rvs_core::Tables as _;

use super::forwarding::{answer, first, forwarded, name_of, next, one, request, translated};
use crate::{
    Case, Recipe, Step, World,
    place::{Family, NARROW_MAC, NARROW_MTU},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            cases.push(ttl_of_a_request(family, protocol));
            cases.push(ttl_of_a_reply(family, protocol));
            cases.push(reply_too_big(family, protocol));
            for method in [Method::Nat, Method::Tunnel, Method::Direct] {
                cases.push(request_too_big(family, protocol, method));
            }
        }
        cases.push(super_packet_fits(family, Method::Nat));
        cases.push(super_packet_fits(family, Method::Tunnel));
        cases.push(super_packet_fits(family, Method::Direct));
        cases.push(super_packet_too_big(family));
        cases.push(super_reply(family));
        cases.push(partial(family, 6));
        cases.push(partial(family, 17));
        cases.push(limited(family));
    }
    cases.push(may_be_fragmented());
    cases.push(may_be_fragmented_in_a_tunnel());
    cases
}

/// What the director sends.
pub(super) enum Error {
    TooBig(u32),
    Ttl,
    Unreachable,
}

/// What of a packet the director quotes: its headers, and forty bytes more where they are there; behind TCP and UDP
/// a word that balances their checksum.
fn quote(packet: &Recipe, protocol: u8) -> Vec<u8> {
    let bytes = packet.ip();
    let network = match packet.family() {
        Family::V4 => usize::from(bytes[0] & 15) * 4,
        Family::V6 => 40,
    };
    let headers = network + if protocol == 6 { 20 } else { 8 };
    let length = if bytes.len() >= headers + 40 {
        headers + 40
    } else {
        headers
    };
    let mut quote = bytes[..length].to_vec();
    if protocol == 6 || protocol == 17 {
        let place = network + if protocol == 6 { 16 } else { 6 };
        let checksum = u16::from_be_bytes([quote[place], quote[place + 1]]);
        let sum = quote[network..].chunks(2).fold(0, |sum, pair| {
            (sum + u64::from(u16::from_be_bytes([pair[0], pair[1]]))) % 0xffff
        });
        // What makes the sum of all the complement of the checksum; zero is written as what it comes out as.
        let missing = (0xffff * 2 - u64::from(checksum) - sum) % 0xffff;
        let missing = if missing == 0 { 0xffff } else { missing as u16 };
        quote.extend(missing.to_be_bytes());
        quote.extend([0, 0]);
    }
    quote
}

/// The director's error about `packet`.
pub(super) fn error(
    from: IpAddr,
    to: IpAddr,
    packet: &Recipe,
    protocol: u8,
    what: &Error,
) -> Recipe {
    let quote = quote(packet, protocol);
    match packet.family() {
        Family::V4 => {
            let kind = match what {
                Error::TooBig(mtu) => {
                    let next_hop_mtu = *mtu as u16;
                    let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
                    Icmpv4Type::DestinationUnreachable(header)
                }
                Error::Ttl => {
                    Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit)
                }
                Error::Unreachable => {
                    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port)
                }
            };
            Recipe::icmp4(from, to, kind, &quote)
                .tos(0xc0)
                .identification(0)
        }
        Family::V6 => {
            let kind = match what {
                Error::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: *mtu },
                Error::Ttl => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
                Error::Unreachable => {
                    Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port)
                }
            };
            Recipe::icmp6(from, to, kind, &quote)
        }
    }
}

fn open(family: Family, protocol: u8, method: Method) -> Step {
    let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
    request(&first(family, protocol), method).opens(0, counts.0, counts.1)
}

fn name(family: Family, protocol: u8, text: &str) -> String {
    format!("{}, {}: {text}", family.name(), name_of(protocol))
}

fn ttl_of_a_request(family: Family, protocol: u8) -> Case {
    let old = next(family, protocol).ttl(1);
    let answer = error(family.vip(0), family.client(), &old, protocol, &Error::Ttl);
    let steps = vec![
        open(family, protocol, Method::Nat),
        Step::answers(&old, &answer, &[Counter::AnswerTtl]),
        request(&next(family, protocol).ttl(2), Method::Nat),
    ];
    let name = name(
        family,
        protocol,
        "a request with one hop left is answered with time exceeded",
    );
    Case::new(name, &one(family, protocol, Method::Nat), steps)
}

fn ttl_of_a_reply(family: Family, protocol: u8) -> Case {
    let old = answer(family, protocol, "SA").ttl(1);
    let own = error(family.own(), family.server(0), &old, protocol, &Error::Ttl);
    let steps = vec![
        open(family, protocol, Method::Nat),
        Step::answers(&old, &own, &[Counter::AnswerTtl]),
    ];
    let name = name(
        family,
        protocol,
        "a reply with one hop left is answered with time exceeded, by the director's own address",
    );
    Case::new(name, &one(family, protocol, Method::Nat), steps)
}

fn request_too_big(family: Family, protocol: u8, method: Method) -> Case {
    let overhead = match (method, family) {
        (Method::Tunnel, Family::V4) => 20,
        (Method::Tunnel, Family::V6) => 40,
        (Method::Nat | Method::Direct | Method::Local | Method::Bypass, _) => 0,
    };
    let room = 1440 - overhead;
    let world = one(family, protocol, method).but(|server| server.mtu = 1440);
    let large = next(family, protocol).sized(room + 1);
    let what = Error::TooBig(room as u32);
    let steps = vec![
        open(family, protocol, method),
        Step::answers(
            &large,
            &error(family.vip(0), family.client(), &large, protocol, &what),
            &[Counter::AnswerTooBig],
        ),
        request(&next(family, protocol).sized(room), method),
    ];
    let text =
        format!("{method:?}: a request one byte too long is answered with the MTU that fits");
    Case::new(name(family, protocol, &text), &world, steps)
}

fn reply_too_big(family: Family, protocol: u8) -> Case {
    let client = (family.narrow(), 40000);
    let reply = |length| {
        answer(family, protocol, "A")
            .destination(client)
            .sized(length)
    };
    let large = reply(NARROW_MTU as usize + 1);
    let fits = reply(NARROW_MTU as usize);
    let request = first(family, protocol).source(client);
    let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
    let what = Error::TooBig(NARROW_MTU);
    let steps = vec![
        Step::request(&request, 0, &forwarded(&request, Method::Nat, 0))
            .opens(0, counts.0, counts.1),
        Step::answers(
            &large,
            &error(family.own(), family.server(0), &large, protocol, &what),
            &[Counter::AnswerTooBig],
        ),
        Step::reply(&fits, 0, &translated(&fits, family).to_client(NARROW_MAC)),
    ];
    let text = "a reply too long for the client's route is answered, by the director's own address";
    Case::new(
        name(family, protocol, text),
        &one(family, protocol, Method::Nat),
        steps,
    )
}

fn may_be_fragmented() -> Case {
    let family = Family::V4;
    let world = one(family, 17, Method::Nat).but(|server| server.mtu = 1440);
    let large = next(family, 17).may_fragment().sized(1441);
    let steps = vec![
        open(family, 17, Method::Nat),
        Step::drops(&large, Counter::DropTooBig),
        request(&next(family, 17).may_fragment().sized(1440), Method::Nat),
    ];
    Case::new(
        "a request too long that might be fragmented is dropped and counted",
        &world,
        steps,
    )
}

fn may_be_fragmented_in_a_tunnel() -> Case {
    let family = Family::V4;
    let packet = first(family, 17).may_fragment();
    let world = one(family, 17, Method::Tunnel);
    let identification = world.memory(&crate::Surroundings::default()).random() as u16;
    let wrapped = forwarded(&packet, Method::Tunnel, 0).identification(identification.to_be());
    let steps = vec![Step::request(&packet, 0, &wrapped).opens(0, 0, 1)];
    Case::new(
        "a packet that may be fragmented may be so in its tunnel",
        &world,
        steps,
    )
}

/// Three segments of 1,000 bytes (a test run takes no frame of a page); lengths in headers are of the whole.
fn super_packet(family: Family) -> Recipe {
    next(family, 6).payload(&[0x5a; 3000])
}

fn counted(step: Step, segments: u64, headers: u64) -> Step {
    step.moves(0, move |stats, _| {
        stats.packets_in = segments;
        stats.bytes_in = 3000 + segments * headers;
    })
}

fn super_packet_fits(family: Family, method: Method) -> Case {
    let packet = super_packet(family);
    let headers = if family == Family::V4 { 40 } else { 60 };
    let step = request(&packet, method).segmented(3, 1000);
    let steps = vec![open(family, 6, method), counted(step, 3, headers)];
    let text =
        format!("{method:?}: a super-packet is forwarded whole, and counted by its segments");
    let name = format!("{}: {text}", family.name());
    let case = Case::new(name, &one(family, 6, method), steps);
    if method == Method::Tunnel {
        case.native_only(
            "a test run's super-packets have no gso_type; room is only made in those that have",
        )
    } else {
        case
    }
}

fn super_packet_too_big(family: Family) -> Case {
    let headers = if family == Family::V4 { 40 } else { 60 };
    let world = one(family, 6, Method::Nat).but(|server| server.mtu = 1000 + headers - 1);
    let packet = super_packet(family);
    let what = Error::TooBig(1000 + headers - 1);
    let step = Step::answers(
        &packet,
        &error(family.vip(0), family.client(), &packet, 6, &what),
        &[Counter::AnswerTooBig],
    );
    let steps = vec![open(family, 6, Method::Nat), step.segmented(3, 1000)];
    let text = "a super-packet whose segments are too long is answered";
    Case::new(format!("{}: {text}", family.name()), &world, steps)
}

fn super_reply(family: Family) -> Case {
    let headers = if family == Family::V4 { 40 } else { 60 };
    let packet = answer(family, 6, "A").payload(&[0xa5; 3000]);
    let step = Step::sends(&packet, &translated(&packet, family)).moves(0, move |stats, _| {
        stats.packets_out = 3;
        stats.bytes_out = 3000 + 3 * headers;
    });
    let steps = vec![open(family, 6, Method::Nat), step.segmented(3, 1000)];
    let text = "a reply's super-packet is forwarded whole, and counted by its segments";
    Case::new(
        format!("{}: {text}", family.name()),
        &one(family, 6, Method::Nat),
        steps,
    )
}

fn partial(family: Family, protocol: u8) -> Case {
    let reply = answer(family, protocol, "SA");
    let steps = vec![
        open(family, protocol, Method::Nat).partial(),
        Step::reply(&reply, 0, &translated(&reply, family)).partial(),
        request(&next(family, protocol), Method::Nat).partial(),
    ];
    let text =
        "NAT of a packet whose checksum hardware will fill in changes the pseudo-header's part";
    Case::new(
        name(family, protocol, text),
        &one(family, protocol, Method::Nat),
        steps,
    )
    .native_only("a test run makes packets whose checksums are whole; ip_summed cannot be set")
}

fn limited(family: Family) -> Case {
    let world = World {
        icmp_burst: 0,
        ..one(family, 6, Method::Nat).but(|server| server.mtu = 1440)
    };
    let steps = vec![
        open(family, 6, Method::Nat),
        Step::drops(&next(family, 6).sized(1500), Counter::DropTooBig)
            .counts(&[Counter::IcmpLimited]),
        Step::drops(&next(family, 6).ttl(1), Counter::DropTtl).counts(&[Counter::IcmpLimited]),
    ];
    Case::new(
        format!("{}: answers are limited", family.name()),
        &world,
        steps,
    )
}
