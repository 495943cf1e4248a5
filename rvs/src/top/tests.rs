//! Frames and keys, without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rvs_control::rates::Rates;
use rvs_control::wire::{Counter, Service};

use super::model::{Key, Model, Next, Row, Sample, Sort};
use super::view;
use crate::served::Served;
use std::time::Duration;

const SERVICES: &str = r#"
[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
scheduler = "wrr"
method = "nat"
servers = ["10.1.0.21:80", { address = "10.1.0.22:8080", weight = 2 }, { address = "10.1.0.23:80", weight = 0 }]

[[service]]
address = "udp://[2001:db8::100]:53"
method = "tunnel"
servers = ["2001:db8:1::21"]

[[service]]
name = "mail"
address = "tcp://10.0.0.101:25"
servers = ["10.1.0.31"]
"#;

/// A director's answers, with rates as if it had traffic.
fn sample(seconds: u64) -> Sample {
    let served = Served::start(SERVICES);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let get = |path: &str| -> serde_json::Value {
        runtime.block_on(served.client.get(path)).expect("answer")
    };
    let parsed = |value| serde_json::from_value(value).expect("a list");
    let mut services: Vec<Service> = parsed(get("/v1/services"));
    for (place, service) in services.iter_mut().enumerate() {
        let place = place as u64;
        for (number, server) in service.servers.iter_mut().enumerate() {
            let number = number as u64;
            server.active = (3 * place + number) as u32;
            server.inactive = (100 * place) as u32;
            server.rates = Rates {
                connections: 7 * place + number,
                packets_in: 1000 * (4 - place) * (number + 1),
                packets_out: 0,
                bytes_in: 1_234_567 * (number + place),
                bytes_out: 99_999,
            };
        }
        service.active = service.servers.iter().map(|s| u64::from(s.active)).sum();
        service.inactive = service.servers.iter().map(|s| u64::from(s.inactive)).sum();
        let sum = |of: fn(&Rates) -> u64| service.servers.iter().map(|s| of(&s.rates)).sum();
        service.rates = Rates {
            connections: sum(|rates| rates.connections),
            packets_in: sum(|rates| rates.packets_in),
            packets_out: sum(|rates| rates.packets_out),
            bytes_in: sum(|rates| rates.bytes_in),
            bytes_out: sum(|rates| rates.bytes_out),
        };
    }
    let mut status: rvs_control::wire::Status =
        serde_json::from_value(get("/v1/status")).expect("a status");
    status.version = "1.2.3".to_owned();
    Sample {
        at: Duration::from_secs(seconds),
        time: 1_000_000 + seconds,
        status: rvs_control::wire::Status {
            started: 900_000,
            active: 17,
            inactive: 300,
            rates: Rates {
                connections: 31,
                packets_in: 123_456,
                packets_out: 0,
                bytes_in: 99_999_999,
                bytes_out: 1,
            },
            ..status
        },
        services,
        counters: serde_json::from_value(get("/v1/counters")).expect("counters"),
    }
}

fn count(sample: &mut Sample, name: &str, value: u64) {
    let counter = sample.counters.iter_mut().find(|c| c.name == name);
    counter.expect(name).value = value;
}

/// A model with two samples, between which counters moved.
fn model() -> Model {
    let mut model = Model::default();
    let (mut first, mut second) = (sample(10), sample(12));
    count(&mut first, "pass_icmp", 5);
    model.take(first);
    for (name, value) in [
        ("pass_icmp", 1005),
        ("drop_ttl", 3),
        ("drop_table_full", 200),
    ] {
        count(&mut second, name, value);
    }
    model.take(second);
    model
}

fn frame(model: &mut Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| {
            model.fit(view::rows_in(frame.area(), model));
            view::draw(model, frame.area(), frame.buffer_mut());
        })
        .expect("drawn");
    // Such a terminal has no text.
    if width == 0 {
        return String::new();
    }
    terminal.backend().to_string()
}

/// What stands in the first column.
fn names(model: &Model) -> Vec<String> {
    model
        .visible()
        .iter()
        .map(|row| match row {
            Row::Service(service) => service.address.to_string(),
            Row::Server(server) => server.address.to_string(),
        })
        .collect()
}

fn press(model: &mut Model, keys: &str) {
    for key in keys.chars() {
        assert_eq!(model.press(Key::Char(key)), Next::Stay, "{key}");
    }
}

#[test]
fn frames() {
    let mut model = model();
    insta::assert_snapshot!("wide", frame(&mut model, 110, 20));
    insta::assert_snapshot!("narrow", frame(&mut model, 64, 14));
    model.fail("no director answers at /run/rvs/default.sock".to_owned());
    press(&mut model, " r/10.1.0.2");
    assert_eq!(model.press(Key::Enter), Next::Stay);
    insta::assert_snapshot!("paused_and_filtered", frame(&mut model, 90, 14));
    insta::assert_snapshot!("text", view::text(&super::tests::model(), 100));
}

#[test]
fn any_size_is_drawn() {
    let mut empty = Model::default();
    let mut model = model();
    for width in [0, 1, 2, 20, 27, 40, 79, 300] {
        for height in 0..30 {
            frame(&mut empty, width, height);
            frame(&mut model, width, height);
            press(&mut model, "/x");
            frame(&mut model, width, height);
            model.press(Key::Escape);
            model.press(Key::Down);
        }
    }
    assert!(view::text(&empty, 80).starts_with(
        "RVS
"
    ));
}

