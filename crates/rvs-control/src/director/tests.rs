//! Starts that fail, plans that fail half-way, and what is kept.

use rvs_config::{Method, Scheduler, ServiceKey};

use super::*;
use crate::memory::Memory;

fn config(text: &str) -> Config {
    let text = format!("[director]\ninterfaces = [\"eth0\"]\n{text}");
    Config::parse(&text, "test").expect("a configuration")
}

fn services(hosts: std::ops::Range<u8>) -> String {
    hosts
        .map(|host| {
            format!(
                "[[service]]\naddress = \"tcp://10.0.0.{host}:80\"\nservers = [\"10.1.0.{host}\"]\n"
            )
        })
        .collect()
}

fn start(memory: Memory, text: &str) -> Result<Director, RequestError> {
    Director::start(
        Box::new(memory),
        Adoption::Adopted,
        config(text),
        Source::default(),
        SystemTime::UNIX_EPOCH,
    )
}

fn keys(director: &Director) -> Vec<ServiceKey> {
    director
        .services()
        .iter()
        .map(|service| service.address)
        .collect()
}

#[test]
fn a_plan_that_fails_half_way_is_undone() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("rvs.toml");
    let mut director = start(
        Memory {
            room: 4,
            ..Memory::new()
        },
        &services(1..3),
    )
    .expect("started");
    director.source.file.clone_from(&file);
    let before = director.services();
    let text = format!("[director]\ninterfaces = [\"eth0\"]\n{}", services(2..8));
    std::fs::write(&file, text).expect("written");
    let error = director.reload().expect_err("no room").to_string();
    assert!(error.starts_with("no room"), "{error}");
    assert_eq!(director.services(), before);
    let last = director.events().after(0).pop().expect("an event");
    assert_eq!(last.what, What::ReloadRefused { error });
}

#[test]
fn a_start_without_room_says_so() {
    let memory = Memory {
        room: 1,
        ..Memory::new()
    };
    let error = start(memory, &services(1..3)).err().expect("no room");
    assert_eq!(error.code(), wire::Code::NoRoom);
}

#[test]
fn a_start_takes_over_what_is_there() {
    let mut memory = Memory::new();
    let there = config(&services(1..4));
    for service in &there.services {
        memory
            .add_service(service, Origin::Configured)
            .expect("added");
    }
    if let Some(state) = memory.services.first_mut() {
        state.origin = Origin::Runtime;
    }
    let director = start(memory, &services(3..5)).expect("started");
    let hosts: Vec<String> = keys(&director).iter().map(ToString::to_string).collect();
    assert_eq!(
        hosts,
        [
            "tcp://10.0.0.1:80",
            "tcp://10.0.0.3:80",
            "tcp://10.0.0.4:80"
        ]
    );
}

#[test]
fn names_follow_the_configuration() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("rvs.toml");
    let mut director = start(Memory::new(), &services(1..2)).expect("started");
    director.source.file.clone_from(&file);
    let named = services(1..2).replace("servers", "name = \"web\"\nservers");
    let text = format!("[director]\ninterfaces = [\"eth0\"]\n{named}");
    std::fs::write(&file, text).expect("written");
    assert_eq!(director.reload().expect("reloaded"), 0);
    let name = |director: &Director| director.services().pop().and_then(|service| service.name);
    assert_eq!(name(&director).as_deref(), Some("web"));
    let options = ServiceOptions::new(Scheduler::Rr);
    let other = Service::new("tcp://10.0.0.9:80".parse().expect("key"), options)
        .expect("options that fit")
        .named("web")
        .expect("named");
    let error = director.add_service(other).expect_err("taken").to_string();
    assert_eq!(
        error,
        "the service name \"web\" belongs to tcp://10.0.0.1:80 already"
    );
}

#[test]
fn equal_changes_are_no_events() {
    let mut director = start(Memory::new(), &services(1..2)).expect("started");
    let key = *keys(&director).first().expect("one");
    let before = director.events().after(0).len();
    let wlc = ServiceOptions::new(Scheduler::Wlc);
    let change = wire::ServiceChange::of(&wlc, &["scheduler"]);
    director.set_service(key, change).expect("set");
    director.set_timeouts(director.timeouts());
    director.set_scheduling(true);
    let change = wire::ServerChange {
        weight: Some(Weight::default()),
        method: None,
        ..wire::ServerChange::default()
    };
    let server = "10.1.0.1:80".parse().expect("address");
    director.set_server(key, server, change).expect("set");
    assert_eq!(director.events().after(0).len(), before);
    director.drain(key, server).expect("drained");
    assert_eq!(director.events().after(0).len(), before + 1);
}

#[test]
fn zeroing_takes_nothing_from_what_was_counted() {
    let mut memory = Memory::new();
    for service in &config(&services(1..3)).services {
        memory
            .add_service(service, Origin::Configured)
            .expect("added");
    }
    for state in &mut memory.services {
        let counted = Stats {
            connections: 7,
            packets_in: 100,
            ..Stats::default()
        };
        (state.stats, state.counted) = (counted, counted);
    }
    let mut director = start(memory, &services(1..3)).expect("started");
    let metrics = |director: &Director| {
        crate::metrics::encode(&crate::metrics::Snapshot {
            status: director.status(),
            services: director.services(),
            counters: Vec::new(),
        })
    };
    let before = metrics(&director);
    for line in [
        "rvs_service_packets_total{service=\"tcp://10.0.0.1:80\",name=\"\",direction=\"in\"} 100\n",
        "rvs_director_packets_total{direction=\"in\"} 200\n",
        "rvs_director_connections_total 14\n",
    ] {
        assert!(before.contains(line), "{line}{before}");
    }
    let first = *keys(&director).first().expect("one");
    director.zero(Some(first)).expect("zeroed");
    let zero = wire::Stats::default();
    let shown: Vec<bool> = director
        .services()
        .iter()
        .map(|service| service.stats == zero)
        .collect();
    assert_eq!(shown, [true, false]);
    assert_eq!(metrics(&director), before);
    director.zero(None).expect("zeroed");
    assert_eq!(director.status().stats, zero);
    assert_eq!(metrics(&director), before);
}

#[test]
fn rates_are_estimated_over_ticks() {
    let mut director = start(Memory::new(), &services(1..2)).expect("started");
    for _ in 0..4 {
        director.tick(Duration::from_secs(1));
    }
    let service = director.services().pop().expect("one");
    assert_eq!(service.rates, crate::rates::Rates::default());
    assert_eq!(director.status().rates, crate::rates::Rates::default());
}

#[test]
fn ways_are_wanted_to_new_servers_once() {
    let host = |n: u8| IpAddr::from([10, 1, 0, n]);
    let server = |n| Server::new(host(n), 80, Method::Nat, Weight::default()).expect("a server");
    let mut director = start(Memory::new(), &services(1..3)).expect("started");
    let key = keys(&director)[0];
    assert_eq!(director.take_new_addresses(), [host(1), host(2)]);
    director.add_server(key, server(2)).expect("added");
    director.add_server(key, server(7)).expect("added");
    director.apply_hops(&[(host(1), None), (host(2), None)]);
    assert_eq!(director.take_new_addresses(), [host(7)]);
    assert!(director.take_new_addresses().is_empty());
    // A pass over all that there are forgets who is gone.
    director.add_hops(&[(host(7), None)]);
    director.apply_hops(&[(host(1), None), (host(2), None)]);
    director
        .remove_server(key, SocketAddr::new(host(7), 80))
        .expect("removed");
    director.add_server(key, server(7)).expect("added again");
    assert_eq!(director.take_new_addresses(), [host(7)]);
}
