//! What is not shown by the commands' own tests.

use rvs_config::{Knobs, Timeouts};
use rvs_control::rates::Rates;
use rvs_control::wire::{Interface, Table};
use serde_json::json;

use super::*;

#[test]
fn times() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_795_451_817, "2026-11-23T16:36:57Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(utc(seconds), text);
    }
}

#[test]
fn a_status() {
    let status = Status {
        version: "1.2.3".to_owned(),
        instance: "main".to_owned(),
        pid: 4242,
        started: 0,
        loaded: 0,
        config: Some("/etc/rvs/rvs.toml".into()),
        socket: "/run/rvs/main.sock".into(),
        adoption: Adoption::Upgraded {
            connections: 1000,
            refused: 1,
        },
        scheduling: false,
        forwarding_on_stop: "stop".to_owned(),
        services: 3,
        servers: 9,
        active: 100,
        inactive: 20,
        table: Table {
            slots_v4: 1 << 20,
            used_v4: 123_456,
            slots_v6: 0,
            used_v6: 0,
            refused: 7,
        },
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            ifindex: 2,
            tc: "tcx".to_owned(),
            xdp: true,
        }],
        timeouts: Timeouts::defaults(None),
        knobs: Knobs::defaults(None),
        defences: rvs_control::wire::Defences::default(),
        stats: Stats::default(),
        counted: Stats::default(),
        rates: Rates::default(),
    };
    insta::assert_snapshot!(self::status(&status));
}

#[test]
fn strange_events_are_shown_as_well_as_can_be() {
    assert_eq!(event(&json!({})), "1970-01-01T00:00:00Z ?\n");
    assert_eq!(event(&json!([1])), "1970-01-01T00:00:00Z ?\n");
    assert_eq!(
        event(&json!({ "time": 60, "event": "a_b", "x": null, "y": [1], "number": 2 })),
        "1970-01-01T00:01:00Z a b y=[1]\n"
    );
}

#[test]
fn templates_of_calls_show_them() {
    let connection = rvs_control::wire::Connection {
        protocol: rvs_config::Protocol::Udp,
        client: ([0, 0, 0, 0], 0).into(),
        service: ([10, 0, 0, 1], 5060).into(),
        server: ([10, 1, 0, 1], 5060).into(),
        state: "NONE".to_owned(),
        expires: 59,
        active: false,
        packets: 1,
        template: true,
        mark: None,
        call: Some("a84b4c76e66710@pc33.atlanta.example.com".to_owned()),
    };
    let other = rvs_control::wire::Connection {
        template: false,
        call: None,
        ..connection.clone()
    };
    let list = |connections: Vec<_>| {
        super::connections(&Connections {
            total: connections.len() as u64,
            connections,
        })
    };
    insta::assert_snapshot!(list(vec![connection, other.clone()]), @r"
    Protocol  Expire  State  Source     Virtual        Destination    InPkts  Call
    udp        00:59  NONE   0.0.0.0:0  10.0.0.1:5060  10.1.0.1:5060       1  a84b4c76e66710@pc33.atlanta.example.com
    udp        00:59  NONE   0.0.0.0:0  10.0.0.1:5060  10.1.0.1:5060       1
    ");
    assert!(!list(vec![other]).contains("Call"));
}
