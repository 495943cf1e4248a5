//! `rvs realserver` in namespaces.

use rvs_lab::{Family, Host, Lab, Topology, Vip};
use std::net::IpAddr;
use std::process::Output;
use std::time::Duration;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(20);

const SYSCTLS: [&str; 4] = [
    "net.ipv4.conf.all.arp_ignore",
    "net.ipv4.conf.lo.arp_ignore",
    "net.ipv4.conf.all.arp_announce",
    "net.ipv4.conf.lo.arp_announce",
];

/// Runs `rvs realserver` with the words on a host.
fn realserver(host: &Host, words: &str) -> Result<Output> {
    Ok(host
        .command(env!("CARGO_BIN_EXE_rvs"))
        .arg("realserver")
        .args(words.split_whitespace())
        .output()?)
}

/// Undoes on a host what a test that failed left prepared: the record of it is not the lab's.
struct Undo<'a>(&'a Host);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        drop(realserver(self.0, "down"));
    }
}

/// The same, where success is expected: what it printed.
fn success(host: &Host, words: &str) -> Result<String> {
    let output = realserver(host, words)?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{words}: {stdout}{stderr}");
    assert_eq!(stderr, "", "{words}");
    Ok(stdout)
}

/// The same, where failure with one clear line is expected.
fn failure(host: &Host, words: &str) -> Result<String> {
    let output = realserver(host, words)?;
    let stderr = text(&output.stderr);
    assert!(
        !output.status.success(),
        "{words}: {}",
        text(&output.stdout)
    );
    assert_eq!(stderr.lines().count(), 1, "{words}: {stderr}");
    Ok(stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The same once the kernel has given the interface its own address, which takes it some moments.
fn settled(host: &Host) -> Result<String> {
    rvs_lab::wait_until("a link address of eth0", PATIENCE, || {
        host.run(&["ip", "-o", "-6", "address", "show", "dev", "eth0"])
            .is_ok_and(|text| text.contains("fe80") && !text.contains("tentative"))
    })?;
    snapshot(host)
}

/// All addresses and settings that `up` may touch.
fn snapshot(host: &Host) -> Result<String> {
    let mut all = host.run(&["ip", "-o", "address", "show"])?;
    for key in SYSCTLS {
        all.push_str(&format!("{key}={}\n", host.read_sysctl(key)?));
    }
    // The kernel's tunnel devices come with its modules and stay; down, they do nothing.
    let links = host.run(&["ip", "-o", "link", "show"])?;
    let is_idle_tunnel = |line: &str| line.contains("tnl0@") || line.contains("tunl0@");
    for line in links.lines() {
        if !is_idle_tunnel(line) || line.contains(",UP") {
            all.push_str(line);
        }
    }
    Ok(all)
}

fn has_address(host: &Host, ifname: &str, address: IpAddr) -> Result<bool> {
    let list = host.run(&["ip", "-o", "address", "show", "dev", ifname])?;
    Ok(list.contains(&format!(" {address}/")))
}

fn vips() -> [IpAddr; 2] {
    Family::ALL.map(|family| Vip::Direct.address(family))
}

#[test]
fn direct_up_and_down() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let _undo = Undo(server);
    let before = snapshot(server)?;
    let [v4, v6] = vips();
    // The director holds the address in the topology; here only the real server may answer.
    net.director.remove_address("eth0", &format!("{v4}/32"))?;
    net.director.remove_address("eth0", &format!("{v6}/128"))?;

    let said = success(server, &format!("up --vip {v4} --vip {v6}"))?;
    for line in [
        "net.ipv4.conf.all.arp_ignore: 0 -> 1",
        "net.ipv4.conf.all.arp_announce: 0 -> 2",
        "10.0.0.101/32 on lo",
        "2001:db8::101/128 on lo",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    for vip in vips() {
        assert!(has_address(server, "lo", vip)?);
        // Nobody answers for it, neither by ARP nor by neighbour discovery.
        assert!(net.client.ping(vip).is_err(), "{vip}");
        // But who has the frame sent there gets an answer.
        net.client.neighbour("eth0", vip, server.mac("eth0")?)?;
        net.client.ping(vip)?;
    }
    let list = server.run(&["ip", "address", "show", "dev", "lo"])?;
    assert!(
        list.contains("2001:db8::101/128 scope global nodad deprecated"),
        "{list}"
    );

    let after = snapshot(server)?;
    assert_eq!(
        success(server, &format!("up --vip {v4} --vip {v6} --method direct"))?,
        "ready: nothing to change\n"
    );
    assert_eq!(snapshot(server)?, after);
    assert!(success(server, "check")?.ends_with("all well\n"));

    success(server, "down")?;
    assert_eq!(snapshot(server)?, before);
    assert_eq!(success(server, "down")?, "nothing to undo\n");
    Ok(())
}

#[test]
fn down_leaves_alone_what_others_changed() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("rs")?;
    let _undo = Undo(&host);
    let [v4, v6] = vips();
    // There before, so not ours.
    host.realserver_vip("10.0.0.99".parse()?)?;
    host.sysctl("net.ipv4.conf.all.arp_announce", "0")?;
    success(&host, &format!("up --vip {v4} --vip 10.0.0.99"))?;
    success(&host, &format!("up --vip {v6}"))?;
    host.sysctl("net.ipv4.conf.lo.arp_announce", "1")?;
    host.remove_address("lo", &format!("{v6}/128"))?;

    let said = success(&host, "down")?;
    assert!(
        said.contains("notice: net.ipv4.conf.lo.arp_announce is 1, neither 0 as before nor 2 as `up` set it: left alone"),
        "{said}"
    );
    assert!(
        said.contains("notice: 2001:db8::101/128 is not on lo any more: left alone"),
        "{said}"
    );
    assert_eq!(host.read_sysctl("net.ipv4.conf.lo.arp_announce")?, "1");
    assert_eq!(host.read_sysctl("net.ipv4.conf.all.arp_announce")?, "0");
    // It was 1 before `up`, by hand.
    assert_eq!(host.read_sysctl("net.ipv4.conf.all.arp_ignore")?, "1");
    assert!(has_address(&host, "lo", "10.0.0.99".parse()?)?);
    assert!(!has_address(&host, "lo", v4)?);
    assert_eq!(success(&host, "down")?, "nothing to undo\n");
    Ok(())
}

#[test]
fn up_that_fails_leaves_nothing() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("rs")?;
    let _undo = Undo(&host);
    host.sysctl("net.ipv6.conf.lo.disable_ipv6", "1")?;
    let before = snapshot(&host)?;
    let [v4, v6] = vips();
    let error = failure(&host, &format!("up --vip {v4} --vip {v6}"))?;
    assert!(error.contains("2001:db8::101/128 on lo"), "{error}");
    assert!(error.contains("disable_ipv6=0"), "{error}");
    assert_eq!(snapshot(&host)?, before);
    assert_eq!(success(&host, "down")?, "nothing to undo\n");
    Ok(())
}

