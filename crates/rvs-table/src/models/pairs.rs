//! Pairs: a NAT connection's two slots are both there or neither is, and a reply tuple has one owner.

use loom::{model::Builder, sync::Arc, thread};
use rvs_abi::{Method, Role};

use super::{LATER, NOW, Table, hash_key_where, home, record};
use crate::{HashKey, Inserted, kill_connection, pair_of, tag};

/// Two services share a real server, and one client uses one port towards both.
#[test]
fn two_cpus_need_one_reply_tuple() {
    let (one, two) = (record(Method::Nat, 1000, 1), record(Method::Nat, 1000, 2));
    let key = hash_key_where(|key| {
        home(&one, Role::Request, 0, key, 8) == 0
            && home(&two, Role::Request, 0, key, 8) == 2
            && home(&one, Role::Reply, 0, key, 8) == 4
    });
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Table::new(8, key);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.insert(&two, NOW))
        };
        let outcomes = [table.insert(&one, NOW), other.join().expect("a CPU")];
        let made = |outcome: &&Inserted| matches!(outcome, Inserted::New { .. });
        assert!(
            outcomes.iter().filter(made).count() <= 1,
            "two owners: {outcomes:?}"
        );
        for (record, outcome) in [(one, outcomes[0]), (two, outcomes[1])] {
            match outcome {
                Inserted::New { index, .. } => {
                    assert_eq!(table.find(&record.request_key()), Some(index));
                    assert_whole(&table, index);
                    let reply = table.find(&record.reply_key()).expect("the reply slot");
                    let (request, _, _) =
                        pair_of(&*table, &table.slots[reply as usize]).expect("its pair");
                    assert_eq!(request, index);
                }
                Inserted::ReplyTaken | Inserted::Race => {
                    assert_eq!(table.find(&record.request_key()), None);
                }
                Inserted::Exists(_) | Inserted::Full => panic!("{outcomes:?}"),
            }
        }
        assert_settled(&table);
    });
}

/// A CPU ends a connection while another makes it anew.
#[test]
fn ending_against_making() {
    let one = record(Method::Nat, 1000, 1);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Table::new(8, HashKey::default());
        let Inserted::New { index, .. } = table.insert(&one, NOW) else {
            panic!("nobody else was there");
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let slot = &table.slots[index as usize];
                let seen = slot.head.tag.load();
                kill_connection(&*table, slot, seen, true, NOW)
            })
        };
        let outcome = table.insert(&one, NOW);
        assert!(other.join().expect("a CPU"));
        match outcome {
            Inserted::New { index: made, .. } => {
                assert_eq!(table.find(&one.request_key()), Some(made));
                assert_whole(&table, made);
            }
            // It was still there, or half of it.
            Inserted::Exists(found) => assert_eq!(found, index),
            Inserted::ReplyTaken | Inserted::Race => {}
            Inserted::Full => panic!("{outcome:?}"),
        }
        assert_settled(&table);
    });
}

/// A CPU finds a connection that another is still making, and ends it.
#[test]
fn ending_while_making() {
    let one = record(Method::Nat, 1000, 1);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Table::new(8, HashKey::default());
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.find(&one.request_key()).is_some_and(|index| {
                    let slot = &table.slots[index as usize];
                    let seen = slot.head.tag.load();
                    tag::readable(seen) && kill_connection(&*table, slot, seen, true, NOW)
                })
            })
        };
        let outcome = table.insert(&one, NOW);
        let ended = other.join().expect("a CPU");
        let stays = matches!(outcome, Inserted::New { .. }) && !ended;
        assert_eq!(
            table.find(&one.request_key()).is_some(),
            stays,
            "{outcome:?}"
        );
        assert_settled(&table);
    });
}

/// A reader follows a pair's index while the pair's slot gets another tenant.
#[test]
fn a_later_tenant_is_not_taken_for_the_pair() {
    let (one, two) = (
        record(Method::Nat, 1000, 1),
        record(Method::Direct, 2000, 2),
    );
    // The other's window begins where the first's reply slot lies.
    let key = hash_key_where(|key| {
        home(&one, Role::Request, 0, key, 8) == 0
            && home(&one, Role::Reply, 0, key, 8) == 4
            && home(&two, Role::Request, 0, key, 8) == 4
    });
    loom::model(move || {
        let table = Table::new(8, key);
        let Inserted::New { index, .. } = table.insert(&one, NOW) else {
            panic!("nobody else was there");
        };
        let reply = table.find(&one.reply_key()).expect("the reply slot");
        let slot = &table.slots[reply as usize];
        assert!(crate::kill(&*table, slot, slot.head.tag.load(), NOW));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.insert(&two, LATER))
        };
        // Whatever the other has done by now, the pair is gone.
        assert!(pair_of(&*table, &table.slots[index as usize]).is_none());
        let Inserted::New { index: made, .. } = other.join().expect("a CPU") else {
            panic!("there was room");
        };
        assert_eq!(made, reply);
        assert!(pair_of(&*table, &table.slots[index as usize]).is_none());
    });
}

/// The connection's two slots name each other.
fn assert_whole(table: &Table, request: u32) {
    let slot = &table.slots[request as usize];
    let (reply, pair, _) = pair_of(table, slot).expect("the reply slot");
    let (back, _, _) = pair_of(table, pair).expect("the request slot");
    assert_eq!(back, request);
    assert_eq!(
        (table.state(request), table.state(reply)),
        (tag::LIVE, tag::LIVE)
    );
}

/// Nothing half done, and no slot without its pair.
fn assert_settled(table: &Table) {
    table.assert_settled();
    for index in table.all(tag::LIVE) {
        assert_whole_any(table, index);
    }
}

fn assert_whole_any(table: &Table, index: u32) {
    let slot = &table.slots[index as usize];
    assert!(
        pair_of(table, slot).is_some(),
        "slot {index} is half a connection"
    );
}
