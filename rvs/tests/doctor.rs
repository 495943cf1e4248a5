//! `rvs doctor` in namespaces.

use rvs_lab::{Family, Host, Lab, Topology, Vip};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One service for each method, as the topology has addresses for them.
fn configuration(net: &Topology, interfaces: &str) -> Result<PathBuf> {
    let mut text = format!("[director]\ninterfaces = {interfaces}\nattach = \"tc\"\n");
    for family in Family::ALL {
        let services = [
            (Vip::Nat, "nat", Topology::inside_address(0, family)),
            (Vip::Direct, "direct", Topology::outside_address(0, family)),
            (Vip::Tunnel, "tunnel", Topology::outside_address(0, family)),
        ];
        for (vip, method, server) in services {
            text.push_str(&format!(
                "[[service]]\nprotocol = \"tcp\"\naddress = \"{}\"\nport = 80\nmethod = \"{method}\"\nservers = [\"{server}\"]\n",
                vip.address(family)
            ));
        }
    }
    let path = net.director.directory().join("rvs.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn doctor(host: &Host, words: &[&str]) -> Result<Output> {
    Ok(host
        .command(env!("CARGO_BIN_EXE_rvs"))
        .arg("doctor")
        .args(words)
        .output()?)
}

/// The report on a director, and whether the exit status was 0.
fn report(net: &Topology, interfaces: &str) -> Result<(Value, bool)> {
    let path = configuration(net, interfaces)?;
    let path = path.to_str().ok_or("path")?;
    let output = doctor(&net.director, &["--config", path, "--json"])?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Ok((
        serde_json::from_slice(&output.stdout)?,
        output.status.success(),
    ))
}

/// The complaints of a level, as "about: mend".
fn complaints(report: &Value, level: &str) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings
        .filter(|finding| finding["level"] == level)
        .map(|finding| {
            let part = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("about"), part("mend"))
        })
        .collect()
}

#[test]
fn a_director_that_works() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let (report, ok) = report(&net, r#"["eth0", "eth1"]"#)?;
    assert_eq!(complaints(&report, "fail"), Vec::<String>::new());
    assert!(ok);
    assert_eq!(report["ok"], true);
    // Tunnels over links of 1500 bytes, one for each family; the machine itself may add others.
    let warnings = complaints(&report, "warn");
    let tunnels = warnings
        .iter()
        .filter(|warning| warning.starts_with("mtu: "));
    assert_eq!(tunnels.count(), 2, "{warnings:?}");
    for (about, times) in [
        ("vip", 6),
        ("server", 2),
        ("interface", 2),
        ("forwarding", 2),
    ] {
        let findings = report["findings"].as_array().into_iter().flatten();
        let good = findings
            .filter(|finding| finding["about"] == about && finding["level"] == "ok")
            .count();
        assert_eq!(good, times, "{about}: {report:#}");
    }
    Ok(())
}

