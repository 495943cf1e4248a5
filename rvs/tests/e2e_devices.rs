//! Devices under a director: real HTTP, datagrams and transfers through each kind that there may be in front of clients
//! and real servers, and the words for those that are refused. What this kernel lacks, the guest has.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{Director, Outcome, RVS, in_guest, text};
use rvs_lab::{Bulk, Child, Family, Host, Lab, Nginx, UdpEcho, wait_until};

/// What lies between a director and its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bridge,
    Macvlan,
    Vxlan,
    Vlan,
    Bond,
    Wireguard,
    Vrf,
    Tun,
}

/// One of the director's two links, with its device on both hosts.
struct Side {
    /// 0 to the client, 1 to the server.
    number: u8,
    neighbour: Host,
    /// The director's device, and the neighbour's.
    devices: [String; 2],
    _relays: Vec<Child>,
}

impl Side {
    /// Joins the neighbour and makes the devices, up and with addresses.
    fn new(lab: &Lab, kind: Kind, director: &Host, number: u8) -> Outcome<Self> {
        let neighbour = lab.host(["client", "server"][usize::from(number)])?;
        let under = format!("eth{number}");
        lab.link(director, &under, &neighbour, "eth0")?;
        let ends = [(director, under.as_str(), 1), (&neighbour, "eth0", 2)];
        let mut devices = [under.clone(), "eth0".to_owned()];
        let mut relays = Vec::new();
        let mut keys = Vec::new();
        for (end, (host, under, last)) in ends.into_iter().enumerate() {
            let is_director = end == 0;
            let below = format!("192.168.{number}.{last}");
            let other = format!("192.168.{number}.{}", 3 - last);
            let device = |name: &str| format!("{name}{number}");
            let name = match kind {
                Kind::Bridge | Kind::Bond | Kind::Macvlan if !is_director => continue,
                Kind::Vrf if !is_director => continue,
                Kind::Bridge => {
                    let name = device("br");
                    ip(
                        host,
                        &format!("link add {name} type bridge forward_delay 0"),
                    )?;
                    ip(host, &format!("link set {under} master {name}"))?;
                    name
                }
                Kind::Bond => {
                    let name = device("bond");
                    let kind = "bond mode active-backup miimon 50";
                    ip(host, &format!("link add {name} type {kind}"))?;
                    ip(host, &format!("link set {under} down"))?;
                    ip(host, &format!("link set {under} master {name}"))?;
                    name
                }
                Kind::Macvlan => {
                    // Else the device below answers for addresses that are not its own.
                    host.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
                    let name = device("mac");
                    let kind = "macvlan mode bridge";
                    ip(
                        host,
                        &format!("link add link {under} name {name} type {kind}"),
                    )?;
                    name
                }
                Kind::Vlan => {
                    let name = format!("{under}.7");
                    ip(
                        host,
                        &format!("link add link {under} name {name} type vlan id 7"),
                    )?;
                    name
                }
                Kind::Vrf => {
                    let table = 10;
                    if number == 0 {
                        ip(host, &format!("link add vrf0 type vrf table {table}"))?;
                        host.up("vrf0")?;
                    }
                    ip(host, &format!("link set {under} master vrf0"))?;
                    under.to_owned()
                }
                Kind::Vxlan => {
                    let name = device("vx");
                    host.add_address(under, &format!("{below}/24"))?;
                    let ends = format!("local {below} remote {other} dstport 4789 dev {under}");
                    ip(
                        host,
                        &format!("link add {name} type vxlan id 4{number} {ends}"),
                    )?;
                    name
                }
                Kind::Wireguard => {
                    let name = device("wg");
                    host.add_address(under, &format!("{below}/24"))?;
                    ip(host, &format!("link add {name} type wireguard"))?;
                    let file = host.directory().join(format!("{number}-{end}.key"));
                    let file = file.display();
                    host.run(&["sh", "-c", &format!("umask 077; wg genkey > {file}")])?;
                    let public = host.run(&["sh", "-c", &format!("wg pubkey < {file}")])?;
                    // Both lie in one namespace.
                    let port = format!("5182{number}");
                    let words = ["wg", "set", &name, "listen-port", &port, "private-key"];
                    host.run(&[&words[..], &[&file.to_string()]].concat())?;
                    keys.push((host, name.clone(), public.trim().to_owned(), below));
                    name
                }
                Kind::Tun => {
                    let name = device("tun");
                    host.add_address(under, &format!("{below}/24"))?;
                    relays.push(host.spawn(&[
                        "socat",
                        &format!("TUN,tun-name={name},tun-type=tun,iff-no-pi,iff-up"),
                        // Not connected, so that a neighbour that does not listen yet is no error.
                        &format!("UDP4-DATAGRAM:{other}:5555,bind={below}:5555"),
                    ])?);
                    wait_until("the tun device", Duration::from_secs(60), || {
                        host.ifindex(&name).is_ok()
                    })?;
                    host.set_mtu(&name, 1400)?;
                    name
                }
            };
            host.up(&name)?;
            devices[end] = name;
        }
        for [one, other] in [[0, 1], [1, 0]] {
            if let (Some((host, name, _, _)), Some((_, _, public, below))) =
                (keys.get(one), keys.get(other))
            {
                let endpoint = format!("{below}:5182{number}");
                let all = "0.0.0.0/0,::/0";
                host.run(&[
                    "wg",
                    "set",
                    name,
                    "peer",
                    public,
                    "endpoint",
                    &endpoint,
                    "allowed-ips",
                    all,
                ])?;
            }
        }
        let side = Self {
            number,
            neighbour,
            devices,
            _relays: relays,
        };
        side.address(director)?;
        Ok(side)
    }

