//! The daemon as such: what it refuses at its start, reloads, losses of its socket, what it tells systemd, and its end.
//! Its traffic is tested elsewhere.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::time::Duration;

use common::{Director, Outcome, RVS, text};
use rustix::process::Signal;
use rvs_lab::{Host, Lab, wait_until};
use serde_json::json;

const WEB: &str = r#"
[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.0.0.21", { address = "10.0.0.22", weight = 2 }]
"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// A host with an interface, on which nothing runs.
fn host(lab: &Lab) -> Outcome<Host> {
    let (host, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&host, "eth0", &peer, "eth0")?;
    host.add_address("eth0", "10.0.0.1/24")?;
    Ok(host)
}

const ONE_INTERFACE: &str = "interfaces = [\"eth0\"]";

/// `rvs` with these words, which is expected to fail with one line.
fn refused(host: &Host, words: &[&str]) -> Outcome<String> {
    let output: Output = host.command(RVS).args(words).output()?;
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    Ok(error.trim_end().to_owned())
}

#[test]
fn starts_that_are_refused() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let mut director = Director::prepare(&host);
    let file = director.file().display().to_string();
    let run = |settings: &str, services: &str| -> Outcome<String> {
        director.configure(settings, services)?;
        refused(&host, &["run", "-c", &file])
    };
    let unmounted = host.directory().join("none").display().to_string();
    for (settings, services, message) in [
        (
            "interfaces = [\"nosuch0\"]",
            "",
            "rvs: the interface nosuch0 does not exist".to_owned(),
        ),
        (
            &format!("{ONE_INTERFACE}\nbpffs = \"{unmounted}\""),
            "",
            format!("rvs: no BPF file system at {unmounted}: mount -t bpf bpf {unmounted}"),
        ),
        (
            &format!("{ONE_INTERFACE}\nshceduler = 1"),
            "",
            format!("rvs: {file}:7:1: unknown key \"shceduler\" in director"),
        ),
    ] {
        let error = run(settings, services)?;
        assert!(error.starts_with(&message), "{error}\n{message}");
        assert!(!director.pins().exists() && !director.socket().exists());
    }
    let nobody = ["--socket", "/nonexistent", "run", "-c", "/nonexistent.toml"];
    let error = refused(&host, &nobody)?;
    assert_eq!(
        error,
        "rvs: cannot read /nonexistent.toml: No such file or directory (os error 2)"
    );
    let mut unprivileged = host.command("setpriv");
    unprivileged.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        RVS,
        "run",
        "-c",
        &file,
    ]);
    director.configure(ONE_INTERFACE, WEB)?;
    let error = text(&unprivileged.output()?.stderr);
    assert_eq!(
        error,
        "rvs: no privileges: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN missing (run as root)\n"
    );

    director.run()?;
    let before = director.json("services")?;
    let error = refused(&host, &["run", "-c", &file])?;
    let socket = director.socket().display();
    assert_eq!(
        error,
        format!("rvs: socket {socket} is in use by another instance")
    );
    let elsewhere = host.directory().join("elsewhere.sock");
    let elsewhere = elsewhere.display().to_string();
    let error = refused(&host, &["--socket", &elsewhere, "run", "-c", &file])?;
    let instance = director.instance();
    assert_eq!(
        error,
        format!("rvs: instance {instance} is run by another daemon")
    );
    assert_eq!(director.json("services")?, before);
    Ok(())
}

#[test]
fn check_says_where() -> Outcome {
    let lab = Lab::new()?;
    let host = lab.host("anywhere")?;
    let file = host.directory().join("x.toml");
    fs::write(
        &file,
        "[director]\ninterfaces = []\n[[service]]\naddress = \"tcp://x\"\n",
    )?;
    let check = |words: &[&str]| {
        host.command(RVS)
            .arg("check")
            .arg(&file)
            .args(words)
            .output()
    };
    let output = check(&[])?;
    assert_eq!(output.status.code(), Some(1));
    let (errors, shown) = (text(&output.stderr), file.display());
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with(&format!("{shown}:2:14: ")), "{errors}");
    assert!(lines[1].starts_with(&format!("{shown}:4:11: ")), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&check(&["--json"])?.stdout)?;
    assert_eq!(report["errors"][1]["line"], json!(4));
    fs::write(
        &file,
        format!("[director]\ninterfaces = [\"nosuch0\"]\n{WEB}"),
    )?;
    let output = check(&[])?;
    assert!(output.status.success());
    assert_eq!(
        text(&output.stdout),
        format!("{shown}: right (1 virtual services, 2 real servers)\n")
    );
    Ok(())
}

#[test]
fn reload_by_signal_takes_all_or_nothing() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let mut director = Director::start(&host, ONE_INTERFACE, WEB)?;
    director.rvs("service add udp://10.0.0.101:53 --server 10.0.0.21")?;
    let before = director.json("services")?;
    for (settings, services, said) in [
        (
            ONE_INTERFACE,
            WEB.replace("nat", "natt"),
            "unknown forwarding method",
        ),
        (
            "interfaces = [\"lo\"]",
            WEB.to_owned(),
            "director.interfaces cannot change",
        ),
    ] {
        hangup(&mut director, settings, &services, said)?;
        assert_eq!(director.json("services")?, before);
    }
    let changed = WEB.replace("weight = 2", "weight = 5");
    hangup(
        &mut director,
        ONE_INTERFACE,
        &changed,
        "reloaded, changes: 1",
    )?;
    let services = director.json("services")?;
    assert_eq!(services[0]["servers"][0]["weight"], json!(5));
    assert_eq!(services[1]["address"], json!("udp://10.0.0.101:53"));
    Ok(())
}