#[test]
fn what_is_broken_is_named_and_mended() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let director = &net.director;
    director.sysctl("net.ipv4.ip_forward", "0")?;
    director.sysctl("net.ipv6.conf.all.forwarding", "0")?;
    director.sysctl("net.ipv4.conf.eth1.rp_filter", "1")?;
    director.remove_address("eth0", "10.0.0.100/32")?;
    director.remove_address("eth0", "2001:db8::102/128")?;
    director.run(&[
        "ip",
        "-6",
        "address",
        "change",
        "2001:db8::101/128",
        "dev",
        "eth0",
        "preferred_lft",
        "forever",
    ])?;
    // A real server that speaks ARP for a service's address.
    net.real_servers[0].add_vip("lo", "10.0.0.101".parse()?)?;

    let (found, ok) = report(&net, r#"["eth0", "eth1"]"#)?;
    assert!(!ok);
    assert_eq!(found["ok"], false);
    let expected = [
        "vip: ip address add 10.0.0.100/32 dev eth0",
        "arp: on that host: rvs realserver up --vip 10.0.0.101",
        "vip: ip -6 address add 2001:db8::102/128 dev eth0 nodad preferred_lft 0",
        "forwarding: sysctl -w net.ipv4.ip_forward=1",
        "forwarding: sysctl -w net.ipv6.conf.all.forwarding=1",
        // It follows from an address that may become a source.
        "source: ip -6 route replace 2001:db8::21/128 dev eth0 src AN-ADDRESS-OF-THIS-HOST",
    ];
    let mut failures = complaints(&found, "fail");
    assert_eq!(failures, expected);
    let warnings = complaints(&found, "warn");
    let more = [
        "source: ip -6 address change 2001:db8::101/128 dev eth0 preferred_lft 0",
        "rp_filter: sysctl -w net.ipv4.conf.eth1.rp_filter=2",
    ];
    for warning in more {
        assert!(
            warnings.iter().any(|found| found == warning),
            "{warnings:?}"
        );
    }

    // What it says mends it.
    failures.retain(|failure| !failure.contains("AN-ADDRESS"));
    failures.extend(more.map(str::to_owned));
    for failure in &failures {
        let (about, mend) = failure.split_once(": ").ok_or("no mend")?;
        if about == "arp" {
            let (_, command) = mend.split_once("rvs ").ok_or("no command")?;
            let output = net.real_servers[0]
                .command(env!("CARGO_BIN_EXE_rvs"))
                .args(command.split(' '))
                .output()?;
            assert!(output.status.success(), "{output:?}");
        } else {
            director.run(&mend.split(' ').collect::<Vec<_>>())?;
        }
    }
    let (found, ok) = report(&net, r#"["eth0", "eth1"]"#)?;
    let down = ["realserver", "down"];
    let output = net.real_servers[0]
        .command(env!("CARGO_BIN_EXE_rvs"))
        .args(down)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    assert!(ok, "{found:#}");
    for warning in more {
        assert!(
            !complaints(&found, "warn")
                .iter()
                .any(|found| found == warning)
        );
    }
    Ok(())
}

#[test]
fn servers_that_cannot_be_reached() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    net.director.down("eth1")?;
    let server = &net.real_servers[0];
    server.down("eth0")?;
    // The client is the default gateway, so the way to the inside now leads there.
    let (found, ok) = report(&net, r#"["eth0", "eth1", "eth7"]"#)?;
    assert!(!ok);
    let failures = complaints(&found, "fail");
    for expected in [
        "interface: ip link set eth1 up",
        "interface: ip link show, and correct `interfaces` in the configuration",
        "neighbour: ping 10.0.0.21; ip neigh show 10.0.0.21 dev eth0",
        "neighbour: ping 2001:db8::21; ip neigh show 2001:db8::21 dev eth0",
    ] {
        assert!(
            failures.iter().any(|found| found == expected),
            "{failures:?}"
        );
    }
    net.director.route(&["del", "0.0.0.0/0"])?;
    let (found, _) = report(&net, r#"["eth0", "eth1", "eth7"]"#)?;
    let failures = complaints(&found, "fail");
    let expected = "server: ip route add 10.1.0.21/32 via GATEWAY";
    assert!(
        failures.iter().any(|found| found == expected),
        "{failures:?}"
    );
    Ok(())
}

#[test]
fn firewalls_are_named() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    for words in [
        "add table inet filter",
        "add chain inet filter f { type filter hook forward priority 0 ; policy drop ; }",
        "add chain inet filter out { type filter hook output priority 0 ; policy accept ; }",
        "add rule inet filter out counter",
    ] {
        net.director.run(&["nft", words])?;
    }
    let path = configuration(&net, r#"["eth0", "eth1"]"#)?;
    let output = doctor(&net.director, &["--config", path.to_str().ok_or("path")?])?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("warn  packets carried by RVS do not meet the forward chain inet filter f, which drops by default\n      mend: nft list chain inet filter f;"),
        "{said}"
    );
    assert!(!said.contains("filter out"), "{said}");
    assert!(
        output.status.success(),
        "a firewall keeps nothing from working"
    );
    Ok(())
}

#[test]
fn real_servers_are_looked_at_too() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let server = &net.real_servers[0];
    let words = ["--realserver", "--vip", "10.0.0.101"];
    let output = doctor(server, &words)?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("mend: rvs realserver up --method direct --vip 10.0.0.101"),
        "{said}"
    );
    server.realserver_vip("10.0.0.101".parse()?)?;
    let output = doctor(server, &words)?;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("all well\n"));
    Ok(())
}

#[test]
fn bad_words_and_files_are_one_line() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("director")?;
    let broken = host.directory().join("broken.toml");
    std::fs::write(&broken, "[director]\ninterfaces = [\"eth0\"]\nspeed = 3\n")?;
    let broken = broken.to_str().ok_or("path")?;
    let cases: [(&[&str], &str); 3] = [
        (&["--config", "/nowhere/rvs.toml"], "/nowhere/rvs.toml"),
        (&["--config", broken], "broken.toml:3:"),
        (&["--realserver"], "--vip ADDRESS"),
    ];
    for (words, expected) in cases {
        let output = doctor(&host, words)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(output.stdout, b"");
    }
    Ok(())
}
