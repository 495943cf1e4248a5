//! A tunnel's end: what comes out is what went in, with congestion marks by RFC 6040, section 4.2.

use rvs_abi::{Counter, Method};
use rvs_core::{Action, decapsulate::decapsulate};
use rvs_fixtures::{
    Frame, Native, Recipe, Surroundings, World,
    fuzz::TunnelEnd,
    place::{Family, LAN, server_mac},
};

#[test]
fn marks_are_carried_inwards() {
    for family in Family::ALL {
        for inner in 0..4 {
            for outer in 0..4 {
                let recipe = Recipe::udp((family.client(), 40000), (family.vip(0), 80))
                    .macs(server_mac(0), LAN)
                    .tos(0xb8 | inner);
                let tunnelled = recipe
                    .wrapped(family.own(), family.server(0))
                    .tos(0xb8 | outer);
                let mut end = TunnelEnd::new(&tunnelled.frame());
                let action = decapsulate(&mut end);
                if inner == 0 && outer == 3 {
                    // Its sender would not understand the mark.
                    assert_eq!(action, Action::Drop);
                    assert_eq!(end.counted(), [Counter::DropMalformed]);
                    continue;
                }
                assert_eq!((action, end.counted()), (Action::Pass, Vec::new()));
                let marked = if outer == 3 { 3 } else { inner };
                assert_eq!(
                    end.bytes(),
                    recipe.tos(0xb8 | marked).frame(),
                    "{inner} in {outer}"
                );
            }
        }
    }
}

#[test]
fn what_the_director_wraps_the_end_unwraps() {
    for family in Family::ALL {
        for protocol in [6, 17] {
            let ends = ((family.client(), 40000), (family.vip(0), 80));
            let recipe = match protocol {
                6 => Recipe::tcp(ends.0, ends.1, "S"),
                _ => Recipe::udp(ends.0, ends.1),
            };
            let world = World::new()
                .service(family.vip(0), 80, protocol)
                .server(0, Method::Tunnel);
            let memory = world.memory(&Surroundings::default());
            let frame = Frame::with_place_routes(&recipe.frame(), &Surroundings::default());
            let mut native = Native {
                frame,
                memory: &memory,
            };
            assert_eq!(native.direct(), Action::Transmit as u32);
            let mut end = TunnelEnd::new(native.frame.bytes());
            assert_eq!(decapsulate(&mut end), Action::Pass);
            assert_eq!(end.bytes(), recipe.aged().to_server(0).frame());
        }
    }
}

#[test]
fn tunnels_to_others_go_on_untouched() {
    let family = Family::V4;
    let inner = Recipe::udp((family.client(), 40000), (family.client(), 80));
    let tunnelled = inner.wrapped(family.own(), family.server(0)).frame();
    let mut end = TunnelEnd::new(&tunnelled);
    assert_eq!(
        (decapsulate(&mut end), end.bytes()),
        (Action::Pass, tunnelled.as_slice())
    );
}
