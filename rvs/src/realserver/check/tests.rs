//! Each thing that can be wrong with a real server, one at a time.

use super::*;
use crate::doctor::Level;
use crate::realserver::network::{Address, DefaultRoute, Device};
use crate::realserver::state::{TUNNEL_V4, TUNNEL_V6};
use std::net::IpAddr;

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
        never_source: true,
    }
}

fn route(family: Family, gateway: &str, advmss: Option<u32>) -> DefaultRoute {
    DefaultRoute {
        family,
        ifindex: Some(2),
        gateway: Some(ip(gateway)),
        advmss,
    }
}

fn wanted(method: Method) -> Wanted {
    Wanted {
        vips: vec![ip("10.0.0.101"), ip("2001:db8::101")],
        method,
        device: None,
        director: None,
    }
}

/// A host on which nothing is wrong, for direct routing and tunnels.
fn healthy() -> State {
    let mut state = State {
        devices: vec![
            device(1, "lo"),
            device(2, "eth0"),
            device(3, "eth1"),
            device(4, TUNNEL_V4),
            device(5, TUNNEL_V6),
        ],
        addresses: vec![
            address(1, "10.0.0.101", 32),
            address(1, "2001:db8::101", 128),
        ],
        default_routes: vec![
            route(Family::V4, "10.0.0.1", Some(1440)),
            route(Family::V6, "2001:db8::1", Some(1400)),
        ],
        ..State::default()
    };
    state.sysctls.insert(Key::ipv4("all", "arp_ignore"), 1);
    state.sysctls.insert(Key::ipv4("all", "arp_announce"), 2);
    state
}

/// Spoils one thing and compares all complaints: level, about and mend.
#[track_caller]
fn case(method: Method, spoil: impl FnOnce(&mut State), expected: &[(Level, &str, &str)]) {
    let mut state = healthy();
    spoil(&mut state);
    let findings = check(&state, &wanted(method));
    let found: Vec<_> = findings
        .iter()
        .filter(|finding| finding.level != Level::Ok)
        .map(|finding| {
            let mend = finding.mend.as_deref().unwrap_or_default();
            (finding.level, finding.about, mend)
        })
        .collect();
    assert_eq!(found, expected);
}

const UP: &str = "rvs realserver up --method direct --vip 10.0.0.101 --vip 2001:db8::101";
const UP_TUNNEL: &str = "rvs realserver up --method tunnel --vip 10.0.0.101 --vip 2001:db8::101";

#[test]
fn healthy_hosts_are_told_so() {
    case(Method::Direct, |_| {}, &[]);
    case(Method::Tunnel, |_| {}, &[]);
    case(Method::Nat, |state| state.addresses.clear(), &[]);
}

#[test]
fn addresses() {
    use Level::{Fail, Warn};
    case(
        Method::Direct,
        |state| {
            state.addresses.remove(0);
        },
        &[(Fail, "vip", UP)],
    );
    case(
        Method::Direct,
        |state| state.addresses.push(address(2, "10.0.0.101", 32)),
        &[(Fail, "vip", "ip address del 10.0.0.101/32 dev eth0")],
    );
    case(
        Method::Direct,
        |state| {
            for own in &mut state.addresses {
                own.length -= 8;
            }
        },
        &[
            (Fail, "vip", "ip address del 10.0.0.101/24 dev lo"),
            (Fail, "vip", "ip address del 2001:db8::101/120 dev lo"),
        ],
    );
    case(
        Method::Direct,
        |state| {
            for own in &mut state.addresses {
                own.never_source = false;
            }
        },
        &[(
            Warn,
            "vip",
            "ip -6 address change 2001:db8::101/128 dev lo preferred_lft 0",
        )],
    );
    case(
        Method::Direct,
        |state| {
            for loopback in state.devices.iter_mut().filter(|device| device.loopback) {
                loopback.up = false;
            }
        },
        &[(Fail, "vip", "ip link set lo up")],
    );
    case(
        Method::Nat,
        |_| {},
        &[
            (Fail, "vip", "ip address del 10.0.0.101/32 dev lo"),
            (Fail, "vip", "ip address del 2001:db8::101/128 dev lo"),
        ],
    );
}