#[test]
fn up_that_fails_keeps_what_was_up() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("rs")?;
    let _undo = Undo(&host);
    let [v4, v6] = vips();
    let before = snapshot(&host)?;
    success(&host, &format!("up --vip {v4}"))?;
    let up = snapshot(&host)?;
    host.sysctl("net.ipv6.conf.lo.disable_ipv6", "1")?;
    failure(&host, &format!("up --vip 10.0.0.77 --vip {v6}"))?;
    host.sysctl("net.ipv6.conf.lo.disable_ipv6", "0")?;
    // The loopback's own IPv6 address comes back with IPv6.
    assert_eq!(snapshot(&host)?, up);
    success(&host, "down")?;
    assert_eq!(snapshot(&host)?, before);
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Result {
    let lab = Lab::new()?;
    let (host, other) = (lab.host("rs")?, lab.host("other")?);
    let _undo = Undo(&host);
    lab.link(&host, "eth0", &other, "eth0")?;
    host.add_address("eth0", "10.0.0.21/24")?;
    host.add_address("lo", "10.0.5.1/24")?;
    host.add_vip("eth0", "10.0.0.101".parse()?)?;
    let before = settled(&host)?;
    let cases = [
        ("up", "no service's address is given: --vip ADDRESS"),
        (
            "up --vip 10.0.0.101",
            "ip address del 10.0.0.101/32 dev eth0",
        ),
        ("up --vip 10.0.5.1", "ip address del 10.0.5.1/24 dev lo"),
        (
            "up --vip 10.0.0.101 --method nat",
            "belongs to the director alone",
        ),
        (
            "up --vip 127.0.0.1",
            "127.0.0.1 cannot be a service's address",
        ),
        ("up --vip ff02::1", "ff02::1 cannot be a service's address"),
        (
            "up --vip 10.0.0.102 --method tunnel --device eth7",
            "no interface eth7",
        ),
        ("check --bpffs /nowhere", "no service's address is given"),
    ];
    for (words, expected) in cases {
        let error = failure(&host, words)?;
        assert!(error.contains(expected), "{words}: {error}");
    }
    assert_eq!(snapshot(&host)?, before);
    success(&host, "up --vip 10.0.0.102")?;
    let error = failure(&host, "up --vip 10.0.0.103 --method tunnel")?;
    assert!(
        error.contains("prepared for direct, not for tunnel"),
        "{error}"
    );
    success(&host, "down")?;
    Ok(())
}

