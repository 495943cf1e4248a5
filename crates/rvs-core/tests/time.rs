//! What time and thresholds do to connections, over memory.

use rvs_abi::{Method, Server, Settings, settings::UDP_TIMEOUT};
use rvs_fixtures::{SECOND, Surroundings, World, place::Family};

fn director(protocol: u8) -> World {
    World::new()
        .service(Family::V4.vip(0), 80, protocol)
        .server(0, Method::Direct)
}

#[test]
fn a_services_own_time_out_counts_before_the_directors() {
    let world = director(17);
    for (own, expected) in [(None, 300), (Some(30), 30), (Some(600), 600)] {
        let world = world.clone().with_service(|service| {
            if let Some(seconds) = own {
                service.timeouts.push((UDP_TIMEOUT, seconds * SECOND));
            }
        });
        let memory = world.memory(&Surroundings::default());
        memory.asks(1000, 17, "");
        memory.passes(expected * SECOND - 1);
        assert_eq!(memory.sweep(0).expired, 0, "{own:?}");
        memory.passes(1);
        assert_eq!(memory.sweep(0).expired, 1, "{own:?}");
        assert_eq!(memory.servers[0].inactive.load(), 0);
    }
}

#[test]
fn a_removed_servers_connections_end_with_the_sweep_or_wait_for_their_time_out() {
    for (flags, orphaned) in [(Settings::DEFAULTS, 1), (Settings::REUSE, 0)] {
        let mut world = director(17);
        world.flags = flags;
        let memory = world.memory(&Surroundings::default());
        memory.asks(1000, 17, "");
        let server = &memory.servers[0];
        server.flags.store(server.flags.load() | Server::REMOVED);
        assert_eq!(memory.sweep(0).orphaned, orphaned);
        // A server that connections wait for is seen, so that its index is nobody else's.
        assert_eq!(server.seen.load(), 1 - orphaned);
        memory.passes(300 * SECOND);
        assert_eq!(memory.sweep(0).expired, 1 - orphaned);
        assert_eq!(server.inactive.load(), 0);
    }
}

#[test]
fn a_server_is_overloaded_from_the_upper_threshold_until_below_the_lower() {
    // The upper and the lower threshold, and from how many connections on it takes new ones again.
    for (upper, lower, again) in [(8, 5, 4), (8, 0, 5), (4, 0, 2), (1, 1, 0), (2, 0, 1)] {
        let world = director(17).but(|server| (server.upper, server.lower) = (upper, lower));
        let memory = world.memory(&Surroundings::default());
        let overloaded = || memory.servers[0].overloaded.load() != 0;
        for n in 1..=upper {
            assert!(!overloaded());
            memory.asks(1000 + n as u16, 17, "");
            // One a second, so that they end one after the other.
            memory.passes(SECOND);
        }
        assert!(overloaded(), "{upper}");
        memory.passes((300 - upper) * SECOND);
        for left in (0..upper).rev() {
            assert_eq!(memory.sweep(0).expired, 1);
            memory.passes(SECOND);
            assert_eq!(overloaded(), left > again, "{upper} {lower} {left}");
        }
    }
}

#[test]
fn without_an_upper_threshold_nothing_is_overloaded() {
    let memory = director(17).memory(&Surroundings::default());
    for n in 0..100 {
        memory.asks(1000 + n, 17, "");
    }
    assert_eq!(memory.servers[0].overloaded.load(), 0);
}
