//! Connections copied from another table: what came to its end there gives way to what its client did next.

use rvs_abi::{
    Method, Slot4, TcpState, protocol,
    slot::{Link, State},
    sweep::Insertion,
};
use rvs_core::restore::{EXISTS, MADE, REFUSED, restore};
use rvs_fixtures::{
    Memory, Surroundings, World,
    place::{Family, words},
};
use rvs_table::tag;

const CLIENT_PORT: u16 = 40000;

/// Two servers behind port 80 of one address, and the first of them behind another's.
fn memory(method: Method) -> Memory {
    let family = Family::V4;
    World::new()
        .service(family.vip(0), 80, protocol::TCP)
        .server(0, method)
        .server(1, method)
        .service(family.vip(1), 80, protocol::TCP)
        .server(0, method)
        .memory(&Surroundings::default())
}

/// The client's connection to a server of the first address, `age` ticks ago.
fn connection(memory: &Memory, server: u32, state: TcpState, age: u32) -> Insertion {
    let family = Family::V4;
    let inactive = if state == TcpState::Established {
        0
    } else {
        State::INACTIVE
    };
    Insertion {
        client: words(family.client()),
        virtual_address: words(family.vip(0)),
        ports: u32::from(CLIENT_PORT.to_be()) | u32::from(80_u16.to_be()) << 16,
        server,
        protocol: protocol::TCP.into(),
        family: 4,
        state: State(inactive).with_number(state as u32).0,
        stamp: memory.now.get().wrapping_sub(age),
        outcome: 0,
        packets: 3,
        ..Insertion::default()
    }
}

/// The request slots, which are those with a count of packets.
fn requests(memory: &Memory) -> Vec<&Slot4> {
    let live = |slot: &&Slot4| tag::state(slot.head.tag.load()) == tag::LIVE;
    let slots = memory.slots4.iter().filter(live);
    slots.filter(|slot| slot.head.packets.load() > 0).collect()
}

/// Lets the connections that are there be no copies.
fn made_by_packets(memory: &Memory) {
    for slot in requests(memory) {
        let state = &slot.head.state;
        state.store(state.load() & !State::COPIED);
    }
}

fn counts(memory: &Memory, server: usize) -> (u32, u32) {
    let server = &memory.servers[server];
    (server.active.load(), server.inactive.load())
}

#[test]
fn a_port_used_again_goes_where_it_went_last() {
    for method in [Method::Nat, Method::Direct, Method::Tunnel] {
        for closed in [TcpState::TimeWait, TcpState::Close] {
            let memory = memory(method);
            let old = connection(&memory, 0, closed, 100);
            assert_eq!(restore(&memory, &old), MADE);
            let new = connection(&memory, 1, TcpState::Established, 10);
            assert_eq!(restore(&memory, &new), MADE, "{method:?} {closed:?}");
            let slots = requests(&memory);
            assert_eq!(slots.len(), 1);
            assert_eq!(slots[0].head.server.load(), 1);
            assert_eq!((counts(&memory, 0), counts(&memory, 1)), ((0, 0), (1, 0)));
        }
    }
}

#[test]
fn a_port_used_again_towards_the_same_server_is_open_again() {
    let memory = memory(Method::Nat);
    let old = connection(&memory, 0, TcpState::TimeWait, 100);
    assert_eq!(restore(&memory, &old), MADE);
    let new = connection(&memory, 0, TcpState::Established, 10);
    assert_eq!(restore(&memory, &new), MADE);
    assert_eq!(counts(&memory, 0), (1, 0));
}

#[test]
fn what_is_later_here_stays() {
    for (here, age) in [
        (TcpState::Established, 10),
        (TcpState::TimeWait, 10),
        (TcpState::Established, 100),
    ] {
        let memory = memory(Method::Nat);
        let newer = connection(&memory, 1, here, age);
        assert_eq!(restore(&memory, &newer), MADE);
        made_by_packets(&memory);
        let older = connection(&memory, 0, TcpState::Established, 100);
        assert_eq!(restore(&memory, &older), EXISTS, "{here:?} {age}");
        let closed = connection(&memory, 0, TcpState::TimeWait, 1);
        assert_eq!(restore(&memory, &closed), EXISTS, "{here:?} {age}");
        assert_eq!(requests(&memory)[0].head.server.load(), 1);
    }
}