#[test]
fn check_names_the_command_that_mends() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let _undo = Undo(server);
    let output = realserver(server, "check --vip 10.0.0.101 --json")?;
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["ok"], false);
    let find = |about: &str| {
        let findings = report["findings"].as_array().into_iter().flatten();
        findings
            .filter(|finding| finding["about"] == about && finding["level"] == "fail")
            .filter_map(|finding| finding["mend"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        find("vip"),
        ["rvs realserver up --method direct --vip 10.0.0.101"]
    );
    assert_eq!(
        find("arp"),
        [
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
        ]
    );
    // What it says is enough.
    for mend in find("arp") {
        server.run(&mend.split(' ').collect::<Vec<_>>())?;
    }
    success(server, "up --vip 10.0.0.101")?;
    assert!(success(server, "check")?.contains("all well"));
    // A device that overrides `all` is seen.
    server.sysctl("net.ipv4.conf.eth1.arp_ignore", "3")?;
    let output = realserver(server, "check")?;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("FAIL  eth1 answers ARP"), "{said}");
    assert!(
        said.contains("mend: sysctl -w net.ipv4.conf.eth1.arp_ignore=1"),
        "{said}"
    );
    success(server, "down")?;
    Ok(())
}

#[test]
fn nat_changes_nothing() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let _undo = Undo(server);
    let before = snapshot(server)?;
    let said = success(server, "up --vip 10.0.0.100 --method nat")?;
    assert!(said.starts_with("ready: nothing to change\n"), "{said}");
    assert_eq!(snapshot(server)?, before);
    let said = success(
        server,
        "check --vip 10.0.0.100 --method nat --director 10.1.0.1",
    )?;
    // The topology's default route leads to the client; a rule brings replies to the director.
    assert!(said.contains("replies reach it only by a rule"), "{said}");
    server.route(&["replace", "0.0.0.0/0", "via", "10.1.0.1"])?;
    let said = success(
        server,
        "check --vip 10.0.0.100 --method nat --director 10.1.0.1",
    )?;
    assert!(said.contains("IPv4 replies leave by 10.1.0.1"), "{said}");
    server.route(&["del", "0.0.0.0/0"])?;
    let output = realserver(server, "check --vip 10.0.0.100 --method nat")?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

