//! The API over a real socket, with a data plane in memory.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use rvs_config::ServiceKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::actor;
use crate::client::Client;
use crate::director::Director;
use crate::forwarding::{Adoption, Connection};
use crate::listener::Place;
use crate::memory::Memory;
use crate::source::Source;

const CONFIG: &str = r#"
[director]
interfaces = ["eth0"]

[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.1.0.21:80", { address = "10.1.0.22:8080", weight = 2 }]
"#;

const WEB: &str = "/v1/services/tcp/10.0.0.100:80";

/// A served director.
struct Served {
    client: Client,
    director: Handle,
    stops: mpsc::Receiver<wire::Stop>,
    _end: watch::Sender<bool>,
    directory: TempDir,
}

impl Served {
    fn start() -> Served {
        Served::with(Memory::new())
    }

    fn with(memory: Memory) -> Served {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("rvs.toml");
        std::fs::write(&file, CONFIG).expect("written");
        let source = Source {
            file,
            socket: Some(directory.path().join("rvs.sock")),
            ..Source::default()
        };
        let config = source.load().expect("configuration");
        let director = Director::start(
            Box::new(memory),
            Adoption::Fresh,
            config,
            source,
            SystemTime::UNIX_EPOCH,
        )
        .expect("started");
        let socket = director.settings().socket.clone();
        let mut place = Place::take(&socket).expect("taken");
        let listener = place.bind().expect("bound");
        let (director, _thread) = actor::spawn(director).expect("spawned");
        let (stop, stops) = mpsc::channel(1);
        let (end, ended) = watch::channel(false);
        let context = Context {
            director: director.clone(),
            stop,
        };
        tokio::spawn(async move {
            let _place = place;
            serve(listener, context, ended).await
        });
        Served {
            client: Client::new(socket),
            director,
            stops,
            _end: end,
            directory,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("rvs.toml")
    }

    /// Asks, and returns status and document.
    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let reply = self
            .client
            .send(method, path, body.as_bytes().to_vec())
            .await
            .expect(path);
        let document = serde_json::from_slice(&reply.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&reply.body).into_owned()));
        (reply.status.as_u16(), document)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, document) = self.ask(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// All that a refused request must not change.
    async fn state(&self) -> (Value, Value) {
        (self.get("/v1/services").await, self.get("/v1/events").await)
    }
}

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

