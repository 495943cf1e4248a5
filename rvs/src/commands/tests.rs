//! Commands against a served director, and what they print.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::served::{Served, connection};
use rvs_control::memory::Memory;

const WEB: &str = r#"
[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
scheduler = "wrr"
method = "nat"
servers = ["10.1.0.21:80", { address = "10.1.0.22:8080", weight = 2 }]

[[service]]
address = "udp://[2001:db8::100]:53"
method = "tunnel"
servers = [{ address = "2001:db8:1::21", weight = 0 }]
"#;

/// What the command prints, or its error.
fn rvs(served: &Served, line: &str) -> String {
    let words = std::iter::once("rvs").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).expect(line);
    let form = if cli.global.json {
        Form::Json
    } else {
        Form::Text
    };
    let Command::Ask(command) = cli.command else {
        panic!("{line} asks nothing");
    };
    let mut out = Vec::new();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    match runtime.block_on(answer(&command, &served.client, form, &mut out)) {
        Ok(()) => String::from_utf8(out).expect("text"),
        Err(error) => format!("rvs: {}\n", explain(&error)),
    }
}

#[test]
fn listings() {
    let mut memory = Memory::new();
    memory.connections = vec![connection(40000), connection(40001), connection(7)];
    if let Some((_, value)) = memory.counters.first_mut() {
        *value = 17;
    }
    let served = Served::with(memory, WEB);
    insta::assert_snapshot!("services", rvs(&served, "services"));
    insta::assert_snapshot!("servers", rvs(&served, "servers"));
    insta::assert_snapshot!("servers_of_one", rvs(&served, "servers web"));
    insta::assert_snapshot!("connections", rvs(&served, "connections --limit 2"));
    insta::assert_snapshot!("stats", rvs(&served, "stats"));
    insta::assert_snapshot!("services_json", rvs(&served, "services --json"));
    assert_eq!(
        rvs(&served, "connections --service web --json")
            .lines()
            .count(),
        1
    );
    assert_eq!(
        rvs(&served, "stats --all").lines().count(),
        6 + 2 + rvs_abi::COUNTERS
    );
}

#[test]
fn changes_say_nothing_and_do_it() {
    let served = Served::start(WEB);
    for line in [
        "service add tcp://10.0.0.101:80 --name two --method nat --server 10.1.0.21 --server 10.1.0.22:81",
        "service set two --scheduler rr",
        "server add two 10.1.0.23 --weight 3",
        "server set tcp://10.0.0.101:80 10.1.0.23 --weight 4",
        "server drain two 10.1.0.22:81",
        "server remove two 10.1.0.21",
        "service remove udp://[2001:db8::100]:53",
        "zero web",
        "zero",
    ] {
        assert_eq!(rvs(&served, line), "", "{line}");
    }
    insta::assert_snapshot!("after_changes", rvs(&served, "servers"));
    let events = rvs(&served, "events");
    let without_times: Vec<&str> = events
        .lines()
        .map(|line| line.split_once(' ').expect("a time").1)
        .collect();
    insta::assert_snapshot!("events", without_times.join("\n"));
    assert_eq!(rvs(&served, "reload"), "reloaded: 1 change\n");
    assert_eq!(rvs(&served, "reload"), "reloaded: nothing to change\n");
}

