//! No twins: of several CPUs that insert one key at most one confirms.

use std::{vec, vec::Vec};

use loom::{model::Builder, sync::Arc, thread};
use rvs_abi::{Method, Role};

use super::{NOW, Table, hash_key_where, home, record};
use crate::{HashKey, Inserted, Record, kill, tag};

#[test]
fn two_cpus_insert_one_key() {
    let one = record(Method::Direct, 1000, 1);
    loom::model(move || inserters(Table::new(4, HashKey::default()), &[one, one]));
}

/// The first window is full, so that both go to the second, where searches only look while the spill
/// count says so.
#[test]
fn two_cpus_insert_one_key_beyond_its_first_window() {
    let (one, others) = (
        record(Method::Direct, 1000, 1),
        [2, 3].map(|n| record(Method::Direct, 1000, n)),
    );
    let key = hash_key_where(|key| {
        home(&one, Role::Request, 0, key, 4) == 0
            && home(&one, Role::Request, 1, key, 4) == 2
            && others
                .iter()
                .all(|other| home(other, Role::Request, 0, key, 4) == 0)
    });
    loom::model(move || {
        let table = Table::new(4, key);
        for other in &others {
            assert!(matches!(
                table.insert(other, NOW),
                Inserted::New { spilled: false, .. }
            ));
        }
        inserters(table, &[one, one]);
    });
}

/// One finds room in the first window because its tenant dies at that moment, the other does not.
#[test]
fn two_cpus_insert_one_key_in_different_windows() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = hash_key_where(|key| {
        home(&one, Role::Request, 0, key, 4) == 0 && home(&one, Role::Request, 1, key, 4) == 2
    });
    loom::model(move || {
        let table = Table::new(4, key);
        // Both slots of the first window are taken; one is a tombstone that has rested for one of the
        // CPUs' clocks, and not yet for the other's.
        let tenant = |index: usize, state| {
            let slot = &table.slots[index];
            slot.head.stamp.store(NOW - super::QUARANTINE + 1);
            slot.head.tag.store(tag::with_state(tag::busy(1, 5), state));
        };
        tenant(0, tag::DEAD);
        tenant(1, tag::LIVE);
        let _ = other;
        let late = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.insert(&one, NOW + 1))
        };
        let early = table.insert(&one, NOW);
        let late = late.join().expect("a CPU");
        let kept = at_most_one(&[early, late]);
        assert_eq!(table.find(&one.request_key()), kept);
        table.assert_settled();
    });
}

/// Three CPUs, with at most two pre-emptions in a run.
#[test]
fn three_cpus_insert_one_key() {
    let one = record(Method::Direct, 1000, 1);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || inserters(Table::new(4, HashKey::default()), &[one, one, one]));
}

#[test]
fn two_cpus_insert_one_nat_connection() {
    let one = record(Method::Nat, 1000, 1);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || inserters(Table::new(8, HashKey::default()), &[one, one]));
}

/// Whoever ends a slot releases what it was counted in: of two CPUs one does.
#[test]
fn two_cpus_end_one_connection() {
    let one = record(Method::Direct, 1000, 1);
    loom::model(move || {
        let table = Table::new(4, HashKey::default());
        let Inserted::New { index, .. } = table.insert(&one, NOW) else {
            panic!("nobody else was there");
        };
        let end = move |table: &Table| {
            let slot = &table.slots[index as usize];
            let seen = slot.head.tag.load();
            tag::state(seen) == tag::LIVE && kill(table, slot, seen, NOW)
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || end(&table))
        };
        let ended = [end(&table), other.join().expect("a CPU")];
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        assert_eq!(table.find(&one.request_key()), None);
        table.assert_settled();
    });
}

/// Lets a CPU insert each of the records, which have one key.
fn inserters(table: Arc<Table>, records: &[Record<1>]) {
    let others: Vec<_> = records[1..]
        .iter()
        .map(|record| {
            let (table, record) = (Arc::clone(&table), *record);
            thread::spawn(move || table.insert(&record, NOW))
        })
        .collect();
    let mut outcomes = vec![table.insert(&records[0], NOW)];
    outcomes.extend(others.into_iter().map(|cpu| cpu.join().expect("a CPU")));
    let kept = at_most_one(&outcomes);
    assert_eq!(table.find(&records[0].request_key()), kept, "{outcomes:?}");
    table.assert_settled();
    let slots = if records[0].method == Method::Nat as u32 {
        2
    } else {
        1
    };
    let of_ours = table.all(tag::LIVE).into_iter().filter(|index| {
        records[0].is_of(Role::Request, &table.slots[*index as usize])
            || records[0].is_of(Role::Reply, &table.slots[*index as usize])
    });
    assert_eq!(of_ours.count(), if kept.is_some() { slots } else { 0 });
}

/// The index that was confirmed, if one was; who found another's found that one.
fn at_most_one(outcomes: &[Inserted]) -> Option<u32> {
    let mut kept = None;
    for outcome in outcomes {
        if let Inserted::New { index, .. } = outcome {
            assert_eq!(kept, None, "twins: {outcomes:?}");
            kept = Some(*index);
        }
    }
    for outcome in outcomes {
        match outcome {
            Inserted::Exists(index) => assert_eq!(kept, Some(*index), "{outcomes:?}"),
            Inserted::New { .. } | Inserted::Race => {}
            Inserted::ReplyTaken | Inserted::Full => panic!("{outcomes:?}"),
        }
    }
    kept
}