/// Configures, sends SIGHUP, and waits until the daemon has said something.
fn hangup(director: &mut Director, settings: &str, services: &str, said: &str) -> Outcome {
    director.configure(settings, services)?;
    let child = director.child().ok_or("no daemon")?;
    child.signal(Signal::HUP)?;
    let log = child.log().to_owned();
    child.wait_ready(said, PATIENCE, || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains(said))
    })?;
    Ok(())
}

#[test]
fn a_lost_socket_comes_back() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let director = Director::start(&host, ONE_INTERFACE, WEB)?;
    fs::remove_file(director.socket())?;
    wait_until("a socket", PATIENCE, || director.socket().exists())?;
    assert_eq!(director.json("status")?["services"], json!(1));
    Ok(())
}

#[test]
fn systemd_is_told() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let path = host.directory().join("notify");
    let systemd = UnixDatagram::bind(&path)?;
    systemd.set_read_timeout(Some(PATIENCE))?;
    let hear = || -> Outcome<String> {
        let mut buffer = [0; 256];
        let length = systemd.recv(&mut buffer)?;
        Ok(text(&buffer[..length]))
    };
    let director = Director::prepare(&host);
    director.configure(ONE_INTERFACE, WEB)?;
    let mut command = host.command(RVS);
    command
        .args(["run", "-c"])
        .arg(director.file())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "10000000");
    let mut child = host.spawn_command(command)?;
    assert!(hear()?.starts_with("READY=1"));
    // Whoever is told so can ask at once.
    director.json("status")?;
    assert_eq!(hear()?, "WATCHDOG=1");
    child.signal(Signal::HUP)?;
    while hear()? != "RELOADING=1" {}
    while !hear()?.starts_with("READY=1") {}
    director.rvs("stop --stop-forwarding")?;
    while hear()? != "STOPPING=1" {}
    assert!(child.wait(PATIENCE)?.success());
    assert!(!director.pins().exists() && !director.socket().exists());
    Ok(())
}

/// Each line of the log fails, by a full disk or a pipe whose reader has gone; all else goes on.
#[test]
fn the_daemon_outlives_its_log() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    for log in ["2>/dev/full", "2> >(true)"] {
        let director = Director::prepare(&host);
        director.configure(ONE_INTERFACE, WEB)?;
        let file = director.file().display();
        let script = format!("exec {RVS} run --config {file} {log}");
        let mut child = host.spawn(&["bash", "-c", &script])?;
        wait_until("the daemon answers", PATIENCE, || {
            director.json("status").is_ok()
        })?;
        for weight in [3, 4] {
            let services = WEB.replace("weight = 2", &format!("weight = {weight}"));
            director.configure(ONE_INTERFACE, &services)?;
            director.rvs("reload")?;
            let services = director.json("services")?;
            assert_eq!(services[0]["servers"][0]["weight"], json!(weight));
        }
        director.rvs("stop --stop-forwarding")?;
        let status = child.wait(PATIENCE)?;
        assert!(status.success(), "{log}: {status}");
    }
    Ok(())
}

#[test]
fn forwarding_outlives_the_daemon_unless_told_otherwise() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let mut director = Director::start(&host, ONE_INTERFACE, WEB)?;
    director.rvs("service add udp://10.0.0.101:53 --server 10.0.0.21")?;
    let states = |director: &Director| -> Outcome<String> { director.rvs("ipvsadm -S -n") };
    let before = states(&director)?;
    director.terminate()?;
    assert!(director.pins().exists());
    director.run()?;
    assert_eq!(
        director.json("status")?["adoption"]["adoption"],
        json!("adopted")
    );
    assert_eq!(states(&director)?, before);
    director.kill()?;
    director.run()?;
    assert_eq!(states(&director)?, before);
    director.terminate()?;
    director.configure(
        &format!("{ONE_INTERFACE}\nforwarding_on_stop = \"stop\""),
        WEB,
    )?;
    director.run()?;
    director.terminate()?;
    assert!(!director.pins().exists());
    Ok(())
}

#[test]
fn ipvsadm_by_its_own_name() -> Outcome {
    let lab = Lab::new()?;
    let host = host(&lab)?;
    let director = Director::start(&host, ONE_INTERFACE, "")?;
    let link = host.directory().join("ipvsadm");
    std::os::unix::fs::symlink(RVS, &link)?;
    let ipvsadm = |words: &str| -> Outcome<String> {
        let mut command = host.command(&link);
        command
            .env("RVS_SOCKET", director.socket())
            .args(words.split_whitespace());
        let output = command.output()?;
        assert!(output.status.success(), "{words}: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    };
    ipvsadm("-A -t 10.0.0.100:80 -s wrr")?;
    ipvsadm("-a -t 10.0.0.100:80 -r 10.0.0.21 -m -w 3")?;
    let listed = ipvsadm("-Ln")?;
    assert!(
        listed.contains("  -> 10.0.0.21:80                 Masq    3      0          0"),
        "{listed}"
    );
    ipvsadm("-C")?;
    assert_eq!(ipvsadm("-S -n")?, "");
    assert!(ipvsadm("--help")?.starts_with("ipvsadm v1.31"));
    Ok(())
}
