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
