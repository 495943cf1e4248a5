//! What is planned for hosts in every condition.

use super::*;
use crate::realserver::network::{Address, DefaultRoute, Device};
use crate::realserver::state::{TUNNEL_V4, TUNNEL_V6};
use std::collections::BTreeMap;

fn device(index: u32, name: &str) -> Device {
    Device {
        index,
        name: name.to_owned(),
        up: true,
        running: true,
        loopback: name == "lo",
        ethernet: name.starts_with("eth"),
        unsuitable: None,
        mtu: 1500,
        kind: None,
        parent: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(ifindex: u32, text: &str, length: u8) -> Address {
    Address {
        ifindex,
        address: ip(text),
        length,
        never_source: false,
    }
}

/// A host with `lo`, `eth0` (the default route's) and `eth1`, and nothing prepared.
fn plain() -> State {
    let sysctls: BTreeMap<Key, i64> = ["all", "lo", "eth0", "eth1", TUNNEL_V4]
        .iter()
        .flat_map(|interface| {
            ["arp_ignore", "arp_announce", "rp_filter"].map(|name| (Key::ipv4(interface, name), 0))
        })
        .collect();
    State {
        devices: vec![device(1, "lo"), device(2, "eth0"), device(3, "eth1")],
        addresses: vec![address(1, "127.0.0.1", 8), address(2, "10.0.0.21", 24)],
        default_routes: vec![DefaultRoute {
            family: Family::V4,
            ifindex: Some(2),
            gateway: Some(ip("10.0.0.1")),
            advmss: None,
        }],
        sysctls,
        ..State::default()
    }
}

fn wanted(method: Method, vips: &[&str]) -> Wanted {
    Wanted {
        vips: vips.iter().map(|vip| ip(vip)).collect(),
        method,
        device: None,
        director: None,
    }
}

/// The plan in words.
fn words(state: &State, wanted: &Wanted, done: &[Change]) -> Vec<String> {
    let changes = plan(state, wanted, done).expect("a plan");
    changes.iter().map(ToString::to_string).collect()
}

const SILENCE: [&str; 4] = [
    "net.ipv4.conf.all.arp_ignore: 0 -> 1",
    "net.ipv4.conf.all.arp_announce: 0 -> 2",
    "net.ipv4.conf.lo.arp_ignore: 0 -> 1",
    "net.ipv4.conf.lo.arp_announce: 0 -> 2",
];

#[test]
fn silence_comes_before_the_address() {
    let found = words(&plain(), &wanted(Method::Direct, &["10.0.0.101"]), &[]);
    assert_eq!(found, [&SILENCE[..], &["10.0.0.101/32 on lo"]].concat());
}

#[test]
fn ipv6_needs_no_silence() {
    let found = words(&plain(), &wanted(Method::Direct, &["2001:db8::101"]), &[]);
    assert_eq!(found, ["2001:db8::101/128 on lo"]);
}

#[test]
fn nat_needs_nothing() {
    let vips = ["10.0.0.100", "2001:db8::100"];
    assert!(words(&plain(), &wanted(Method::Nat, &vips), &[]).is_empty());
}

#[test]
fn what_is_silent_enough_is_kept() {
    for (value, kept) in [
        (0, false),
        (1, true),
        (2, true),
        (3, false),
        (4, false),
        (7, false),
        (8, true),
        (9, false),
    ] {
        let mut state = plain();
        for interface in ["all", "lo"] {
            let key = Key::ipv4(interface, "arp_ignore");
            state.sysctls.insert(key, value);
        }
        let found = words(&state, &wanted(Method::Direct, &["10.0.0.101"]), &[]);
        let changed = found.iter().any(|change| change.contains("arp_ignore"));
        assert_eq!(changed, !kept, "{value}: {found:?}");
    }
    // The larger holds, so one interface can undo what `all` says.
    let mut state = plain();
    state.sysctls.insert(Key::ipv4("eth1", "arp_ignore"), 3);
    let found = words(&state, &wanted(Method::Direct, &["10.0.0.101"]), &[]);
    assert!(found.contains(&"net.ipv4.conf.eth1.arp_ignore: 3 -> 1".to_owned()));
}

#[test]
fn what_is_there_is_not_planned() {
    let mut state = plain();
    for interface in ["all", "lo"] {
        state.sysctls.insert(Key::ipv4(interface, "arp_ignore"), 2);
        state
            .sysctls
            .insert(Key::ipv4(interface, "arp_announce"), 2);
    }
    state.addresses.push(address(1, "10.0.0.101", 32));
    let wanted = wanted(Method::Direct, &["10.0.0.101"]);
    assert!(words(&state, &wanted, &[]).is_empty());
    if let Some(loopback) = state.devices.first_mut() {
        loopback.up = false;
    }
    assert_eq!(words(&state, &wanted, &[]), ["lo up"]);
}

#[test]
fn the_kernels_tunnels_go_before_our_program() {
    let both = wanted(Method::Tunnel, &["10.0.0.102", "2001:db8::102"]);
    let tunnelled = |state: &State| {
        let found = words(state, &both, &[]);
        let rest = found.into_iter().skip(SILENCE.len());
        rest.take_while(|change| !change.contains("/32"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        tunnelled(&plain()),
        ["decapsulation on eth0 for 10.0.0.102 2001:db8::102"]
    );
    let mut state = plain();
    state.devices.push(Device {
        up: false,
        ..device(4, TUNNEL_V4)
    });
    assert_eq!(
        tunnelled(&state),
        ["tunl0 up", "decapsulation on eth0 for 2001:db8::102"]
    );
    state.devices.push(device(5, TUNNEL_V6));
    assert_eq!(tunnelled(&state), ["tunl0 up"]);
}

#[test]
fn strict_filters_of_tunnels_are_loosened() {
    // (all, own, what is set)
    let cases = [
        (0, 0, None),
        (0, 1, Some(0)),
        (0, 2, None),
        (1, 0, Some(2)),
        (1, 1, Some(2)),
        (1, 2, None),
        (2, 0, None),
        (2, 1, None),
    ];
    for (all, own, expected) in cases {
        let mut state = plain();
        state.devices.push(device(4, TUNNEL_V4));
        state.sysctls.insert(Key::ipv4("all", "rp_filter"), all);
        state.sysctls.insert(Key::ipv4(TUNNEL_V4, "rp_filter"), own);
        let changes = plan(&state, &wanted(Method::Tunnel, &["10.0.0.102"]), &[]).expect("a plan");
        let set = changes.iter().find_map(|change| match change {
            Change::Sysctl { key, to, .. } if *key == Key::ipv4(TUNNEL_V4, "rp_filter") => {
                Some(*to)
            }
            Change::Sysctl { .. }
            | Change::Device { .. }
            | Change::Up { .. }
            | Change::Decapsulation { .. }
            | Change::Address { .. } => None,
        });
        assert_eq!(set, expected, "{all} {own}");
    }
}

#[test]
fn our_program_learns_more_addresses() {
    let mut state = plain();
    state.attached.insert("eth0".to_owned());
    let done = [Change::Decapsulation {
        device: "eth0".to_owned(),
        vips: vec![ip("10.0.0.102")],
        before: Vec::new(),
    }];
    let program = |vips: &[&str], done: &[Change]| {
        let changes = plan(&state, &wanted(Method::Tunnel, vips), done).expect("a plan");
        changes
            .into_iter()
            .find(|change| matches!(change, Change::Decapsulation { .. }))
    };
    assert_eq!(program(&["10.0.0.102"], &done), None);
    let more = Some(Change::Decapsulation {
        device: "eth0".to_owned(),
        vips: vec![ip("10.0.0.102"), ip("10.0.0.103")],
        before: vec![ip("10.0.0.102")],
    });
    assert_eq!(program(&["10.0.0.103"], &done), more);
    // One that nobody remembers is replaced.
    let anew = Some(Change::Decapsulation {
        device: "eth0".to_owned(),
        vips: vec![ip("10.0.0.102")],
        before: Vec::new(),
    });
    assert_eq!(program(&["10.0.0.102"], &[]), anew);
}

#[test]
fn our_program_sits_where_tunnels_arrive() {
    let mut wanted = wanted(Method::Tunnel, &["10.0.0.102"]);
    let mut state = plain();
    assert_eq!(program_device(&state, &wanted).as_deref(), Some("eth0"));
    wanted.device = Some("eth1".to_owned());
    assert_eq!(program_device(&state, &wanted).as_deref(), Some("eth1"));
    wanted.device = None;
    state.default_routes.clear();
    assert_eq!(plan(&state, &wanted, &[]), Err(PlanError::NoDevice));
    wanted.device = Some("eth9".to_owned());
    assert_eq!(
        plan(&state, &wanted, &[]),
        Err(PlanError::UnknownDevice("eth9".to_owned()))
    );
}

#[test]
fn addresses_elsewhere_are_refused() {
    // (interface, length, method) and what is said
    let cases = [
        (2, 32, Method::Direct, "answers ARP"),
        (2, 24, Method::Tunnel, "answers ARP"),
        (1, 24, Method::Direct, "whole network local"),
        (1, 24, Method::Tunnel, "whole network local"),
        (1, 32, Method::Nat, "the director alone"),
        (2, 32, Method::Nat, "the director alone"),
    ];
    for (ifindex, length, method, expected) in cases {
        let mut state = plain();
        state.addresses.push(address(ifindex, "10.0.0.101", length));
        let error = plan(&state, &wanted(method, &["10.0.0.101"]), &[])
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&format!("ip address del 10.0.0.101/{length} dev ")));
        assert!(!error.contains('\n'), "{error}");
    }
    let mut state = plain();
    state.devices.remove(0);
    assert_eq!(
        plan(&state, &wanted(Method::Direct, &["10.0.0.101"]), &[]),
        Err(PlanError::NoLoopback)
    );
}
