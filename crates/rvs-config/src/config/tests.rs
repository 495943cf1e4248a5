use proptest::prelude::*;

use super::*;
use crate::director::{Attach, Compat, ForwardingOnStop, Name, TableSize};
use crate::knobs::{Knobs, MaglevSize};
use crate::match_rule::{MatchRule, MatchRuleError};
use crate::method::Method;
use crate::options::ServiceOptions;
use crate::persistence::{Engine, Netmask, Persistence, PersistenceTimeout};
use crate::scheduler::{Scheduler, SchedulerFlags};
use crate::server::{Server, Thresholds, Weight};
use crate::service::Service;
use crate::service_key::{Family, Protocol, ServiceKey};
use crate::timeouts::Timer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../examples/rvs.toml");

fn messages(text: &str) -> String {
    Config::parse(text, "f").expect_err(text).to_string()
}

#[test]
fn the_example() {
    let config = Config::parse(EXAMPLE, "rvs.toml").expect("example");
    let defaults =
        Config::parse("[director]\ninterfaces = [\"eth0\", \"eth1\"]", "f").expect("defaults");
    assert_eq!(
        config.director, defaults.director,
        "the example shows the defaults"
    );
    let [web, names, mixed, back, sip, datagrams, every, mark] = config.services.as_slice() else {
        panic!("eight services")
    };
    assert_eq!(web.name(), Some("web"));
    assert_eq!(
        web.servers()
            .iter()
            .map(|server| server.weight().get())
            .collect::<Vec<_>>(),
        [1, 3, 0, 1]
    );
    assert_eq!(
        web.servers()
            .last()
            .map(|server| server.thresholds().upper()),
        Some(1000)
    );
    let persistence = back.options().persistence.expect("persistence");
    assert_eq!(
        (persistence.timeout.as_secs(), persistence.netmask),
        (600, "255.255.255.0".parse().ok())
    );
    assert_eq!(back.options().scheduler_flags, SchedulerFlags::SECOND);
    assert_eq!(
        back.options().timeouts.get(Timer::TcpEstablished),
        Some(Duration::from_secs(3600))
    );
    assert_eq!(
        sip.options().persistence.and_then(|it| it.engine),
        Some(Engine::Sip)
    );
    assert!(sip.options().move_udp && datagrams.options().one_packet);
    let tunnels: Vec<String> = datagrams
        .servers()
        .iter()
        .map(|server| server.tunnel().to_string())
        .collect();
    assert_eq!(tunnels, ["gue:6080:csum", "gre"]);
    assert_eq!(every.servers().first().map(Server::port), Some(0));
    assert_eq!(mark.options().rules.len(), 3);
    assert!(
        web.servers()
            .iter()
            .all(|server| server.method() == Method::Nat)
    );
    assert_eq!(names.key().to_string(), "udp://[2001:db8::53]:53");
    assert_eq!(
        names.servers().iter().map(Server::port).collect::<Vec<_>>(),
        [53, 53]
    );
    assert_eq!(mixed.scheduler(), Scheduler::Wrr);
    assert_eq!(
        mixed
            .servers()
            .iter()
            .map(Server::method)
            .collect::<Vec<_>>(),
        [Method::Direct, Method::Tunnel]
    );
}