/// A datagram inside a tunnel's packet of the same family, as a director sends it.
fn tunnelled(
    frame_head: [u8; 12],
    ends: [IpAddr; 2],
    inner: [IpAddr; 2],
    ports: [u16; 2],
) -> Vec<u8> {
    let payload = b"hello";
    let length = u16::try_from(8 + payload.len()).unwrap_or_default();
    let mut udp = [ports[0], ports[1], length, 0]
        .map(u16::to_be_bytes)
        .concat();
    udp.extend(payload);
    if inner[0].is_ipv6() {
        // Without a checksum IPv6 takes no UDP.
        let mut covered = [octets(inner[0]), octets(inner[1])].concat();
        covered.extend([0, 17]);
        covered.extend(length.to_be_bytes());
        covered.extend(&udp);
        udp.splice(6..8, checksum(&covered).to_be_bytes());
    }
    let packet = ip_packet(inner, 17, &udp);
    let protocol = if ends[0].is_ipv4() { 4 } else { 41 };
    let outer = ip_packet(ends, protocol, &packet);
    let kind: [u8; 2] = if ends[0].is_ipv4() {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    [&frame_head[..], &kind, &outer].concat()
}

fn ip_packet(ends: [IpAddr; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or_default();
    let addresses = [octets(ends[0]), octets(ends[1])].concat();
    if ends[0].is_ipv6() {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([protocol, 64]);
        return [packet, addresses, payload.to_vec()].concat();
    }
    let mut header = vec![0x45, 0];
    header.extend((length + 20).to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(addresses);
    let sum = checksum(&header).to_be_bytes();
    header.splice(10..12, sum);
    [header, payload.to_vec()].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (0..3).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    !u16::try_from(folded).unwrap_or_default()
}

#[test]
fn tunnels_end_here_while_up() -> Result {
    let lab = Lab::new()?;
    let (near, server) = (lab.host("near")?, lab.host("rs")?);
    let _undo = Undo(&server);
    lab.link(&near, "eth0", &server, "eth0")?;
    for (host, number) in [(&near, 1), (&server, 21)] {
        host.add_address("eth0", &format!("10.0.0.{number}/24"))?;
        host.add_address("eth0", &format!("2001:db8::{number}/64"))?;
    }
    let before = settled(&server)?;
    let _echo = rvs_lab::UdpEcho::start(&server, 9)?;
    let mut head = [0; 12];
    head[..6].copy_from_slice(&server.mac("eth0")?);
    head[6..].copy_from_slice(&near.mac("eth0")?);
    let mut port = 4000;
    // Whether a datagram through a tunnel is answered by the service's address itself.
    let mut answers = |family: Family, vip: IpAddr, expected: bool| -> Result {
        port += 1;
        let [from, to]: [IpAddr; 2] = match family {
            Family::V4 => ["10.0.0.1".parse()?, "10.0.0.21".parse()?],
            Family::V6 => ["2001:db8::1".parse()?, "2001:db8::21".parse()?],
        };
        let socket = near.udp_socket(Some((from, port).into()), (vip, 9).into())?;
        let frame = tunnelled(head, [from, to], [from, vip], [port, 9]);
        rvs_lab::inject(&near, "eth0", &frame)?;
        // The service answers one after the other: what it says to the next one, it says after that.
        near.udp_exchange(None, (to, 9).into(), "next", PATIENCE)?;
        let patience = if expected {
            PATIENCE
        } else {
            Duration::from_millis(50)
        };
        socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 64];
        let answered = socket
            .recv(&mut buffer)
            .is_ok_and(|length| &buffer[..length] == b"rs: hello");
        assert_eq!(answered, expected, "{vip}");
        Ok(())
    };
    let vip = |family| Vip::Tunnel.address(family);
    for family in Family::ALL {
        answers(family, vip(family), false)?;
    }
    let words = "--vip 10.0.0.102 --vip 2001:db8::102 --method tunnel --device eth0";
    success(&server, &format!("up {words}"))?;
    for family in Family::ALL {
        answers(family, vip(family), true)?;
    }
    assert!(success(&server, "check")?.contains("tunnels end in"));
    let up = snapshot(&server)?;
    assert!(success(&server, &format!("up {words}"))?.starts_with("ready: nothing to change\n"));
    assert_eq!(snapshot(&server)?, up);
    // One more address, and those before still work.
    success(&server, "up --vip 10.0.0.103 --method tunnel --device eth0")?;
    answers(Family::V4, "10.0.0.103".parse()?, true)?;
    answers(Family::V4, vip(Family::V4), true)?;
    success(&server, "down")?;
    assert_eq!(snapshot(&server)?, before);
    // The addresses alone are not enough: what took the packets out is gone, too.
    for family in Family::ALL {
        server.add_vip("lo", vip(family))?;
        answers(family, vip(family), false)?;
    }
    Ok(())
}
