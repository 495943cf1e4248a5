//! Fragments: the first goes as any packet does, and the others go its way.

use rvs_abi::{Counter, Method, Ticket};
use rvs_core::Tables as _;

use super::forwarding::{answer, first, forwarded, name_of, next, one, translated};
use crate::{
    Case, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            for method in [Method::Nat, Method::Direct, Method::Tunnel] {
                cases.push(requests(family, protocol, method));
                cases.push(one_that_opens(family, protocol, method));
            }
            cases.push(local(family, protocol));
            cases.push(replies(family, protocol));
            cases.push(replies_past_the_director(family, protocol));
            cases.push(without_the_first(family, protocol));
            cases.push(before_the_first(family, protocol));
            cases.push(for_the_host(family, protocol));
            cases.push(of_no_service(family, protocol));
            cases.push(too_old(family, protocol));
            cases.push(same_identification(family, protocol));
        }
        cases.push(too_big(family));
        cases.push(of_an_ended_connection(family));
        cases.push(hidden_header(family));
        cases.push(sctp_at_the_same_port(family));
        cases.push(sctp_at_another_port(family));
    }
    cases
}

/// The three fragments of a packet: the first carries its transport header.
fn parts(packet: &Recipe) -> [Recipe; 3] {
    [(0, true, 64), (8, true, 64), (16, false, 5)].map(|(offset, more, length)| {
        packet
            .clone()
            .payload(&vec![offset as u8 + 7; length])
            .fragment(offset, more)
    })
}

/// A request's fragment, by this method to server 0.
fn sent(fragment: &Recipe, method: Method) -> Step {
    Step::request(fragment, 0, &forwarded(fragment, method, 0))
}

/// The same of one that is not the first.
fn followed(fragment: &Recipe, method: Method) -> Step {
    sent(fragment, method).counts(&[Counter::FragmentForward])
}

/// The same, for each of these: the outer header of what may be fragmented has a random identification.
fn sent_in_turn(world: &World, fragments: &[&Recipe], method: Method) -> Vec<Step> {
    let memory = world.memory(&crate::Surroundings::default());
    let step = |fragment: &&Recipe| {
        let mut out = forwarded(fragment, method, 0);
        if method == Method::Tunnel {
            out = out.identification((memory.random() as u16).to_be());
        }
        Step::request(fragment, 0, &out)
    };
    fragments.iter().map(step).collect()
}

/// Active and inactive connections behind the first packet of one.
fn counts(protocol: u8) -> (u32, u32) {
    if protocol == 6 { (1, 0) } else { (0, 1) }
}

fn opens(family: Family, protocol: u8, method: Method) -> Step {
    let (active, inactive) = counts(protocol);
    sent(&first(family, protocol), method).opens(0, active, inactive)
}

fn name(family: Family, protocol: u8, text: &str) -> String {
    format!("{}, {}: {text}", family.name(), name_of(protocol))
}

fn requests(family: Family, protocol: u8, method: Method) -> Case {
    let [a, b, c] = parts(&next(family, protocol));
    let world = one(family, protocol, method);
    let mut steps = vec![opens(family, protocol, method)];
    for (place, step) in sent_in_turn(&world, &[&a, &b, &c, &b], method)
        .into_iter()
        .enumerate()
    {
        steps.push(if place == 0 {
            step
        } else {
            step.counts(&[Counter::FragmentForward])
        });
    }
    Case::new(
        name(
            family,
            protocol,
            &format!("fragments of a connection, {method:?}, in order and again"),
        ),
        &world,
        steps,
    )
}

fn one_that_opens(family: Family, protocol: u8, method: Method) -> Case {
    let [a, b, c] = parts(&first(family, protocol));
    let (active, inactive) = counts(protocol);
    let world = one(family, protocol, method);
    let mut steps = Vec::new();
    for (place, step) in sent_in_turn(&world, &[&a, &c, &b], method)
        .into_iter()
        .enumerate()
    {
        steps.push(if place == 0 {
            step.opens(0, active, inactive)
        } else {
            step.counts(&[Counter::FragmentForward])
        });
    }
    Case::new(
        name(
            family,
            protocol,
            &format!("a fragmented packet opens a connection, {method:?}"),
        ),
        &world,
        steps,
    )
}

fn local(family: Family, protocol: u8) -> Case {
    let [a, b, _] = parts(&first(family, protocol));
    let (active, inactive) = counts(protocol);
    Case::new(
        name(family, protocol, "fragments for the director itself go on"),
        &one(family, protocol, Method::Local),
        vec![
            Step::passes(&a, Counter::PassLocal)
                .received(0)
                .opens(0, active, inactive),
            Step::passes(&b, Counter::PassFragment),
        ],
    )
}