#[test]
fn every_error_in_one_pass() {
    let text = r#"[director]
intrefaces = ["eth0"]
interfaces = ["eth0", "eth0", "much-too-long-a-name", 7]
attach = "xpd"
connections = 100
connections_v6 = true
socket = "rvs.sock"
forwarding_on_stop = "yes"
compat = "keepalived"
instance = "a/b"

[director.timeouts]
udp = "30 s"
tcp = { established = 0, established_ = 1 }

[[service]]
address = "tcp://10.0.0.100:80"
scheduler = "wlcc"
method = "masquerade"
servers = ["10.1.0.21:80", { address = "10.1.0.22", wieght = 3, weight = -1 }, 3, {}]

[[service]]
nmae = "x"

[[service]]
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.1.0.21:8080", "10.1.0.21:8080", "[2001:db8::1]:80", "0.0.0.0:80", "10.1.0.22:0"]

[[service]]
address = "10.0.0.101"
port = 70000

[[services]]
"#;
    let expected = r#"f:2:1: unknown key "intrefaces" in director (did you mean "interfaces"?)
f:3:23: the interface eth0 is there twice
f:3:31: "much-too-long-a-name" is not an interface name: 1 to 15 bytes without blanks, '/' and ':'
f:3:55: an interface must be a string, not an integer
f:4:10: director.attach is "xpd" (known: auto, tc, xdp)
f:5:15: 100 is not a table size: 1024 to 16777216 slots (64Ki and 1Mi are numbers too)
f:6:18: director.connections_v6 must be a whole number or a string, not a boolean
f:7:10: director.socket "rvs.sock" is not an absolute path
f:8:22: director.forwarding_on_stop is "yes" (known: keep, stop)
f:9:10: director.compat is "keepalived" (known: ipvs)
f:10:12: "a/b" is not an instance name: 1 to 32 of A-Z a-z 0-9 _ -
f:13:7: "30 s" is not a time from 1s to 2073600s, in seconds or with a unit like 30s, 15m, 2h, 1d
f:14:23: "0" is not a time from 1s to 2073600s, in seconds or with a unit like 30s, 15m, 2h, 1d
f:14:26: unknown key "established_" in director.timeouts.tcp (did you mean "established"?)
f:18:13: unknown scheduler "wlcc" (known: rr, wrr, lc, wlc, dh, sh, lblc, lblcr, sed, nq, mh, fo, ovf, twos, none)
f:19:10: unknown forwarding method "masquerade" (known: nat, tunnel, direct)
f:20:53: unknown key "wieght" in servers (did you mean "weight"?)
f:20:74: the weight -1 is not a number from 0 to 2147483647
f:20:80: a server must be an address or a table { address = "10.1.0.21:80", weight = 1 }, not an integer
f:20:83: servers.address is missing: something like "10.1.0.21:80"
f:22:1: service.address is missing: something like "tcp://10.0.0.100:80"
f:23:1: unknown key "nmae" in service (did you mean "name"?)
f:26:11: the service tcp://10.0.0.100:80 is there twice
f:28:30: the real server 10.1.0.21:8080 is twice in tcp://10.0.0.100:80
f:28:48: the real server [2001:db8::1]:80 of tcp://10.0.0.100:80 is of another address family, which nat cannot cross
f:28:68: the address 0.0.0.0 is unspecified: a unicast address is needed
f:28:82: port 0: the real server 10.1.0.22:0 of tcp://10.0.0.100:80 needs a port from 1 to 65535
f:31:11: service.protocol is missing: the address is written in parts
f:32:8: 70000 is not a port from 0 to 65535
f:34:3: unknown key "services" (did you mean "service"?)"#;
    assert_eq!(messages(text), expected);
}

