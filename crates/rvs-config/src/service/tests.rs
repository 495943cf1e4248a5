use super::*;

fn service(address: &str) -> Service {
    Service::new(address.parse().expect(address), Scheduler::Rr)
}

fn server(address: &str, method: Method) -> Server {
    let socket: SocketAddr = address.parse().expect(address);
    Server::new(
        socket.ip(),
        NonZeroU16::new(socket.port()).expect("port"),
        method,
        Weight::default(),
    )
    .expect(address)
}

#[test]
fn refused_servers() {
    let mut web = service("tcp://10.0.0.100:80");
    web.add_server(server("10.1.0.21:8080", Method::Nat))
        .expect("added");
    for (address, method, message) in [
        (
            "10.1.0.21:8080",
            Method::Nat,
            "the real server 10.1.0.21:8080 is twice in tcp://10.0.0.100:80",
        ),
        (
            "10.1.0.22:8080",
            Method::Direct,
            "the real server 10.1.0.22:8080 of tcp://10.0.0.100:80 needs the service's port, \
             since direct does not rewrite ports",
        ),
        (
            "10.1.0.22:8080",
            Method::Tunnel,
            "the real server 10.1.0.22:8080 of tcp://10.0.0.100:80 needs the service's port, \
             since tunnel does not rewrite ports",
        ),
        (
            "[2001:db8::21]:80",
            Method::Nat,
            "the real server [2001:db8::21]:80 of tcp://10.0.0.100:80 is of another address family, \
             which nat cannot cross",
        ),
        (
            "[2001:db8::21]:80",
            Method::Tunnel,
            "the real server [2001:db8::21]:80 of tcp://10.0.0.100:80 is of another address family: \
             mixed-family tunnels are not built yet",
        ),
    ] {
        assert_eq!(
            web.add_server(server(address, method))
                .expect_err(address)
                .to_string(),
            message
        );
    }
    assert_eq!(web.servers().len(), 1);
}

#[test]
fn edit_keeps_the_place() {
    let mut web = service("tcp://10.0.0.100:80")
        .with_servers(["10.1.0.21:80", "10.1.0.22:80"].map(|address| server(address, Method::Nat)))
        .expect("servers");
    web.edit_server(server("10.1.0.21:80", Method::Direct).with_weight(Weight::ZERO))
        .expect("edited");
    let [first, _] = web.servers() else {
        panic!("two servers")
    };
    assert_eq!(
        (first.method(), first.weight()),
        (Method::Direct, Weight::ZERO)
    );
    assert!(matches!(
        web.edit_server(server("10.1.0.29:80", Method::Nat)),
        Err(ServiceError::NoSuchServer { .. })
    ));
    web.remove_server("10.1.0.21:80".parse().expect("address"))
        .expect("removed");
    assert_eq!(web.servers().len(), 1);
    assert_eq!(
        web.remove_server("10.1.0.21:80".parse().expect("address"))
            .expect_err("gone")
            .to_string(),
        "tcp://10.0.0.100:80 has no real server 10.1.0.21:80"
    );
}

#[test]
fn at_most_1024_servers() {
    let mut web = service("tcp://10.0.0.100:80");
    for port in 1..=1024u16 {
        web.add_server(server(&format!("10.1.0.21:{port}"), Method::Nat))
            .expect("room");
    }
    assert_eq!(
        web.add_server(server("10.1.0.21:1025", Method::Nat))
            .expect_err("full")
            .to_string(),
        "tcp://10.0.0.100:80 has 1024 real servers already: no room for 10.1.0.21:1025"
    );
}

#[test]
fn json() {
    let text = r#"{"name":"web","address":"tcp://10.0.0.100:80","method":"nat",
        "servers":[{"address":"10.1.0.21"},{"address":"10.1.0.22:8080","weight":3},
                   {"address":"10.0.0.23","method":"direct"}]}"#;
    let service: Service = serde_json::from_str(text).expect("service");
    assert_eq!(
        serde_json::to_string(&service).expect("json"),
        concat!(
            r#"{"name":"web","address":"tcp://10.0.0.100:80","scheduler":"wlc","servers":["#,
            r#"{"address":"10.1.0.21:80","method":"nat","weight":1},"#,
            r#"{"address":"10.1.0.22:8080","method":"nat","weight":3},"#,
            r#"{"address":"10.0.0.23:80","method":"direct","weight":1}]}"#
        )
    );
    let again: Service =
        serde_json::from_str(&serde_json::to_string(&service).expect("json")).expect("again");
    assert_eq!(again, service);
}

#[test]
fn json_refused() {
    for (text, part) in [
        (
            r#"{"address":"tcp://10.0.0.100:80","servers":[{"address":"10.1.0.21:0"}]}"#,
            "port 0",
        ),
        (
            r#"{"address":"tcp://10.0.0.100:80","servers":[{"address":"10.1.0.21:81"}]}"#,
            "needs the service's port",
        ),
        (
            r#"{"address":"tcp://10.0.0.100:80","servers":[{"address":"x"}]}"#,
            "\"x\" is not a real server's address",
        ),
        (
            r#"{"address":"tcp://10.0.0.100:80","shceduler":"rr"}"#,
            "unknown field `shceduler`",
        ),
        (
            r#"{"address":"tcp://10.0.0.100:80","name":"a\nb"}"#,
            "the service name \"a\\nb\" is not",
        ),
    ] {
        let message = serde_json::from_str::<Service>(text)
            .expect_err(text)
            .to_string();
        assert!(message.contains(part), "{message}");
    }
}