    fn address(&self, director: &Host) -> Outcome {
        let (ours, theirs) = (&self.devices[0], &self.devices[1]);
        let last = if self.number == 0 { 2 } else { 21 };
        for (host, device, last) in [(director, ours, 1), (&self.neighbour, theirs, last)] {
            host.add_address(device, &format!("10.{}.0.{last}/24", self.number))?;
            host.add_address(device, &format!("2001:db8:{}::{last}/64", self.number))?;
        }
        for (all, gateway) in [
            ("0.0.0.0/0", format!("10.{}.0.1", self.number)),
            ("::/0", format!("2001:db8:{}::1", self.number)),
        ] {
            self.neighbour.route(&["add", all, "via", &gateway])?;
        }
        Ok(())
    }
}

/// Runs `ip` with these words.
fn ip(host: &Host, words: &str) -> Outcome<String> {
    let words: Vec<&str> = std::iter::once("ip")
        .chain(words.split_whitespace())
        .collect();
    Ok(host.run(&words)?)
}

/// Whether the kernel has this kind of device. The guest has all of them.
fn is_here(lab: &Lab, kind: Kind) -> Outcome<bool> {
    let host = lab.host("trial")?;
    if kind == Kind::Tun {
        // Its device file does not load it where there are no device nodes without drivers; it may be built in.
        drop(host.run(&["modprobe", "tun"]));
    }
    let words = match kind {
        Kind::Tun => "tuntap add dev trial mode tun",
        Kind::Bridge => "link add trial type bridge",
        Kind::Bond => "link add trial type bond",
        Kind::Macvlan => "link add link lo name trial type macvlan",
        Kind::Vlan => "link add link lo name trial type vlan id 7",
        Kind::Vxlan => "link add trial type vxlan id 42 dstport 4789",
        Kind::Wireguard => "link add trial type wireguard",
        Kind::Vrf => "link add trial type vrf table 10",
    };
    let tried = ip(&host, words);
    // A device that does not lie on the loopback interface is there nevertheless.
    let is_here = tried.as_ref().map_or_else(
        |error| !error.to_string().contains("nknown device type"),
        |_| true,
    );
    if in_guest() {
        assert!(is_here, "{kind:?}: {tried:?}");
    }
    Ok(is_here)
}

