//! A call in which a NAT server spoke is not one that defences end first: its template is assured. No case of packets shows
//! what templates have in them.

use rvs_abi::{Method, Service, Settings, slot::State};
use rvs_fixtures::{Memory, Recipe, Surroundings, World, place::Family};

const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: one@a\r\n\r\n";

/// One-packet scheduling: there are no connections, whose answers would tell.
fn memory(family: Family) -> Memory {
    World::new()
        .service(family.vip(0), 80, 17)
        .persistent(1000)
        .with_service(|service| service.engine = Service::SIP)
        .with_service(|service| service.flags |= Service::ONE_PACKET)
        .with(Settings::HAS_SIP)
        .server(0, Method::Nat)
        .memory(&Surroundings::default())
}

fn server_says(family: Family) -> Recipe {
    Recipe::udp((family.server(0), 8080), (family.client(), 40000))
        .payload(MESSAGE)
        .from_server(0)
}

fn client_says(family: Family) -> Recipe {
    Recipe::udp((family.client(), 40000), (family.vip(0), 80)).payload(MESSAGE)
}

/// Whether each template that there is was assured.
fn assured(memory: &Memory) -> Vec<bool> {
    let slots4 = memory.slots4.iter().map(|slot| &slot.head);
    let heads = slots4.chain(memory.slots6.iter().map(|slot| &slot.head));
    let states = heads.map(|head| head.state.load());
    states
        .filter(|state| state & State::TEMPLATE != 0)
        .map(|state| state & State::ASSURED != 0)
        .collect()
}

#[test]
fn a_server_that_speaks_assures_its_call() {
    for family in Family::ALL {
        let begun_by_client = memory(family);
        begun_by_client.arrives(&client_says(family));
        assert_eq!(assured(&begun_by_client), [false]);
        begun_by_client.arrives(&server_says(family));
        assert_eq!(assured(&begun_by_client), [true]);

        let begun_by_server = memory(family);
        begun_by_server.arrives(&server_says(family));
        assert_eq!(assured(&begun_by_server), [true]);
    }
}
