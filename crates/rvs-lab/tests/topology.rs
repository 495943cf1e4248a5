//! The standard network comes up, carries what it should and nothing else, and goes away.

use rvs_lab::{Family, Lab, Nginx, Offload, Topology, Vip};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[test]
fn everybody_reaches_whom_they_should() -> Result {
    let lab = Lab::new()?;
    let net = Topology::new(&lab)?;
    for family in Family::ALL {
        net.client.ping(Topology::director_address(family))?;
        for vip in Vip::ALL {
            net.client.ping(vip.address(family))?;
        }
        for (number, host) in net.real_servers.iter().enumerate() {
            net.client.ping(Topology::outside_address(number, family))?;
            net.director
                .ping(Topology::inside_address(number, family))?;
            host.ping(Topology::client_address(family))?;
        }
    }
    Ok(())
}

#[test]
fn client_does_not_reach_the_inside() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    for family in Family::ALL {
        let error = net
            .client
            .ping(Topology::inside_address(0, family))
            .expect_err("there is no route");
        assert!(error.to_string().contains("unreachable"), "{error}");
    }
    Ok(())
}

#[test]
fn replies_from_inside_addresses_go_by_the_director() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 2)?;
    for family in Family::ALL {
        for (number, host) in net.real_servers.iter().enumerate() {
            let client = Topology::client_address(family).to_string();
            let inside = Topology::inside_address(number, family).to_string();
            let outside = Topology::outside_address(number, family).to_string();
            let gateway = Topology::director_inside_address(family).to_string();
            let by_director = host.run(&["ip", "route", "get", &client, "from", &inside])?;
            assert!(
                by_director.contains(&format!("via {gateway} dev eth1")),
                "{by_director}"
            );
            let straight = host.run(&["ip", "route", "get", &client, "from", &outside])?;
            assert!(
                straight.contains("dev eth0") && !straight.contains("via"),
                "{straight}"
            );
        }
    }
    Ok(())
}

#[test]
fn static_neighbours_make_discovery_needless() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    net.static_neighbours()?;
    for host in [&net.client, &net.director, &net.real_servers[0]] {
        let table = host.run(&["ip", "neigh", "show"])?;
        assert!(table.contains("PERMANENT"), "{table}");
        assert!(
            !table.contains("FAILED") && !table.contains("REACHABLE"),
            "{host}: {table}"
        );
    }
    for family in Family::ALL {
        net.client.ping(Vip::Nat.address(family))?;
        net.director.ping(Topology::inside_address(0, family))?;
    }
    Ok(())
}

#[test]
fn real_server_with_vip_keeps_quiet_about_it() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let _nginx = Nginx::start(&net.real_servers[0])?;
    for family in Family::ALL {
        let vip = Vip::Direct.address(family);
        net.real_servers[0].realserver_vip(vip)?;
        net.client.ping(vip)?;
        let table = net
            .client
            .run(&["ip", "neigh", "show", "to", &vip.to_string()])?;
        let mac = net
            .director
            .mac("eth0")?
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        assert!(
            table.contains(&mac),
            "the director answers, not the real server: {table}"
        );
        // To the real server itself the address is its own.
        net.client
            .neighbour("eth0", vip, net.real_servers[0].mac("eth0")?)?;
        let url = match family {
            Family::V4 => format!("http://{vip}/server"),
            Family::V6 => format!("http://[{vip}]/server"),
        };
        assert_eq!(net.client.curl(&url)?, format!("{vip} 80\n"));
    }
    Ok(())
}

#[test]
fn offloads_and_mtu_are_set_at_both_ends() -> Result {
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = lab.link(&a, "eth0", &b, "eth0")?;
    link.set_mtu(1400)?;
    for (offload, word) in [(Offload::Off, "off"), (Offload::On, "on")] {
        a.offload("eth0", offload)?;
        for host in [&a, &b] {
            let features = host.run(&["ethtool", "-k", "eth0"])?;
            for feature in [
                "tcp-segmentation-offload",
                "generic-segmentation-offload",
                "generic-receive-offload",
                "tx-checksumming",
            ] {
                assert!(
                    features.contains(&format!("{feature}: {word}")),
                    "{host}: {features}"
                );
            }
            assert!(
                host.run(&["ip", "link", "show", "eth0"])?
                    .contains("mtu 1400")
            );
        }
    }
    assert_ne!(a.mac("eth0")?, b.mac("eth0")?);
    assert!(a.ifindex("eth0")? > 1);
    assert!(a.offload("eth7", Offload::On).is_err());
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let sleeper = net.director.spawn(&["sleep", "1000"])?;
    let stray = net
        .client
        .command("sleep")
        .arg("1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let paths = [
        net.client.namespace_path(),
        net.director.namespace_path(),
        lab.directory().to_owned(),
    ];
    assert!(paths.iter().all(|path| path.exists()));
    let prefix = lab.prefix().to_owned();
    drop(lab);
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
    assert!(
        !std::process::Command::new("ip")
            .arg("netns")
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).contains(&prefix))?
    );
    let mut stray = stray;
    rvs_lab::wait_until("end of the stray process", Duration::from_secs(5), || {
        matches!(stray.try_wait(), Ok(Some(_)))
    })?;
    let sleeper_id = sleeper.id();
    drop(sleeper);
    assert!(!Path::new(&format!("/proc/{sleeper_id}")).exists());
    Ok(())
}

#[test]
fn failures_name_thing_and_place() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("h")?;
    let error = host
        .run(&["ip", "link", "show", "eth9"])
        .expect_err("there is no eth9")
        .to_string();
    assert!(
        error.starts_with("h: `")
            && error.contains("ip link show eth9")
            && error.contains("does not exist"),
        "{error}"
    );
    let error = host
        .run(&["rvs-no-such-program"])
        .expect_err("there is no such program")
        .to_string();
    assert!(
        error.contains("rvs-no-such-program is not installed")
            && error.contains("cargo xtask setup"),
        "{error}"
    );
    let mut child = host.spawn(&["sh", "-c", "echo the last words; exit 3"])?;
    let error = child
        .wait_ready("never", Duration::from_secs(5), || false)
        .expect_err("it ends")
        .to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("the last words"),
        "{error}"
    );
    let error = host
        .sysctl("net.ipv4.no_such", "1")
        .expect_err("no such sysctl")
        .to_string();
    assert!(
        error.starts_with("h: cannot set net.ipv4.no_such"),
        "{error}"
    );
    Ok(())
}

#[test]
fn without_root_a_lab_says_so() -> Result {
    use std::os::unix::process::CommandExt as _;
    if let Err(error) = rvs_lab::require_root() {
        assert!(Lab::new().is_err());
        return Err(error.into());
    }
    // Somebody who is not root may not be able to read the build directory.
    let directory = tempfile::Builder::new().prefix("rvs-lab-test").tempdir()?;
    let program = directory.path().join("test");
    std::fs::copy(std::env::current_exe()?, &program)?;
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let output = std::process::Command::new(&program)
        .args(["--exact", "failures_name_thing_and_place"])
        .uid(65_534)
        .gid(65_534)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(
        text.contains("root is needed to make network namespaces (effective uid is 65534)"),
        "{text}"
    );
    Ok(())
}
