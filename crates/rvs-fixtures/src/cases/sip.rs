//! Persistence by SIP's Call-ID: what is one call, what is none, and what servers begin themselves.

use std::net::IpAddr;

use rvs_abi::{Counter, Method, Service, Settings};

use super::forwarding::{answer, first, forwarded, translated};
use crate::{
    Case, Edit, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

const LONG: u32 = 300 * 250;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for method in [Method::Nat, Method::Direct, Method::Tunnel] {
            cases.push(calls(family, method));
            cases.push(once(family, method));
        }
        cases.extend(addresses(family));
        cases.extend(forms(family));
        cases.extend(servers(family));
        cases.extend(started(family));
        cases.extend(edges(family));
    }
    cases
}

fn name(family: Family, text: &str) -> String {
    format!("SIP, {}: {text}", family.name())
}

fn world(family: Family, method: Method) -> World {
    World::new()
        .service(family.vip(0), 80, 17)
        .persistent(LONG)
        .with_service(|service| service.engine = Service::SIP)
        .with(Settings::HAS_SIP)
        .server(0, method)
        .server(1, method)
}

/// One packet, instead of connections.
fn each(world: World) -> World {
    world.with_service(|service| service.flags |= Service::ONE_PACKET)
}

/// To the letter of IPVS.
fn exact(world: World) -> World {
    world.with_service(|service| service.flags |= Service::EXACT)
}

/// A request with this line among its headers.
fn text(line: &str) -> String {
    format!(
        "INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n{line}CSeq: 1 INVITE\r\n\r\n"
    )
}

fn message(family: Family, port: u16, line: &str) -> Recipe {
    first(family, 17).port(port).payload(text(line).as_bytes())
}

fn of_call(family: Family, port: u16, call: &str) -> Recipe {
    message(family, port, &format!("Call-ID: {call}\r\n"))
}

fn to(packet: &Recipe, method: Method, server: usize) -> Step {
    Step::request(packet, server, &forwarded(packet, method, server))
}

fn counted(step: Step, server: usize) -> Step {
    step.moves(server, |stats, _| stats.connections += 1)
}

fn calls(family: Family, method: Method) -> Case {
    let step = |port, call, server| to(&of_call(family, port, call), method, server);
    Case::new(
        name(
            family,
            &format!("{method:?}: a call's messages go to one server, another call takes its turn"),
        ),
        &world(family, method),
        vec![
            step(40000, "one@a", 0).opens(0, 0, 1),
            step(40001, "two@a", 1).opens(1, 0, 1),
            step(40002, "one@a", 0).opens(0, 0, 2),
            step(40003, "two@a", 1).opens(1, 0, 2),
            step(40004, "one@b", 0).opens(0, 0, 3),
            step(40005, "one", 1).opens(1, 0, 3),
            // A connection that is there is followed, whatever is said.
            step(40000, "two@a", 0),
            to(&first(family, 17).port(40001), method, 1),
        ],
    )
}

fn once(family: Family, method: Method) -> Case {
    let step =
        |port, call, server| counted(to(&of_call(family, port, call), method, server), server);
    Case::new(
        name(
            family,
            &format!("{method:?}, one packet: every message follows its call"),
        ),
        &each(world(family, method)),
        vec![
            step(40000, "one@a", 0),
            step(40000, "two@a", 1),
            step(40000, "one@a", 0),
            step(40001, "two@a", 1),
            Step::drops(&first(family, 17), Counter::DropNoCall),
        ],
    )
}

/// What counts of the client's address.
fn addresses(family: Family) -> Vec<Case> {
    let from = |client: IpAddr, port, server| {
        let packet = of_call(family, port, "one@a").source((client, port));
        to(&packet, Method::Direct, server)
    };
    let plain = world(family, Method::Direct);
    let wide = plain.clone().with_service(|service| {
        service.netmask = match family {
            Family::V4 => 0,
            Family::V6 => 16,
        };
    });
    let both = |name_: &str, world: &World, second: usize| {
        let count = if second == 0 { 2 } else { 1 };
        Case::new(
            name(family, name_),
            world,
            vec![
                from(family.client(), 40000, 0).opens(0, 0, 1),
                from(family.far(), 40000, second).opens(second, 0, count),
            ],
        )
    };
    vec![
        both("one call from two addresses goes to one server", &plain, 0),
        both(
            "to the letter of IPVS, one call from two addresses is two",
            &exact(plain.clone()),
            1,
        ),
        both(
            "to the letter of IPVS, a netmask without the address makes it one",
            &exact(wide),
            0,
        ),
        both(
            "a netmask that was asked for tells networks apart",
            &plain.with_service(|service| {
                service.netmask = match family {
                    Family::V4 => 0x00ff_ffff,
                    Family::V6 => 48,
                };
            }),
            1,
        ),
    ]
}