#[test]
fn sorting() {
    let mut model = model();
    let web = ["10.1.0.23:80", "10.1.0.22:8080", "10.1.0.21:80"];
    let (dns, mail) = ("udp://[2001:db8::100]:53", "tcp://10.0.0.101:25");
    let services = |model: &Model| -> Vec<String> {
        names(model)
            .into_iter()
            .filter(|name| name.contains("//"))
            .collect()
    };
    // Three servers with 0, 1 and 2 connections a second; one with 7; one with 14.
    assert_eq!(services(&model), [mail, dns, "tcp://10.0.0.100:80"]);
    press(&mut model, "r");
    assert_eq!(services(&model), ["tcp://10.0.0.100:80", dns, mail]);
    press(&mut model, "p");
    assert_eq!(
        services(&model),
        ["tcp://10.0.0.100:80", dns, mail],
        "24000, 3000, 2000"
    );
    press(&mut model, "a");
    assert_eq!(services(&model), ["tcp://10.0.0.100:80", mail, dns]);
    // The newest server is the first in the director's list: it has the number 0.
    assert_eq!(names(&model).get(1..4).map(<[String]>::len), Some(3));
    press(&mut model, "b");
    let of_web: Vec<String> = names(&model)
        .into_iter()
        .filter(|name| name.contains("10.1.0.2"))
        .collect();
    let newest_last: Vec<&str> = web.iter().rev().copied().collect();
    assert_eq!(of_web, newest_last);
    press(&mut model, "o");
    assert_eq!(services(&model), [mail, dns, "tcp://10.0.0.100:80"]);
    assert_eq!(model.sort(), Sort::Connections);
}

#[test]
fn filtering() {
    let mut model = model();
    press(&mut model, "/WEBq");
    assert_eq!(names(&model), [""; 0], "letters are text while it is typed");
    model.press(Key::Backspace);
    assert_eq!(
        names(&model).len(),
        4,
        "a service's name has all its servers"
    );
    model.press(Key::Enter);
    press(&mut model, "s");
    assert_eq!(names(&model), ["tcp://10.0.0.100:80"]);
    press(&mut model, "s");
    assert_eq!(
        model.press(Key::Escape),
        Next::Stay,
        "the filter goes first"
    );
    assert_eq!(names(&model).len(), 8);
    press(&mut model, "/0.22");
    assert_eq!(names(&model), ["tcp://10.0.0.100:80", "10.1.0.22:8080"]);
    assert_eq!(model.press(Key::Escape), Next::Stay);
    assert_eq!(names(&model).len(), 8);
    assert_eq!(model.press(Key::Escape), Next::Leave);
    assert_eq!(model.press(Key::Char('q')), Next::Leave);
}

#[test]
fn scrolling_ends_where_the_rows_do() {
    let mut model = model();
    let all = names(&model);
    model.fit(3);
    for (keys, first) in [
        (vec![Key::Up], 0),
        (vec![Key::Down, Key::Down], 2),
        (vec![Key::PageDown], 5),
        (vec![Key::PageDown], 5),
        (vec![Key::PageUp], 2),
        (vec![Key::End], 5),
        (vec![Key::Home], 0),
    ] {
        for key in &keys {
            model.press(*key);
            model.fit(3);
        }
        assert_eq!(names(&model), all.get(first..).expect("rows"), "{keys:?}");
    }
    press(&mut model, "s");
    model.press(Key::End);
    model.fit(3);
    assert_eq!(names(&model).len(), 3);
}

#[test]
fn counters_move() {
    let mut model = model();
    let shown = |model: &Model| -> Vec<(String, u64)> {
        model
            .moving()
            .iter()
            .map(|moving| (moving.name.clone(), moving.per_second))
            .collect()
    };
    let expected = [
        ("drop_table_full", 100),
        ("drop_ttl", 2),
        ("pass_icmp", 500),
    ];
    assert_eq!(
        shown(&model),
        expected.map(|(name, n)| (name.to_owned(), n)),
        "drops first"
    );
    // One that stands still is shown for a while.
    let mut later = sample(22);
    for (name, value) in [
        ("pass_icmp", 1005),
        ("drop_ttl", 4),
        ("drop_table_full", 200),
    ] {
        count(&mut later, name, value);
    }
    model.take(later.clone());
    let expected = [("drop_ttl", 1), ("drop_table_full", 0), ("pass_icmp", 0)];
    assert_eq!(
        shown(&model),
        expected.map(|(name, n)| (name.to_owned(), n))
    );
    later.at += Duration::from_millis(500);
    model.take(later.clone());
    assert_eq!(shown(&model), [("drop_ttl".to_owned(), 0)]);
    // A daemon with new tables counts from 0, and one of another version has other counters.
    later.at += Duration::from_secs(1);
    count(&mut later, "pass_icmp", 1);
    later.counters.push(Counter {
        name: "drop_new".to_owned(),
        verdict: "drop".to_owned(),
        help: String::new(),
        value: 9,
    });
    model.take(later.clone());
    assert_eq!(shown(&model), [("drop_ttl".to_owned(), 0)]);
    // What is paused takes nothing, but forgets an error.
    press(&mut model, " ");
    model.fail("gone".to_owned());
    later.at += Duration::from_secs(1);
    count(&mut later, "pass_icmp", 100);
    model.take(later.clone());
    assert_eq!((model.error(), model.moving().len()), (None, 1));
    press(&mut model, " ");
    later.at += Duration::from_secs(1);
    model.take(later);
    assert_eq!(shown(&model).last(), Some(&("pass_icmp".to_owned(), 50)));
}
