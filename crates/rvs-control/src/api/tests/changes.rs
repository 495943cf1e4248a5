//! What changes the director, and what must not.

use super::*;

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