#[test]
fn every_error_of_options_and_knobs() {
    let text = r#"[director]
interfaces = ["eth0"]
conntrack = 1
sync_ports = 1
drop_entri = 1
drop_entry = 4
secure_tcp = "3"
conn_reuse_mode = -1
sloppy_tcp = 2
pmtu_disc = "yes"
amemthresh = 2147483648
mh_table_size = 65536
lblc_expiration = 0
timeouts = { sctp = { closing = 1 }, icmp = 2 }

[[service]]
address = "tcp://10.0.0.1:0"

[[service]]
address = "tcp://10.0.0.1:80"
scheduler = "rr"
scheduler_flags = ["sh-port", "flag-4", 3]
persistence = true

[[service]]
address = "udp://10.0.0.1:53"
persistence = { timeout = 0, netmask = "255.255.255", engine = "ftp", mask = 1 }
one_packet = "no"
timeouts.udp = 0

[[service]]
address = "tcp://10.0.0.1:53"
one_packet = true

[[service]]
address = "tcp://10.0.0.2:53"
move_udp = 1

[[service]]
address = "tcp://10.0.0.3:53"
persistence = { engine = "sip" }

[[service]]
address = "udp://[2001:db8::1]:53"
persistence = { netmask = "255.0.0.0" }

[[service]]
address = "sctp://10.0.0.4:53"
timeouts.tcp.close = 5

[[service]]
address = "tcp://10.0.0.5:53"
match = ["tcp://10.0.0.5"]

[[service]]
address = "fwmark://7"
match = ["tcp:10.0.0.5", "tcp://[::1]", "udp://10.0.0.9-10.0.0.1"]

[[service]]
address = "fwmark6://8"
match = ["tcp://10.0.0.5"]

[[service]]
address = "fwmark://0"

[[service]]
address = "tcp://10.0.0.6:80"
method = "tunnel"
servers = [
    { address = "10.1.0.1", tunnel = "gue" },
    { address = "10.1.0.2", tunnel = "gre:remcsum" },
    { address = "10.1.0.3", tunnel = "gre", method = "nat" },
    { address = "10.1.0.4", upper_threshold = 1, lower_threshold = 2 },
    { address = "10.1.0.5", upper_threshold = -1 },
    { address = "10.1.0.6", port = 65536 },
    { address = "10.1.0.7", port = 0, method = "nat" },
]
"#;
    let expected = r#"f:3:1: director.conntrack does not exist: connections through the director never enter netfilter's tracking
f:4:1: director.sync_ports does not exist: connections are not synchronised with other directors yet
f:5:1: unknown key "drop_entri" in director (did you mean "drop_entry"?)
f:6:14: 4 is not one of 0, 1, 2, 3
f:7:14: director.secure_tcp must be a whole number, not a string
f:8:19: -1 is not one of 0, 1, 2, 3
f:9:14: director.sloppy_tcp is 2 (known: true, false, 1, 0)
f:10:13: director.pmtu_disc must be true or false, not a string
f:11:14: 2147483648 is not a number from 0 to 2147483647
f:12:17: 65536 is not the size of a Maglev table (known: 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131071)
f:13:19: "0" is not a time from 1s to 2073600s, in seconds or with a unit like 30s, 15m, 2h, 1d
f:14:23: unknown key "closing" in director.timeouts.sctp (did you mean "closed"?)
f:14:38: unknown key "icmp" in director.timeouts (did you mean "tcp"?)
f:17:11: tcp://10.0.0.1:0 is every port of its address, which needs persistence
f:22:20: the scheduler flag "sh-port" is sh's: the scheduler is rr
f:22:31: unknown scheduler flag "flag-4" (known: sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2, flag-3)
f:22:41: each of service.scheduler_flags must be a string, not an integer
f:23:15: service.persistence must be a time or a table { timeout = "5m", netmask = "255.255.255.0" }, not a boolean
f:27:27: "0" is not a time of persistence from 1s to 31d, in seconds or with a unit like 300s, 5m, 1h
f:27:40: "255.255.255" is not a netmask: for IPv4 255.255.255.0 or /24, for IPv6 /64 (1 to 128)
f:27:64: unknown persistence engine "ftp" (known: sip)
f:27:71: unknown key "mask" in service.persistence (did you mean "netmask"?)
f:28:14: service.one_packet must be true or false, not a string
f:29:16: "0" is not a time from 1s to 2073600s, in seconds or with a unit like 30s, 15m, 2h, 1d
f:32:11: one_packet is for UDP, which tcp://10.0.0.1:53 does not take
f:36:11: move_udp is for UDP, which tcp://10.0.0.2:53 does not take
f:40:11: the persistence engine sip reads UDP, which tcp://10.0.0.3:53 does not take
f:44:11: the netmask 255.0.0.0 of udp://[2001:db8::1]:53 is none for IPv6 clients
f:48:11: the timeout tcp.close means nothing to sctp://10.0.0.4:53
f:52:11: the match rule tcp://10.0.0.5 is for a service by firewall mark, which tcp://10.0.0.5:53 is not
f:56:11: the match rule tcp://[::1] is of another address family than fwmark://7
f:57:10: "tcp:10.0.0.5" is not of the form tcp://10.0.0.0/24:80-90, udp://10.0.0.1-10.0.0.9:53 or any://[2001:db8::/64]
f:57:41: the range of addresses from 10.0.0.9 to 10.0.0.1 is empty
f:60:11: the match rule tcp://10.0.0.5 is of another address family than fwmark6://8
f:64:11: "fwmark://0" names no firewall mark: a number from 1 to 4294967295
f:70:38: "gue" lacks the tunnel's port: something like gue:6080
f:71:38: "gre:remcsum": remcsum is GUE's, gre has csum alone
f:72:17: the real server 10.1.0.3:80 has the tunnel gre but the method nat
f:73:17: the lower threshold 2 is above the upper threshold 1
f:74:47: -1 is not a number from 0 to 2147483647
f:75:36: 65536 is not a port from 0 to 65535
f:76:17: port 0: the real server 10.1.0.7:0 of tcp://10.0.0.6:80 needs a port from 1 to 65535"#;
    assert_eq!(messages(text), expected);
}