/// Services of both families and methods at .100 (NAT) and .101 (direct routing) of the client's network.
fn services() -> String {
    let mut text = String::new();
    for (family, last, method) in ways() {
        let server = server(family);
        for (protocol, port) in [("tcp", 80), ("udp", 53), ("tcp", 5001)] {
            let address = SocketAddr::new(vip(family, last), port);
            text.push_str(&format!(
                "[[service]]\naddress = \"{protocol}://{address}\"\nmethod = \"{method}\"\nservers = [\"{server}\"]\n"
            ));
        }
    }
    text
}

fn ways() -> Vec<(Family, u8, &'static str)> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [(family, 100, "nat"), (family, 101, "direct")])
        .collect()
}

fn vip(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, 0, last]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]),
    }
}

fn server(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 1, 0, 21]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x21]),
    }
}

fn try_kind(kind: Kind) -> Outcome {
    let lab = Lab::new()?;
    if !is_here(&lab, kind)? {
        println!("{kind:?}: not in this kernel; the guest tries it");
        return Ok(());
    }
    let host = lab.host("director")?;
    host.sysctl("net.ipv4.ip_forward", "1")?;
    host.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    let sides = [
        Side::new(&lab, kind, &host, 0)?,
        Side::new(&lab, kind, &host, 1)?,
    ];
    if kind == Kind::Vrf {
        // Whoever asks the main table is led astray.
        ip(&host, "route add blackhole 10.1.0.0/24")?;
        ip(&host, "-6 route add blackhole 2001:db8:1::/64")?;
    }
    let [client, real] = [&sides[0].neighbour, &sides[1].neighbour];
    for (family, last, method) in ways() {
        host.add_vip(&sides[0].devices[0], vip(family, last))?;
        if method == "direct" {
            real.realserver_vip(vip(family, last))?;
        }
        if matches!(kind, Kind::Tun | Kind::Wireguard) {
            // Nobody is asked for neighbours there: the address is reached like all others.
            client.ping(vip(family, last))?;
        }
    }
    let _serving = (
        Nginx::start(real)?,
        UdpEcho::start(real, 53)?,
        Bulk::start(real, 5001)?,
    );
    let settings = format!(
        "interfaces = [\"{}\", \"{}\"]\nconnections = \"4Ki\"\nconnections_v6 = \"4Ki\"",
        sides[0].devices[0], sides[1].devices[0]
    );
    let director = Director::start(&host, &settings, &services())?;
    let (patience, bytes) = if in_guest() {
        (Duration::from_secs(60), 256 << 10)
    } else {
        (Duration::from_secs(20), 4 << 20)
    };
    for (family, last, method) in ways() {
        let context = format!("{kind:?} {family:?} {method}");
        let at = |port| SocketAddr::new(vip(family, last), port);
        let tried = || -> Outcome {
            for _ in 0..5 {
                assert_eq!(client.get(at(80), "/id")?.trim(), "server", "{context}");
            }
            let said = client.udp_exchange(None, at(53), "hello", patience)?;
            assert_eq!(said, "server: hello", "{context}");
            client.bulk_download(at(5001), bytes)?;
            client.bulk_upload(at(5001), bytes)?;
            Ok(())
        };
        tried().map_err(|error| {
            format!(
                "{context}: {error}: {:?}",
                director.counters().unwrap_or_default()
            )
        })?;
    }
    let services = director.json("services")?;
    let listed = services.as_array().ok_or("no list")?;
    assert_eq!(listed.len(), 12);
    for service in listed {
        assert!(
            service["stats"]["connections"].as_u64() > Some(0),
            "{kind:?}: {service}"
        );
        assert!(
            service["servers"][0]["next_hop"].is_string(),
            "{kind:?}: {service}"
        );
    }
    let mut amiss = director.counters()?;
    amiss.retain(|name, _| name.starts_with("drop_"));
    assert!(amiss.is_empty(), "{kind:?}: {amiss:?}");
    let report = doctor(&director)?;
    assert!(
        !report.contains("interface:") && !report.contains("no way"),
        "{kind:?}: {report}"
    );
    println!("{kind:?}: {:?}", director.counters()?);
    Ok(())
}

