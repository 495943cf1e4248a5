//! The figures of the Maglev paper (Eisenbud et al., NSDI 2016, section 5.3) with the real builder: 65537 entries, 1,000
//! servers.

use rvs_abi::Scheduler;
use rvs_core::schedule::build::{Candidate, MAGLEV, MAGLEV_EXACT, address, fill};

fn table(servers: impl IntoIterator<Item = (u16, u32)>) -> Vec<u16> {
    let candidate = |(number, weight): (u16, u32)| {
        let address = u32::from_be_bytes([10, 1, (number >> 8) as u8, number as u8]);
        Candidate::new([address.to_be(), 0, 0, 0], 80, number, weight)
    };
    let mut candidates: Vec<Candidate> = servers.into_iter().map(candidate).collect();
    let mut entries = vec![0; MAGLEV as usize];
    fill(Scheduler::Mh, false, &mut candidates, &mut entries);
    entries
}

fn equal(count: u16) -> impl Iterator<Item = (u16, u32)> {
    (0..count).map(|number| (number, 1))
}

fn shares(entries: &[u16], count: usize) -> Vec<u32> {
    let mut shares = vec![0; count];
    for entry in entries {
        shares[usize::from(*entry)] += 1;
    }
    shares
}

#[test]
fn shares_differ_by_one_entry_at_the_most() {
    let shares = shares(&table(equal(1000)), 1000);
    assert!(shares.iter().all(|share| [65, 66].contains(share)));
}

#[test]
fn shares_are_as_weights_say() {
    let weight = |number: u16| u32::from(number % 4 + 1);
    let entries = table((0..1000).map(|number| (number, weight(number))));
    for (number, share) in (0..).zip(shares(&entries, 1000)) {
        let fair = f64::from(MAGLEV) * f64::from(weight(number)) / 2500.0;
        assert!((f64::from(share) - fair).abs() < 5.0, "{number}: {share}");
    }
}

#[test]
fn a_server_that_goes_moves_few_but_its_own() {
    let before = table(equal(1000));
    for gone in [0, 1, 500, 999] {
        let after = table(equal(1000).filter(|(number, _)| *number != gone));
        let moved = |own: bool| {
            let pairs = before.iter().zip(&after);
            pairs
                .filter(|(old, new)| old != new && (**old == gone) == own)
                .count()
        };
        // Its own entries, and of the others less than one in a hundred.
        assert!([65, 66].contains(&moved(true)));
        let others = moved(false) as f64 / f64::from(MAGLEV);
        println!("{gone}: {others:.4} of the others' entries moved");
        assert!(others < 0.01, "{others}");
    }
}

#[test]
fn the_order_of_addition_does_not_matter() {
    let forward: Vec<_> = equal(50).collect();
    let back: Vec<_> = forward.iter().copied().rev().collect();
    assert_eq!(table(forward), table(back));
}

/// Two pairs of servers that differ in their last words alone.
#[test]
fn exact_tables_of_an_ipv4_service_see_the_first_word_of_an_ipv6_server() {
    let words = |network: u32, host: u32| [0x2001_0000 + network, 0xdb8, 0, host].map(u32::to_be);
    let table = |exact, is_v6, servers: [(u32, u32); 2]| {
        let mut candidates: Vec<Candidate> = (0..)
            .zip(servers)
            .map(|(position, (network, host))| {
                let seen = address(exact, is_v6, words(network, host));
                Candidate::new(seen, 80, position, 1)
            })
            .collect();
        let mut entries = vec![0; MAGLEV_EXACT as usize];
        fill(Scheduler::Mh, exact, &mut candidates, &mut entries);
        entries
    };
    let (one, other) = ([(1, 1), (2, 1)], [(1, 7), (2, 9)]);
    assert_eq!(table(true, false, one), table(true, false, other));
    assert_ne!(table(true, true, one), table(true, true, other));
    assert_ne!(table(false, false, one), table(false, false, other));
}