/// How a Call-ID may be written, and how not.
fn forms(family: Family) -> Vec<Case> {
    let direct = |port, line: &str| to(&message(family, port, line), Method::Direct, 0);
    let one = ("Call-ID: one@a\r\n", "its form");
    let taken = [
        one,
        ("call-id: one@a\r\n", "small letters"),
        ("CALL-ID: one@a\r\n", "capital letters"),
        ("i: one@a\r\n", "compact"),
        ("I:one@a\r\n", "compact, no blank"),
        ("Call-ID :\t one@a\r\n", "blanks around the colon"),
        ("Call-ID:\r\n one@a\r\n", "folded behind the colon"),
        ("Call-ID\r\n\t: one@a\r\n", "folded before the colon"),
        ("Call-ID: one@a\n", "LF alone"),
        ("Call-ID: one@a\r", "CR alone"),
        (
            "Subject: x\r\n Call-ID: two@a\r\nCall-ID: one@a\r\n",
            "not in a folded line",
        ),
        (
            "Call-ID-Info: two@a\r\nInfo: i\r\nCall-ID: one@a\r\n",
            "not in another header",
        ),
        (
            "Call-ID: @\r\nCall-ID:\r\ni: one@a\r\n",
            "not where there is no value",
        ),
        ("Call-ID: one@a\r\nCall-ID: two@a\r\n", "the first of two"),
    ];
    let mut steps = Vec::new();
    for (port, (line, _)) in (40000..).zip(taken) {
        let count = steps.len() as u32 + 1;
        steps.push(direct(port, line).opens(0, 0, count));
    }
    let mut cases = vec![Case::new(
        name(family, "a Call-ID in every form is one call"),
        &world(family, Method::Direct),
        steps,
    )];
    for (world, by) in [
        (world(family, Method::Direct), ""),
        (
            exact(world(family, Method::Direct)),
            ", to the letter of IPVS too",
        ),
    ] {
        let refused = [
            "",
            "Call-ID one@a\r\n",
            "Call-ID:\r\n",
            "Call-ID: one@\r\n",
            "Call-ID: one@a;x\r\n",
            "Call-ID: one@a@b\r\n",
            "Call-ID: one two\r\n",
            "Call-ID: one\u{e4}@a\r\n",
            "Call-Identity: one@a\r\n",
            "X-Call-ID: one@a\r\n",
            "Subject: x\r\n Call-ID: one@a\r\n",
            "ii: one@a\r\n",
        ];
        let drops = |line: &&str| Step::drops(&message(family, 40000, line), Counter::DropNoCall);
        cases.push(Case::new(
            name(family, &format!("without a Call-ID it is dropped{by}")),
            &world,
            refused.iter().map(drops).collect(),
        ));
    }
    let blank = "Call-ID: one@a \t\r\n";
    cases.push(Case::new(
        name(family, "blanks behind a Call-ID do not count"),
        &world(family, Method::Direct),
        vec![
            direct(40000, one.0).opens(0, 0, 1),
            direct(40001, blank).opens(0, 0, 2),
        ],
    ));
    cases.push(Case::new(
        name(family, "to the letter of IPVS they make it none"),
        &exact(world(family, Method::Direct)),
        vec![Step::drops(
            &message(family, 40000, blank),
            Counter::DropNoCall,
        )],
    ));
    cases.push(lengths(family));
    cases
}