#[test]
fn a_reply_tuple_is_given_up_by_who_is_closed() {
    for (holder, makes_way) in [(TcpState::TimeWait, true), (TcpState::Established, false)] {
        let memory = memory(Method::Nat);
        let old = connection(&memory, 0, holder, 100);
        assert_eq!(restore(&memory, &old), MADE);
        let mut new = connection(&memory, 2, TcpState::Established, 10);
        new.virtual_address = words(Family::V4.vip(1));
        let expected = if makes_way { MADE } else { REFUSED };
        assert_eq!(restore(&memory, &new), expected);
        assert_eq!(counts(&memory, 2), (u32::from(makes_way), 0));
    }
}

#[test]
fn what_the_server_alone_did_is_caught_up_with() {
    let memory = memory(Method::Nat);
    let old = connection(&memory, 0, TcpState::Established, 100);
    assert_eq!(restore(&memory, &old), MADE);
    // As many of the client's packets, and a reset of the server's since.
    let reset = connection(&memory, 0, TcpState::Close, 50);
    assert_eq!(restore(&memory, &reset), EXISTS);
    assert_eq!(counts(&memory, 0), (0, 1));
}

#[test]
fn what_the_server_alone_did_here_stays() {
    let memory = memory(Method::Nat);
    let old = connection(&memory, 0, TcpState::Close, 100);
    assert_eq!(restore(&memory, &old), MADE);
    let request = requests(&memory)[0];
    let reply = &memory.slots4[request.head.pair.load() as usize];
    reply.head.stamp.store(memory.now.get());
    let older = connection(&memory, 0, TcpState::Established, 10);
    assert_eq!(restore(&memory, &older), EXISTS);
    assert_eq!(counts(&memory, 0), (0, 1));
}

/// The client's packets met the copy of its connection's predecessor.
#[test]
fn a_copy_gives_way_to_what_came_since() {
    for state in [TcpState::Established, TcpState::TimeWait] {
        let memory = memory(Method::Nat);
        assert_eq!(restore(&memory, &connection(&memory, 0, state, 1)), MADE);
        let since = Insertion {
            late: 1,
            ..connection(&memory, 1, TcpState::Established, 10)
        };
        assert_eq!(restore(&memory, &since), MADE);
        let slots = requests(&memory);
        assert_eq!(slots.len(), 1);
        assert_eq!(slots[0].head.server.load(), 1);
        assert_eq!((counts(&memory, 0), counts(&memory, 1)), ((0, 0), (1, 0)));
        // What packets made here stays.
        made_by_packets(&memory);
        let other = Insertion { server: 0, ..since };
        assert_eq!(restore(&memory, &other), EXISTS);
    }
}

#[test]
fn what_is_expected_stays_with_who_said_so_first() {
    let memory = memory(Method::Nat);
    let announced = |server, age| {
        let mut announced = connection(&memory, server, TcpState::Established, age);
        announced.protocol = protocol::of_expected(protocol::TCP).into();
        announced.state = State::NO_CLIENT_PORT | State::INACTIVE;
        announced
    };
    assert_eq!(restore(&memory, &announced(0, 100)), MADE);
    assert_eq!(restore(&memory, &announced(1, 10)), EXISTS);
    assert_eq!(requests(&memory)[0].head.server.load(), 0);
}

#[test]
fn a_connection_goes_on_as_it_was_forwarded() {
    let memory = memory(Method::Direct);
    let mut old = connection(&memory, 0, TcpState::Established, 100);
    old.method = Method::Tunnel as u32 + 1;
    assert_eq!(restore(&memory, &old), MADE);
    let link = Link(requests(&memory)[0].head.link.load());
    assert_eq!(link.method(), Method::Tunnel as u32);
}

#[test]
fn a_second_copy_takes_no_room() {
    for method in [Method::Nat, Method::Direct, Method::Tunnel] {
        let memory = memory(method);
        let one = connection(&memory, 0, TcpState::Established, 10);
        assert_eq!(restore(&memory, &one), MADE);
        let used = || {
            let slots = memory.slots4.iter();
            let used = slots.filter(|slot| tag::state(slot.head.tag.load()) != tag::EMPTY);
            used.count()
        };
        let before = used();
        assert_eq!(restore(&memory, &one), EXISTS);
        assert_eq!(used(), before, "{method:?}");
    }
}
