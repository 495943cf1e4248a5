//! Persistence: which client comes back to which server, and what a template does.

use rvs_abi::{Counter, Method, Service, Settings};

use super::forwarding::{answer, first, forwarded, next, translated};
use crate::{
    Case, Edit, Recipe, RuleSpec, Step, World,
    place::{CLIENT_MAC, Family},
};

const LONG: u32 = 300 * 250;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for method in [Method::Nat, Method::Direct, Method::Tunnel] {
            cases.push(comes_back(family, method));
        }
        cases.extend(servers(family));
        cases.extend(networks(family));
        cases.extend(ports(family));
        cases.extend(once(family));
        cases.push(mark(family));
        cases.push(rules(family));
        cases.push(assured(family));
    }
    cases
}

fn name(family: Family, text: &str) -> String {
    format!("{}: {text}", family.name())
}

fn two(family: Family, protocol: u8, method: Method) -> World {
    World::new()
        .service(family.vip(0), 80, protocol)
        .persistent(LONG)
        .server(0, method)
        .server(1, method)
}

fn syn(family: Family, port: u16) -> Recipe {
    next(family, 6).flags("S").port(port)
}

fn to(packet: &Recipe, method: Method, server: usize) -> Step {
    Step::request(packet, server, &forwarded(packet, method, server))
}

/// Another client.
fn stranger(family: Family) -> std::net::IpAddr {
    family.own()
}

fn comes_back(family: Family, method: Method) -> Case {
    let other = |port| syn(family, port).source((stranger(family), port));
    Case::new(
        name(
            family,
            &format!("{method:?}: a client comes back to its server, another takes its turn"),
        ),
        &two(family, 6, method),
        vec![
            to(&syn(family, 40000), method, 0).opens(0, 1, 0),
            to(&syn(family, 40001), method, 0).opens(0, 2, 0),
            to(&other(40000), method, 1).opens(1, 1, 0),
            to(&syn(family, 40002), method, 0).opens(0, 3, 0),
            to(&other(40001), method, 1).opens(1, 2, 0),
            to(&next(family, 6).port(40001), method, 0),
        ],
    )
}

