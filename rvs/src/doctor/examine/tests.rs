//! Each thing that can be wrong, one at a time, against a host that is all right.

use super::*;
use crate::doctor::facts::Chain;
use crate::doctor::finding::{Level, Report};
use crate::realserver::network::{Address, DefaultRoute, Device};
use crate::realserver::state::State;
use rvs_config::{Config, Service};
use rvs_dataplane::hops::Hop;

const CONFIG: &str = r#"
[director]
interfaces = ["eth0", "eth1"]
[[service]]
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.1.0.21:80"]
[[service]]
address = "tcp://10.0.0.101:80"
method = "direct"
servers = ["10.0.0.21:80"]
[[service]]
address = "tcp://10.0.0.102:80"
method = "tunnel"
servers = ["10.9.0.21:80"]
[[service]]
address = "tcp://[2001:db8::101]:80"
method = "tunnel"
servers = ["[2001:db8::21]:80"]
"#;

fn device(index: u32, name: &str, mtu: u32) -> Device {
    Device {
        index,
        name: name.to_owned(),
        up: true,
        running: true,
        loopback: name == "lo",
        ethernet: name != "lo",
        unsuitable: None,
        mtu,
        kind: None,
        parent: None,
    }
}

fn address(ifindex: u32, text: &str) -> Address {
    let (address, length) = text.split_once('/').expect("a prefix");
    let address: IpAddr = address.parse().expect("an address");
    let length = length.parse().expect("a length");
    Address {
        ifindex,
        address,
        length,
        never_source: address.is_ipv6() && length == 128,
    }
}

fn hop(ifindex: u32, mtu: u32) -> Hop {
    Hop {
        ifindex,
        gateway: None,
        source: None,
        mtu,
        local: false,
        macs: Some([0; 12]),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn services() -> Vec<Service> {
    let config = Config::parse(CONFIG, "test").expect("a configuration");
    config.services.as_slice().to_vec()
}

/// A director on which nothing is wrong.
fn healthy() -> Facts {
    let mut tunnelled = hop(2, 1540);
    tunnelled.gateway = Some(ip("10.0.0.1"));
    let forwarding = ["eth0", "eth1"].iter().flat_map(|name| {
        [
            (Key::ipv4(name, "forwarding"), 1),
            (Key::ipv6(name, "forwarding"), 1),
        ]
    });
    Facts {
        interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
        attach: Attach::Auto,
        services: services(),
        system: System {
            release: "6.18.44-x".to_owned(),
            privileged: true,
            jit: Some(1),
            btf: true,
            bpf: true,
            bpffs: "/sys/fs/bpf".into(),
            mounted: true,
        },
        network: State {
            devices: vec![
                device(1, "lo", 65536),
                device(2, "eth0", 1500),
                device(3, "eth1", 1500),
            ],
            addresses: vec![
                address(1, "127.0.0.1/8"),
                address(2, "10.0.0.10/24"),
                address(2, "10.0.0.100/32"),
                address(2, "10.0.0.101/32"),
                address(2, "10.0.0.102/32"),
                address(2, "2001:db8::10/64"),
                address(2, "2001:db8::101/128"),
                address(3, "10.1.0.1/24"),
            ],
            default_routes: vec![DefaultRoute {
                family: Family::V4,
                ifindex: Some(2),
                gateway: Some(ip("10.0.0.1")),
                advmss: None,
            }],
            ..State::default()
        },
        forwarding: forwarding
            .chain([
                (Key::new("net/ipv4/ip_forward"), 1),
                (Key::ipv6("all", "forwarding"), 1),
            ])
            .collect(),
        hops: BTreeMap::from([
            (ip("10.1.0.21"), Ok(hop(3, 1500))),
            (ip("10.0.0.21"), Ok(hop(2, 1500))),
            (ip("10.9.0.21"), Ok(tunnelled)),
            (ip("2001:db8::21"), Ok(hop(2, 1540))),
        ]),
        rivals: BTreeMap::new(),
        merging: Vec::new(),
        chains: Vec::new(),
        old_tables: Vec::new(),
        conntrack: false,
    }
}

/// What is not all right, as (level, about, mend).
fn complaints(facts: &Facts) -> Vec<(Level, &'static str, String)> {
    examine(facts)
        .into_iter()
        .filter(|finding| finding.level != Level::Ok)
        .map(|finding| {
            (
                finding.level,
                finding.about,
                finding.mend.unwrap_or_default(),
            )
        })
        .collect()
}

/// Spoils one thing and compares all complaints.
#[track_caller]
fn case(spoil: impl FnOnce(&mut Facts), expected: &[(Level, &str, &str)]) {
    let mut facts = healthy();
    spoil(&mut facts);
    let found = complaints(&facts);
    let found: Vec<_> = found
        .iter()
        .map(|(level, about, mend)| (*level, *about, mend.as_str()))
        .collect();
    assert_eq!(found, expected);
}

fn interface<'a>(facts: &'a mut Facts, name: &str) -> &'a mut Device {
    let mut devices = facts.network.devices.iter_mut();
    devices
        .find(|device| device.name == name)
        .expect("an interface")
}