#[test]
fn arp() {
    for (setting, value) in [("arp_ignore", 1), ("arp_announce", 2)] {
        let key = Key::ipv4("all", setting);
        let mend = key.command(value);
        case(
            Method::Direct,
            |state| {
                state.sysctls.remove(&key);
            },
            &[(Level::Fail, "arp", mend.as_str())],
        );
    }
    for value in [3, 4, 7, 9] {
        case(
            Method::Direct,
            |state| {
                let key = Key::ipv4("eth1", "arp_ignore");
                state.sysctls.insert(key, value);
            },
            &[(
                Level::Fail,
                "arp",
                "sysctl -w net.ipv4.conf.eth1.arp_ignore=1",
            )],
        );
    }
    // One may hold its tongue better than `all` asks for, and a tunnel has none.
    for (name, value) in [("eth1", 8), (TUNNEL_V4, 3)] {
        case(
            Method::Direct,
            |state| {
                state.sysctls.insert(Key::ipv4(name, "arp_ignore"), value);
            },
            &[],
        );
    }
}

#[test]
fn decapsulation() {
    use Level::Fail;
    case(
        Method::Tunnel,
        |state| state.devices.retain(|device| device.name != TUNNEL_V6),
        &[(Fail, "decapsulation", UP_TUNNEL)],
    );
    case(
        Method::Tunnel,
        |state| {
            for tunnel in &mut state.devices {
                tunnel.up = tunnel.name != TUNNEL_V4;
            }
        },
        &[(Fail, "decapsulation", UP_TUNNEL)],
    );
    case(
        Method::Tunnel,
        |state| {
            state.devices.truncate(3);
            state.attached.insert("eth0".to_owned());
        },
        &[],
    );
    for (all, own, to) in [(0, 1, 0), (1, 0, 2)] {
        let mend = format!("sysctl -w net.ipv4.conf.tunl0.rp_filter={to}");
        let mut state = healthy();
        state.sysctls.insert(Key::ipv4("all", "rp_filter"), all);
        state.sysctls.insert(Key::ipv4(TUNNEL_V4, "rp_filter"), own);
        let findings = check(&state, &wanted(Method::Tunnel));
        assert!(
            findings
                .iter()
                .any(|finding| finding.about == "decapsulation"
                    && finding.mend.as_ref() == Some(&mend)),
            "{findings:?}"
        );
    }
}

#[test]
fn reverse_path_filters() {
    let strict = |state: &mut State| {
        for name in ["eth0", "eth1"] {
            state.sysctls.insert(Key::ipv4(name, "rp_filter"), 1);
        }
    };
    // Replies leave by eth0, so it may be strict.
    case(
        Method::Direct,
        strict,
        &[(
            Level::Warn,
            "rp_filter",
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
        )],
    );
}

#[test]
fn segments() {
    use Level::Warn;
    let cases: [(Family, Option<u32>, Option<&str>); 6] = [
        (Family::V4, Some(1440), None),
        (
            Family::V4,
            Some(1441),
            Some("ip route change default via 10.0.0.1 dev eth0 advmss 1440"),
        ),
        (
            Family::V4,
            None,
            Some("ip route change default via 10.0.0.1 dev eth0 advmss 1440"),
        ),
        (Family::V6, Some(1400), None),
        (
            Family::V6,
            Some(1401),
            Some("ip -6 route change default via 2001:db8::1 dev eth0 advmss 1400"),
        ),
        (
            Family::V6,
            None,
            Some("ip -6 route change default via 2001:db8::1 dev eth0 advmss 1400"),
        ),
    ];
    for (family, advmss, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|mend| (Warn, "segments", *mend))
            .collect();
        let spoil = |state: &mut State| {
            for route in &mut state.default_routes {
                if route.family == family {
                    route.advmss = advmss;
                }
            }
        };
        case(Method::Tunnel, spoil, &expected);
        // Only tunnels need the room.
        case(Method::Direct, spoil, &[]);
    }
}

#[test]
fn replies() {
    use Level::{Fail, Warn};
    let routeless = |state: &mut State| {
        state.default_routes.clear();
    };
    case(
        Method::Direct,
        routeless,
        &[
            (Warn, "replies", "ip route replace default via GATEWAY"),
            (Warn, "replies", "ip -6 route replace default via GATEWAY"),
        ],
    );
    case(
        Method::Nat,
        |state| {
            state.addresses.clear();
            routeless(state);
        },
        &[
            (Fail, "replies", "ip route replace default via DIRECTOR"),
            (Fail, "replies", "ip -6 route replace default via DIRECTOR"),
        ],
    );
    for (director, level) in [("10.0.0.1", Level::Ok), ("10.0.0.9", Warn)] {
        let mut state = healthy();
        state.addresses.clear();
        let wanted = Wanted {
            vips: vec![ip("10.0.0.101")],
            director: Some(ip(director)),
            ..wanted(Method::Nat)
        };
        let findings = check(&state, &wanted);
        let found = findings
            .iter()
            .find(|finding| finding.about == "replies")
            .map(|finding| finding.level);
        assert_eq!(found, Some(level), "{director}");
    }
}