#[test]
fn missing_parts() {
    assert_eq!(
        messages(""),
        "f:1:1: the table [director] is missing: it says at least interfaces = [\"eth0\"]"
    );
    assert_eq!(
        messages("[director]\nattach = \"tc\""),
        "f:1:1: director.interfaces is missing: where does the traffic arrive?"
    );
    assert_eq!(
        messages("[director]\ninterfaces = []"),
        "f:2:14: director.interfaces is empty: where does the traffic arrive?"
    );
    assert_eq!(
        messages("director = 1\nservice = 2"),
        "f:1:12: director must be a table, not an integer\n\
         f:2:11: service must be a list of tables ([[service]]), not an integer"
    );
}

#[test]
fn what_is_no_toml() {
    let text = "[director]\ninterfaces = [\"ä\", x]\nattach = \n";
    let errors = Config::parse(text, "dir/f.toml").expect_err("no TOML");
    let places: Vec<_> = errors
        .errors()
        .iter()
        .map(|error| (error.line, error.column))
        .collect();
    assert_eq!(places, [(2, 20), (3, 10)], "{errors}");
    assert!(
        errors.to_string().starts_with("dir/f.toml:2:20: "),
        "{errors}"
    );
    assert_eq!(
        messages("[director]\ninterfaces = [\"e\"]\ninterfaces = [\"f\"]"),
        "f:3:1: duplicate key"
    );
}

#[test]
fn duplicate_service_names() {
    let text = "[director]\ninterfaces = [\"e\"]\n\
                [[service]]\nname = \"web\"\naddress = \"tcp://10.0.0.1:80\"\n\
                [[service]]\naddress = \"tcp://10.0.0.2:80\"\nname = \"web\"\n";
    assert_eq!(
        messages(text),
        "f:8:8: the service name \"web\" belongs to tcp://10.0.0.1:80 already"
    );
}

#[test]
fn compat_changes_the_defaults_only() {
    let head = "[director]\ninterfaces = [\"e\"]\ncompat = \"ipvs\"\n";
    let config = Config::parse(head, "f").expect("compat");
    assert_eq!(
        config.director.timeouts.get(Timer::Udp),
        Duration::from_secs(300)
    );
    let config = Config::parse(&format!("{head}timeouts = {{ udp = 5 }}"), "f").expect("own");
    assert_eq!(
        config.director.timeouts.get(Timer::Udp),
        Duration::from_secs(5)
    );
}

fn address(v6: bool) -> BoxedStrategy<IpAddr> {
    if v6 {
        (0x2001_0db8_u128 << 96..0x2001_0db9_u128 << 96)
            .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            .boxed()
    } else {
        (0x0100_0000_u32..0xe000_0000)
            .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
            .boxed()
    }
}

prop_compose! {
    fn service_key()(v6 in any::<bool>())(
        protocol in prop::sample::select(Protocol::ALL.to_vec()), address in address(v6), port in 0..=u16::MAX,
        mark in prop::option::weighted(0.2, 1..=u32::MAX), v6 in Just(v6)
    ) -> ServiceKey {
        let family = if v6 { Family::V6 } else { Family::V4 };
        match mark.and_then(std::num::NonZeroU32::new) {
            Some(mark) => ServiceKey::mark(mark, family),
            None => ServiceKey::new(protocol, address, port).expect("unicast"),
        }
    }
}

