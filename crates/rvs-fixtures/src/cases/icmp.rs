//! ICMP errors about a connection's packets, followed to whom they concern.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type,
    icmpv4::{self, DestUnreachableHeader},
    icmpv6,
};
use rvs_abi::{Counter, Method};

use super::forwarding::{answer, first, forwarded, name_of, one, request, translated};
use crate::{
    Case, Recipe, Step,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            for kind in kinds(family) {
                cases.push(from_the_client(family, protocol, &kind));
                cases.push(from_the_server(family, protocol, &kind));
            }
            cases.push(to_a_direct_server(family, protocol, Method::Direct));
            cases.push(to_a_direct_server(family, protocol, Method::Tunnel));
        }
        cases.push(of_nobody(family));
        cases.push(old(family));
    }
    for extensions in [
        &[(0, 6)][..],
        &[(60, 14)],
        &[(0, 6), (60, 6), (43, 22), (60, 14)],
    ] {
        cases.push(behind_extensions(extensions, false));
        cases.push(behind_extensions(extensions, true));
    }
    cases.push(of_fragments());
    cases
}

#[derive(Clone)]
pub(super) enum Kind {
    V4(&'static str, Icmpv4Type),
    V6(&'static str, Icmpv6Type),
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::V4(name, _) | Self::V6(name, _) => name,
        }
    }

    pub(super) fn message(&self, from: IpAddr, to: IpAddr, quote: &[u8]) -> Recipe {
        match self {
            Self::V4(_, kind) => Recipe::icmp4(from, to, kind.clone(), quote),
            Self::V6(_, kind) => Recipe::icmp6(from, to, *kind, quote),
        }
    }
}

pub(super) fn kinds(family: Family) -> Vec<Kind> {
    let quench = Icmpv4Type::Unknown {
        type_u8: 4,
        code_u8: 0,
        bytes5to8: [0; 4],
    };
    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
    let transit = icmpv4::TimeExceededCode::TtlExceededInTransit;
    let problem = icmpv6::ParameterProblemHeader {
        code: icmpv6::ParameterProblemCode::UnrecognizedNextHeader,
        pointer: 40,
    };
    match family {
        Family::V4 => vec![
            Kind::V4(
                "fragmentation needed",
                Icmpv4Type::DestinationUnreachable(needed),
            ),
            Kind::V4(
                "port unreachable",
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
            ),
            Kind::V4("time exceeded", Icmpv4Type::TimeExceeded(transit)),
            Kind::V4("source quench", quench),
        ],
        Family::V6 => vec![
            Kind::V6("packet too big", Icmpv6Type::PacketTooBig { mtu: 1300 }),
            Kind::V6(
                "port unreachable",
                Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
            ),
            Kind::V6(
                "time exceeded",
                Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
            ),
            Kind::V6("parameter problem", Icmpv6Type::ParameterProblem(problem)),
        ],
    }
}

fn open(family: Family, protocol: u8, method: Method) -> Step {
    let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
    request(&first(family, protocol), method).opens(0, counts.0, counts.1)
}

