//! What is read: state, connections, events, metrics; and what no client should send.

use super::*;

#[tokio::test]
async fn what_there_is_to_see() {
    let served = Served::start();
    let status = served.get("/v1/status").await;
    assert_eq!(status["services"], json!(1));
    assert_eq!(status["servers"], json!(2));
    assert_eq!(status["adoption"], json!({ "adoption": "fresh" }));
    assert_eq!(status["table"]["slots_v4"], json!(1 << 20));
    let services = served.get("/v1/services").await;
    assert_eq!(services[0], served.get(WEB).await);
    assert_eq!(services[0]["name"], json!("web"));
    assert_eq!(services[0]["origin"], json!("configured"));
    // Newest first.
    assert_eq!(
        services[0]["servers"][0]["address"],
        json!("10.1.0.22:8080")
    );
    let counters = served.get("/v1/counters").await;
    assert_eq!(counters.as_array().map(Vec::len), Some(rvs_abi::COUNTERS));
    assert_eq!(served.get("/v1/interfaces").await[0]["name"], json!("eth0"));
    assert_eq!(served.get("/v1/timeouts").await["udp"], json!("30s"));
    let events = served.get("/v1/events").await;
    assert_eq!(events.as_array().map(Vec::len), Some(4));
    assert_eq!(
        served.get("/v1/events?after=3").await[0]["number"],
        json!(4)
    );
}

fn connection(port: u16) -> Connection {
    let host = if port.is_multiple_of(2) { 100 } else { 101 };
    Connection {
        protocol: rvs_config::Protocol::Tcp,
        key: format!("tcp://10.0.0.{host}:80").parse().ok(),
        client: ([10, 0, 0, 2], port).into(),
        service: ([10, 0, 0, host], 80).into(),
        server: ([10, 1, 0, 21], 80).into(),
        state: "ESTABLISHED",
        expires: Duration::from_secs(900),
        active: true,
        packets: 3,
        template: false,
        mark: 0,
        call: None,
    }
}

#[tokio::test]
async fn connections_are_limited_or_streamed() {
    let mut memory = Memory::new();
    memory.connections = (1..=5000).map(connection).collect();
    let served = Served::with(memory);
    let list = served.get("/v1/connections").await;
    assert_eq!(list["total"], json!(5000));
    assert_eq!(list["connections"].as_array().map(Vec::len), Some(1000));
    let list = served
        .get("/v1/connections?limit=3&service=tcp%3A%2F%2F10.0.0.100%3A80")
        .await;
    assert_eq!(list["total"], json!(2500));
    assert_eq!(list["connections"][2]["client"], json!("10.0.0.2:6"));
    let mut lines = 0;
    served
        .client
        .lines("/v1/connections?format=ndjson", |line| {
            let connection: wire::Connection = serde_json::from_slice(line).expect("a connection");
            lines += 1;
            assert_eq!(connection.client.port(), lines);
            Ok(())
        })
        .await
        .expect("lines");
    assert_eq!(lines, 5000);
    for (words, expected) in [
        ("limit=0", 0),
        ("limit=1", 1),
        ("limit=3", 3),
        ("limit=4999", 4999),
        ("limit=5001", 5000),
        ("service=tcp://10.0.0.9:80", 0),
    ] {
        let path = format!("/v1/connections?format=ndjson&{words}");
        let mut lines = 0;
        let each = |_: &[u8]| {
            lines += 1;
            Ok(())
        };
        served.client.lines(&path, each).await.expect(words);
        assert_eq!(lines, expected, "{words}");
    }
    // A director that is gone is no empty list.
    served.director.end().await;
    let (status, refusal) = served
        .ask(Method::GET, "/v1/connections?format=ndjson", "")
        .await;
    assert_eq!((status, &refusal["code"]), (503, &json!("stopping")));
}

#[tokio::test]
async fn many_clients_at_once() {
    let served = Served::start();
    let mut clients = tokio::task::JoinSet::new();
    for host in 1..=40_u8 {
        let client = served.client.clone();
        clients.spawn(async move {
            // Two ask for the same: one of them is late.
            let body = json!({ "address": format!("tcp://10.0.1.{}:80", host / 2) });
            let status = client
                .send(Method::POST, "/v1/services", body.to_string().into_bytes())
                .await
                .expect("answered")
                .status;
            let seen = client.get::<Vec<wire::Service>>("/v1/services").await;
            assert!(!seen.expect("services").is_empty());
            status
        });
    }
    let statuses = clients.join_all().await;
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    // The hosts 0 (once), 1 to 19 (twice) and 20 (once).
    assert_eq!(count(StatusCode::CREATED), 21);
    assert_eq!(count(StatusCode::CONFLICT), 19);
    let services: Vec<wire::Service> = served.client.get("/v1/services").await.expect("services");
    let mut keys: Vec<ServiceKey> = services.iter().map(|service| service.address).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 22);
}