fn lengths(family: Family) -> Case {
    let long = |length: usize, last: &str| format!("{}{last}", "x".repeat(length - last.len()));
    let direct =
        |port, call: &str, server| to(&of_call(family, port, call), Method::Direct, server);
    let raw = |said: &str| first(family, 17).port(40010).payload(said.as_bytes());
    let far = |filler: usize| {
        let line = format!("Subject: {}\r\nCall-ID: one@a\r\n", "s".repeat(filler));
        message(family, 40009, &line)
    };
    Case::new(
        name(family, "Call-IDs of every length, and what is cut off"),
        &world(family, Method::Direct),
        vec![
            direct(40000, &long(255, "a"), 0).opens(0, 0, 1),
            direct(40001, &long(255, "b"), 1).opens(1, 0, 1),
            direct(40002, &long(255, "a"), 0).opens(0, 0, 2),
            Step::drops(
                &of_call(family, 40003, &long(256, "a")),
                Counter::DropNoCall,
            ),
            direct(40003, "a", 0).opens(0, 0, 3),
            direct(40004, &long(8, "c"), 1).opens(1, 0, 2),
            direct(40005, &long(9, "c"), 0).opens(0, 0, 4),
            Step::drops(&raw("\r\nCall-ID: one@a"), Counter::DropNoCall),
            Step::drops(&raw("\r\nCall-ID: "), Counter::DropNoCall),
            Step::drops(&raw("\r\nCall"), Counter::DropNoCall),
            Step::drops(&raw("\r"), Counter::DropNoCall),
            Step::drops(&raw(""), Counter::DropNoCall),
            // The first line is none.
            Step::drops(&raw("Call-ID: one@a\r\n"), Counter::DropNoCall),
            to(&raw("\r\nCall-ID: one@a\r"), Method::Direct, 1).opens(1, 0, 3),
            to(&far(1200), Method::Direct, 1).opens(1, 0, 4),
        ],
    )
}

/// What becomes of a call whose server changes.
fn servers(family: Family) -> Vec<Case> {
    let direct = |port, call, server| to(&of_call(family, port, call), Method::Direct, server);
    vec![
        Case::new(
            name(family, "a removed server's call goes to another"),
            &world(family, Method::Direct),
            vec![
                direct(40000, "one@a", 0).opens(0, 0, 1),
                Step::Edit(Edit::Remove(0)),
                direct(40001, "one@a", 1)
                    .opens(1, 0, 1)
                    .counts(&[Counter::TemplateInvalid]),
                direct(40002, "one@a", 1).opens(1, 0, 2),
            ],
        ),
        Case::new(
            name(family, "a service of every port has calls of its own"),
            &world(family, Method::Direct)
                .with_service(|service| service.port = 0)
                .with(Settings::HAS_ANY_PORT),
            vec![
                direct(40000, "one@a", 0).opens(0, 0, 1),
                to(
                    &of_call(family, 40000, "one@a").destination((family.vip(0), 5061)),
                    Method::Direct,
                    0,
                )
                .opens(0, 0, 2),
            ],
        ),
    ]
}

