//! What is refused, and what is none of the director's business.

use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type};
use rvs_abi::{Counter, Method, Service, Settings};

use super::{
    forwarding::{answer, first, forwarded, name_of, next, one, request},
    mtu::{Error, error},
};
use crate::{Case, Edit, Recipe, Step, World, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            cases.push(nobody(family, protocol));
        }
        cases.extend(refused(family));
        cases.push(strangers(family));
        cases.push(martians(family));
        cases.push(unknown(family));
    }
    cases
}

fn nobody(family: Family, protocol: u8) -> Case {
    let packet = first(family, protocol);
    let unreachable = error(
        family.vip(0),
        family.client(),
        &packet,
        protocol,
        &Error::Unreachable,
    );
    let counters = [Counter::DropNoDestination, Counter::AnswerUnreachable];
    let world = World::new().service(family.vip(0), 80, protocol);
    Case::new(
        format!(
            "{}, {}: a service without servers answers port unreachable",
            family.name(),
            name_of(protocol)
        ),
        &world,
        vec![Step::answers(&packet, &unreachable, &counters)],
    )
}

fn refused(family: Family) -> Vec<Case> {
    let name = |text: &str| format!("{}: {text}", family.name());
    let syn = |port| next(family, 6).flags("S").port(port);
    let at = |port, method, server, host| {
        Step::request(&syn(port), server, &forwarded(&syn(port), method, host))
    };
    let nat = one(family, 6, Method::Nat);
    let direct = one(family, 6, Method::Direct);
    let mut cases = Vec::new();
    let unreachable = error(
        family.vip(0),
        family.client(),
        &syn(40001),
        6,
        &Error::Unreachable,
    );
    cases.push(Case::new(
        name("weight 0 keeps what is there and takes nothing new"),
        &direct,
        vec![
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            Step::Edit(Edit::Weight(0, 0)),
            request(&next(family, 6), Method::Direct),
            Step::answers(
                &syn(40001),
                &unreachable,
                &[Counter::DropNoDestination, Counter::AnswerUnreachable],
            ),
        ],
    ));
    cases.push(Case::new(
        name("weight 0 leaves new connections to the others"),
        &direct.clone().server(1, Method::Direct),
        vec![
            Step::Edit(Edit::Weight(0, 0)),
            at(40000, Method::Direct, 1, 1).opens(1, 1, 0),
            at(40001, Method::Direct, 1, 1).opens(1, 2, 0),
        ],
    ));
    cases.push(Case::new(
        name("an answer that nobody serves is limited too"),
        &World {
            icmp_burst: 0,
            ..World::new().service(family.vip(0), 80, 6)
        },
        vec![Step::drops(&syn(40000), Counter::DropNoDestination).counts(&[Counter::IcmpLimited])],
    ));
    cases.push(Case::new(
        name("a full table drops a new connection and serves the old"),
        &direct.clone().slots(1),
        vec![
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            Step::drops(&syn(40001), Counter::DropTableFull),
            request(&next(family, 6), Method::Direct),
            Step::drops(&syn(40001), Counter::DropTableFull),
        ],
    ));
    for (method, slots) in [(Method::Direct, 1), (Method::Nat, 2)] {
        let world = World {
            quarantine: 0,
            idle_at_once: true,
            ..one(family, 6, method).slots(slots)
        };
        cases.push(Case::new(
            name(&format!(
                "{method:?}: a full table ends what is idle, for the client's next try"
            )),
            &world,
            vec![
                at(40000, method, 0, 0).opens(0, 1, 0),
                Step::drops(&syn(40001), Counter::DropTableFull)
                    .counts(&[Counter::MadeRoom])
                    .census(0, 0, 0),
                at(40001, method, 0, 0).opens(0, 1, 0),
            ],
        ));
        let world = World {
            quarantine: 0,
            ..one(family, 6, method).slots(slots)
        };
        cases.push(Case::new(
            name(&format!(
                "{method:?}: a full table ends what is closed, for the client's next try"
            )),
            &world,
            vec![
                at(40000, method, 0, 0).opens(0, 1, 0),
                request(&next(family, 6), method),
                request(&next(family, 6).flags("R"), method).census(0, 0, 1),
                Step::drops(&syn(40001), Counter::DropTableFull)
                    .counts(&[Counter::MadeRoom])
                    .census(0, 0, 0),
                at(40001, method, 0, 0).opens(0, 1, 0),
            ],
        ));
    }
    for (ticks_per_second, makes_way) in [(0, true), (1 << 20, false)] {
        let what = if makes_way {
            "a client that has said all and is silent makes way"
        } else {
            "a client that has said all has a second for its acknowledgements"
        };
        let mut steps = vec![
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            request(&next(family, 6), Method::Direct),
            request(&next(family, 6).flags("FA"), Method::Direct).census(0, 0, 1),
        ];
        let second = Step::drops(&syn(40001), Counter::DropTableFull);
        if makes_way {
            steps.push(second.counts(&[Counter::MadeRoom]).census(0, 0, 0));
        } else {
            steps.extend([second, request(&next(family, 6), Method::Direct)]);
        }
        let world = World {
            quarantine: 0,
            ticks_per_second,
            ..one(family, 6, Method::Direct).slots(1)
        };
        cases.push(Case::new(name(what), &world, steps));
    }
    for (flags, ticks_per_second, makes_way) in [
        (Settings::DEFAULTS | Settings::DROP_ENTRY, 0, true),
        (Settings::DEFAULTS, 0, false),
        (Settings::DEFAULTS | Settings::DROP_ENTRY, 1 << 20, false),
    ] {
        for (method, slots) in [(Method::Direct, 1), (Method::Nat, 2)] {
            let world = World {
                quarantine: 0,
                flags,
                ticks_per_second,
                ..one(family, 6, method).slots(slots)
            };
            let what = match (makes_way, ticks_per_second) {
                (true, _) => "a half-open connection makes way while drop_entry is in force",
                (false, 0) => "a half-open connection does not make way without drop_entry",
                (false, _) => "a half-open connection has a second even with drop_entry",
            };
            let second = Step::drops(&syn(40001), Counter::DropTableFull);
            let steps = if makes_way {
                vec![
                    at(40000, method, 0, 0).opens(0, 1, 0),
                    second.counts(&[Counter::MadeRoom]).census(0, 0, 0),
                    at(40001, method, 0, 0).opens(0, 1, 0),
                ]
            } else {
                vec![at(40000, method, 0, 0).opens(0, 1, 0), second]
            };
            cases.push(Case::new(
                name(&format!("{method:?}: {what}")),
                &world,
                steps,
            ));
        }
    }
    cases.push(Case::new(
        name("an established connection stays whatever the defence"),
        &World {
            quarantine: 0,
            flags: Settings::DEFAULTS | Settings::DROP_ENTRY,
            ticks_per_second: 0,
            ..one(family, 6, Method::Direct).slots(1)
        },
        vec![
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            request(&next(family, 6), Method::Direct),
            Step::drops(&syn(40001), Counter::DropTableFull),
        ],
    ));
    cases.push(Case::new(
        name("a table with room for half a NAT connection has none"),
        &nat.clone().slots(1),
        vec![
            Step::drops(&syn(40000), Counter::DropTableFull),
            Step::drops(&syn(40000), Counter::DropTableFull),
        ],
    ));
    // Two services that share host 0's port.
    let shared = nat
        .clone()
        .service(family.vip(1), 80, 6)
        .server(0, Method::Nat);
    let second = |host| {
        let packet = syn(40000).destination((family.vip(1), 80));
        let sent = forwarded(&packet, Method::Nat, host);
        (packet, sent)
    };
    let (packet, sent) = second(1);
    cases.push(Case::new(
        name("a server that has a connection with this client's port gives way to another"),
        &shared.clone().server(1, Method::Nat),
        vec![
            at(40000, Method::Nat, 0, 0).opens(0, 1, 0),
            Step::request(&packet, 2, &sent)
                .opens(2, 1, 0)
                .counts(&[Counter::Rescheduled]),
            request(&next(family, 6), Method::Nat),
        ],
    ));
    cases.push(Case::new(
        name("where every server has a connection with this client's port, a new one is dropped"),
        &shared,
        vec![
            at(40000, Method::Nat, 0, 0).opens(0, 1, 0),
            Step::drops(&packet, Counter::DropReplyTaken).counts(&[Counter::Rescheduled]),
            request(&next(family, 6), Method::Nat),
        ],
    ));
    let (packet, sent) = second(0);
    let closed = answer(family, 6, "RA");
    cases.push(Case::new(
        name("a closed connection makes way for one that needs its reply tuple"),
        &shared,
        vec![
            at(40000, Method::Nat, 0, 0).opens(0, 1, 0),
            Step::reply(&closed, 0, &super::forwarding::translated(&closed, family))
                .census(0, 0, 1),
            Step::request(&packet, 1, &sent)
                .opens(1, 1, 0)
                .census(0, 0, 0)
                .counts(&[Counter::Reused]),
        ],
    ));
    cases.push(Case::new(
        name("an inactive director serves what is there and takes nothing new"),
        &direct,
        vec![
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            Step::Edit(Edit::Flags(0)),
            request(&next(family, 6), Method::Direct),
            Step::drops(&syn(40001), Counter::DropInactive),
        ],
    ));
    let takeover = Edit::Takeover(1 << 20);
    cases.push(Case::new(
        name("during a takeover a packet of no known connection is dropped, and new ones are made"),
        &direct,
        vec![
            Step::Edit(takeover),
            Step::drops(&next(family, 6), Counter::DropTakeover),
            at(40000, Method::Direct, 0, 0).opens(0, 1, 0),
            request(&next(family, 6), Method::Direct),
        ],
    ));
    // Whose connection, or whose template, may be in the other table.
    let other = next(family, 17).port(40001);
    let datagram = first(family, 17);
    let udp = one(family, 17, Method::Direct);
    cases.push(Case::new(
        name("during a takeover a datagram of no known connection is dropped"),
        &udp,
        vec![
            request(&datagram, Method::Direct).opens(0, 0, 1),
            Step::Edit(takeover),
            Step::drops(&other, Counter::DropTakeover),
            request(&datagram, Method::Direct),
            Step::Edit(Edit::Takeover(-1)),
            request(&other, Method::Direct).opens(0, 0, 2),
        ],
    ));
    let once = World::new()
        .service(family.vip(0), 80, 17)
        .with_service(|service| service.flags |= Service::ONE_PACKET);
    cases.push(Case::new(
        name("during a takeover a datagram that makes no connection is forwarded"),
        &once.server(0, Method::Direct),
        vec![
            Step::Edit(takeover),
            request(&datagram, Method::Direct).opens(0, 0, 0),
        ],
    ));
    let persistent = World::new().service(family.vip(0), 80, 6).persistent(75000);
    let stranger = syn(40000).source((family.own(), 40000));
    cases.push(Case::new(
        name("during a takeover a client of a persistent service that is not known is dropped"),
        &persistent.server(0, Method::Direct),
        vec![
            request(&syn(40000), Method::Direct).opens(0, 1, 0),
            Step::Edit(takeover),
            Step::drops(&stranger, Counter::DropTakeover),
            request(&syn(40001), Method::Direct).opens(0, 2, 0),
            Step::Edit(Edit::Takeover(-1)),
            request(&stranger, Method::Direct).opens(0, 3, 0),
        ],
    ));
    cases.push(Case::new(
        name("during a takeover a NAT server's packet of no known connection is dropped"),
        &nat,
        vec![
            Step::Edit(takeover),
            Step::drops(&answer(family, 6, "A"), Counter::DropTakeover),
        ],
    ));
    let nowhere = (family.nowhere(), 40000);
    let reply = answer(family, 6, "SA").destination(nowhere);
    cases.push(Case::new(
        name("a reply to whom no route leads is dropped"),
        &nat,
        vec![
            request(&first(family, 6).source(nowhere), Method::Nat).opens(0, 1, 0),
            Step::drops(&reply, Counter::DropNoRoute),
        ],
    ));
    cases
}