fn server(key: ServiceKey) -> impl Strategy<Value = Server> {
    let method = prop::sample::select(Method::ALL.to_vec());
    let weight = prop_oneof![Just(1u64), 0..=u64::from(Weight::MAX.get())];
    let tunnel = prop::sample::select(vec![
        "ipip",
        "gue:6080",
        "gue:1:csum",
        "gue:2:remcsum",
        "gre",
        "gre:csum",
    ]);
    let v6 = key.family() == Family::V6;
    (
        (address(v6), address(!v6)),
        1..=u16::MAX,
        method,
        weight,
        tunnel,
        (any::<u16>(), any::<u16>()),
    )
        .prop_map(
            move |(addresses, port, method, weight, tunnel, thresholds)| {
                let port = if method == Method::Nat {
                    port
                } else {
                    key.port()
                };
                let other_family = method == Method::Tunnel && weight % 2 == 0;
                let address = if other_family {
                    addresses.1
                } else {
                    addresses.0
                };
                let (upper, lower) = thresholds;
                let thresholds = Thresholds::new(upper.max(lower).into(), lower.min(upper).into());
                let server = Server::new(
                    address,
                    port,
                    method,
                    Weight::new(weight).expect("in range"),
                )
                .expect("unicast")
                .with_thresholds(thresholds.expect("in order"));
                match method {
                    Method::Tunnel => server
                        .with_tunnel(tunnel.parse().expect(tunnel))
                        .expect("a tunnel"),
                    Method::Nat | Method::Direct => server,
                }
            },
        )
}

fn options(key: ServiceKey) -> impl Strategy<Value = ServiceOptions> {
    let v6 = key.family() == Family::V6;
    let scheduler = prop::sample::select(Scheduler::ALL.to_vec());
    let rules =
        (address(v6), any::<u8>(), any::<(u16, u16)>()).prop_map(|(address, bits, ports)| {
            let rule = if bits % 2 == 0 {
                MatchRule::new(
                    Some(Protocol::Udp),
                    (address, address),
                    (ports.0.min(ports.1), ports.0.max(ports.1)),
                )
                .map_err(|error| error.to_string())
            } else if address.is_ipv6() {
                format!("any://[{address}/{}]", bits / 2)
                    .parse()
                    .map_err(|error: MatchRuleError| error.to_string())
            } else {
                format!("tcp://{address}/{}:5", bits / 8)
                    .parse()
                    .map_err(|error: MatchRuleError| error.to_string())
            };
            rule.expect("a rule")
        });
    (
        (scheduler, 0u8..8),
        prop::option::of((1u64..2_678_400, any::<Option<u32>>(), any::<bool>())),
        any::<(bool, bool)>(),
        prop::collection::vec(prop::option::of(1u64..2_073_600), Timer::COUNT),
        prop::collection::vec(rules, 0..4),
    )
        .prop_map(
            move |((scheduler, flags), persistence, (one_packet, move_udp), timeouts, rules)| {
                let udp = key.takes(Protocol::Udp);
                let mut options = ServiceOptions {
                    scheduler,
                    scheduler_flags: SchedulerFlags::from_bits(flags),
                    one_packet: one_packet && udp,
                    move_udp: move_udp && udp,
                    ..ServiceOptions::default()
                };
                let seconds = match (persistence, key) {
                    (None, ServiceKey::Address(address)) if address.port() == 0 => {
                        Some((300, None, false))
                    }
                    (persistence, _) => persistence,
                };
                options.persistence = seconds.map(|(seconds, mask, engine)| Persistence {
                    timeout: PersistenceTimeout::from_secs(seconds).expect("in range"),
                    netmask: mask.map(|mask| {
                        if v6 {
                            Netmask::prefix((mask % 128 + 1) as u8).expect("in range")
                        } else {
                            Netmask::Mask(Ipv4Addr::from_bits(mask))
                        }
                    }),
                    engine: (engine && udp).then_some(Engine::Sip),
                });
                for (timer, seconds) in Timer::all().zip(timeouts) {
                    if key.takes(timer.protocol()) {
                        options
                            .timeouts
                            .set(timer, seconds.map(Duration::from_secs));
                    }
                }
                if matches!(key, ServiceKey::Mark(_)) {
                    options.rules = rules;
                }
                options
            },
        )
}