/// The failures that `rvs doctor` finds, as it prints them.
fn doctor(director: &Director) -> Outcome<String> {
    let output = director
        .host()
        .command(RVS)
        .args(["doctor", "--json", "--config"])
        .arg(director.file())
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", text(&output.stderr)))?;
    let findings = report["findings"].as_array().ok_or("no findings")?;
    Ok(findings
        .iter()
        .filter(|finding| finding["level"] == "fail")
        .map(|finding| format!("{}: {}\n", finding["about"], finding["what"]).replace('"', ""))
        .collect())
}

#[test]
fn a_bridge() -> Outcome {
    try_kind(Kind::Bridge)
}

#[test]
fn a_macvlan() -> Outcome {
    try_kind(Kind::Macvlan)
}

#[test]
fn a_vxlan() -> Outcome {
    try_kind(Kind::Vxlan)
}

#[test]
fn a_vlan() -> Outcome {
    try_kind(Kind::Vlan)
}

#[test]
fn a_bond() -> Outcome {
    try_kind(Kind::Bond)
}

#[test]
fn wireguard() -> Outcome {
    try_kind(Kind::Wireguard)
}

#[test]
fn a_vrf() -> Outcome {
    try_kind(Kind::Vrf)
}

#[test]
fn a_tun() -> Outcome {
    try_kind(Kind::Tun)
}

/// Where a director would not see what it should, it says so before it begins; doctor says the same.
#[test]
fn what_cannot_be_is_refused() -> Outcome {
    for (kind, device, reason) in [
        (
            Kind::Bridge,
            "eth0",
            "it is a port of a bridge: name the bridge",
        ),
        (Kind::Bond, "eth0", "it is part of a bond: name the bond"),
        (
            Kind::Vrf,
            "vrf0",
            "what comes in for a VRF is seen on the interfaces in it: name those",
        ),
        (
            Kind::Macvlan,
            "lo",
            "clients on the director itself are served with local_clients = true",
        ),
    ] {
        let lab = Lab::new()?;
        if !is_here(&lab, kind)? {
            println!("{kind:?}: not in this kernel; the guest tries it");
            continue;
        }
        let host = lab.host("director")?;
        let _side = Side::new(&lab, kind, &host, 0)?;
        refuses(&host, device, reason)?;
    }
    let lab = Lab::new()?;
    let host = lab.host("director")?;
    for (kind, words) in [
        ("ipip", "link add refused type ipip remote 192.0.2.1"),
        ("gre", "link add refused type gre remote 192.0.2.1"),
        ("sit", "link add refused type sit remote 192.0.2.1"),
    ] {
        let made = ip(&host, words);
        if made.is_err() && !in_guest() {
            println!("{kind}: not in this kernel; the guest tries it");
            continue;
        }
        made?;
        refuses(
            &host,
            "refused",
            "only Ethernet interfaces, and tun and wireguard, which have no link header, are switched",
        )?;
        ip(&host, "link del refused")?;
    }
    Ok(())
}

fn refuses(host: &Host, device: &str, reason: &str) -> Outcome {
    let director = Director::prepare(host);
    director.configure(&format!("interfaces = [\"{device}\"]"), "")?;
    let mut child = director.spawn()?;
    let status = child.wait(Duration::from_secs(60))?;
    let said = child.output();
    assert!(!status.success(), "{device}: {said}");
    assert!(
        said.contains(&format!("interface {device}: {reason}")),
        "{device}: {said}"
    );
    assert!(!director.pins().exists(), "{device}");
    let found = doctor(&director)?;
    assert!(found.contains(reason), "{device}: {found}");
    Ok(())
}