#[tokio::test]
async fn events_are_followed() {
    let served = Served::start();
    let client = served.client.clone();
    let (heard, mut hearing) = mpsc::channel(16);
    tokio::spawn(async move {
        client
            .lines("/v1/events?follow=true&after=4", |line| {
                let event: Value = serde_json::from_slice(line).expect("an event");
                heard.try_send(event).expect("room");
                Ok(())
            })
            .await
    });
    // The follower may come first or second: it hears of it either way.
    let (status, _) = served
        .ask(Method::PUT, "/v1/scheduling", r#"{"on": false}"#)
        .await;
    assert_eq!(status, 200);
    let event = hearing.recv().await.expect("an event");
    assert_eq!(event["event"], json!("scheduling_changed"));
    assert_eq!(event["number"], json!(5));
    served.director.end().await;
    assert_eq!(hearing.recv().await, None);
}

#[tokio::test]
async fn what_is_no_http_is_survived() {
    let served = Served::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET",
        b"\r\n\r\n\r\n",
        &[0; 4096],
        b"POST /v1/services HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(served.client.socket())
            .await
            .expect("connected");
        stream.write_all(bytes).await.expect("written");
        stream.shutdown().await.expect("shut");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(served.get("/v1/status").await["services"], json!(1));
}

/// Whatever is asked, the answer is an answer: no request makes the director fail.
#[test]
fn any_request_is_answered() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let served = {
        let _inside = runtime.enter();
        Served::start()
    };
    let segment = proptest::sample::select(vec![
        "v1",
        "services",
        "tcp",
        "udp",
        "10.0.0.100:80",
        "[::1]:1",
        "servers",
        "10.1.0.21",
        "drain",
        "weight",
        "zero",
        "connections?limit=1",
        "events?after=1",
        "%00",
        "%ff",
        "..",
        "",
        "timeouts",
        "scheduling",
        "status",
    ]);
    let path = proptest::collection::vec(segment, 0..7);
    let method =
        proptest::sample::select(vec![Method::GET, Method::PUT, Method::POST, Method::DELETE]);
    let word = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "1",
        "-1",
        "1e999",
        "null",
        "\"address\"",
        "\"10.1.0.9\"",
        "\"weight\"",
        "\"on\"",
        "true",
        "\"tcp://10.0.0.5:80\"",
        "\"servers\"",
        "\"\\u0000\"",
        "\u{0}",
    ]);
    let body = proptest::collection::vec(word, 0..12);
    let config = proptest::test_runner::Config::with_cases(512);
    proptest::test_runner::TestRunner::new(config)
        .run(&(method, path, body), |(method, path, body)| {
            let path = format!("/v1/{}", path.join("/"));
            let (status, document) = runtime.block_on(served.ask(method, &path, &body.concat()));
            proptest::prop_assert!(status < 500, "{path}: {status} {document}");
            proptest::prop_assert!(status < 400 || document["error"].is_string(), "{document}");
            Ok(())
        })
        .expect("answers");
}

#[tokio::test]
async fn a_stop_is_passed_on() {
    let mut served = Served::start();
    let (status, _) = served
        .ask(Method::POST, "/v1/stop", r#"{"forwarding": "stop"}"#)
        .await;
    assert_eq!(status, 202);
    let stop = served.stops.recv().await.expect("a stop");
    assert_eq!(stop.forwarding, Some(wire::Forwarding::Stop));
    assert_eq!(served.ask(Method::POST, "/v1/stop", "").await.0, 202);
    assert_eq!(served.stops.recv().await.expect("a stop").forwarding, None);
    served.director.end().await;
    let (status, refusal) = served.ask(Method::GET, "/v1/status", "").await;
    assert_eq!((status, &refusal["code"]), (503, &json!("stopping")));
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let served = Served::start();
    let (status, text) = served.ask(Method::GET, "/metrics", "").await;
    assert_eq!(status, 200);
    let text = text.as_str().expect("text");
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "rvs_service_connections_total{service=\"tcp://10.0.0.100:80\",name=\"web\"} 0",
        "rvs_server_weight{service=\"tcp://10.0.0.100:80\",name=\"web\",server=\"10.1.0.22:8080\",method=\"nat\"} 2",
        "rvs_reasons_total{reason=\"drop_ttl\",verdict=\"drop\"} 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    // A family is declared once, and its samples stand together.
    let mut families: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let declared = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), declared);
}