fn service() -> impl Strategy<Value = Service> {
    service_key().prop_flat_map(|key| {
        let servers = prop::collection::vec(server(key), 0..6);
        (
            Just(key),
            prop::option::of("[^\\p{C}]{1,64}"),
            options(key),
            servers,
        )
            .prop_map(|(key, name, options, servers)| {
                let mut service = Service::new(key, options).expect("options that fit");
                if let Some(name) = name {
                    service = service.named(&name).expect("printable");
                }
                for server in servers {
                    // Two may have the same address.
                    let _ = service.add_server(server);
                }
                service
            })
    })
}

fn knobs(compat: Option<Compat>) -> impl Strategy<Value = Knobs> {
    let numbers = prop::collection::vec(0u8..4, 4);
    let counts = (
        0u32..1 << 31,
        0u32..1 << 31,
        1u64..2_073_600,
        1u64..2_073_600,
    );
    let size = prop::sample::select(MaglevSize::ALL.to_vec());
    (any::<u16>(), numbers, counts, size).prop_map(move |(bits, numbers, counts, size)| {
        let mut knobs = Knobs::defaults(compat);
        for (index, knob) in [
            &mut knobs.expire_nodest_conn,
            &mut knobs.expire_quiescent_template,
            &mut knobs.sloppy_tcp,
            &mut knobs.sloppy_sctp,
            &mut knobs.schedule_icmp,
            &mut knobs.nat_icmp_send,
            &mut knobs.snat_reroute,
            &mut knobs.pmtu_disc,
            &mut knobs.ignore_tunneled,
            &mut knobs.cache_bypass,
            &mut knobs.backup_only,
            &mut knobs.run_estimation,
        ]
        .into_iter()
        .enumerate()
        {
            *knob = bits & 1 << index != 0;
        }
        for (knob, number) in [
            &mut knobs.drop_entry,
            &mut knobs.drop_packet,
            &mut knobs.secure_tcp,
        ]
        .into_iter()
        .zip(&numbers)
        {
            *knob = number.to_string().parse().expect("0 to 3");
        }
        knobs.conn_reuse_mode = numbers[3].to_string().parse().expect("0 to 3");
        knobs.mh_table_size = size.to_string().parse().expect("a size");
        (knobs.amemthresh, knobs.am_droprate) = (counts.0, counts.1);
        knobs.lblc_expiration = Duration::from_secs(counts.2);
        knobs.lblcr_expiration = Duration::from_secs(counts.3);
        knobs
    })
}

prop_compose! {
    fn director()(
        instance in "[A-Za-z0-9_-]{1,32}",
        interfaces in prop::collection::btree_set("[a-z][a-z0-9.@'\"\\\\-]{0,14}", 1..4),
        attach in prop::sample::select(Attach::ALL.to_vec()),
        sizes in (1024u64..=1 << 24, 1024u64..=1 << 24),
        socket in prop::option::of("/[ -~é\n]{0,60}"),
        bpffs in prop::option::of("/[ -~]{0,60}"),
        forwarding_on_stop in prop::sample::select(ForwardingOnStop::ALL.to_vec()),
        local_clients in any::<bool>(),
        (compat, knobs) in prop::option::of(Just(Compat::Ipvs)).prop_flat_map(|compat| (Just(compat), knobs(compat))),
        timeouts in prop::collection::vec(prop::option::of(1u64..2_073_600), Timer::COUNT),
    ) -> Director {
        let instance: Name = instance.parse().expect("name");
        let interfaces = interfaces.iter().map(|name| name.parse().expect("interface")).collect();
        let mut director = Director::new(instance, interfaces);
        director.timeouts = crate::timeouts::Timeouts::defaults(compat);
        director.attach = attach;
        director.connections = TableSize::new(sizes.0).expect("in range");
        director.connections_v6 = TableSize::new(sizes.1).expect("in range");
        director.socket = socket.map_or(director.socket, Into::into);
        director.bpffs = bpffs.map_or(director.bpffs, Into::into);
        director.forwarding_on_stop = forwarding_on_stop;
        director.local_clients = local_clients;
        director.compat = compat;
        director.knobs = knobs;
        for (timer, seconds) in Timer::all().zip(timeouts) {
            if let Some(seconds) = seconds {
                director.timeouts.set(timer, Duration::from_secs(seconds));
            }
        }
        director
    }
}

