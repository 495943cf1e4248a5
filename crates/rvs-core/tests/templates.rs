//! The life of a persistence template, over memory: its time, its count, and what it controls.

use rvs_abi::{
    Head, Method, Server, Settings,
    slot::{Link, State},
};
use rvs_fixtures::{Memory, Recipe, SECOND, Surroundings, World, place::Family};
use rvs_table::tag;

const MINUTE: u32 = 60 * SECOND;

fn director(protocol: u8, method: Method) -> World {
    World::new()
        .service(Family::V4.vip(0), 80, protocol)
        .persistent(5 * MINUTE)
        .server(0, method)
        .server(1, method)
}

fn tables(world: &World) -> Memory {
    world.memory(&Surroundings::default())
}

fn reply(memory: &Memory, port: u16, protocol: u8, flags: &'static str) {
    let (server, client) = ((Family::V4.server(0), 8080), (Family::V4.client(), port));
    let packet = if protocol == 6 {
        Recipe::tcp(server, client, flags)
    } else {
        Recipe::udp(server, client)
    };
    memory.arrives(&packet.from_server(0));
}

/// The templates.
fn templates(memory: &Memory) -> Vec<&Head> {
    memory
        .slots4
        .iter()
        .map(|slot| &slot.head)
        .filter(|head| tag::state(head.tag.load()) == tag::LIVE)
        .filter(|head| State(head.state.load()).has(State::TEMPLATE))
        .collect()
}

fn the_template(memory: &Memory) -> &Head {
    let all = templates(memory);
    assert_eq!(all.len(), 1);
    all[0]
}

fn is_assured(memory: &Memory) -> bool {
    State(the_template(memory).state.load()).has(State::ASSURED)
}

#[test]
fn a_template_lives_on_after_the_last_new_connection() {
    let memory = tables(&director(6, Method::Direct));
    memory.asks(1000, 6, "S");
    memory.asks(1000, 6, "R");
    memory.passes(4 * MINUTE);
    // The connection has ended by its time-out, the template is younger than its own.
    memory.sweep(0);
    assert_eq!(memory.servers[0].active.load(), 0);
    memory.asks(1001, 6, "S");
    memory.asks(1001, 6, "R");
    memory.passes(5 * MINUTE - 1);
    memory.sweep(0);
    assert_eq!(memory.servers[0].persistent.load(), 1);
    memory.passes(1);
    memory.sweep(0);
    assert_eq!(memory.servers[0].persistent.load(), 0);
    assert!(templates(&memory).is_empty());
}

#[test]
fn a_template_stays_while_it_controls_a_connection() {
    let memory = tables(&director(6, Method::Direct));
    for port in 1000..1003 {
        memory.asks(port, 6, "S");
        memory.asks(port, 6, "A");
    }
    assert_eq!(the_template(&memory).controlled.load(), 3);
    for _ in 0..20 {
        memory.passes(MINUTE);
        for port in 1000..1003 {
            memory.asks(port, 6, "A");
        }
        assert_eq!(memory.sweep(0).expired, 0);
    }
    for port in 1000..1003 {
        memory.asks(port, 6, "FA");
    }
    memory.passes(120 * SECOND);
    // In what order the sweep comes by is not said.
    let ended = memory.sweep(0).expired + memory.sweep(0).expired;
    assert_eq!(ended, 4, "three connections and their template");
    assert!(templates(&memory).is_empty());
}

#[test]
fn a_template_counts_as_persistent_and_as_nothing_else() {
    let memory = tables(&director(17, Method::Nat));
    memory.asks(1000, 17, "");
    let server = &memory.servers[0];
    let counts = (
        server.active.load(),
        server.inactive.load(),
        server.persistent.load(),
    );
    assert_eq!(counts, (0, 1, 1));
    assert_eq!(memory.stats()[0].connections, 1);
    let link = Link(the_template(&memory).link.load());
    assert_eq!(link.method(), Method::Nat as u32 | Link::SINGLE);
}

