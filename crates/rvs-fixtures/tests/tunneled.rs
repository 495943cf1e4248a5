//! `ignore_tunneled`: what another tunnel of this host brought is the host's. A test of its own, for `BPF_PROG_TEST_RUN`
//! shows no mark that stays with a packet when the host unwraps it.

use rvs_abi::{Counter, Method, Settings};
use rvs_core::{Action, Packet as _};
use rvs_fixtures::{Frame, Memory, Native, Recipe, Surroundings, World, place::Family};

/// Nothing but this counter moves. A packet that the host unwrapped, in which the mark is still, is `tunneled`.
fn arrives(memory: &Memory, packet: &Recipe, tunneled: bool, counter: Counter) -> (u32, bool) {
    let mut frame = Frame::new(&packet.frame(), Frame::routes(&Surroundings::default()));
    if tunneled {
        frame.mark_tunneled();
    }
    let before = memory.counts();
    let mut native = Native { frame, memory };
    let action = native.direct();
    let moved: Vec<_> = before
        .iter()
        .zip(memory.counts())
        .enumerate()
        .filter(|(_, (before, after))| *before != after)
        .map(|(index, _)| index)
        .collect();
    assert_eq!(moved, [counter as usize], "{counter:?}");
    (action, native.frame.is_tunneled())
}

fn world(family: Family) -> World {
    World::new()
        .service(family.vip(0), 80, 17)
        .server(0, Method::Direct)
}

fn packets(family: Family) -> (Recipe, Recipe) {
    let inside = Recipe::udp((family.client(), 4001), (family.vip(0), 80));
    // GRE, which is nothing that the director switches.
    let outside = Recipe::raw(family.client(), family.own(), 47).payload(&inside.ip());
    (outside, inside)
}

#[test]
fn what_was_unwrapped_is_not_scheduled() {
    let passed = Action::Pass as u32;
    for family in Family::ALL {
        let memory = world(family)
            .with(Settings::IGNORE_TUNNELED)
            .memory(&Surroundings::default());
        let (outside, inside) = packets(family);
        let (action, tunneled) = arrives(&memory, &outside, false, Counter::PassOther);
        assert_eq!((action, tunneled), (passed, true));
        let (action, _) = arrives(&memory, &inside, tunneled, Counter::PassTunneled);
        assert_eq!(action, passed);
        // The same packet by the wire is scheduled; then its connection takes also what was unwrapped.
        for tunneled in [false, true] {
            let mut frame = Frame::new(&inside.frame(), Frame::routes(&Surroundings::default()));
            if tunneled {
                frame.mark_tunneled();
            }
            let mut native = Native {
                frame,
                memory: &memory,
            };
            assert_ne!(native.direct(), passed, "{tunneled}");
            assert!(native.frame.sent().is_some());
        }
    }
}

#[test]
fn by_default_nothing_is_marked() {
    for family in Family::ALL {
        let memory = world(family).memory(&Surroundings::default());
        let (outside, inside) = packets(family);
        let (_, tunneled) = arrives(&memory, &outside, false, Counter::PassOther);
        assert!(!tunneled);
        // A mark from before the setting was turned off says nothing.
        let frame = Frame::new(&inside.frame(), Frame::routes(&Surroundings::default()));
        let mut native = Native {
            frame,
            memory: &memory,
        };
        native.frame.mark_tunneled();
        assert_ne!(native.direct(), Action::Pass as u32);
    }
}