/// What NAT servers say by themselves.
fn started(family: Family) -> Vec<Case> {
    let said = |server: usize, to: u16, payload: &[u8]| {
        Recipe::udp((family.server(server), 8080), (family.client(), to))
            .payload(payload)
            .from_server(server)
    };
    let out = |packet: &Recipe| translated(packet, family).to_client(CLIENT_MAC);
    let started = |server: usize, packet: &Recipe| {
        counted(Step::reply(packet, server, &out(packet)), server).counts(&[Counter::CallStarted])
    };
    let one = text("Call-ID: one@a\r\n");
    let two = text("Call-ID: two@a\r\n");
    let nat = |port, call| to(&of_call(family, port, call), Method::Nat, 0);
    let once = each(world(family, Method::Nat));
    let other = |world: World| world.service(family.vip(1), 80, 17).server(2, Method::Nat);
    vec![
        Case::new(
            name(
                family,
                "one packet: a NAT server's answers go out by their call",
            ),
            &once,
            vec![
                counted(nat(40000, "one@a"), 0),
                started(0, &said(0, 40000, one.as_bytes())),
                started(0, &said(0, 40001, one.as_bytes())),
                Step::passes(&said(0, 40000, b"no SIP"), Counter::PassNoService),
            ],
        ),
        Case::new(
            name(
                family,
                "one packet: a call that a NAT server begins stays with it",
            ),
            &once,
            vec![
                started(1, &said(1, 40000, one.as_bytes())),
                counted(to(&of_call(family, 40000, "one@a"), Method::Nat, 1), 1),
                counted(nat(40000, "two@a"), 0),
            ],
        ),
        Case::new(
            name(family, "a NAT server's message makes a connection"),
            &world(family, Method::Nat),
            vec![
                started(1, &said(1, 40000, one.as_bytes())).census(1, 0, 1),
                to(&first(family, 17).port(40000), Method::Nat, 1),
                Step::reply(&said(1, 40000, b"any"), 1, &out(&said(1, 40000, b"any"))),
                to(&of_call(family, 40001, "one@a"), Method::Nat, 1).opens(1, 0, 2),
            ],
        ),
        Case::new(
            name(family, "during a takeover a NAT server's message waits"),
            &world(family, Method::Nat),
            vec![
                Step::Edit(Edit::Takeover(1 << 20)),
                Step::drops(&said(1, 40000, one.as_bytes()), Counter::DropTakeover),
                Step::Edit(Edit::Takeover(-1)),
                started(1, &said(1, 40000, one.as_bytes())).census(1, 0, 1),
            ],
        ),
        Case::new(
            name(
                family,
                "a server that speaks in another's call is heard, the call stays",
            ),
            &world(family, Method::Nat),
            vec![
                nat(40000, "two@a").opens(0, 0, 1),
                started(1, &said(1, 40001, two.as_bytes())).census(1, 0, 1),
                to(&of_call(family, 40002, "two@a"), Method::Nat, 0).opens(0, 0, 2),
            ],
        ),
        Case::new(
            name(
                family,
                "a client's port that has another server's connection hears both",
            ),
            &world(family, Method::Nat),
            vec![
                nat(40000, "two@a").opens(0, 0, 1),
                started(1, &said(1, 40000, one.as_bytes())),
                Step::reply(&said(0, 40000, b"any"), 0, &out(&said(0, 40000, b"any"))),
                to(&of_call(family, 40000, "two@a"), Method::Nat, 0),
            ],
        ),
        Case::new(
            name(family, "answers in a connection go out by it"),
            &world(family, Method::Nat),
            vec![nat(40000, "one@a").opens(0, 0, 1), {
                let packet = answer(family, 17, "").payload(one.as_bytes());
                Step::reply(&packet, 0, &translated(&packet, family))
            }],
        ),
        Case::new(
            name(
                family,
                "a server of another service, or at another port, begins nothing",
            ),
            &other(world(family, Method::Nat)),
            vec![
                Step::passes(&said(2, 40000, one.as_bytes()), Counter::PassNoService),
                Step::passes(
                    &said(0, 40000, one.as_bytes()).source((family.server(0), 8081)),
                    Counter::PassNoService,
                ),
            ],
        ),
        Case::new(
            name(family, "an inactive director lets servers begin nothing"),
            &{
                let mut world = world(family, Method::Nat);
                world.schedules = false;
                world
            },
            vec![Step::passes(
                &said(0, 40000, one.as_bytes()),
                Counter::PassNoService,
            )],
        ),
        Case::new(
            name(
                family,
                "nat_icmp_send: what is no SIP is told so, what is goes out",
            ),
            &once.with(Settings::NAT_ICMP_SEND),
            vec![started(0, &said(0, 40000, one.as_bytes()))],
        ),
    ]
}

fn edges(family: Family) -> Vec<Case> {
    let marked = World::new()
        .service(family.vip(0), 0, 0)
        .marked(7)
        .persistent(LONG)
        .with_service(|service| service.engine = Service::SIP)
        .with(Settings::HAS_SIP)
        .server(0, Method::Direct)
        .server(1, Method::Direct);
    let at = |vip: usize, port, call, server| {
        let packet = of_call(family, port, call).destination((family.vip(vip), 5060));
        to(&packet, Method::Direct, server).marked(7)
    };
    vec![
        Case::new(
            name(family, "a firewall mark's calls are one at every address"),
            &marked,
            vec![
                at(0, 40000, "one@a", 0).opens(0, 0, 1),
                at(1, 40000, "one@a", 0).opens(0, 0, 2),
                at(1, 40001, "two@a", 1).opens(1, 0, 1),
                Step::drops(&first(family, 6), Counter::DropNoCall).marked(7),
            ],
        ),
        Case::new(
            name(family, "a frame's padding is not read"),
            &world(family, Method::Direct),
            vec![{
                let mut frame = first(family, 17).payload(b"\r\ni:a").frame();
                frame.extend(b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n");
                Step::frame_drops(frame, Counter::DropNoCall)
            }],
        ),
        Case::new(
            name(family, "a table without room takes no call"),
            &world(family, Method::Direct).slots(8),
            (0..9_u16)
                .map(|n| {
                    let call = format!("{n}@a");
                    let packet = of_call(family, 40000 + n, &call);
                    let server = usize::from(n % 2);
                    if n < 4 {
                        to(&packet, Method::Direct, server).opens(server, 0, u32::from(n / 2) + 1)
                    } else {
                        Step::drops(&packet, Counter::DropTableFull)
                    }
                })
                .collect(),
        ),
    ]
}
