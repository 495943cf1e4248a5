//! Every case of the table, run by the core natively: the whole way, and with the express way first.

use std::collections::BTreeSet;

use rvs_fixtures::{Mode, NativeEngine, cases, check};

#[test]
fn every_case_the_whole_way() {
    for case in cases() {
        check(&case, &mut NativeEngine::new(&case.world, Mode::Whole));
    }
}

#[test]
fn every_case_with_the_express_way_first() {
    let mut finished = 0;
    for case in cases() {
        if case.native_only.is_some() {
            // XDP sees neither super-packets nor unfinished checksums.
            continue;
        }
        let mut engine = NativeEngine::new(&case.world, Mode::ExpressFirst);
        check(&case, &mut engine);
        finished += engine.finished_by_express();
    }
    assert!(
        finished >= 12,
        "the express way finished only {finished} packets"
    );
}

#[test]
fn the_table_is_large_and_its_names_differ() {
    let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(names.len(), different.len());
    assert!(names.len() >= 150, "only {} cases", names.len());
}
