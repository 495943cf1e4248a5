//! The defence drop_entry, over memory: who goes and who stays.

use rvs_abi::{
    Method, Service, Settings, TcpState, protocol,
    slot::{Role, State},
    sweep::{Insertion, Sweep},
};
use rvs_core::restore::{MADE, restore};
use rvs_fixtures::{
    Memory, Recipe, SECOND, Surroundings, World,
    place::{Family, words},
};
use rvs_table::tag;

fn tables(protocol: u8, change: impl FnOnce(World) -> World) -> Memory {
    let world = World::new()
        .service(Family::V4.vip(0), 80, protocol)
        .server(0, Method::Direct)
        .slots(4096);
    change(world).memory(&Surroundings::default())
}

/// Drops what is to go; how many.
fn defend(memory: &Memory) -> u32 {
    memory.sweep(Sweep::DEFEND).dropped
}

fn live(memory: &Memory) -> u32 {
    let is_live = |slot: &&rvs_abi::Slot4| {
        tag::state(slot.head.tag.load()) == tag::LIVE
            && rvs_abi::slot::Link(slot.head.link.load()).role() == Role::Request
    };
    memory.slots4.iter().filter(is_live).count() as u32
}

#[test]
fn half_open_connections_go_after_a_second_and_others_stay() {
    let memory = tables(6, |world| world);
    for port in 1000..1100 {
        memory.asks(port, 6, "S");
    }
    for port in 2000..2100 {
        memory.asks(port, 6, "S");
        memory.asks(port, 6, "A");
    }
    for port in 3000..3010 {
        memory.asks(port, 6, "S");
        memory.asks(port, 6, "A");
        memory.asks(port, 6, "FA");
    }
    memory.passes(SECOND - 1);
    assert_eq!(defend(&memory), 0);
    memory.passes(1);
    assert_eq!(defend(&memory), 100);
    let server = &memory.servers[0];
    assert_eq!((server.active.load(), server.inactive.load()), (100, 10));
    assert_eq!(defend(&memory), 0);
}

#[test]
fn quiet_connections_with_n_packets_go_one_in_n() {
    // Packets of each, and how many of a thousand go at once.
    for (packets, expected) in [(1, 1000..=1000), (2, 420..=580), (8, 80..=180), (9, 0..=0)] {
        let memory = tables(17, |world| world);
        for port in 1000..2000 {
            for _ in 0..packets {
                memory.asks(port, 17, "");
            }
        }
        memory.passes(59 * SECOND);
        assert_eq!(
            defend(&memory),
            0,
            "{packets} packets, not quiet for long enough"
        );
        memory.passes(SECOND);
        let dropped = defend(&memory);
        assert!(expected.contains(&dropped), "{packets} packets: {dropped}");
        assert_eq!(memory.servers[0].inactive.load(), 1000 - dropped);
    }
}

#[test]
fn an_established_connection_takes_part_once_it_is_quiet() {
    let memory = tables(6, |world| world);
    memory.asks(1000, 6, "S");
    memory.asks(1000, 6, "A");
    memory.passes(60 * SECOND);
    let tries = (0..100).find(|_| defend(&memory) == 1);
    assert!(tries.is_some());
    assert_eq!(memory.servers[0].active.load(), 0);
}

/// A client that says where it will be called, or that asks where to call, may take its time.
#[test]
fn an_expected_data_connection_stays_and_so_does_its_control_connection() {
    let memory = tables(6, |world| world);
    memory.asks(1000, 6, "S");
    memory.asks(1000, 6, "A");
    let control = memory
        .slots4
        .iter()
        .position(|slot| tag::state(slot.head.tag.load()) == tag::LIVE)
        .expect("a control connection");
    let expected = Insertion {
        client: words(Family::V4.client()),
        virtual_address: words(Family::V4.vip(0)),
        ports: u32::from(2000_u16.to_be()) << 16,
        protocol: protocol::of_expected(protocol::TCP).into(),
        family: 4,
        state: TcpState::Listen as u32
            | State::INACTIVE
            | State::CONTROLLED
            | State::NO_CLIENT_PORT,
        stamp: memory.now.get(),
        packets: 1,
        control: control as u32,
        control_generation: tag::generation(memory.slots4[control].head.tag.load()),
        ..Insertion::default()
    };
    assert_eq!(restore(&memory, &expected), MADE);
    memory.passes(61 * SECOND);
    memory.asks(1000, 6, "A");
    for _ in 0..100 {
        assert_eq!(defend(&memory), 0);
    }
    assert_eq!(live(&memory), 2);
}

/// They control nothing, so what counts in the lottery are their own datagrams.
#[test]
fn quiet_templates_of_one_packet_scheduling_with_n_datagrams_go_one_in_n() {
    for (packets, expected) in [(1, 1000..=1000), (2, 420..=580), (8, 80..=180), (9, 0..=0)] {
        let memory = tables(17, |world| {
            world
                .persistent(300 * SECOND)
                .with_service(|service| service.flags |= Service::ONE_PACKET)
        });
        for client in 0..1000_u16 {
            let [high, low] = client.to_be_bytes();
            let client = ([172, 16, high, low].into(), 4000);
            for _ in 0..packets {
                memory.arrives(&Recipe::udp(client, (Family::V4.vip(0), 80)));
            }
        }
        let persistent = &memory.servers[0].persistent;
        assert_eq!(persistent.load(), 1000);
        memory.passes(60 * SECOND - 1);
        assert_eq!(defend(&memory), 0, "{packets}: not quiet for long enough");
        memory.passes(1);
        let dropped = defend(&memory);
        assert!(expected.contains(&dropped), "{packets}: {dropped}");
        assert_eq!(persistent.load(), 1000 - dropped);
    }
}

#[test]
fn a_half_open_connection_takes_its_template_along_unless_that_proved_itself() {
    let persistent = |world: World| world.persistent(300 * SECOND);
    let memory = tables(6, persistent);
    memory.asks(1000, 6, "S");
    memory.asks(1001, 6, "S");
    assert_eq!(live(&memory), 3);
    memory.passes(SECOND);
    assert_eq!(defend(&memory), 3);
    assert_eq!(memory.servers[0].persistent.load(), 0);

    let memory = tables(6, persistent);
    memory.asks(1000, 6, "S");
    memory.asks(1000, 6, "A");
    memory.asks(1001, 6, "S");
    memory.passes(SECOND);
    assert_eq!(defend(&memory), 1);
    assert_eq!(live(&memory), 2);
    let assured = memory
        .slots4
        .iter()
        .any(|slot| State(slot.head.state.load()).has(State::ASSURED));
    assert!(assured);
}

#[test]
fn under_a_flood_of_half_open_connections_a_client_is_served_all_the_time() {
    // Every second a table's worth of SYNs, and drop_entry over a third of the table; without it the table is full.
    let mut served = [0, 0];
    for (defended, served) in [false, true].into_iter().zip(&mut served) {
        let memory = tables(6, |mut world| {
            world.quarantine = 1;
            world.with(Settings::SECURE_TCP)
        });
        let mut port = 0_u16;
        for second in 0..40_u16 {
            for _ in 0..1500 {
                port = port.wrapping_add(1);
                memory.asks(1024 + port % 60000, 6, "S");
            }
            let before = memory.servers[0].active.load();
            memory.asks(100 + second, 6, "S");
            *served += u32::from(memory.servers[0].active.load() > before);
            memory.passes(SECOND);
            if defended {
                defend(&memory);
            }
        }
    }
    assert_eq!(served[1], 40, "defended: {served:?}");
    assert!(served[0] < 20, "undefended: {served:?}");
}
