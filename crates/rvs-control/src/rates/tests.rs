//! IPVS's formula, number by number.

use super::*;
use crate::forwarding::{Origin, ServerState};

const KEY: &str = "tcp://10.0.0.1:80";

fn key() -> ServiceKey {
    KEY.parse().expect("a key")
}

fn packets(counted: u64) -> Stats {
    Stats {
        connections: counted / 10,
        packets_in: counted,
        packets_out: 2 * counted,
        bytes_in: 100 * counted,
        bytes_out: 0,
    }
}

fn service(counted: Stats) -> ServiceState {
    let server = rvs_config::Server::new(
        "10.1.0.1".parse().expect("an address"),
        80,
        rvs_config::Method::Nat,
        rvs_config::Weight::default(),
    );
    ServiceState {
        key: key(),
        name: None,
        options: rvs_config::ServiceOptions::default(),
        origin: Origin::Runtime,
        servers: vec![ServerState {
            server: server.expect("a server"),
            origin: Origin::Runtime,
            active: 0,
            inactive: 0,
            persistent: 0,
            stats: Stats::default(),
            counted,
            local: false,
            draining_removed: false,
            next_hop: None,
        }],
        stats: Stats::default(),
        counted,
    }
}

fn look(estimator: &mut Estimator, counted: u64) -> Rates {
    assert!(!estimator.is_due(Duration::from_secs(1)));
    assert!(estimator.is_due(Duration::from_secs(1)));
    estimator.observe(&[service(packets(counted))], packets(counted));
    estimator.rates(Subject::Service(key()))
}

/// The numbers of a flow of 100 packets a second from its beginning on: the scaled averages are 25600, 44800, 59200, 70000,
/// 78100, 84175 and so on towards 102400, worked out by hand.
#[test]
fn a_steady_flow_is_approached_in_quarters() {
    let mut estimator = Estimator::new(&[], Stats::default());
    let mut rates = Vec::new();
    for second in 1..=12 {
        rates.push(look(&mut estimator, second * 200));
    }
    let packets_in: Vec<u64> = rates.iter().map(|rates| rates.packets_in).collect();
    assert_eq!(packets_in, [25, 44, 58, 68, 76, 82, 87, 90, 92, 94, 96, 97]);
    // Bytes: 20,000 in two seconds, averages 80000, 140000, 185000.
    let bytes_in: Vec<u64> = rates.iter().take(3).map(|rates| rates.bytes_in).collect();
    assert_eq!(bytes_in, [2500, 4375, 5781]);
    let connections: Vec<u64> = rates
        .iter()
        .take(4)
        .map(|rates| rates.connections)
        .collect();
    assert_eq!(connections, [2, 4, 6, 7]);
    for rates in &rates {
        assert_eq!(rates.bytes_out, 0);
    }
    assert_eq!(
        estimator.rates(Subject::Server(
            key(),
            "10.1.0.1:80".parse().expect("address")
        )),
        estimator.rates(Subject::Whole)
    );
}

/// A flow that ends leaves its rate by quarters too, rounded down (the shift is arithmetic): 1 packet in 2 s gives an
/// average of 128, then 96, 72, 54, 40 (40.5), 30, 22, 16, 12, 9, 6, 4, 3, 2, 1, 0.
#[test]
fn a_flow_that_ends_is_forgotten() {
    let mut average = step(0, 1, 9);
    let mut averages = vec![average];
    while average > 0 {
        average = step(average, 0, 9);
        averages.push(average);
    }
    assert_eq!(
        averages,
        [128, 96, 72, 54, 40, 30, 22, 16, 12, 9, 6, 4, 3, 2, 1, 0]
    );
    // A half is rounded down, anything above it up.
    for (average, rate) in [(0, 0), (1, 0), (512, 0), (513, 1), (1536, 1), (1537, 2)] {
        let estimate = Estimate {
            last: Stats::default(),
            average: Stats {
                packets_in: average,
                ..Stats::default()
            },
        };
        let mut estimator = Estimator::new(&[], Stats::default());
        estimator.seen.insert(Subject::Whole, estimate);
        assert_eq!(
            estimator.rates(Subject::Whole).packets_in,
            rate,
            "{average}"
        );
    }
}

#[test]
fn what_was_there_before_is_no_flood() {
    let before = packets(1_000_000);
    let mut estimator = Estimator::new(&[service(before)], before);
    assert_eq!(look(&mut estimator, 1_000_000), Rates::default());
    assert_eq!(look(&mut estimator, 1_000_200).packets_in, 25);
    // What is removed and comes again has counted since then.
    estimator.is_due(INTERVAL);
    estimator.observe(&[], packets(1_000_200));
    assert_eq!(estimator.rates(Subject::Service(key())), Rates::default());
    assert_eq!(look(&mut estimator, 200).packets_in, 25);
}

#[test]
fn zeroing_forgets_the_rates_and_not_the_counts() {
    let mut estimator = Estimator::new(&[], Stats::default());
    for second in 1..=5 {
        look(&mut estimator, second * 200);
    }
    let now = packets(1100);
    let whole = estimator.rates(Subject::Whole);
    estimator.zero(Some(key()), &[service(now)], now);
    assert_eq!(estimator.rates(Subject::Service(key())), Rates::default());
    assert_eq!(estimator.rates(Subject::Whole), whole, "one service's");
    // 100 of these 200 were before.
    assert_eq!(look(&mut estimator, 1200).packets_in, 12);
    let now = packets(1200);
    estimator.zero(None, &[service(now)], now);
    assert_eq!(estimator.rates(Subject::Whole), Rates::default());
    let other = "udp://10.0.0.1:53".parse().expect("a key");
    estimator.zero(Some(other), &[service(now)], now);
    assert_eq!(look(&mut estimator, 1400).packets_in, 25);
}

#[test]
fn an_estimator_that_is_off_says_nothing_and_begins_anew() {
    let mut estimator = Estimator::new(&[], Stats::default());
    look(&mut estimator, 200);
    estimator.stop();
    assert_eq!(estimator.rates(Subject::Whole), Rates::default());
    assert!(!estimator.is_due(Duration::from_secs(100)));
    let now = packets(1_000_000);
    estimator.start(&[service(now)], now);
    assert_eq!(look(&mut estimator, 1_000_200).packets_in, 25);
    // Starting what runs changes nothing.
    estimator.start(&[service(now)], now);
    assert_eq!(look(&mut estimator, 1_000_400).packets_in, 44);
}

#[test]
fn a_look_that_comes_late_counts_for_its_time() {
    let counted = |estimator: &mut Estimator, since: u64| {
        assert!(estimator.is_due(Duration::from_millis(since)));
        estimator.observe(&[], packets(400));
        estimator.rates(Subject::Whole).packets_in
    };
    for (milliseconds, rate) in [(1951, 50), (2000, 50), (2049, 50), (4000, 25), (40_000, 2)] {
        let mut estimator = Estimator::new(&[], Stats::default());
        assert_eq!(
            counted(&mut estimator, milliseconds),
            rate,
            "{milliseconds}"
        );
    }
    let mut estimator = Estimator::new(&[], Stats::default());
    assert!(!estimator.is_due(Duration::from_millis(1949)));
}

#[test]
fn no_count_is_too_large() {
    for (last, now) in [(0, u64::MAX), (u64::MAX, 0), (5, 3)] {
        for since in [
            Duration::ZERO,
            Duration::from_nanos(1),
            INTERVAL,
            Duration::MAX,
        ] {
            let rate = step(u64::MAX, seen(last, now, since), 9);
            assert!(rate <= i64::MAX as u64);
        }
    }
}
