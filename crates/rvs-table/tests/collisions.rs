//! Someone who aims at a few slots of the table, with the key and without it.

#![cfg(not(loom))]

mod memory;

use memory::{KEY, Table, record};
use rvs_abi::Method;
use rvs_table::{Hash, HashKey, Inserted};

const SLOTS: usize = 256;
/// A quarter of the table: without an attack there is room in the first windows for nearly all.
const CONNECTIONS: usize = SLOTS / 4;

/// Connections that all begin in the same two windows of a table with this key.
fn aimed(key: HashKey) -> Vec<u32> {
    let mask = SLOTS as u32 - 1;
    (0..)
        .filter(|client| {
            let hash = Hash::of(&record(Method::Direct, *client, 0).request_key(), key);
            hash.home(0) & mask == 0 && hash.home(1) & mask == 0
        })
        .take(CONNECTIONS)
        .collect()
}

/// How many of these connections do not get into the first window of a table with this key.
fn displaced(clients: &[u32], key: HashKey) -> usize {
    let table = Table::with_key(SLOTS, key);
    let outcomes = clients
        .iter()
        .map(|client| table.insert(&record(Method::Direct, *client, 0), 1));
    let displaced = outcomes
        .filter(|outcome| !matches!(outcome, Inserted::New { spilled: false, .. }))
        .count();
    table.assert_spill();
    displaced
}

#[test]
fn connections_aimed_with_the_key_meet_and_with_another_they_do_not() {
    let guessed = HashKey { k0: 0, k1: 0 };
    let clients = aimed(guessed);
    // The attack itself is sound: where the key is known, one window of eight is all there is.
    assert_eq!(displaced(&clients, guessed), CONNECTIONS - 8);
    let honest: Vec<u32> = (0..CONNECTIONS as u32).collect();
    let usual = displaced(&honest, KEY);
    for k0 in 0..8 {
        let secret = HashKey {
            k0: KEY.k0.wrapping_mul(2 * k0 + 1),
            k1: KEY.k1 ^ k0,
        };
        let found = displaced(&clients, secret);
        assert!(found <= usual + 4, "{found} displaced, {usual} usually");
    }
}
