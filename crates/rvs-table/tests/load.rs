//! How full the table may become before it refuses, and what looking up costs then.

#![cfg(not(loom))]

mod memory;

use memory::{Table, record};
use rvs_abi::Method;
use rvs_table::{Inserted, LEVELS};

const SLOTS: usize = 1 << 16;

/// What a load was like.
struct Load {
    refused: f64,
    hit: f64,
    miss: f64,
}

/// Fills a table up to `full`, and asks for everything in it and as much that is not.
fn simulate(full: f64, method: Method) -> Load {
    let table = Table::new(SLOTS);
    let per = if method == Method::Nat { 2 } else { 1 };
    let attempts = (SLOTS as f64 * full) as u32 / per;
    let (mut made, mut refused) = (Vec::new(), 0);
    for client in 0..attempts {
        let record = record(method, client, client & 3);
        match table.insert(&record, 1) {
            Inserted::New { index, .. } => made.push((record, index)),
            Inserted::Full => refused += 1,
            other @ (Inserted::Exists(_) | Inserted::ReplyTaken | Inserted::Race) => {
                panic!("{other:?}")
            }
        }
    }
    table.probes();
    for (record, index) in &made {
        assert_eq!(table.find(&record.request_key()), Some(*index));
    }
    let hit = table.probes() as f64 / made.len() as f64;
    for (record, _) in &made {
        let reply = table.find(&record.reply_key());
        assert_eq!(reply.is_some(), method == Method::Nat);
    }
    table.probes();
    for client in 0..attempts {
        let stranger = record(method, client, 9);
        assert_eq!(table.find(&stranger.request_key()), None);
    }
    let miss = table.probes() as f64 / f64::from(attempts);
    table.assert_spill();
    let levels: Vec<usize> = (0..LEVELS)
        .map(|level| {
            table
                .live()
                .iter()
                .filter(|link| link.level() == level)
                .count()
        })
        .collect();
    let refused = f64::from(refused) / f64::from(attempts);
    println!(
        "{method:?}, load {full}: {:.4} % refused, {hit:.2} slots a hit, {miss:.2} a miss, levels {levels:?}",
        refused * 100.0
    );
    Load { refused, hit, miss }
}

#[test]
fn half_a_table_refuses_nothing() {
    for method in [Method::Direct, Method::Nat] {
        let load = simulate(0.5, method);
        assert!(load.refused == 0.0);
        assert!(
            load.hit < 2.0 && load.miss < 8.0,
            "{} {}",
            load.hit,
            load.miss
        );
    }
}

#[test]
fn seven_tenths_of_a_table_refuse_almost_nothing() {
    for method in [Method::Direct, Method::Nat] {
        let load = simulate(0.7, method);
        assert!(load.refused < 3e-4, "{}", load.refused);
        assert!(
            load.hit < 3.0 && load.miss < 18.0,
            "{} {}",
            load.hit,
            load.miss
        );
    }
}

#[test]
fn an_overfull_table_refuses_and_keeps_what_it_has() {
    let load = simulate(1.1, Method::Direct);
    // A tenth cannot fit.
    assert!(
        load.refused > 0.09 && load.refused < 0.15,
        "{}",
        load.refused
    );
}
