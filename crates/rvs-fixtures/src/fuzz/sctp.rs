//! SCTP packets of any chunks through NAT, both ways: what leaves has a whole checksum where what came in had one.

use rvs_abi::Method;

use super::Choices;
use crate::{
    Engine, Input, Mode, NativeEngine, Recipe, Verdict, World, frame::Checksum, place::Family,
    recipe::crc32c,
};

const PACKETS: usize = 32;

/// The director keeps SCTP's checksums whole, and broken ones broken.
pub fn sctp(data: &[u8]) {
    let mut choices = Choices(data);
    let family = Family::ALL[choices.below(2)];
    let world = World::new()
        .service(family.vip(0), 80, 132)
        .server(0, Method::Nat);
    let mut engine = NativeEngine::new(&world, Mode::Whole);
    let (client, server) = ((family.client(), 40000), (family.server(0), 8080));
    engine.run(&input(Recipe::sctp(client, (family.vip(0), 80), 1).frame()));
    for _ in 0..PACKETS {
        if choices.is_empty() {
            break;
        }
        let chunks: Vec<u8> = (0..=choices.below(3))
            .map(|_| choices.byte() % 16)
            .collect();
        let length = choices.below(200);
        let payload = choices.bytes(length);
        let recipe = if choices.below(2) == 0 {
            Recipe::sctp(client, (family.vip(0), 80), 0)
        } else {
            Recipe::sctp(server, client, 0).from_server(0)
        };
        let mut frame = recipe.chunks(&chunks).payload(payload).frame();
        let at = transport(family) + choices.below(frame.len() - transport(family));
        // Ports lead elsewhere, and a checksum of zero is one that is still to come.
        let damaged = choices.below(4) == 0 && !(0..12).contains(&(at - transport(family)));
        if damaged {
            frame[at] ^= 1 << choices.below(8);
        }
        let outcome = engine.run(&input(frame));
        if outcome.verdict() == Verdict::Transmit {
            assert_eq!(
                is_whole(outcome.bytes(), family),
                !damaged,
                "{outcome:02x?}"
            );
        }
    }
}

fn input(bytes: Vec<u8>) -> Input {
    Input {
        bytes,
        segments: None,
        checksum: Checksum::Whole,
        is_local: false,
        mark: 0,
    }
}

fn transport(family: Family) -> usize {
    match family {
        Family::V4 => 34,
        Family::V6 => 54,
    }
}

fn is_whole(frame: &[u8], family: Family) -> bool {
    let mut packet = frame[transport(family)..].to_vec();
    let found = [packet[8], packet[9], packet[10], packet[11]];
    packet[8..12].fill(0);
    crc32c(&packet) == u32::from_le_bytes(found)
}