/// Nothing of these concerns the director.
fn strangers(family: Family) -> Case {
    let client = (family.client(), 40000);
    let echo = IcmpEchoHeader { id: 7, seq: 1 };
    let ping = match family {
        Family::V4 => Recipe::icmp4(
            family.client(),
            family.vip(0),
            Icmpv4Type::EchoRequest(echo),
            b"ping",
        ),
        Family::V6 => Recipe::icmp6(
            family.client(),
            family.vip(0),
            Icmpv6Type::EchoRequest(echo),
            b"ping",
        ),
    };
    let mut arp = first(family, 6).frame();
    arp[12..14].copy_from_slice(&[8, 6]);
    let steps = vec![
        Step::passes(
            &first(family, 6).destination((family.vip(0), 81)),
            Counter::PassNoService,
        ),
        Step::passes(
            &first(family, 6).destination((family.vip(1), 80)),
            Counter::PassNoService,
        ),
        Step::passes(
            &Recipe::udp(client, (family.vip(0), 80)),
            Counter::PassNoService,
        ),
        Step::passes(&answer(family, 6, "SA"), Counter::PassNoService),
        Step::passes(
            &Recipe::tcp((family.vip(0), 80), client, "SA").from_server(0),
            Counter::PassNoService,
        ),
        Step::passes(
            &Recipe::raw(family.client(), family.vip(0), 47).payload(b"GRE"),
            Counter::PassOther,
        ),
        Step::passes(&ping, Counter::PassIcmp),
        Step::frame_passes(arp, Counter::PassOther),
    ];
    Case::new(
        format!(
            "{}: what is for no service goes on untouched",
            family.name()
        ),
        &one(family, 6, Method::Nat),
        steps,
    )
}

fn unknown(family: Family) -> Case {
    let steps = ["A", "PA", "R", "RA", "SA", "FA", "", "SR", "SF"]
        .map(|flags| Step::passes(&next(family, 6).flags(flags), Counter::PassNoConnection));
    Case::new(
        format!(
            "{}: what belongs to no connection and begins none goes on to the host",
            family.name()
        ),
        &one(family, 6, Method::Nat),
        steps.to_vec(),
    )
}

fn martians(family: Family) -> Case {
    let sources: &[&str] = match family {
        Family::V4 => &[
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ],
        Family::V6 => &["::", "::1", "ff02::1"],
    };
    let sources = sources.iter().map(|source| source.parse().unwrap());
    // The last is that of another virtual service.
    let steps = sources.chain([family.vip(1)]).map(|source: IpAddr| {
        Step::drops(
            &first(family, 6).source((source, 40000)),
            Counter::DropMartian,
        )
    });
    Case::new(
        format!(
            "{}: nobody is served at an address that no client has",
            family.name()
        ),
        &one(family, 6, Method::Direct).service(family.vip(1), 53, 6),
        steps.collect(),
    )
}