#[tokio::test]
async fn services_and_servers_come_change_and_go() {
    let served = Served::start();
    let key = "/v1/services/udp/[2001:db8::1]:53";
    let body = r#"{"address": "udp://[2001:db8::1]:53", "name": "dns", "scheduler": "rr",
        "method": "tunnel", "servers": [{"address": "2001:db8:1::21"}]}"#;
    let (status, service) = served.ask(Method::POST, "/v1/services", body).await;
    assert_eq!(status, 201, "{service}");
    assert_eq!(
        service["servers"][0]["address"],
        json!("[2001:db8:1::21]:53")
    );
    assert_eq!(service["servers"][0]["method"], json!("tunnel"));
    assert_eq!(service["origin"], json!("runtime"));
    let steps = [
        (Method::PUT, key.to_owned(), r#"{"scheduler": "lc"}"#, 200),
        (
            Method::POST,
            format!("{key}/servers"),
            r#"{"address": "2001:db8:1::22", "weight": 3}"#,
            201,
        ),
        (
            Method::PUT,
            format!("{key}/servers/2001:db8:1::22"),
            r#"{"method": "tunnel"}"#,
            200,
        ),
        (
            Method::PUT,
            format!("{key}/servers/[2001:db8:1::21]:53/weight"),
            r#"{"weight": 9}"#,
            200,
        ),
        (
            Method::PUT,
            format!("{key}/servers/[2001:db8:1::22]:53/drain"),
            "",
            200,
        ),
        (Method::POST, format!("{key}/zero"), "", 200),
    ];
    for (method, path, body, expected) in steps {
        let (status, document) = served.ask(method, &path, body).await;
        assert_eq!(status, expected, "{path}: {document}");
    }
    let service = served.get(key).await;
    assert_eq!(service["scheduler"], json!("lc"));
    let servers: Vec<(&Value, &Value)> = service["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .map(|server| (&server["method"], &server["weight"]))
        .collect();
    assert_eq!(
        servers,
        [(&json!("tunnel"), &json!(0)), (&json!("tunnel"), &json!(9))]
    );
    let (status, _) = served
        .ask(Method::DELETE, &format!("{key}/servers/2001:db8:1::22"), "")
        .await;
    assert_eq!(status, 200);
    assert_eq!(served.ask(Method::DELETE, key, "").await.0, 200);
    assert_eq!(served.ask(Method::GET, key, "").await.0, 404);
    let (status, done) = served.ask(Method::DELETE, "/v1/services", "").await;
    assert_eq!((status, done), (200, json!({ "changes": 1 })));
    assert_eq!(served.get("/v1/services").await, json!([]));
}

#[tokio::test]
async fn options_are_merged() {
    let served = Served::start();
    let steps = [
        (
            r#"{"scheduler": "sh", "scheduler_flags": ["sh-port"], "persistence": {"timeout": "1m", "netmask": "/24"}}"#,
            json!({"scheduler": "sh", "scheduler_flags": ["sh-port"],
                "persistence": {"timeout": "60s", "netmask": "255.255.255.0", "engine": null}}),
        ),
        (
            r#"{"persistence": {"netmask": null}, "timeouts": {"tcp": {"established": "1h", "close": 5}}}"#,
            json!({"scheduler": "sh", "scheduler_flags": ["sh-port"],
                "persistence": {"timeout": "60s", "netmask": null, "engine": null},
                "timeouts": {"tcp": {"established": "3600s", "close": "5s"}}}),
        ),
        // Flags are a scheduler's own.
        (
            r#"{"scheduler": "mh", "timeouts": {"tcp": {"close": null}}}"#,
            json!({"scheduler": "mh", "scheduler_flags": [], "timeouts": {"tcp": {"established": "3600s"}}}),
        ),
        (
            r#"{"persistence": null, "timeouts": null, "scheduler": null}"#,
            json!({"scheduler": "wlc", "persistence": null, "timeouts": {}}),
        ),
    ];
    for (patch, expected) in steps {
        let (status, service) = served.ask(Method::PATCH, WEB, patch).await;
        assert_eq!(status, 200, "{patch}: {service}");
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&service[field], value, "{patch}: {field}");
        }
        assert_eq!(served.get(WEB).await, service);
    }
    let server = format!("{WEB}/servers/10.1.0.21");
    for (patch, expected) in [
        (
            r#"{"upper_threshold": 9, "lower_threshold": 3}"#,
            json!({"upper_threshold": 9, "lower_threshold": 3, "method": "nat", "tunnel": "ipip", "weight": 1}),
        ),
        (
            r#"{"method": "tunnel", "tunnel": "gue:6080:csum", "upper_threshold": 10}"#,
            json!({"upper_threshold": 10, "lower_threshold": 3, "method": "tunnel", "tunnel": "gue:6080:csum"}),
        ),
        (
            r#"{"method": "nat"}"#,
            json!({"upper_threshold": 10, "method": "nat", "tunnel": "ipip"}),
        ),
    ] {
        let (status, document) = served.ask(Method::PATCH, &server, patch).await;
        assert_eq!(status, 200, "{patch}: {document}");
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&document[field], value, "{patch}: {field}");
        }
    }
    let (status, knobs) = served
        .ask(
            Method::PATCH,
            "/v1/knobs",
            r#"{"drop_packet": 3, "sloppy_tcp": true}"#,
        )
        .await;
    assert_eq!((status, &knobs["drop_packet"]), (200, &json!(3)));
    let (_, knobs) = served
        .ask(Method::PATCH, "/v1/knobs", r#"{"drop_packet": null}"#)
        .await;
    assert_eq!(
        (&knobs["drop_packet"], &knobs["sloppy_tcp"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(served.get("/v1/knobs").await, knobs);
    assert_eq!(served.get("/v1/status").await["knobs"], knobs);
    let (status, timeouts) = served
        .ask(Method::PATCH, "/v1/timeouts", r#"{"tcp": {"close": 7}}"#)
        .await;
    assert_eq!(
        (status, &timeouts["tcp"]["close"], &timeouts["udp"]),
        (200, &json!("7s"), &json!("30s"))
    );
    let (status, timeouts) = served
        .ask(
            Method::PATCH,
            "/v1/timeouts",
            r#"{"tcp": {"close": null}, "udp": 5}"#,
        )
        .await;
    assert_eq!(
        (status, &timeouts["tcp"]["close"], &timeouts["udp"]),
        (200, &json!("10s"), &json!("5s"))
    );
}

#[tokio::test]
async fn services_by_mark_and_of_every_port() {
    let served = Served::start();
    for (body, path, ports) in [
        (
            r#"{"address": "fwmark://7", "match": ["tcp://10.0.0.0/24:80"], "servers": [{"address": "10.1.0.21"}]}"#,
            "/v1/services/fwmark/7",
            ["10.1.0.21:0", "10.1.0.22:0"],
        ),
        (
            r#"{"address": "tcp://10.0.0.1:0", "persistence": {}, "servers": [{"address": "10.1.0.21"}]}"#,
            "/v1/services/tcp/10.0.0.1:0",
            ["10.1.0.21:0", "10.1.0.22:0"],
        ),
    ] {
        let (status, service) = served.ask(Method::POST, "/v1/services", body).await;
        assert_eq!(status, 201, "{service}");
        let server = r#"{"address": "10.1.0.22"}"#;
        let (status, added) = served
            .ask(Method::POST, &format!("{path}/servers"), server)
            .await;
        assert_eq!((status, &added["address"]), (201, &json!(ports[1])));
        let service = served.get(path).await;
        assert_eq!(service["servers"][1]["address"], json!(ports[0]));
        let (status, done) = served
            .ask(
                Method::PUT,
                &format!("{path}/servers/10.1.0.22/weight"),
                r#"{"weight": 4}"#,
            )
            .await;
        assert_eq!((status, &done["weight"]), (200, &json!(4)));
        assert_eq!(served.ask(Method::DELETE, path, "").await.0, 200);
    }
}

#[tokio::test]
async fn refusals_change_nothing() {
    let served = Served::start();
    let before = served.state().await;
    let long = format!(r#"{{"address": "{}"}}"#, "x".repeat(LARGEST_BODY));
    let post = |path: &str, body: &str, status, code| {
        (Method::POST, path.to_owned(), body.to_owned(), status, code)
    };
    let put = |path: &str, body: &str, status, code| {
        (Method::PUT, path.to_owned(), body.to_owned(), status, code)
    };
    let servers = format!("{WEB}/servers");
    let server = format!("{servers}/10.1.0.21");
    let cases = [
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.100:80"}"#,
            409,
            "service_exists",
        ),
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.1:80", "name": "web"}"#,
            409,
            "service_exists",
        ),
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.1:80", "shceduler": "rr"}"#,
            400,
            "invalid",
        ),
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.1:80", "scheduler": "nosuch"}"#,
            400,
            "invalid",
        ),
        post(
            "/v1/services",
            r#"{"address": "tcp://224.0.0.1:80"}"#,
            400,
            "invalid",
        ),
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.1:80", "servers": [{"address": "::1"}]}"#,
            400,
            "invalid",
        ),
        post("/v1/services", "", 400, "invalid"),
        post("/v1/services", "{", 400, "invalid"),
        post("/v1/services", "null", 400, "invalid"),
        post("/v1/services", "\u{0}\u{1b}[31m\n", 400, "invalid"),
        post("/v1/services", &"[".repeat(100_000), 400, "invalid"),
        post("/v1/services", &long, 413, "too_large"),
        post(
            &servers,
            r#"{"address": "10.1.0.29", "weight": 2147483648}"#,
            400,
            "invalid",
        ),
        post(
            &servers,
            r#"{"address": "10.1.0.29", "weight": -1}"#,
            400,
            "invalid",
        ),
        post(&servers, r#"{"address": "2001:db8::1"}"#, 400, "invalid"),
        post(
            &servers,
            r#"{"address": "10.1.0.29", "unknown": 1}"#,
            400,
            "invalid",
        ),
        post(&servers, r#"["10.1.0.29"]"#, 400, "invalid"),
        post(
            "/v1/services/tcp/10.0.0.9:80/servers",
            r#"{"address": "10.1.0.29"}"#,
            404,
            "no_such_service",
        ),
        put(&server, "{}", 400, "invalid"),
        put(&server, r#"{"weight": null, "x": 1}"#, 400, "invalid"),
        put(
            &format!("{servers}/10.1.0.22:8080"),
            r#"{"method": "direct"}"#,
            400,
            "invalid",
        ),
        put(
            &format!("{servers}/10.1.0.99"),
            r#"{"weight": 1}"#,
            404,
            "no_such_server",
        ),
        put(
            &format!("{servers}/nonsense"),
            r#"{"weight": 1}"#,
            400,
            "invalid",
        ),
        put(
            &format!("{servers}/%ff"),
            r#"{"weight": 1}"#,
            400,
            "invalid",
        ),
        put(
            "/v1/services/icmp/10.0.0.100:80",
            r#"{"scheduler": "rr"}"#,
            400,
            "invalid",
        ),
        put(
            "/v1/services/tcp/10.0.0.100:0",
            r#"{"scheduler": "rr"}"#,
            404,
            "no_such_service",
        ),
        put(
            "/v1/services/fwmark/0",
            r#"{"scheduler": "rr"}"#,
            400,
            "invalid",
        ),
        put(WEB, r#"{"one_packet": true}"#, 400, "invalid"),
        put(WEB, r#"{"scheduler_flags": ["sh-port"]}"#, 400, "invalid"),
        put(WEB, r#"{"persistence": {"timeout": 0}}"#, 400, "invalid"),
        put(WEB, r#"{"persistence": 300}"#, 400, "invalid"),
        put(WEB, r#"{"timeouts": {"udp": 5}}"#, 400, "invalid"),
        put(WEB, r#"{"match": ["any://10.0.0.1"]}"#, 400, "invalid"),
        put(WEB, r#"{"name": "other"}"#, 400, "invalid"),
        put(&server, r#"{"tunnel": "gre"}"#, 400, "invalid"),
        put(
            &server,
            r#"{"upper_threshold": 1, "lower_threshold": 2}"#,
            400,
            "invalid",
        ),
        put(&server, r#"{"upper_threshold": -1}"#, 400, "invalid"),
        put("/v1/knobs", r#"{"drop_entry": 4}"#, 400, "invalid"),
        put("/v1/knobs", r#"{"conntrack": true}"#, 400, "invalid"),
        put("/v1/timeouts", r#"{"tcp": {"nosuch": 5}}"#, 400, "invalid"),
        post(
            "/v1/services",
            r#"{"address": "tcp://10.0.0.1:0"}"#,
            400,
            "invalid",
        ),
        put("/v1/timeouts", r#"{"udp": "0s"}"#, 400, "invalid"),
        put("/v1/scheduling", r#"{"on": "yes"}"#, 400, "invalid"),
        (
            Method::DELETE,
            format!("{servers}/10.1.0.99"),
            String::new(),
            404,
            "no_such_server",
        ),
        (
            Method::DELETE,
            "/v1/status".to_owned(),
            String::new(),
            405,
            "wrong_method",
        ),
        (
            Method::GET,
            "/v2/status".to_owned(),
            String::new(),
            404,
            "no_such_path",
        ),
        (
            Method::GET,
            "/v1/connections?limit=x".to_owned(),
            String::new(),
            400,
            "invalid",
        ),
        (
            Method::GET,
            "/v1/connections?limit=100001".to_owned(),
            String::new(),
            400,
            "invalid",
        ),
        (
            Method::GET,
            "/v1/connections?unknown=1".to_owned(),
            String::new(),
            400,
            "invalid",
        ),
    ];
    for (method, path, body, expected, code) in cases {
        let body_shown = body.chars().take(80).collect::<String>();
        let (status, refusal) = served.ask(method, &path, &body).await;
        assert_eq!(status, expected, "{path} {body_shown}: {refusal}");
        assert_eq!(
            refusal["code"],
            json!(code),
            "{path} {body_shown}: {refusal}"
        );
        let error = refusal["error"].as_str().expect("one line");
        assert!(
            !error.is_empty() && !error.contains(char::is_control),
            "{error:?}"
        );
    }
    assert_eq!(served.state().await, before);
}

#[tokio::test]
async fn no_room() {
    let served = Served::with(Memory {
        room: 2,
        ..Memory::new()
    });
    let add = |host: u8| format!(r#"{{"address": "tcp://10.0.0.{host}:80"}}"#);
    assert_eq!(
        served.ask(Method::POST, "/v1/services", &add(1)).await.0,
        201
    );
    let (status, refusal) = served.ask(Method::POST, "/v1/services", &add(2)).await;
    assert_eq!((status, &refusal["code"]), (507, &json!("no_room")));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_good_one_all() {
    let served = Served::start();
    let (_, added) = served
        .ask(
            Method::POST,
            "/v1/services",
            r#"{"address": "tcp://10.0.0.7:80"}"#,
        )
        .await;
    assert_eq!(added["origin"], json!("runtime"));
    let before = served.get("/v1/services").await;
    for (text, part) in [
        (CONFIG.replace("nat", "natt"), "rvs.toml:8:10"),
        (
            CONFIG.replace("eth0", "eth1"),
            "director.interfaces cannot change",
        ),
        (String::new(), "[director] is missing"),
    ] {
        std::fs::write(served.file(), text).expect("written");
        let (status, refusal) = served.ask(Method::POST, "/v1/reload", "").await;
        assert_eq!(status, 422, "{refusal}");
        let error = refusal["error"].as_str().expect("error");
        assert!(error.contains(part), "{error}");
        assert_eq!(served.get("/v1/services").await, before);
    }
    let text = CONFIG
        .replace("weight = 2", "weight = 5")
        .replace("\"10.1.0.21:80\", ", "");
    std::fs::write(
        served.file(),
        format!("{text}\n[director.timeouts]\nudp = 60\n"),
    )
    .expect("written");
    let (status, done) = served.ask(Method::POST, "/v1/reload", "").await;
    assert_eq!((status, done), (200, json!({ "changes": 2 })));
    let services = served.get("/v1/services").await;
    assert_eq!(services[0]["servers"][0]["weight"], json!(5));
    assert_eq!(services[0]["servers"].as_array().map(Vec::len), Some(1));
    assert_eq!(services[1]["address"], json!("tcp://10.0.0.7:80"));
    assert_eq!(served.get("/v1/timeouts").await["udp"], json!("60s"));
    let (_, done) = served.ask(Method::POST, "/v1/reload", "").await;
    assert_eq!(done, json!({ "changes": 0 }));
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