#[test]
fn options_are_set_and_shown() {
    let served = Served::start(WEB);
    for line in [
        "service add tcp://10.0.0.103:0 -s mh -b mh-port -p 60 -M /24 --name every --server 10.1.0.21",
        "service add fwmark://7 --match tcp://10.0.0.0/24:80 --match any://10.0.1.1 -s none",
        "service add udp://10.0.0.104:53 -o --move-udp --timeout udp=9 -p -M none --engine none",
        "server add fwmark://7 10.1.0.30 --tunnel gue:6080 -x 10 -y 5 -w 7",
        "server set fwmark://7 10.1.0.30 -x 20",
        "service set web -p 1m --timeout tcp.close=5",
        "service set web -p none -s sh -b sh-fallback",
        "timeouts tcp.established=1h udp=5",
        "timeouts udp=default",
        "knobs drop_packet=3 sloppy_tcp=true lblc_expiration=1h",
        "knobs drop_packet=default",
    ] {
        assert_eq!(rvs(&served, line), "", "{line}");
    }
    insta::assert_snapshot!("options", rvs(&served, "services"));
    insta::assert_snapshot!("tunnels", rvs(&served, "servers fwmark://7"));
    insta::assert_snapshot!("timeouts", rvs(&served, "timeouts"));
    insta::assert_snapshot!("knobs", rvs(&served, "knobs"));
    let mark: Value =
        serde_json::from_str(&rvs(&served, "servers fwmark://7 --json")).expect("a document");
    let server = &mark["servers"][0];
    assert_eq!(
        [
            &server["tunnel"],
            &server["upper_threshold"],
            &server["lower_threshold"]
        ],
        [&json!("gue:6080"), &json!(20), &json!(5)]
    );
}

#[test]
fn refusals_are_one_line() {
    let served = Served::start(WEB);
    for (line, message) in [
        (
            "service remove nosuch",
            "no service \"nosuch\": neither a name nor an address like tcp://10.0.0.100:80",
        ),
        (
            "service remove tcp://10.0.0.9:80",
            "no service tcp://10.0.0.9:80",
        ),
        (
            "service add tcp://10.0.0.100:80",
            "the service tcp://10.0.0.100:80 is there already",
        ),
        (
            "server add web 10.1.0.21:80",
            "the real server 10.1.0.21:80 is in tcp://10.0.0.100:80 already",
        ),
        (
            "server add web 2001:db8::1",
            "the real server [2001:db8::1]:80 of tcp://10.0.0.100:80 is of another address family, which nat cannot cross",
        ),
        (
            "server set web 10.1.0.22:8080 --method direct",
            "the real server 10.1.0.22:8080 of tcp://10.0.0.100:80 needs the service's port, since direct does not rewrite ports",
        ),
        (
            "service set web",
            "nothing to change: name an option (--help shows them)",
        ),
        (
            "server set web 10.1.0.22:8080",
            "nothing to change: name an option (--help shows them)",
        ),
        (
            "service set web -b mh-port",
            "the scheduler flag \"mh-port\" is mh's: the scheduler is wrr",
        ),
        (
            "service set web --one-packet",
            "one_packet is for UDP, which tcp://10.0.0.100:80 does not take",
        ),
        (
            "service add tcp://10.0.0.103:0",
            "the request's body: tcp://10.0.0.103:0 is every port of its address, which needs persistence",
        ),
        (
            "timeouts tcp.nosuch=5",
            "tcp has no state \"nosuch\" (known: none, established, syn_sent, syn_recv, fin_wait, time_wait, close, close_wait, last_ack, listen, synack)",
        ),
        (
            "knobs drop_entry=4",
            "drop_entry: 4 is not one of 0, 1, 2, 3",
        ),
        (
            "server drain web 10.1.0.99",
            "tcp://10.0.0.100:80 has no real server 10.1.0.99:80",
        ),
        (
            "server remove web a/../b",
            "\"a/../b\" is not a real server's address like 10.1.0.21:80, 10.1.0.21 or [2001:db8::21]:80",
        ),
    ] {
        assert_eq!(rvs(&served, line), format!("rvs: {message}\n"), "{line}");
    }
}

#[test]
fn nobody_there() {
    let text = |socket: &str| {
        let client = Client::new(socket);
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let error = runtime.block_on(client.get::<Value>("/v1/status"));
        explain(&error.expect_err("nobody"))
    };
    assert_eq!(
        text("/nonexistent/x.sock"),
        "no director answers at /nonexistent/x.sock: No such file or directory (os error 2); \
         start one with: rvs run --socket /nonexistent/x.sock"
    );
    assert!(
        text("/run/rvs/test-nobody.sock")
            .ends_with("start one with: rvs run --instance test-nobody")
    );
}