/// What becomes of a template whose server changes.
fn servers(family: Family) -> Vec<Case> {
    let direct = |port, server| to(&syn(family, port), Method::Direct, server);
    let world = two(family, 6, Method::Direct);
    vec![
        Case::new(
            name(
                family,
                "a removed server's template ends, and the client has a new one",
            ),
            &world,
            vec![
                direct(40000, 0).opens(0, 1, 0),
                Step::Edit(Edit::Remove(0)),
                direct(40001, 1)
                    .opens(1, 1, 0)
                    .counts(&[Counter::TemplateInvalid]),
                direct(40002, 1).opens(1, 2, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "expire_quiescent_template: a quiesced server's template ends",
            ),
            &world,
            vec![
                direct(40000, 0).opens(0, 1, 0),
                Step::Edit(Edit::Weight(0, 0)),
                direct(40001, 1)
                    .opens(1, 1, 0)
                    .counts(&[Counter::TemplateInvalid]),
                Step::Edit(Edit::Weight(0, 1)),
                direct(40002, 1).opens(1, 2, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "without expire_quiescent_template the client goes on to a quiesced server",
            ),
            &world.clone().without(Settings::EXPIRE_QUIESCENT),
            vec![
                direct(40000, 0).opens(0, 1, 0),
                Step::Edit(Edit::Weight(0, 0)),
                direct(40001, 0).opens(0, 2, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "a closed connection that a template controls is used on by a SYN",
            ),
            &world,
            vec![
                direct(40000, 0).opens(0, 1, 0),
                to(&next(family, 6), Method::Direct, 0),
                to(&next(family, 6).flags("R"), Method::Direct, 0).census(0, 0, 1),
                direct(40000, 0).census(0, 1, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "a client's template counts before its server's threshold",
            ),
            &World::new()
                .service(family.vip(0), 80, 6)
                .persistent(LONG)
                .server(0, Method::Direct)
                .but(|server| server.upper = 1),
            vec![
                direct(40000, 0).opens(0, 1, 0),
                direct(40001, 0).opens(0, 2, 0),
            ],
        ),
    ]
}

/// How much of a client's address counts.
fn networks(family: Family) -> Vec<Case> {
    let client = |last: u16| match family.client() {
        std::net::IpAddr::V4(address) => {
            let mut bytes = address.octets();
            bytes[3] = last as u8;
            std::net::IpAddr::from(bytes)
        }
        std::net::IpAddr::V6(address) => {
            let mut words = address.segments();
            words[7] = last;
            std::net::IpAddr::from(words)
        }
    };
    let from = |last, port| syn(family, port).source((client(last), port));
    let step = |last, port, server| to(&from(last, port), Method::Direct, server);
    let world = |bits: u32| {
        two(family, 6, Method::Direct).with_service(|service| {
            service.netmask = match family {
                Family::V4 => (u32::MAX << (32 - bits)).to_be(),
                Family::V6 => 96 + bits,
            };
        })
    };
    vec![
        Case::new(
            name(family, "clients of one network share a template"),
            &world(24),
            vec![
                step(10, 40000, 0).opens(0, 1, 0),
                step(200, 40001, 0).opens(0, 2, 0),
                step(11, 40002, 0).opens(0, 3, 0),
            ],
        ),
        Case::new(
            name(family, "clients of two networks do not"),
            &world(31),
            vec![
                step(10, 40000, 0).opens(0, 1, 0),
                step(11, 40001, 0).opens(0, 2, 0),
                step(12, 40000, 1).opens(1, 1, 0),
                step(13, 40001, 1).opens(1, 2, 0),
            ],
        ),
    ]
}

/// Services of more than one port.
fn ports(family: Family) -> Vec<Case> {
    let at = |vip: usize, client, port| syn(family, client).destination((family.vip(vip), port));
    let nat = |packet: &Recipe, server: usize, port| {
        let sent = packet.clone().aged().to_server(server);
        Step::request(
            packet,
            server,
            &sent.destination((family.server(server), port)),
        )
    };
    let direct = |packet: &Recipe, server| to(packet, Method::Direct, server);
    let many = World::new()
        .service(family.vip(0), 0, 6)
        .persistent(LONG)
        .with(Settings::HAS_ANY_PORT);
    let ftp = World::new()
        .service(family.vip(0), 21, 6)
        .persistent(LONG)
        .with(Settings::HAS_FTP)
        .server(0, Method::Direct)
        .server(1, Method::Direct)
        .service(family.vip(0), 80, 6)
        .server(2, Method::Direct);
    let mut udp = ftp_and_any(family).without(Settings::HAS_FTP);
    for service in &mut udp.services {
        service.protocol = 17;
    }
    let datagram = |port| Recipe::udp((family.client(), 40000), (family.vip(0), port));
    let other = |port| at(0, port, 443).source((stranger(family), port));
    let back = Recipe::tcp((family.vip(0), 443), (family.client(), 40000), "SA").from_server(0);
    let sent = back.clone().aged().to_client(CLIENT_MAC);
    vec![
        Case::new(
            name(
                family,
                "port 0: a direct reply through the director is forwarded",
            ),
            &many.clone().server(0, Method::Direct),
            vec![
                direct(&at(0, 40000, 443), 0).opens(0, 1, 0),
                Step::reply(&back, 0, &sent).counts(&[Counter::DirectReply]),
            ],
        ),
        Case::new(
            name(
                family,
                "port 0: every port of a client goes to one server, at the same port",
            ),
            &many.clone().server(0, Method::Nat).server(1, Method::Nat),
            vec![
                nat(&at(0, 40000, 80), 0, 80).opens(0, 1, 0),
                nat(&at(0, 40000, 443), 0, 443).opens(0, 2, 0),
                nat(&other(40000), 1, 443).opens(1, 1, 0),
                Step::passes(&at(1, 40000, 443), Counter::PassNoService),
            ],
        ),
        Case::new(
            name(family, "a service of the port goes before one of any port"),
            &many
                .clone()
                .server(0, Method::Direct)
                .service(family.vip(0), 443, 6)
                .server(1, Method::Direct),
            vec![
                direct(&at(0, 40000, 443), 1).opens(1, 1, 0),
                direct(&at(0, 40000, 444), 0).opens(0, 1, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "FTP: control, passive and active data connections go to one server",
            ),
            &ftp,
            vec![
                direct(&at(0, 40000, 21), 0).opens(0, 1, 0),
                direct(&at(0, 40001, 5000), 0).opens(0, 2, 0),
                // The server opens an active data connection; the client's answer is what is seen.
                direct(&at(0, 40002, 20).flags("SA"), 0).opens(0, 3, 0),
                direct(&at(0, 40003, 80), 2).opens(2, 1, 0),
                Step::passes(&at(0, 40004, 81), Counter::PassNoService),
            ],
        ),
        Case::new(
            name(
                family,
                "FTP without persistence: nothing but its own port is of it",
            ),
            &World::new()
                .service(family.vip(0), 21, 6)
                .with(Settings::HAS_FTP)
                .server(0, Method::Direct),
            vec![
                direct(&at(0, 40000, 21), 0).opens(0, 1, 0),
                Step::passes(&at(0, 40001, 5000), Counter::PassNoService),
                Step::passes(&at(0, 40002, 20), Counter::PassNoService),
            ],
        ),
        Case::new(
            name(
                family,
                "FTP without servers: what it would take for its data is the host's",
            ),
            &World::new()
                .service(family.vip(0), 21, 6)
                .persistent(LONG)
                .with(Settings::HAS_FTP),
            vec![Step::passes(&at(0, 40001, 5000), Counter::PassNoConnection)],
        ),
        Case::new(
            name(
                family,
                "FTP beside a service of any port: each remembers the client for itself",
            ),
            &ftp_and_any(family),
            vec![
                direct(&at(0, 40000, 21), 0).opens(0, 1, 0),
                direct(&at(0, 40000, 80), 1).opens(1, 1, 0),
                direct(&at(0, 40001, 21), 0).opens(0, 2, 0),
                direct(&at(0, 40001, 80), 1).opens(1, 2, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "as in IPVS, FTP and a service of any port remember a client together",
            ),
            &exact(ftp_and_any(family)),
            vec![
                direct(&at(0, 40000, 21), 0).opens(0, 1, 0),
                direct(&at(0, 40000, 80), 0).opens(0, 2, 0),
                direct(&at(0, 40001, 21), 0).opens(0, 3, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "as in IPVS, UDP's port 21 and a service of any port remember a client together",
            ),
            &exact(udp.clone()),
            vec![
                direct(&datagram(21), 0).opens(0, 0, 1),
                direct(&datagram(80), 0).opens(0, 0, 2),
            ],
        ),
        Case::new(
            name(family, "UDP's port 21 is not FTP"),
            &udp,
            vec![
                direct(&datagram(21), 0).opens(0, 0, 1),
                direct(&datagram(80), 1).opens(1, 0, 1),
            ],
        ),
        Case::new(
            name(
                family,
                "nothing begins from the port of a server's FTP data",
            ),
            &many.server(0, Method::Direct),
            vec![Step::passes(&at(0, 20, 443), Counter::PassNoConnection)],
        ),
    ]
}

/// Two services of one address that the same client asks, each with a server of its own.
fn ftp_and_any(family: Family) -> World {
    World::new()
        .service(family.vip(0), 21, 6)
        .persistent(LONG)
        .with(Settings::HAS_FTP | Settings::HAS_ANY_PORT)
        .server(0, Method::Direct)
        .service(family.vip(0), 0, 6)
        .persistent(LONG)
        .server(1, Method::Direct)
}

fn exact(mut world: World) -> World {
    for service in &mut world.services {
        service.flags |= Service::EXACT;
    }
    world
}

/// One-packet scheduling.
fn once(family: Family) -> Vec<Case> {
    let udp = first(family, 17);
    let counted = |step: Step, server| step.moves(server, |stats, _| stats.connections += 1);
    let mut cases = Vec::new();
    for method in [Method::Nat, Method::Direct, Method::Tunnel] {
        let plain = World::new()
            .service(family.vip(0), 80, 17)
            .with_service(|service| service.flags |= Service::ONE_PACKET)
            .server(0, method)
            .server(1, method);
        let step = |server| counted(to(&udp, method, server), server);
        cases.push(Case::new(
            name(
                family,
                &format!("{method:?}, one packet: every datagram takes its turn"),
            ),
            &plain,
            vec![step(0), step(1), step(0), step(1)],
        ));
        cases.push(Case::new(
            name(
                family,
                &format!(
                    "{method:?}, one packet and persistence: every datagram follows the template"
                ),
            ),
            &plain.clone().persistent(LONG),
            vec![step(0), step(0), step(0)],
        ));
    }
    let reply = answer(family, 17, "");
    let nat = World::new()
        .service(family.vip(0), 80, 17)
        .with_service(|service| service.flags |= Service::ONE_PACKET)
        .server(0, Method::Nat);
    cases.push(Case::new(
        name(
            family,
            "one packet: a NAT server's answer belongs to no connection, as in IPVS",
        ),
        &nat,
        vec![
            counted(to(&udp, Method::Nat, 0), 0),
            Step::passes(&reply, Counter::PassNoService),
        ],
    ));
    cases
}

/// A service by firewall mark, of packets that bear it.
fn mark(family: Family) -> Case {
    let world = World::new()
        .service(family.vip(0), 0, 0)
        .marked(7)
        .persistent(LONG)
        .server(0, Method::Direct)
        .server(1, Method::Direct);
    let at = |vip: usize, client, port| syn(family, client).destination((family.vip(vip), port));
    let marked = |packet: &Recipe, server| to(packet, Method::Direct, server).marked(7);
    let datagram = Recipe::udp((family.client(), 40009), (family.vip(1), 53));
    let answer = Recipe::udp((family.vip(1), 53), (family.client(), 40009)).from_server(0);
    let sent = answer.clone().aged().to_client(CLIENT_MAC);
    Case::new(
        name(
            family,
            "a firewall mark's service takes whatever bears the mark",
        ),
        &world,
        vec![
            marked(&at(0, 40000, 80), 0).opens(0, 1, 0),
            marked(&at(1, 40000, 443), 0).opens(0, 2, 0),
            marked(&datagram, 0).opens(0, 2, 1),
            Step::passes(&at(0, 40001, 80), Counter::PassNoService),
            // What is known needs no mark.
            to(&at(0, 40000, 80).flags("A"), Method::Direct, 0),
            // An answer that bears the mark too is no question.
            Step::reply(&answer, 0, &sent)
                .marked(7)
                .counts(&[Counter::DirectReply]),
        ],
    )
}

/// Packets that match rules mark.
fn rules(family: Family) -> Case {
    let mut world = World::new().service(family.vip(0), 0, 0).marked(7);
    world = world
        .persistent(LONG)
        .server(0, Method::Direct)
        .service(family.vip(0), 0, 0)
        .marked(8)
        .persistent(LONG)
        .server(1, Method::Direct)
        .service(family.vip(1), 80, 6)
        .server(2, Method::Direct);
    for (mark, protocol, last, ports) in [
        (7, 6, 0, (80, 90)),
        (8, 0, 1, (443, 443)),
        (7, 17, 1, (1, u16::MAX)),
        // A mark that no service has.
        (9, 6, 1, (81, 81)),
    ] {
        world = world.rule(RuleSpec {
            mark,
            protocol,
            addresses: (family.vip(0), family.vip(last)),
            ports,
        });
    }
    let at = |vip: usize, client, port| syn(family, client).destination((family.vip(vip), port));
    let direct = |packet: &Recipe, server| to(packet, Method::Direct, server);
    let datagram = |port| Recipe::udp((family.client(), 40009), (family.vip(1), port));
    let back = Recipe::tcp((family.vip(0), 90), (family.client(), 40001), "SA").from_server(0);
    let sent = back.clone().aged().to_client(CLIENT_MAC);
    Case::new(
        name(
            family,
            "match rules mark packets by protocol, address and port, the first that fits",
        ),
        &world,
        vec![
            direct(&at(0, 40000, 80), 0).opens(0, 1, 0),
            direct(&at(0, 40001, 90), 0).opens(0, 2, 0),
            Step::passes(&at(0, 40002, 91), Counter::PassNoService),
            Step::passes(&at(0, 40002, 79), Counter::PassNoService),
            direct(&at(1, 40003, 443), 1).opens(1, 1, 0),
            direct(&datagram(443), 1).opens(1, 1, 1),
            direct(&datagram(53), 0).opens(0, 2, 1),
            direct(&at(1, 40004, 80), 2).opens(2, 1, 0),
            Step::passes(&at(1, 40005, 81), Counter::PassNoService),
            Step::reply(&back, 0, &sent).counts(&[Counter::DirectReply]),
            // The packet's own mark counts where no rule fits.
            direct(&at(0, 40006, 79), 1).marked(8).opens(1, 2, 1),
            direct(&at(0, 40007, 80), 0).marked(8).opens(0, 3, 1),
        ],
    )
}

/// Established by the server's word too, so that the template is worth keeping.
fn assured(family: Family) -> Case {
    let packet = answer(family, 6, "SA");
    let reply = Step::reply(&packet, 0, &translated(&packet, family));
    let late = Recipe::tcp((family.server(0), 8080), (family.client(), 40001), "SA");
    let late = late.from_server(0);
    let sent = late
        .clone()
        .aged()
        .source((family.vip(0), 80))
        .to_client(CLIENT_MAC);
    Case::new(
        name(
            family,
            "two persistent connections have replies of their own",
        ),
        &two(family, 6, Method::Nat),
        vec![
            to(&syn(family, 40000), Method::Nat, 0).opens(0, 1, 0),
            to(&syn(family, 40001), Method::Nat, 0).opens(0, 2, 0),
            reply,
            Step::reply(&late, 0, &sent),
        ],
    )
}
