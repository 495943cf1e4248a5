//! Connections come and go, the dead rest and are cleared: the table always finds what a plain map
//! knows, and nothing else.

#![cfg(not(loom))]

mod memory;

use std::collections::BTreeMap;

use memory::{QUARANTINE, Table, record};
use proptest::prelude::*;
use rvs_abi::Method;
use rvs_table::{Inserted, clear, kill_connection, pair_of, tag};

const CLIENTS: u32 = 60;
const SERVICES: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u32, u32),
    End(u32, u32),
    Wait(u32),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..CLIENTS, 0..SERVICES).prop_map(|(client, service)| Step::Insert(client, service)),
        6 => (0..CLIENTS, 0..SERVICES).prop_map(|(client, service)| Step::End(client, service)),
        2 => (0..QUARANTINE * 2).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lookups_stay_right(
        slots in prop::sample::select(vec![1_usize, 2, 8, 16, 64, 256]),
        method in prop::sample::select(vec![Method::Direct, Method::Nat]),
        start in prop::sample::select(vec![1_u32, u32::MAX - 50]),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        run(slots, method, start, &steps)?;
    }
}

fn run(slots: usize, method: Method, start: u32, steps: &[Step]) -> Result<(), TestCaseError> {
    let table = Table::new(slots);
    let mut model: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut now = start;
    for step in steps {
        match *step {
            Step::Insert(client, service) => {
                let outcome = table.insert(&record(method, client, service), now);
                let known = model.get(&(client, service));
                let taken = method == Method::Nat
                    && (0..SERVICES)
                        .any(|other| other != service && model.contains_key(&(client, other)));
                match outcome {
                    Inserted::New { index, .. } => {
                        prop_assert!(known.is_none() && !taken);
                        model.insert((client, service), index);
                    }
                    Inserted::Exists(index) => prop_assert_eq!(known, Some(&index)),
                    Inserted::ReplyTaken => prop_assert!(known.is_none() && taken),
                    // Nobody needs to have looked whether it exists, but it may not fit a second time.
                    Inserted::Full => {
                        let room = slots - table.live().len();
                        let resting = slots < 256 || room < slots / 2;
                        prop_assert!(resting, "full, with room for {}", room);
                    }
                    Inserted::Race => prop_assert!(false, "alone, and a race"),
                }
            }
            Step::End(client, service) => {
                if let Some(index) = model.remove(&(client, service)) {
                    let slot = &table.slots[index as usize];
                    let seen = slot.head.tag.load();
                    prop_assert!(kill_connection(
                        &table,
                        slot,
                        seen,
                        method == Method::Nat,
                        now
                    ));
                    prop_assert!(!kill_connection(
                        &table,
                        slot,
                        seen,
                        method == Method::Nat,
                        now
                    ));
                }
            }
            Step::Wait(ticks) => now = now.wrapping_add(ticks),
            Step::Sweep => {
                for index in (0..slots as u32).rev() {
                    clear(&table, index, now);
                }
            }
        }
        same(&table, method, &model)?;
    }
    Ok(())
}

/// The table and the map say the same of every connection that could be.
fn same(
    table: &Table,
    method: Method,
    model: &BTreeMap<(u32, u32), u32>,
) -> Result<(), TestCaseError> {
    for client in 0..CLIENTS {
        let mut owner = None;
        for service in 0..SERVICES {
            let known = model.get(&(client, service)).copied();
            prop_assert_eq!(
                table.find(&record(method, client, service).request_key()),
                known
            );
            owner = owner.or(known);
        }
        let reply = table.find(&record(method, client, 0).reply_key());
        if method == Method::Nat {
            let request = reply.and_then(|reply| {
                pair_of(table, &table.slots[reply as usize]).map(|(request, _, _)| request)
            });
            prop_assert_eq!(request, owner);
        } else {
            prop_assert_eq!(reply, None);
        }
    }
    let per = if method == Method::Nat { 2 } else { 1 };
    prop_assert_eq!(table.live().len(), model.len() * per);
    table.assert_spill();
    Ok(())
}

/// Full of tombstones, swept, and as good as new.
#[test]
fn a_sweep_after_the_quarantine_leaves_an_empty_table() {
    let table = Table::new(64);
    for client in 0..200 {
        let record = record(Method::Direct, client, 0);
        if let Inserted::New { index, .. } = table.insert(&record, 1) {
            let slot = &table.slots[index as usize];
            assert!(kill_connection(
                &table,
                slot,
                slot.head.tag.load(),
                false,
                1
            ));
        }
    }
    // Every slot was used: there is no never-used one to begin with.
    assert!(
        table
            .slots
            .iter()
            .all(|slot| tag::state(slot.head.tag.load()) == tag::DEAD)
    );
    let empty = |table: &Table| {
        let states = table
            .slots
            .iter()
            .map(|slot| tag::state(slot.head.tag.load()));
        states.filter(|state| *state == tag::EMPTY).count()
    };
    for index in (0..64).rev() {
        assert!(!clear(&table, index, QUARANTINE), "too early");
    }
    for index in (0..64).rev() {
        clear(&table, index, 1 + QUARANTINE);
    }
    assert_eq!(empty(&table), 64);
}
