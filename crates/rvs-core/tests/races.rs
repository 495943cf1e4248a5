//! What one CPU does to a connection that another is still making: nothing that its server counts.

use rvs_abi::{Method, Server};
use rvs_core::Action;
use rvs_fixtures::{Frame, Memory, Native, Recipe, Surroundings, World, place::Family};
use rvs_table::tag;

fn direct(memory: &Memory, recipe: &Recipe) -> u32 {
    let frame = Frame::with_place_routes(&recipe.frame(), &Surroundings::default());
    Native { frame, memory }.direct()
}

/// A director with one connection, which was published but not confirmed.
fn unconfirmed(method: Method) -> (Memory, Recipe) {
    let family = Family::V4;
    let world = World::new().service(family.vip(0), 80, 6).server(0, method);
    let memory = world.memory(&Surroundings::default());
    let syn = Recipe::tcp((family.client(), 40000), (family.vip(0), 80), "S");
    assert_eq!(direct(&memory, &syn), Action::Transmit as u32);
    for slot in &memory.slots4 {
        let seen = slot.head.tag.load();
        if tag::state(seen) == tag::LIVE {
            slot.head.tag.store(tag::with_state(seen, tag::FRESH));
        }
    }
    // As if the counts were not taken yet.
    memory.servers[0].active.store(0);
    (memory, syn)
}

#[test]
fn an_unconfirmed_connection_moves_no_counts() {
    for method in [Method::Nat, Method::Direct, Method::Tunnel] {
        let (memory, syn) = unconfirmed(method);
        for flags in ["A", "FA", "R"] {
            assert_eq!(
                direct(&memory, &syn.clone().flags(flags)),
                Action::Transmit as u32
            );
        }
        let server = &memory.servers[0];
        assert_eq!((server.active.load(), server.inactive.load()), (0, 0));
    }
}

#[test]
fn an_unconfirmed_connection_of_a_removed_server_is_not_ended() {
    let (memory, syn) = unconfirmed(Method::Nat);
    let server = &memory.servers[0];
    server.flags.store(server.flags.load() | Server::REMOVED);
    assert_eq!(
        direct(&memory, &syn.clone().flags("A")),
        Action::Transmit as u32
    );
    assert_eq!((server.active.load(), server.inactive.load()), (0, 0));
    // Once it is confirmed and counted, it ends.
    for slot in &memory.slots4 {
        let seen = slot.head.tag.load();
        if tag::state(seen) == tag::FRESH {
            slot.head.tag.store(tag::with_state(seen, tag::LIVE));
        }
    }
    server.active.store(1);
    assert_eq!(direct(&memory, &syn.flags("A")), Action::Pass as u32);
    assert_eq!((server.active.load(), server.inactive.load()), (0, 0));
}
