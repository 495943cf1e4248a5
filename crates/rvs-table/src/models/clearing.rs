//! Reachable, and quarantine: what is live is found, whatever is cleared or reused meanwhile.

use loom::{model::Builder, sync::Arc, thread};
use rvs_abi::{Method, Role};

use super::{LATER, NOW, Table, hash_key_where, home, record};
use crate::{HashKey, Inserted, Record, clear, kill, tag};

/// The window's first slot holds another connection's tombstone. It is not reused, since the inserting
/// CPU's clock says that it has not rested; the sweeper's clock is a little ahead.
#[test]
fn inserting_behind_a_tombstone_that_is_cleared() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = same_window(&one, &other);
    loom::model(move || {
        let table = Table::new(4, key);
        tombstone(&table, &other);
        let sweeper = {
            let table = Arc::clone(&table);
            thread::spawn(move || clear(&*table, 0, LATER))
        };
        let outcome = table.insert(&one, LATER - 1);
        sweeper.join().expect("a CPU");
        assert_reachable(&table, &one, outcome);
    });
}

/// The same, where the sweeper walks downwards over two tombstones.
#[test]
fn inserting_while_a_run_of_tombstones_is_cleared() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = same_window(&one, &other);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Table::new(4, key);
        tombstone(&table, &other);
        let second = &table.slots[1];
        second.head.stamp.store(NOW);
        second
            .head
            .tag
            .store(tag::with_state(tag::busy(1, 5), tag::DEAD));
        let sweeper = {
            let table = Arc::clone(&table);
            thread::spawn(move || (clear(&*table, 1, LATER), clear(&*table, 0, LATER)))
        };
        // The second slot may be reused: this CPU's clock is ahead, but the first died later.
        table.slots[0].head.stamp.store(NOW + 1);
        let outcome = table.insert(&one, LATER);
        sweeper.join().expect("a CPU");
        assert_reachable(&table, &one, outcome);
    });
}

/// Two sweepers at one tombstone, and an insertion.
#[test]
fn two_cpus_clear_one_tombstone() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = same_window(&one, &other);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let table = Table::new(4, key);
        tombstone(&table, &other);
        let sweepers = [0, 1].map(|_| {
            let table = Arc::clone(&table);
            thread::spawn(move || clear(&*table, 0, LATER))
        });
        let outcome = table.insert(&one, LATER - 1);
        let cleared = sweepers.map(|sweeper| sweeper.join().expect("a CPU"));
        assert!(!(cleared[0] && cleared[1]), "cleared twice");
        assert_reachable(&table, &one, outcome);
    });
}

/// Clearing against reuse: the tombstone goes to one of them.
#[test]
fn reusing_a_tombstone_that_is_cleared() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = same_window(&one, &other);
    loom::model(move || {
        let table = Table::new(4, key);
        tombstone(&table, &other);
        let sweeper = {
            let table = Arc::clone(&table);
            thread::spawn(move || clear(&*table, 0, LATER))
        };
        let outcome = table.insert(&one, LATER);
        sweeper.join().expect("a CPU");
        assert_reachable(&table, &one, outcome);
    });
}

/// A reader that found a slot just before it died still reads that connection's words, or sees that it
/// is gone: nobody writes them before the quarantine is over.
#[test]
fn reading_a_connection_that_dies() {
    let (one, other) = (
        record(Method::Direct, 1000, 1),
        record(Method::Direct, 1000, 2),
    );
    let key = hash_key_where(|key| {
        home(&one, Role::Request, 0, key, 4) == 0 && home(&other, Role::Request, 0, key, 4) == 0
    });
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Table::new(4, key);
        let Inserted::New { index, .. } = table.insert(&one, NOW) else {
            panic!("nobody else was there");
        };
        let writer = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let slot = &table.slots[index as usize];
                assert!(kill(&*table, slot, slot.head.tag.load(), NOW));
                // One tick short: the slot must be passed by.
                table.insert(&other, LATER - 1)
            })
        };
        if let Some(found) = table.find(&one.request_key()) {
            assert_eq!(found, index);
            let slot = &table.slots[found as usize];
            assert!(one.is_of(Role::Request, slot));
            assert_eq!(slot.head.server.load(), one.server);
        }
        let outcome = writer.join().expect("a CPU");
        assert!(
            matches!(outcome, Inserted::New { index: 1, .. }),
            "{outcome:?}"
        );
        assert_eq!(table.find(&one.request_key()), None);
        assert_eq!(table.find(&other.request_key()), Some(1));
    });
}

fn same_window(one: &Record<1>, other: &Record<1>) -> HashKey {
    hash_key_where(|key| {
        home(one, Role::Request, 0, key, 4) == 0
            && home(other, Role::Request, 0, key, 4) == 0
            && home(one, Role::Request, 1, key, 4) == 2
    })
}

/// Makes and ends a connection in slot 0.
fn tombstone(table: &Table, record: &Record<1>) {
    let outcome = table.insert(record, NOW);
    assert!(
        matches!(outcome, Inserted::New { index: 0, .. }),
        "{outcome:?}"
    );
    let slot = &table.slots[0];
    assert!(kill(table, slot, slot.head.tag.load(), NOW));
}

fn assert_reachable(table: &Table, record: &Record<1>, outcome: Inserted) {
    match outcome {
        Inserted::New { index, .. } => {
            assert_eq!(
                table.find(&record.request_key()),
                Some(index),
                "out of reach"
            );
        }
        Inserted::Race => assert_eq!(table.find(&record.request_key()), None),
        Inserted::Exists(_) | Inserted::ReplyTaken | Inserted::Full => panic!("{outcome:?}"),
    }
    table.assert_settled();
}