/// What routers quote: the header and eight bytes. UDP's checksum is among them, and stays as it was
/// when the packet was quoted: nobody looks at it there.
pub(super) fn quoted(packet: &Recipe, as_seen: &Recipe) -> Vec<u8> {
    let header = match packet.family() {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    let mut quote = packet.ip()[..header + 8].to_vec();
    quote[header + 6..].copy_from_slice(&as_seen.ip()[header + 6..header + 8]);
    quote
}

/// An error from a router on the client's side about a reply.
fn from_the_client(family: Family, protocol: u8, kind: &Kind) -> Case {
    let reply = answer(family, protocol, "SA");
    let seen = translated(&reply, family);
    // The quoted header says how old the packet was where it failed.
    let inside = reply.aged();
    let router = family.gateway();
    let input = kind.message(router, family.vip(0), &quoted(&seen, &seen));
    let output = kind
        .message(router, family.server(0), &quoted(&inside, &seen))
        .aged()
        .to_server(0);
    let steps = vec![
        open(family, protocol, Method::Nat),
        Step::sends(&input, &output).counts(&[Counter::IcmpForward]),
    ];
    Case::new(
        format!(
            "{}, {}: {} about a reply reaches the NAT server",
            family.name(),
            name_of(protocol),
            kind.name()
        ),
        &one(family, protocol, Method::Nat),
        steps,
    )
}

/// An error from a NAT server about a request.
fn from_the_server(family: Family, protocol: u8, kind: &Kind) -> Case {
    let sent = first(family, protocol).aged();
    let seen = forwarded(&first(family, protocol), Method::Nat, 0);
    let input = kind
        .message(family.server(0), family.client(), &quoted(&seen, &seen))
        .from_server(0);
    let output = kind
        .message(family.vip(0), family.client(), &quoted(&sent, &seen))
        .aged()
        .to_client(CLIENT_MAC);
    let steps = vec![
        open(family, protocol, Method::Nat),
        Step::sends(&input, &output).counts(&[Counter::IcmpForward]),
    ];
    Case::new(
        format!(
            "{}, {}: {} about a request reaches the client from the virtual service",
            family.name(),
            name_of(protocol),
            kind.name()
        ),
        &one(family, protocol, Method::Nat),
        steps,
    )
}

/// An error about a direct-routing or tunnel server's reply.
fn to_a_direct_server(family: Family, protocol: u8, method: Method) -> Case {
    let reply = answer(family, protocol, "SA").source((family.vip(0), 80));
    let kind = kinds(family)[0].clone();
    let input = kind.message(family.gateway(), family.vip(0), &quoted(&reply, &reply));
    let aged = input.clone().aged().to_server(0);
    let output = match method {
        Method::Tunnel => aged.wrapped(family.own(), family.server(0)),
        Method::Nat | Method::Direct | Method::Local | Method::Bypass => aged,
    };
    let steps = vec![
        open(family, protocol, method),
        Step::request(&input, 0, &output).counts(&[Counter::IcmpForward]),
    ];
    Case::new(
        format!(
            "{}, {}, {method:?}: {} about a reply goes to the server as it is",
            family.name(),
            name_of(protocol),
            kind.name()
        ),
        &one(family, protocol, method),
        steps,
    )
}

/// Errors about nothing that the director knows.
fn of_nobody(family: Family) -> Case {
    let reply = translated(&answer(family, 6, "SA"), family);
    let kind = kinds(family)[0].clone();
    let error = |quote: &[u8]| kind.message(family.gateway(), family.vip(0), quote);
    let whole = quoted(&reply, &reply);
    let other = reply.clone().destination((family.client(), 40001));
    let elsewhere = kind.message(family.gateway(), family.vip(1), &whole);
    let gre = Recipe::raw(family.vip(0), family.client(), 47)
        .payload(&[0; 8])
        .ip();
    let mut late = whole.clone();
    late[7] |= 8;
    let header = whole.len() - 8;
    let mut steps = vec![
        open(family, 6, Method::Nat),
        Step::passes(&error(&quoted(&other, &other)), Counter::PassIcmp),
        Step::passes(&elsewhere, Counter::PassIcmp),
        Step::passes(&error(&gre), Counter::PassIcmp),
        Step::passes(&error(&[]), Counter::PassIcmp),
        Step::passes(&error(&whole[..header]), Counter::PassIcmp),
        Step::passes(&error(&whole[..header + 3]), Counter::PassIcmp),
        Step::passes(&error(&[0; 60]), Counter::PassIcmp),
    ];
    if family == Family::V4 {
        // A later fragment has no ports.
        steps.push(Step::passes(&error(&late), Counter::PassIcmp));
    }
    Case::new(
        format!(
            "{}: an error about no known connection goes on to the host",
            family.name()
        ),
        &one(family, 6, Method::Nat),
        steps,
    )
}

fn old(family: Family) -> Case {
    let reply = translated(&answer(family, 6, "SA"), family);
    let kind = kinds(family)[0].clone();
    let error = kind
        .message(family.gateway(), family.vip(0), &quoted(&reply, &reply))
        .ttl(1);
    Case::new(
        format!("{}: no error is sent about an error", family.name()),
        &one(family, 6, Method::Nat),
        vec![
            open(family, 6, Method::Nat),
            Step::drops(&error, Counter::DropTtl),
        ],
    )
}

/// Errors both ways that quote packets with IPv6 extension headers: their kinds, and lengths without two bytes. In an
/// atomic fragment, or not.
fn behind_extensions(extensions: &[(u8, usize)], atomic: bool) -> Case {
    let family = Family::V6;
    let extended = |packet: Recipe| {
        let packet = extensions.iter().fold(packet, |packet, (kind, length)| {
            packet.extension(*kind, &vec![0; *length])
        });
        if atomic {
            packet.fragment(0, false)
        } else {
            packet
        }
    };
    let mut length: usize = extensions.iter().map(|(_, length)| length + 2).sum();
    length += 40 + 8 + if atomic { 8 } else { 0 };
    // UDP's checksum stays as it was.
    let quote = |packet: &Recipe, seen: &Recipe| {
        let mut quote = packet.ip()[..length].to_vec();
        quote[length - 2..].copy_from_slice(&seen.ip()[length - 2..length]);
        quote
    };
    let kind = kinds(family)[0].clone();
    let mut steps = vec![open(family, 17, Method::Nat)];

    let reply = extended(answer(family, 17, ""));
    let (seen, inside) = (translated(&reply, family), reply.aged());
    let input = kind.message(family.gateway(), family.vip(0), &quote(&seen, &seen));
    let output = kind
        .message(family.gateway(), family.server(0), &quote(&inside, &seen))
        .aged()
        .to_server(0);
    steps.push(Step::sends(&input, &output).counts(&[Counter::IcmpForward]));

    let packet = extended(first(family, 17));
    let (sent, seen) = (packet.clone().aged(), forwarded(&packet, Method::Nat, 0));
    let input = kind
        .message(family.server(0), family.client(), &quote(&seen, &seen))
        .from_server(0);
    let output = kind
        .message(family.vip(0), family.client(), &quote(&sent, &seen))
        .aged()
        .to_client(CLIENT_MAC);
    steps.push(Step::sends(&input, &output).counts(&[Counter::IcmpForward]));
    // Cut off in the midst of the headers.
    let cut = &quote(&seen, &seen)[..length - 8];
    let cut = kind
        .message(family.server(0), family.client(), cut)
        .from_server(0);
    steps.push(Step::passes(&cut, Counter::PassIcmp));

    let kinds: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).collect();
    let name = format!(
        "IPv6: errors about packets with extension headers {kinds:?}{} find their connection",
        if atomic { " in an atomic fragment" } else { "" }
    );
    Case::new(name, &one(family, 17, Method::Nat), steps)
}

/// Of a packet in fragments only the first has ports.
fn of_fragments() -> Case {
    let family = Family::V6;
    let seen = translated(&answer(family, 17, ""), family);
    let kind = kinds(family)[0].clone();
    let message = |quote: &[u8]| kind.message(family.gateway(), family.vip(0), quote);
    let inside = answer(family, 17, "").aged();
    let (first, first_inside) = (seen.clone().fragment(0, true), inside.fragment(0, true));
    let mut quote = first_inside.ip()[..56].to_vec();
    quote[54..].copy_from_slice(&first.ip()[54..56]);
    let output = kind
        .message(family.gateway(), family.server(0), &quote)
        .aged()
        .to_server(0);
    let mut later = first.ip()[..56].to_vec();
    later[43] |= 8;
    let steps = vec![
        open(family, 17, Method::Nat),
        Step::sends(&message(&first.ip()[..56]), &output).counts(&[Counter::IcmpForward]),
        Step::passes(&message(&later), Counter::PassIcmp),
    ];
    Case::new(
        "IPv6: an error about a first fragment finds its connection, about a later one none",
        &one(family, 17, Method::Nat),
        steps,
    )
}
