//! The commands, end to end, against a daemon that forwards: ipvsadm's own words, words that are refused, and two
//! directors side by side.

mod common;

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::{Cluster, Director, Forward, Outcome, RVS, text};
use rvs_config::{MAX_SERVERS, Method};
use rvs_lab::{Family, Host, Lab, Topology, Vip};

const NAT: Forward = Forward {
    vip: Vip::Nat,
    method: Method::Nat,
    family: Family::V4,
};

/// `rvs` by the name of ipvsadm.
struct Ipvsadm<'a> {
    director: &'a Director,
    link: PathBuf,
}

impl<'a> Ipvsadm<'a> {
    fn new(director: &'a Director) -> Outcome<Self> {
        let link = director.host().directory().join("ipvsadm");
        symlink(RVS, &link)?;
        Ok(Self { director, link })
    }

    fn run(&self, words: &str, input: &str) -> Outcome<Output> {
        let mut command = self.director.host().command(&self.link);
        let mut child = command
            .env("RVS_SOCKET", self.director.socket())
            .args(words.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    fn ok(&self, words: &str) -> Outcome<String> {
        let output = self.run(words, "")?;
        assert!(output.status.success(), "ipvsadm {words}: {output:?}");
        assert_eq!(text(&output.stderr), "", "ipvsadm {words}");
        Ok(text(&output.stdout))
    }

    /// What it says to words that it refuses.
    fn refused(&self, words: &str, status: i32) -> Outcome<String> {
        let output = self.run(words, "")?;
        assert_eq!(
            output.status.code(),
            Some(status),
            "ipvsadm {words}: {output:?}"
        );
        Ok(text(&output.stderr).trim().to_owned())
    }
}

/// The whole life of a table by ipvsadm's command line, with traffic in between; the form is that of the real one.
#[test]
fn ipvsadm_manages_a_director() -> Outcome {
    let cluster = Cluster::new("", "")?;
    let ipvsadm = Ipvsadm::new(&cluster.director)?;
    let head = "IP Virtual Server version 1.2.1 (size=262144)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";
    assert_eq!(ipvsadm.ok("-Ln")?, head);
    for words in [
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m",
        "-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m",
        "-A -t 10.0.0.101:80 -s wrr",
        "-a -t 10.0.0.101:80 -r 10.0.0.21:80 -g -w 3",
        "-A -u [2001:db8::102]:53",
        "-a -u [2001:db8::102]:53 -r [2001:db8::21]:53 -i -w 2",
    ] {
        assert_eq!(ipvsadm.ok(words)?, "", "{words}");
    }
    let list = "TCP  10.0.0.100:80 rr
  -> 10.1.0.21:80                 Masq    1      0          0         
  -> 10.1.0.22:80                 Masq    1      0          0         
TCP  10.0.0.101:80 wrr
  -> 10.0.0.21:80                 Route   3      0          0         
UDP  [2001:db8::102]:53 wlc
  -> [2001:db8::21]:53            Tunnel  2      0          0         
";
    assert_eq!(ipvsadm.ok("-Ln")?, format!("{head}{list}"));

    // Six requests, counted and listed.
    cluster
        .net
        .client
        .get_many(NAT.at(80), 6, 1)?
        .expect_none_failed()?;
    let stats = ipvsadm.ok("-Ln --stats")?;
    let conns = |name: &str| -> Vec<u64> {
        let line = stats
            .lines()
            .find(|line| line.split_whitespace().any(|word| word == name));
        let numbers = line.unwrap_or_default().split_whitespace().skip(2);
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    for (name, expected) in [
        ("10.0.0.100:80", 6),
        ("10.1.0.21:80", 3),
        ("10.1.0.22:80", 3),
    ] {
        let counted = conns(name);
        assert_eq!(counted.len(), 5, "{name} in\n{stats}");
        assert_eq!(counted[0], expected, "{name} in\n{stats}");
        assert!(
            counted[1..].iter().all(|count| *count > 0),
            "{name} in\n{stats}"
        );
    }
    let entries = ipvsadm.ok("-Lnc")?;
    let mut lines = entries.lines();
    assert_eq!(lines.next(), Some("IPVS connection entries"));
    assert_eq!(
        lines.next(),
        Some("pro expire state       source             virtual            destination")
    );
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 6, "{entries}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[4]), ("TCP", "10.0.0.100:80"), "{line}");
        assert!(words[3].starts_with("10.0.0.2:"), "{line}");
        assert!(words[5].starts_with("10.1.0.2"), "{line}");
    }
    ipvsadm.ok("-Z")?;
    assert!(
        ipvsadm.ok("-Ln --stats")?.lines().skip(3).all(|line| {
            line.split_whitespace()
                .rev()
                .take(5)
                .all(|number| number == "0")
        }),
        "{stats}"
    );

    // Saved, cleared, restored.
    let saved = ipvsadm.ok("-S -n")?;
    let expected = "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m -w 1
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m -w 1
-A -t 10.0.0.101:80 -s wrr
-a -t 10.0.0.101:80 -r 10.0.0.21:80 -g -w 3
-A -u [2001:db8::102]:53 -s wlc
-a -u [2001:db8::102]:53 -r [2001:db8::21]:53 -i -w 2 --tun-type ipip
";
    assert_eq!(saved, expected);
    ipvsadm.ok("-C")?;
    assert_eq!(ipvsadm.ok("-Ln")?, head);
    let restored = ipvsadm.run("-R", &saved)?;
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(ipvsadm.ok("-S -n")?, expected);
    cluster
        .net
        .client
        .get_many(NAT.at(80), 6, 1)?
        .expect_none_failed()?;

    // Changed and removed.
    ipvsadm.ok("-e -t 10.0.0.100:80 -r 10.1.0.21:80 -m -w 0")?;
    let report = cluster.net.client.get_many(NAT.at(80), 6, 1)?;
    assert_eq!(report.by_server.get("rs2"), Some(&6), "{report:?}");
    ipvsadm.ok("-E -t 10.0.0.100:80 -s wlc")?;
    ipvsadm.ok("-d -t 10.0.0.100:80 -r 10.1.0.21:80")?;
    ipvsadm.ok("-D -u [2001:db8::102]:53")?;
    assert_eq!(
        ipvsadm.ok("-S -n")?,
        "-A -t 10.0.0.100:80 -s wlc
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m -w 1
-A -t 10.0.0.101:80 -s wrr
-a -t 10.0.0.101:80 -r 10.0.0.21:80 -g -w 3
"
    );

    // Refused, in the words of the real one.
    for (words, status, said) in [
        ("-A -t 10.0.0.100:80", 255, "Service already exists"),
        (
            "-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m",
            255,
            "Destination already exists",
        ),
        ("-D -t 10.0.0.100:81", 255, "No such service"),
        (
            "-d -t 10.0.0.100:80 -r 10.1.0.99:80",
            255,
            "No such destination",
        ),
    ] {
        assert_eq!(ipvsadm.refused(words, status)?, said, "{words}");
    }
    too_many_servers(&cluster, &ipvsadm)
}

/// A saved service of more servers than the limit is restored up to there, and no other way takes one more.
fn too_many_servers(cluster: &Cluster, ipvsadm: &Ipvsadm<'_>) -> Outcome {
    let server = |port: usize| format!("-a -t 10.0.0.103:80 -r 10.1.0.21:{port} -m -w 1\n");
    let saved: String = (1..=MAX_SERVERS + 5).map(server).collect();
    let restored = ipvsadm.run("-R", &format!("-A -t 10.0.0.103:80 -s rr\n{saved}"))?;
    assert_eq!(restored.status.code(), Some(255));
    assert_eq!(
        text(&restored.stderr),
        "Memory allocation problem\n".repeat(5)
    );
    let kept = ipvsadm.ok("-S -n")?;
    assert_eq!(kept.matches("-a -t 10.0.0.103:80").count(), MAX_SERVERS);
    let said = cluster
        .director
        .refused("server add tcp://10.0.0.103:80 10.1.0.22")?;
    assert_eq!(
        said,
        "rvs: tcp://10.0.0.103:80 has 1024 real servers already: no room for 10.1.0.22:80"
    );
    Ok(())
}

/// A configuration that is refused: what is wrong in it, and what is said of it.
const BAD_SERVICES: [(&str, &str); 9] = [
    (
        "address = \"tcp://10.0.0.100:80\"\nscheduler = \"best\"\n",
        "best",
    ),
    ("address = \"tcp://10.0.0.300:80\"\n", "10.0.0.300"),
    ("address = \"tcp://10.0.0.100:70000\"\n", "70000"),
    ("address = \"dccp://10.0.0.100:80\"\n", "dccp"),
    (
        "address = \"tcp://10.0.0.100:80\"\n[[service]]\naddress = \"tcp://10.0.0.100:80\"\n",
        "tcp://10.0.0.100:80",
    ),
    (
        "address = \"tcp://10.0.0.100:80\"\nservers = [\"10.1.0.21\", \"10.1.0.21\"]\n",
        "10.1.0.21",
    ),
    (
        "address = \"tcp://10.0.0.100:80\"\nservers = [\"2001:db8::21\"]\n",
        "2001:db8::21",
    ),
    (
        "address = \"tcp://10.0.0.100:80\"\nservers = [{ address = \"10.1.0.21\", weight = 99999999999 }]\n",
        "99999999999",
    ),
    (
        "address = \"tcp://10.0.0.100:80\"\nshceduler = \"rr\"\n",
        "shceduler",
    ),
];

/// Runs a command that must fail with one line, and gives the line.
fn fails(host: &Host, words: &[&str]) -> Outcome<String> {
    let output = host.command(words[0]).args(&words[1..]).output()?;
    let said = text(&output.stderr);
    assert!(
        !output.status.success(),
        "{words:?}: {}",
        text(&output.stdout)
    );
    assert_eq!(said.trim_end().lines().count(), 1, "{words:?}: {said}");
    Ok(said.trim_end().to_owned())
}

/// What is wrong is named with its place, by `check`, by `run` and by `reload`, and a director that runs stays as it is.
#[test]
fn bad_configurations_change_nothing() -> Outcome {
    let good = NAT.service("tcp", 80, 3);
    let cluster = Cluster::new("", &good)?;
    let director = &cluster.director;
    let host = director.host();
    let before = director.json("services")?[0].clone();
    let tables = director.rvs("servers")?;
    let other = Director::prepare(host);
    for (service, thing) in BAD_SERVICES {
        let service = format!("[[service]]\n{service}");
        other.configure("", &service)?;
        let file = other.file().to_string_lossy().into_owned();
        for command in ["check", "run"] {
            let words: &[&str] = match command {
                "check" => &[RVS, "check", &file],
                _ => &[RVS, "run", "--config", &file],
            };
            let said = fails(host, words)?;
            assert!(said.contains(thing), "{service}{command}: {said}");
            let place = said.split(&file).nth(1).unwrap_or_default();
            let line = place.trim_start_matches(':').split(':').next();
            assert!(
                line.is_some_and(|line| line.parse::<u32>().is_ok()),
                "{service}{command}: no line in: {said}"
            );
        }
        director.configure("", &service)?;
        let said = director.refused("reload")?;
        assert!(said.contains(thing), "{service}reload: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(director.json("services")?[0], before);
    }
    assert_eq!(director.rvs("servers")?, tables);
    cluster
        .net
        .client
        .get_many(NAT.at(80), 9, 1)?
        .expect_none_failed()?;
    director.configure("", &good)?;
    director.rvs("reload")?;
    Ok(())
}

/// Commands with bad words are refused by one line that names them, and change nothing.
#[test]
fn bad_commands_change_nothing() -> Outcome {
    let cluster = Cluster::new("", &NAT.service("tcp", 80, 2))?;
    let director = &cluster.director;
    let tables = director.rvs("servers")?;
    for (words, thing) in [
        ("service add tcp://10.0.0.100:80", "tcp://10.0.0.100:80"),
        ("service add tcp://10.0.0.100:81 --scheduler best", "best"),
        ("service add tcp://10.0.0.300:81", "10.0.0.300"),
        ("service add tcp://10.0.0.100:70000", "70000"),
        (
            "service add tcp://10.0.0.100:81 --server 2001:db8::21",
            "2001:db8::21",
        ),
        ("service remove tcp://10.0.0.100:99", "tcp://10.0.0.100:99"),
        ("service set nobody --scheduler rr", "nobody"),
        ("server add tcp://10.0.0.100:80 10.1.0.21", "10.1.0.21"),
        ("server add tcp://10.0.0.100:80 10.1.0.500", "10.1.0.500"),
        (
            "server add tcp://10.0.0.100:80 2001:db8:1::21",
            "2001:db8:1::21",
        ),
        (
            "server add tcp://10.0.0.100:80 10.1.0.24 --weight 99999999999",
            "99999999999",
        ),
        (
            "server add tcp://10.0.0.100:80 10.1.0.24 --method best",
            "best",
        ),
        (
            "server set tcp://10.0.0.100:80 10.1.0.99 --weight 1",
            "10.1.0.99",
        ),
        ("server remove tcp://10.0.0.100:80 10.1.0.99", "10.1.0.99"),
        (
            "server drain tcp://10.0.0.100:99 10.1.0.21",
            "tcp://10.0.0.100:99",
        ),
    ] {
        let said = director.refused(words)?;
        assert!(said.contains(thing), "{words}: {said}");
        let first = said.lines().next().unwrap_or_default();
        assert!(
            first.contains(thing),
            "{words}: not in the first line: {said}"
        );
        assert_eq!(director.rvs("servers")?, tables, "{words}");
    }
    cluster
        .net
        .client
        .get_many(NAT.at(80), 6, 1)?
        .expect_none_failed()?;
    Ok(())
}

/// A place where a director cannot run is named, and what runs there already is left alone.
#[test]
fn bad_places_are_named() -> Outcome {
    let cluster = Cluster::with_real_servers(1, "", &NAT.service("tcp", 80, 1))?;
    let director = &cluster.director;
    let host = director.host();
    let own = director.file().to_string_lossy().into_owned();
    let said = fails(host, &[RVS, "run", "--config", &own])?;
    assert!(
        said.contains(&*director.socket().to_string_lossy()),
        "{said}"
    );
    assert!(said.contains("in use"), "{said}");

    let other = Director::prepare(host);
    let file = other.file().to_string_lossy().into_owned();
    let run = [RVS, "run", "--config", &file];
    other.configure("interfaces = [\"eth7\"]", "")?;
    assert!(fails(host, &run)?.contains("eth7"));
    other.configure("bpffs = \"/tmp\"", "")?;
    let said = fails(host, &run)?;
    assert!(
        said.contains("/tmp") && said.contains("mount -t bpf"),
        "{said}"
    );
    other.configure("bogus = 1", "")?;
    assert!(fails(host, &run)?.contains("bogus"));
    other.configure("connections = \"7\"", "")?;
    assert!(fails(host, &run)?.contains('7'));

    other.configure("", "")?;
    let without: Vec<&str> = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        .into_iter()
        .chain(run)
        .collect();
    let said = fails(host, &without)?;
    assert!(said.contains("privileges"), "{said}");
    let old: Vec<&str> = ["setarch", "--uname-2.6"].into_iter().chain(run).collect();
    let said = fails(host, &old)?;
    assert!(said.contains("too old") && said.contains("2.6"), "{said}");
    let said = fails(host, &[RVS, "--socket", "/nosuch/rvs.sock", "status"])?;
    assert!(said.contains("/nosuch/rvs.sock"), "{said}");
    assert!(
        !other.pins().exists(),
        "something was pinned for a refused director"
    );

    cluster
        .net
        .client
        .get_many(NAT.at(80), 6, 1)?
        .expect_none_failed()?;
    Ok(())
}

/// Two directors with the same addresses in two namespaces know nothing of each other.
#[test]
fn two_instances_side_by_side() -> Outcome {
    let services = NAT.service("tcp", 80, 1);
    let one = Cluster::with_real_servers(1, "", &services)?;
    let mut two = Cluster::with_real_servers(1, "", &services)?;
    assert_ne!(one.director.pins(), two.director.pins());
    one.net
        .client
        .get_many(NAT.at(80), 10, 1)?
        .expect_none_failed()?;
    two.net
        .client
        .get_many(NAT.at(80), 20, 1)?
        .expect_none_failed()?;
    let counted = |cluster: &Cluster| -> Outcome<u64> {
        let services = cluster.director.json("services")?;
        services[0]["stats"]["connections"]
            .as_u64()
            .ok_or_else(|| services.to_string().into())
    };
    assert_eq!((counted(&one)?, counted(&two)?), (10, 20));

    two.director.rvs("service remove tcp://10.0.0.100:80")?;
    one.net
        .client
        .get_many(NAT.at(80), 10, 1)?
        .expect_none_failed()?;
    two.director.rvs("stop --stop-forwarding")?;
    if let Some(child) = two.director.child() {
        child.wait(std::time::Duration::from_secs(10))?;
    }
    assert!(!two.director.pins().exists());
    one.net
        .client
        .get_many(NAT.at(80), 10, 1)?
        .expect_none_failed()?;
    assert_eq!(counted(&one)?, 30);
    Ok(())
}

/// The name of an instance that runs is not taken from it: not by another socket, not in another namespace.
#[test]
fn an_instance_belongs_to_one_director() -> Outcome {
    let one = Cluster::with_real_servers(1, "", &NAT.service("tcp", 80, 1))?;
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let instance = one.director.instance();
    let saved = || one.director.rvs("ipvsadm -- -S -n");
    let before = saved()?;
    for host in [one.director.host(), &net.director] {
        let file = lab.directory().join("same.toml");
        let socket = lab.directory().join("same.sock");
        std::fs::write(
            &file,
            format!(
                "[director]\ninstance = \"{instance}\"\nsocket = \"{}\"\ninterfaces = [\"eth0\"]\nconnections = \"256Ki\"\nconnections_v6 = \"256Ki\"\n",
                socket.display()
            ),
        )?;
        let file = file.to_string_lossy().into_owned();
        let said = fails(host, &["timeout", "60", RVS, "run", "--config", &file])?;
        assert!(said.contains(instance), "{said}");
        assert_eq!(saved()?, before);
        one.net
            .client
            .get_many(NAT.at(80), 10, 1)?
            .expect_none_failed()?;
    }
    Ok(())
}

/// Nothing of a lab that is gone may stay: what the tests rely on.
#[test]
fn a_director_leaves_nothing() -> Outcome {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let director = Director::start(&net.director, "", "")?;
    let pins = director.pins();
    assert!(pins.exists());
    drop(director);
    assert!(!pins.exists());
    Ok(())
}
