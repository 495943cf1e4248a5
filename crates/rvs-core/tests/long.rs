//! Connections that last longer than half the clock's range, which is 25 days at 1000 ticks a second.

use rvs_abi::{Method, slot::Link, slot::Role};
use rvs_fixtures::{Memory, SECOND, Surroundings, World, place::Family};
use rvs_table::tag;

fn live(memory: &Memory, role: Role) -> usize {
    let is = |slot: &&rvs_abi::Slot4| {
        tag::state(slot.head.tag.load()) == tag::LIVE && Link(slot.head.link.load()).role() == role
    };
    memory.slots4.iter().filter(is).count()
}

/// Datagrams one way, answered by nobody: the reply slot is as old as the connection.
#[test]
fn a_flow_one_way_ends_when_it_is_idle_however_old_it_is() {
    let memory = World::new()
        .service(Family::V4.vip(0), 80, 17)
        .server(0, Method::Nat)
        .memory(&Surroundings::default());
    memory.asks(1000, 17, "");
    let mut passed = 0_u32;
    while passed < (1 << 31) + 4 * (1 << 24) {
        // Between two sweeps the client speaks.
        memory.passes(1 << 22);
        passed += 1 << 22;
        memory.asks(1000, 17, "");
        memory.sweep(0);
        assert_eq!(
            (live(&memory, Role::Request), live(&memory, Role::Reply)),
            (1, 1)
        );
    }
    memory.passes(299 * SECOND);
    memory.sweep(0);
    assert_eq!(live(&memory, Role::Request), 1);
    memory.passes(2 * SECOND);
    memory.sweep(0);
    assert_eq!(
        (live(&memory, Role::Request), live(&memory, Role::Reply)),
        (0, 0)
    );
}