prop_compose! {
    fn config()(director in director(), list in prop::collection::vec(service(), 0..5)) -> Config {
        let mut services = Services::new();
        for service in list {
            // Two may have the same key or name.
            let _ = services.add(service);
        }
        Config { director, services }
    }
}

/// Cuts, doubles and overwrites pieces of a text.
fn mutate(text: &str, edits: &[(u8, usize, usize, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for &(kind, at, length, with) in edits {
        if chars.is_empty() {
            break;
        }
        let at = at % chars.len();
        let end = (at + length % 12).min(chars.len());
        match kind % 4 {
            0 => drop(chars.drain(at..end)),
            1 => chars.insert(at, with),
            2 => chars[at] = with,
            _ => {
                let piece = chars[at..end].to_vec();
                chars.splice(at..at, piece);
            }
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_back_what_it_wrote(config in config()) {
        let text = config.to_toml();
        let again = Config::parse(&text, "f").map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        prop_assert_eq!(again, config);
    }

    #[test]
    fn json_reads_back_too(service in service()) {
        let text = serde_json::to_string(&service).expect("json");
        prop_assert_eq!(serde_json::from_str::<Service>(&text).expect("service"), service);
    }

    #[test]
    fn keys_read_back(key in service_key()) {
        prop_assert_eq!(key.to_string().parse::<ServiceKey>(), Ok(key));
    }

    /// Whatever a file holds: no panic, and either a configuration or errors that each are one line in the file.
    #[test]
    fn never_panics(edits in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>(), any::<char>()), 1..12)) {
        let text = mutate(EXAMPLE, &edits);
        match Config::parse(&text, "f") {
            Ok(config) => prop_assert_eq!(Config::parse(&config.to_toml(), "f"), Ok(config)),
            Err(errors) => {
                prop_assert!(!errors.errors().is_empty());
                for error in errors.errors() {
                    prop_assert!(!error.message.contains('\n') && !error.message.is_empty());
                    prop_assert!((1..=text.split('\n').count()).contains(&error.line));
                }
            }
        }
    }

    #[test]
    fn never_panics_on_noise(text in any::<String>()) {
        let _ = Config::parse(&text, "f");
    }
}

#[test]
fn sums_have_limits() {
    let mut text = "[director]\ninterfaces = [\"eth0\"]\n".to_owned();
    for mark in 1..=19 {
        let rules: Vec<_> = (1..=64)
            .map(|port| format!("\"tcp://10.0.{mark}.0/24:{port}\""))
            .collect();
        text += &format!(
            "[[service]]\naddress = \"fwmark://{mark}\"\nmatch = [{}]\n",
            rules.join(", ")
        );
    }
    let error = Config::parse(&text, "f").expect_err("too many").to_string();
    assert!(
        error.ends_with("with fwmark://17 there are more than 1024 match rules"),
        "{error}"
    );
}

#[test]
fn a_name_is_no_address() {
    let text = "[director]\ninterfaces = [\"eth0\"]\n[[service]]\naddress = \"tcp://10.0.0.1:80\"\nname = \"tcp://10.0.0.2:80\"\n";
    let error = Config::parse(text, "f").expect_err("a name").to_string();
    assert!(
        error.ends_with("the service name \"tcp://10.0.0.2:80\" is an address of a service"),
        "{error}"
    );
}
