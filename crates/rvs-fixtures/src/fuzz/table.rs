//! Connections put in by user space, swept, and asked for: counts stay those of the table.

use rvs_abi::{
    Role, Server,
    slot::{Link, State},
    sweep::{Insertion, Sweep},
};
use rvs_core::{restore, sweep};
use rvs_table::tag;

use super::{Choices, frames};
use crate::{Memory, place};

/// Inserts, sweeps, waits and removes as the bytes say.
pub fn insertion(data: &[u8]) {
    let mut choices = Choices(data);
    let world = frames::world(&mut choices);
    let memory = world.memory(&frames::surroundings());
    for server in &memory.servers {
        // As many states as there are numbers: user space may hand in anything.
        assert_eq!(server.active.load() + server.inactive.load(), 0);
    }
    let mut pass = 1;
    while !choices.is_empty() {
        match choices.below(8) {
            0 => memory.now.set(
                memory
                    .now
                    .get()
                    .wrapping_add(u32::from(choices.byte()) * 1000),
            ),
            1 => {
                pass += 1;
                for family in [4, 6] {
                    let slice = Sweep {
                        family,
                        first: 0,
                        count: world.slots,
                        pass,
                        ..Sweep::default()
                    };
                    let swept = sweep::sweep(&memory, slice);
                    assert!(swept.live >= swept.expired, "{swept:?}");
                }
            }
            2 if !memory.servers.is_empty() => {
                let flags = &memory.servers[choices.below(memory.servers.len())].flags;
                flags.store(flags.load() | Server::REMOVED);
            }
            _ => insert(&memory, &mut choices),
        }
        recount(&memory);
    }
}

fn insert(memory: &Memory, choices: &mut Choices<'_>) {
    let family = place::Family::ALL[choices.below(2)];
    let state = State(u32::from(choices.byte()))
        .with_number(choices.below(12) as u32)
        .0
        | if choices.below(2) == 0 {
            State::INACTIVE
        } else {
            0
        };
    let insertion = Insertion {
        client: place::words(family.client()),
        virtual_address: place::words(family.vip(choices.below(4))),
        ports: u32::from(choices.byte()) | u32::from(80_u16.to_be()) << 16,
        server: u32::from(choices.byte()) % 16,
        protocol: [6, 17][choices.below(2)],
        family: if family == place::Family::V6 { 6 } else { 4 },
        state,
        stamp: memory
            .now
            .get()
            .wrapping_sub(u32::from(choices.byte()) * 4000),
        outcome: 0,
        packets: u32::from(choices.byte()),
        ..Insertion::default()
    };
    let outcome = restore::restore(memory, &insertion);
    assert!(outcome <= 2, "{outcome}");
    if outcome == 1 {
        // A second time it is there already; or there is no room, even to find out.
        assert_ne!(restore::restore(memory, &insertion), 1);
    }
}

/// What servers count is what the table holds, by its connections' own flags.
fn recount(memory: &Memory) {
    let mut counts = vec![(0, 0); memory.servers.len()];
    let heads = memory.slots4.iter().map(|slot| &slot.head);
    for head in heads.chain(memory.slots6.iter().map(|slot| &slot.head)) {
        let live = tag::state(head.tag.load()) == tag::LIVE;
        if live && Link(head.link.load()).role() == Role::Request {
            let (active, inactive) = &mut counts[head.server.load() as usize];
            let is_inactive = State(head.state.load()).has(State::INACTIVE);
            *(if is_inactive { inactive } else { active }) += 1;
        }
    }
    for (server, counts) in memory.servers.iter().zip(counts) {
        assert_eq!((server.active.load(), server.inactive.load()), counts);
    }
}