#[test]
fn an_established_connection_assures_its_template() {
    for method in [Method::Direct, Method::Nat] {
        let memory = tables(&director(6, method));
        memory.asks(1000, 6, "S");
        if method == Method::Nat {
            reply(&memory, 1000, 6, "SA");
        }
        assert!(!is_assured(&memory));
        memory.asks(1000, 6, "A");
        assert!(is_assured(&memory), "{method:?}");
    }
}

/// The client sends SCTP's chunk, or the server does.
fn chunk(memory: &Memory, from_client: bool, kind: u8) {
    let client = (Family::V4.client(), 1000);
    memory.arrives(&if from_client {
        Recipe::sctp(client, (Family::V4.vip(0), 80), kind)
    } else {
        Recipe::sctp((Family::V4.server(0), 8080), client, kind).from_server(0)
    });
}

/// Whoever says the word that establishes it.
#[test]
fn an_established_association_assures_its_template() {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const COOKIE_ECHO: u8 = 10;
    const COOKIE_ACK: u8 = 11;
    let memory = tables(&director(132, Method::Nat));
    for (from_client, kind) in [(true, INIT), (false, INIT_ACK), (true, COOKIE_ECHO)] {
        chunk(&memory, from_client, kind);
        assert!(!is_assured(&memory), "{kind}");
    }
    chunk(&memory, false, COOKIE_ACK);
    assert!(is_assured(&memory));

    // Where the server is not seen, the client's COOKIE ECHO is the last word.
    let memory = tables(&director(132, Method::Direct));
    chunk(&memory, true, INIT);
    assert!(!is_assured(&memory));
    chunk(&memory, true, COOKIE_ECHO);
    assert!(is_assured(&memory));
}

#[test]
fn a_connection_that_begins_as_established_assures_its_template() {
    let sloppy = Settings::SLOPPY_TCP | Settings::SLOPPY_SCTP;
    for method in [Method::Direct, Method::Nat] {
        let memory = tables(&director(6, method).with(sloppy));
        memory.asks(1000, 6, "A");
        assert!(is_assured(&memory), "{method:?}");
        let memory = tables(&director(132, method).with(sloppy));
        chunk(&memory, true, 0);
        assert!(is_assured(&memory), "{method:?}, SCTP");
    }
}

#[test]
fn an_answered_datagram_assures_its_template() {
    let memory = tables(&director(17, Method::Nat));
    memory.asks(1000, 17, "");
    memory.asks(1000, 17, "");
    assert!(!is_assured(&memory));
    reply(&memory, 1000, 17, "");
    assert!(is_assured(&memory));
}

#[test]
fn a_template_that_does_not_count_ends_and_its_connections_go_on() {
    let memory = tables(&director(6, Method::Direct).with(Settings::EXPIRE_QUIESCENT));
    memory.asks(1000, 6, "S");
    memory.asks(1000, 6, "A");
    let server: &Server = &memory.servers[0];
    server.weight.store(0);
    memory.asks(1001, 6, "S");
    assert_eq!(server.persistent.load(), 0);
    assert_eq!(memory.servers[1].persistent.load(), 1);
    assert_eq!(the_template(&memory).controlled.load(), 1);
    memory.asks(1000, 6, "A");
    assert_eq!(server.active.load(), 1);
    // Its end releases nothing of the other template.
    memory.asks(1000, 6, "R");
    memory.passes(10 * SECOND);
    assert_eq!(memory.sweep(0).expired, 1);
    assert_eq!(the_template(&memory).controlled.load(), 1);
}

#[test]
fn a_full_table_makes_no_half_of_a_template() {
    let mut world = director(6, Method::Direct).slots(16);
    world.quarantine = 0;
    let memory = tables(&world);
    for port in 0..2000 {
        memory.asks(1000 + port, 6, "S");
    }
    let live = memory
        .slots4
        .iter()
        .filter(|slot| tag::state(slot.head.tag.load()) == tag::LIVE)
        .count() as u32;
    let server = &memory.servers[0];
    assert_eq!(
        live,
        server.active.load() + server.inactive.load() + server.persistent.load()
    );
    assert_eq!(
        the_template(&memory).controlled.load(),
        server.active.load()
    );
}