fn replies(family: Family, protocol: u8) -> Case {
    let [a, b, c] = parts(&answer(family, protocol, "A"));
    let reply = |packet: &Recipe| Step::reply(packet, 0, &translated(packet, family));
    let open = answer(family, protocol, "SA");
    Case::new(
        name(family, protocol, "fragments of a NAT server's replies"),
        &one(family, protocol, Method::Nat),
        vec![
            opens(family, protocol, Method::Nat),
            reply(&open),
            sent(&next(family, protocol), Method::Nat),
            reply(&a),
            reply(&b).counts(&[Counter::FragmentForward]),
            reply(&c).counts(&[Counter::FragmentForward]),
        ],
    )
}

fn replies_past_the_director(family: Family, protocol: u8) -> Case {
    let (vip, client) = ((family.vip(0), 80), (family.client(), 40000));
    let reply = if protocol == 6 {
        Recipe::tcp(vip, client, "A")
    } else {
        Recipe::udp(vip, client)
    }
    .from_server(0);
    let [a, b, _] = parts(&reply);
    let returns = |packet: &Recipe, counters: &[Counter]| {
        let out = packet.clone().aged().to_client(CLIENT_MAC);
        Step::reply(packet, 0, &out)
            .counts(&[Counter::DirectReply])
            .counts(counters)
    };
    Case::new(
        name(
            family,
            protocol,
            "fragments of a direct-routing server's replies that come by",
        ),
        &one(family, protocol, Method::Direct),
        vec![
            opens(family, protocol, Method::Direct),
            returns(&a, &[]),
            returns(&b, &[Counter::FragmentForward]),
        ],
    )
}

fn without_the_first(family: Family, protocol: u8) -> Case {
    let [_, b, c] = parts(&next(family, protocol));
    let [_, d, _] = parts(&answer(family, protocol, "A"));
    let drops = |packet: &Recipe| Step::drops(packet, Counter::DropFragment);
    Case::new(
        name(
            family,
            protocol,
            "fragments without their first are dropped while the daemon is away",
        ),
        &one(family, protocol, Method::Nat),
        vec![
            opens(family, protocol, Method::Nat),
            drops(&b),
            drops(&c),
            drops(&d),
        ],
    )
}

fn before_the_first(family: Family, protocol: u8) -> Case {
    let mut world = one(family, protocol, Method::Nat);
    world.detours = true;
    let [a, b, c] = parts(&next(family, protocol));
    let ticket = Ticket {
        kind: Ticket::FRAGMENT,
        ..Ticket::default()
    };
    let mut bytes = c.frame();
    for (place, word) in bytes.chunks_exact_mut(4).zip(ticket.words()) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Case::new(
        name(
            family,
            protocol,
            "a fragment before its first goes to the daemon",
        ),
        &world,
        vec![
            opens(family, protocol, Method::Nat),
            Step::framed(c.frame(), bytes).counts(&[Counter::FragmentDetour]),
            sent(&a, Method::Nat),
            followed(&b, Method::Nat),
            followed(&c, Method::Nat),
        ],
    )
}

fn for_the_host(family: Family, protocol: u8) -> Case {
    let packet = next(family, protocol).destination((family.vip(0), 81));
    let [a, b, _] = parts(&packet);
    let own = answer(family, protocol, "A").source((family.server(0), 9999));
    let [d, e, _] = parts(&own);
    Case::new(
        name(
            family,
            protocol,
            "fragments of a service's address that are not the service's go on",
        ),
        &one(family, protocol, Method::Nat),
        vec![
            Step::passes(&a, Counter::PassNoService),
            Step::passes(&b, Counter::PassFragment),
            Step::passes(&d, Counter::PassNoService),
            Step::passes(&e, Counter::PassFragment),
        ],
    )
}

fn of_no_service(family: Family, protocol: u8) -> Case {
    let other = if protocol == 6 { 17 } else { 6 };
    let of = |protocol: u8, from, to| {
        let packet = if protocol == 6 {
            Recipe::tcp(from, to, "A")
        } else {
            Recipe::udp(from, to)
        };
        parts(&packet).map(|fragment| Step::passes(&fragment, Counter::PassFragment))
    };
    let client = (family.client(), 40000);
    Case::new(
        name(family, protocol, "fragments that concern no service go on"),
        &one(family, protocol, Method::Direct),
        [
            of(protocol, client, (family.server(0), 8080)),
            of(protocol, client, (family.vip(1), 80)),
            of(other, client, (family.vip(0), 80)),
            of(protocol, (family.server(0), 8080), client),
        ]
        .concat(),
    )
}

fn too_old(family: Family, protocol: u8) -> Case {
    let [a, b, _] = parts(&next(family, protocol));
    Case::new(
        name(
            family,
            protocol,
            "nobody is told about a later fragment's time to live",
        ),
        &one(family, protocol, Method::Nat),
        vec![
            opens(family, protocol, Method::Nat),
            sent(&a, Method::Nat),
            Step::drops(&b.ttl(1), Counter::DropTtl).counts(&[Counter::FragmentForward]),
        ],
    )
}

