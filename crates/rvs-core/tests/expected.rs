//! Connections that are expected: who makes them, and what becomes of the expectation where that fails.

use rvs_abi::{
    Counter, Method, Settings, Slot4, TcpState, protocol,
    slot::{Link, Role, State},
    sweep::Insertion,
};
use rvs_core::restore::{MADE, restore};
use rvs_fixtures::{
    Memory, Recipe, Surroundings, World,
    place::{Family, words},
};
use rvs_table::tag;

/// The port that a server said it listens at.
const PORT: u16 = 2000;

/// A director that expects the client to call server 0.
fn memory(slots: u32) -> Memory {
    let family = Family::V4;
    let memory = World::new()
        .service(family.vip(0), 21, protocol::TCP)
        .with(Settings::HAS_EXPECTED)
        .server(0, Method::Nat)
        .slots(slots)
        .memory(&Surroundings::default());
    let expected = Insertion {
        client: words(family.client()),
        virtual_address: words(family.vip(0)),
        ports: u32::from(PORT.to_be()) << 16,
        protocol: protocol::of_expected(protocol::TCP).into(),
        family: 4,
        state: TcpState::Listen as u32 | State::INACTIVE | State::NO_CLIENT_PORT,
        stamp: memory.now.get(),
        packets: 1,
        server_port: PORT.to_be().into(),
        ..Insertion::default()
    };
    assert_eq!(restore(&memory, &expected), MADE);
    memory
}

fn calls(memory: &Memory, port: u16) {
    memory.arrives(&Recipe::tcp(
        (Family::V4.client(), port),
        (Family::V4.vip(0), PORT),
        "S",
    ));
}

/// Live request slots of TCP, and of what is expected.
fn live(memory: &Memory) -> (usize, usize) {
    let of = |wanted: u8| {
        let is = |slot: &&Slot4| {
            let link = Link(slot.head.link.load());
            tag::state(slot.head.tag.load()) == tag::LIVE
                && link.role() == Role::Request
                && link.protocol() == wanted
        };
        memory.slots4.iter().filter(is).count()
    };
    (of(protocol::TCP), of(protocol::of_expected(protocol::TCP)))
}

fn count(memory: &Memory, counter: Counter) -> u64 {
    memory.counts()[counter as usize]
}

#[test]
fn the_first_caller_has_it() {
    let memory = memory(1024);
    assert_eq!(live(&memory), (0, 1));
    calls(&memory, 40000);
    assert_eq!(live(&memory), (1, 0));
    assert_eq!(count(&memory, Counter::FtpData), 1);
    // Nobody scheduled it.
    assert_eq!(memory.stats()[0].connections, 0);
    assert_eq!(memory.stats()[0].packets_in, 1);
    calls(&memory, 40001);
    assert_eq!(live(&memory), (1, 0));
    assert_eq!(count(&memory, Counter::PassNoService), 1);
}

/// The expectation has both slots.
#[test]
fn a_caller_who_finds_no_room_is_still_expected() {
    let memory = memory(2);
    for _ in 0..3 {
        calls(&memory, 40000);
        assert_eq!(live(&memory), (0, 1));
    }
    assert_eq!(count(&memory, Counter::DropTableFull), 3);
    assert_eq!(count(&memory, Counter::FtpData), 0);
    assert_eq!(count(&memory, Counter::PassNoService), 0);
}

#[test]
fn a_caller_whose_server_is_gone_is_not_the_hosts() {
    let memory = memory(1024);
    let flags = &memory.servers[0].flags;
    flags.store(flags.load() | rvs_abi::Server::REMOVED);
    calls(&memory, 40000);
    assert_eq!(live(&memory), (0, 1));
    assert_eq!(count(&memory, Counter::DropServerGone), 1);
    assert_eq!(count(&memory, Counter::PassNoService), 0);
}