fn way<'a>(facts: &'a mut Facts, server: &str) -> &'a mut Hop {
    let hop = facts.hops.get_mut(&ip(server)).expect("a server");
    hop.as_mut().expect("a way")
}

#[test]
fn a_healthy_director_is_told_so() {
    let report = Report::new(examine(&healthy()));
    assert!(report.ok);
    assert!(report.to_string().ends_with("all well\n"), "{report}");
    assert!(report.findings.len() > 10);
}

#[test]
fn nothing_configured_is_nothing_wrong() {
    case(|facts| facts.services.clear(), &[]);
}

#[test]
fn systems() {
    use Level::{Fail, Warn};
    for release in ["6.0.19", "5.15.0-generic", "", "x", "6"] {
        case(
            |facts| facts.system.release = release.to_owned(),
            &[(Fail, "kernel", "install a newer kernel")],
        );
    }
    for release in ["6.1.0-40-amd64", "6.5", "6.6", "7.0.1"] {
        case(|facts| facts.system.release = release.to_owned(), &[]);
    }
    case(
        |facts| facts.system.privileged = false,
        &[(
            Fail,
            "privileges",
            "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        )],
    );
    case(
        |facts| facts.system.bpf = false,
        &[(
            Fail,
            "bpf",
            "use a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_NET_CLS_BPF",
        )],
    );
    case(
        |facts| facts.system.jit = Some(0),
        &[(Warn, "jit", "sysctl -w net.core.bpf_jit_enable=1")],
    );
    case(|facts| facts.system.jit = None, &[]);
    case(
        |facts| facts.system.btf = false,
        &[(
            Warn,
            "btf",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y if programs do not load",
        )],
    );
    case(
        |facts| facts.system.mounted = false,
        &[(Fail, "bpffs", "mount -t bpf bpf /sys/fs/bpf")],
    );
}

#[test]
fn interfaces() {
    use Level::{Fail, Warn};
    case(
        |facts| facts.interfaces.push("eth7".to_owned()),
        &[(
            Fail,
            "interface",
            "ip link show, and correct `interfaces` in the configuration",
        )],
    );
    case(
        |facts| interface(facts, "eth1").up = false,
        &[(Fail, "interface", "ip link set eth1 up")],
    );
    case(
        |facts| interface(facts, "eth1").running = false,
        &[(
            Fail,
            "interface",
            "look at the cable, or at eth1's other end",
        )],
    );
    case(
        |facts| interface(facts, "eth1").unsuitable = Some("it is a port of a bridge"),
        &[(Fail, "interface", "take eth1 out of `interfaces`")],
    );
    // tun and wireguard are switched.
    case(|facts| interface(facts, "eth0").ethernet = false, &[]);
    case(
        |facts| {
            facts.attach = Attach::Xdp;
            interface(facts, "eth0").kind = Some("veth".to_owned());
        },
        &[(
            Warn,
            "offload",
            "ethtool -K PEER tx off at eth0's other end, or attach = \"auto\"",
        )],
    );
    for attach in [Attach::Auto, Attach::Tc] {
        case(
            |facts| {
                facts.attach = attach;
                interface(facts, "eth0").kind = Some("veth".to_owned());
            },
            &[],
        );
    }
    case(
        |facts| facts.merging.push("eth0".to_owned()),
        &[(Warn, "offload", "ethtool -K eth0 lro off")],
    );
    let tagged = Device {
        kind: Some("vlan".to_owned()),
        parent: Some(2),
        ..device(4, "eth0.5", 1500)
    };
    case(
        |facts| facts.network.devices.push(tagged.clone()),
        &[(
            Warn,
            "vlan",
            "add \"eth0.5\" to `interfaces` if services are there",
        )],
    );
    case(
        |facts| {
            facts.network.devices.push(tagged.clone());
            facts.interfaces.push(tagged.name.clone());
        },
        &[],
    );
}

/// Moves an address to another interface, or away.
fn move_vip(facts: &mut Facts, vip: &str, to: Option<u32>) {
    let vip = ip(vip);
    facts.network.addresses.retain(|own| own.address != vip);
    if let Some(ifindex) = to {
        let text = format!("{vip}/{}", Family::of(vip).full_length());
        facts.network.addresses.push(address(ifindex, &text));
    }
}

#[test]
fn service_addresses() {
    use Level::{Fail, Warn};
    case(
        |facts| move_vip(facts, "10.0.0.100", None),
        &[(Fail, "vip", "ip address add 10.0.0.100/32 dev eth0")],
    );
    case(
        |facts| move_vip(facts, "2001:db8::101", None),
        &[(
            Fail,
            "vip",
            "ip -6 address add 2001:db8::101/128 dev eth0 nodad preferred_lft 0",
        )],
    );
    // Without a network of its own here, it may be routed to us.
    case(
        |facts| {
            move_vip(facts, "2001:db8::101", None);
            move_vip(facts, "2001:db8::10", None);
        },
        &[(
            Warn,
            "vip",
            "ip -6 address add 2001:db8::101/128 dev eth0 nodad preferred_lft 0",
        )],
    );
    // IPv4 addresses on `lo` are answered for, unless ARP is silent; IPv6 ones never are.
    case(|facts| move_vip(facts, "10.0.0.100", Some(1)), &[]);
    for (interface, silent) in [("all", 1), ("eth0", 2), ("eth0", 8)] {
        case(
            |facts| {
                move_vip(facts, "10.0.0.100", Some(1));
                let key = Key::ipv4(interface, "arp_ignore");
                facts.network.sysctls.insert(key, silent);
            },
            &[(
                Fail,
                "vip",
                "ip address del 10.0.0.100/32 dev lo; ip address add 10.0.0.100/32 dev eth0",
            )],
        );
    }
    case(
        |facts| move_vip(facts, "2001:db8::101", Some(1)),
        &[(
            Fail,
            "vip",
            "ip address del 2001:db8::101/128 dev lo; ip -6 address add 2001:db8::101/128 dev eth0 nodad preferred_lft 0",
        )],
    );
    case(
        |facts| {
            facts.network.devices.push(device(4, "eth2", 1500));
            move_vip(facts, "10.0.0.100", Some(4));
        },
        &[(
            Warn,
            "vip",
            "add \"eth2\" to `interfaces`, or: ip address add 10.0.0.100/32 dev eth0",
        )],
    );
    case(
        |facts| {
            for own in &mut facts.network.addresses {
                own.never_source = false;
            }
        },
        &[(
            Warn,
            "source",
            "ip -6 address change 2001:db8::101/128 dev eth0 preferred_lft 0",
        )],
    );
    case(
        |facts| {
            let rival = ("eth0".to_owned(), [2, 0, 0, 0, 0, 0xab]);
            let elsewhere = ("eth1".to_owned(), [2, 0, 0, 0, 0, 0xac]);
            let rivals = vec![rival, elsewhere];
            facts.rivals.insert(ip("10.0.0.101"), rivals);
        },
        &[(
            Fail,
            "arp",
            "on that host: rvs realserver up --vip 10.0.0.101",
        )],
    );
}

#[test]
fn forwarding() {
    use Level::{Fail, Warn};
    let off = |facts: &mut Facts, part: &str| {
        for (key, value) in &mut facts.forwarding {
            if key.to_string().contains(part) {
                *value = 0;
            }
        }
    };
    case(
        |facts| off(facts, "ipv4"),
        &[(Fail, "forwarding", "sysctl -w net.ipv4.ip_forward=1")],
    );
    // No NAT with IPv6 here.
    case(
        |facts| off(facts, "ipv6"),
        &[(
            Warn,
            "forwarding",
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        )],
    );
    case(
        |facts| off(facts, "ipv4.conf.eth1"),
        &[(
            Fail,
            "forwarding",
            "sysctl -w net.ipv4.conf.eth1.forwarding=1",
        )],
    );
    // An interface that is not there yet has no say of its own.
    case(
        |facts| {
            facts
                .forwarding
                .retain(|key, _| !key.to_string().contains("ipv4.conf"));
            off(facts, "ip_forward");
        },
        &[(Fail, "forwarding", "sysctl -w net.ipv4.ip_forward=1")],
    );
    // What `all` says does not matter where each interface says otherwise.
    case(|facts| off(facts, "ip_forward"), &[]);
    case(
        |facts| {
            off(facts, "ipv4");
            facts.services.remove(0);
        },
        &[(Warn, "forwarding", "sysctl -w net.ipv4.ip_forward=1")],
    );
}

#[test]
fn reverse_path_filters() {
    for (all, own, strict) in [(0, 1, true), (1, 0, true), (1, 2, false), (2, 1, false)] {
        let mut facts = healthy();
        let sysctls = &mut facts.network.sysctls;
        sysctls.insert(Key::ipv4("all", "rp_filter"), all);
        sysctls.insert(Key::ipv4("eth1", "rp_filter"), own);
        let expected = (
            Level::Warn,
            "rp_filter",
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2".to_owned(),
        );
        let expected = if strict { vec![expected] } else { Vec::new() };
        assert_eq!(complaints(&facts), expected, "{all} {own}");
    }
}

#[test]
fn servers() {
    use Level::{Fail, Warn};
    case(
        |facts| {
            let reason = "no route to 10.9.0.21: Network is unreachable".to_owned();
            facts.hops.insert(ip("10.9.0.21"), Err(reason));
        },
        &[(Fail, "server", "ip route add 10.9.0.21/32 via GATEWAY")],
    );
    case(
        |facts| {
            facts.hops.remove(&ip("2001:db8::21"));
        },
        &[(
            Fail,
            "server",
            "ip -6 route add 2001:db8::21/128 via GATEWAY",
        )],
    );
    case(
        |facts| way(facts, "10.0.0.21").gateway = Some(ip("10.0.0.1")),
        &[(
            Fail,
            "server",
            "forward to 10.0.0.21 by method \"tunnel\" or \"nat\", or join it to this network",
        )],
    );
    case(
        |facts| way(facts, "10.9.0.21").macs = None,
        &[(
            Fail,
            "neighbour",
            "ping 10.0.0.1; ip neigh show 10.0.0.1 dev eth0",
        )],
    );
    // A device without hardware addresses has no neighbours.
    case(
        |facts| {
            facts.network.devices.push(Device {
                ethernet: false,
                unsuitable: None,
                ..device(4, "tun0", 1540)
            });
            let way = way(facts, "10.9.0.21");
            way.macs = None;
            way.ifindex = 4;
        },
        &[],
    );
    case(
        |facts| {
            facts.network.devices.push(device(4, "eth2", 1500));
            way(facts, "10.1.0.21").ifindex = 4;
        },
        &[(Fail, "server", "add \"eth2\" to `interfaces`")],
    );
    // Only NAT needs the replies.
    case(
        |facts| {
            facts.network.devices.push(device(4, "eth2", 1500));
            way(facts, "10.0.0.21").ifindex = 4;
        },
        &[],
    );
    for (server, level) in [
        ("10.9.0.21", Fail),
        ("10.1.0.21", Warn),
        ("10.0.0.21", Warn),
    ] {
        let ifname = if level == Warn && server == "10.1.0.21" {
            "eth1"
        } else {
            "eth0"
        };
        let mend = format!("ip route replace {server}/32 dev {ifname} src AN-ADDRESS-OF-THIS-HOST");
        case(
            |facts| way(facts, server).source = Some(ip("10.0.0.100")),
            &[(level, "source", &mend)],
        );
    }
    // A real server on the director itself needs no way.
    case(
        |facts| {
            let way = way(facts, "10.0.0.21");
            way.local = true;
            way.macs = None;
            way.ifindex = 1;
        },
        &[],
    );
}

#[test]
fn tunnels_need_room() {
    use Level::{Fail, Warn};
    let cases = [
        ("10.9.0.21", 1520, None),
        ("10.9.0.21", 1519, Some((Warn, 1520))),
        ("10.9.0.21", 1500, Some((Warn, 1520))),
        ("2001:db8::21", 1540, None),
        ("2001:db8::21", 1539, Some((Warn, 1540))),
        ("2001:db8::21", 1320, Some((Warn, 1540))),
        ("2001:db8::21", 1319, Some((Fail, 1320))),
        ("2001:db8::21", 0, Some((Fail, 1320))),
    ];
    for (server, mtu, expected) in cases {
        let mut facts = healthy();
        way(&mut facts, server).mtu = mtu;
        let found = complaints(&facts);
        let found = found.first().map(|(level, about, mend)| {
            assert_eq!(*about, "mtu");
            (*level, mend.clone())
        });
        assert_eq!(
            found.as_ref().map(|(level, _)| *level),
            expected.map(|(level, _)| level),
            "{server} {mtu}"
        );
        if let (Some((_, mend)), Some((_, larger))) = (found, expected) {
            let command = format!("ip link set eth0 mtu {larger}");
            assert!(mend.starts_with(&command), "{mend}");
        }
    }
}

#[test]
fn other_tunnels_need_more() {
    for (tunnel, larger) in [("gue:6080", 1532), ("gre", 1524), ("gre:csum", 1528)] {
        let mut facts = healthy();
        let service = &facts.services[0];
        let server = rvs_config::Server::new(
            ip("10.9.0.21"),
            80,
            Method::Tunnel,
            rvs_config::Weight::default(),
        )
        .and_then(|server| server.with_tunnel(tunnel.parse().expect(tunnel)))
        .expect(tunnel);
        let key = "tcp://10.0.0.109:80".parse().expect("a key");
        let another = Service::new(key, service.options().clone())
            .and_then(|service| service.with_servers([server]))
            .expect("a service");
        facts.services.push(another);
        way(&mut facts, "10.9.0.21").mtu = larger - 1;
        let complaints = complaints(&facts);
        let command = format!("ip link set eth0 mtu {larger}");
        assert!(
            complaints
                .iter()
                .any(|(_, about, mend)| *about == "mtu" && mend.starts_with(&command)),
            "{tunnel}: {complaints:?}"
        );
    }
}

#[test]
fn marks_of_netfilter_are_not_seen() {
    for (rules, expected) in [("", 1), ("match = [\"tcp://10.0.0.0/24:80\"]", 0)] {
        let text = format!(
            "[director]\ninterfaces = [\"eth0\"]\n[[service]]\naddress = \"fwmark://7\"\n{rules}\n"
        );
        let mut facts = healthy();
        let config = Config::parse(&text, "test").expect("a configuration");
        facts.services.extend(config.services.iter().cloned());
        let warned = complaints(&facts);
        let marks = warned.iter().filter(|(_, about, _)| *about == "mark");
        assert_eq!(marks.count(), expected, "{rules}");
    }
}

#[test]
fn firewalls() {
    let chain = |rules, drops| Chain {
        family: "inet".to_owned(),
        table: "filter".to_owned(),
        name: "fwd".to_owned(),
        hook: "forward".to_owned(),
        drops,
        rules,
    };
    for (rules, drops, told) in [(0, false, false), (1, false, true), (0, true, true)] {
        let mut facts = healthy();
        facts.chains.push(chain(rules, drops));
        let found = complaints(&facts);
        assert_eq!(found.len(), usize::from(told), "{rules} {drops}");
        for (level, about, mend) in found {
            assert_eq!((level, about), (Level::Warn, "firewall"));
            assert!(
                mend.starts_with("nft list chain inet filter fwd;"),
                "{mend}"
            );
        }
    }
    let mut facts = healthy();
    facts.old_tables.push("nat".to_owned());
    facts.conntrack = true;
    let found = complaints(&facts);
    assert_eq!(found.len(), 1);
    assert!(
        found
            .iter()
            .all(|(_, _, mend)| mend.starts_with("iptables-legacy -t nat -S"))
    );
    assert!(
        examine(&facts)
            .iter()
            .any(|finding| finding.about == "conntrack")
    );
}