/// The last first fragment counts.
fn same_identification(family: Family, protocol: u8) -> Case {
    let [a, b, c] = parts(&next(family, protocol));
    let other = |packet: &Recipe| packet.clone().port(41000);
    let [d, _, _] = parts(&first(family, protocol).port(41000));
    let to = |packet: &Recipe, server: usize| {
        Step::request(packet, server, &forwarded(packet, Method::Direct, server))
    };
    let world: World = one(family, protocol, Method::Direct).server(1, Method::Direct);
    let (active, inactive) = counts(protocol);
    Case::new(
        name(
            family,
            protocol,
            "fragments follow the latest first one with their identification",
        ),
        &world,
        vec![
            to(&first(family, protocol), 0).opens(0, active, inactive),
            to(&a, 0),
            to(&b, 0).counts(&[Counter::FragmentForward]),
            to(&d, 1).opens(1, active, inactive),
            to(&other(&c), 1).counts(&[Counter::FragmentForward]),
        ],
    )
}

fn too_big(family: Family) -> Case {
    let world = one(family, 17, Method::Nat).but(|server| server.mtu = 1300);
    let [a, b, _] = parts(&first(family, 17));
    Case::new(
        name(family, 17, "nobody is told about a later fragment's size"),
        &world,
        vec![
            sent(&a, Method::Nat).opens(0, 0, 1),
            Step::drops(&b.payload(&[1; 1400]), Counter::DropTooBig)
                .counts(&[Counter::FragmentForward]),
        ],
    )
}

fn of_an_ended_connection(family: Family) -> Case {
    let [a, b, _] = parts(&first(family, 17));
    let mut world = one(family, 17, Method::Direct).server(1, Method::Direct);
    world.quarantine = 0;
    Case::new(
        name(family, 17, "a note ends with its connection"),
        &world,
        vec![
            sent(&a, Method::Direct).opens(0, 0, 1),
            followed(&b, Method::Direct),
            Step::Edit(crate::Edit::Remove(0)),
            // Its next packet ends the connection, and is scheduled anew.
            Step::request(
                &next(family, 17),
                1,
                &forwarded(&next(family, 17), Method::Direct, 1),
            )
            .opens(1, 0, 1)
            .census(0, 0, 0)
            .counts(&[Counter::ServerGone]),
            Step::drops(&b, Counter::DropFragment),
        ],
    )
}

/// RFC 1858: what decides must be in the first fragment.
fn hidden_header(family: Family) -> Case {
    let client = family.client();
    let tiny = Recipe::raw(client, family.vip(0), 6)
        .payload(&[0x9c, 0x40, 0, 80, 0, 0, 0, 1])
        .fragment(0, true);
    // What looks like the rest of a SYN's header lies behind the packet's end.
    let mut padded = tiny.frame();
    padded.extend([0, 0, 0, 0, 0x50, 2, 0x40, 0, 0, 0, 0, 0]);
    Case::new(
        name(
            family,
            6,
            "a first fragment that hides its header is dropped",
        ),
        &one(family, 6, Method::Nat),
        vec![
            Step::drops(&tiny, Counter::DropFragment),
            Step::frame_drops(padded, Counter::DropFragment),
        ],
    )
}

/// Three fragments of an SCTP packet from the client.
fn sctp(family: Family) -> [Recipe; 3] {
    const DATA: u8 = 0;
    parts(&Recipe::sctp(
        (family.client(), 40000),
        (family.vip(0), 80),
        DATA,
    ))
}

fn sctp_init(family: Family) -> Recipe {
    const INIT: u8 = 1;
    Recipe::sctp((family.client(), 40000), (family.vip(0), 80), INIT)
}

/// NAT changes nothing that the checksum covers.
fn sctp_at_the_same_port(family: Family) -> Case {
    const DATA: u8 = 0;
    let world = one(family, 132, Method::Nat).but(|server| server.port = 80);
    let server = (family.server(0), 80);
    let to = |packet: &Recipe| {
        let output = forwarded(packet, Method::Nat, 0).destination(server);
        Step::request(packet, 0, &output)
    };
    let from = |packet: &Recipe| Step::reply(packet, 0, &translated(packet, family));
    let [a, b, c] = sctp(family);
    let [d, e, _] = parts(&Recipe::sctp(server, (family.client(), 40000), DATA).from_server(0));
    Case::new(
        format!(
            "{}, SCTP: fragments go through NAT where the port stays",
            family.name()
        ),
        &world,
        vec![
            to(&sctp_init(family)).opens(0, 0, 1),
            to(&a),
            to(&b).counts(&[Counter::FragmentForward]),
            to(&c).counts(&[Counter::FragmentForward]),
            from(&d),
            from(&e).counts(&[Counter::FragmentForward]),
        ],
    )
}

fn sctp_at_another_port(family: Family) -> Case {
    let [a, b, _] = sctp(family);
    Case::new(
        format!(
            "{}, SCTP: fragments whose port NAT would change are dropped",
            family.name()
        ),
        &one(family, 132, Method::Nat),
        vec![
            sent(&sctp_init(family), Method::Nat).opens(0, 0, 1),
            Step::drops(&a, Counter::DropFragment),
            Step::drops(&b, Counter::DropFragment),
        ],
    )
}
