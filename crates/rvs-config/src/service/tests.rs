use super::*;

fn service(address: &str) -> Service {
    let options = ServiceOptions::new(Scheduler::Rr);
    Service::new(address.parse().expect(address), options).expect(address)
}

fn server(address: &str, method: Method) -> Server {
    let socket: SocketAddr = address.parse().expect(address);
    Server::new(socket.ip(), socket.port(), method, Weight::default()).expect(address)
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
            Method::Direct,
            "the real server [2001:db8::21]:80 of tcp://10.0.0.100:80 is of another address family, \
             which direct cannot cross",
        ),
        (
            "10.1.0.22:0",
            Method::Nat,
            "port 0: the real server 10.1.0.22:0 of tcp://10.0.0.100:80 needs a port from 1 to 65535",
        ),
        (
            "10.1.0.22:0",
            Method::Tunnel,
            "the real server 10.1.0.22:0 of tcp://10.0.0.100:80 needs the service's port, \
             since tunnel does not rewrite ports",
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
            r#"{"address":"tcp://10.0.0.100:80","method":"nat","servers":[{"address":"10.1.0.21:0"}]}"#,
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

#[test]
fn tunnels_cross_address_families() {
    let mut web = service("tcp://10.0.0.100:80");
    web.add_server(server("[2001:db8::21]:80", Method::Tunnel))
        .expect("added");
    assert_eq!(
        web.edit_server(server("[2001:db8::21]:80", Method::Nat))
            .expect_err("nat")
            .to_string(),
        "the real server [2001:db8::21]:80 of tcp://10.0.0.100:80 is of another address family, \
         which nat cannot cross"
    );
}

#[test]
fn services_of_many_ports_have_servers_of_port_0() {
    let every = r#"{"address":"tcp://10.0.0.100:0","persistence":{},"method":"nat",
        "servers":[{"address":"10.1.0.21"},{"address":"10.1.0.22:8080"},{"address":"10.1.0.23","method":"direct"}]}"#;
    let every: Service = serde_json::from_str(every).expect("every port");
    let ports: Vec<u16> = every.servers().iter().map(Server::port).collect();
    assert_eq!(ports, [0, 8080, 0]);
    let mark = r#"{"address":"fwmark6://7","servers":[{"address":"2001:db8::21"},
        {"address":"10.1.0.22","method":"tunnel","tunnel":"gue:6080"}]}"#;
    let mark: Service = serde_json::from_str(mark).expect("a mark");
    assert_eq!(mark.servers().len(), 2);
}

#[test]
fn options_that_do_not_fit() {
    for (text, message) in [
        (
            r#"{"address":"tcp://10.0.0.1:0"}"#,
            "tcp://10.0.0.1:0 is every port of its address, which needs persistence",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:80","one_packet":true}"#,
            "one_packet is for UDP, which tcp://10.0.0.1:80 does not take",
        ),
        (
            r#"{"address":"sctp://10.0.0.1:80","move_udp":true}"#,
            "move_udp is for UDP, which sctp://10.0.0.1:80 does not take",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:5060","persistence":{"engine":"sip"}}"#,
            "the persistence engine sip reads UDP, which tcp://10.0.0.1:5060 does not take",
        ),
        (
            r#"{"address":"udp://10.0.0.1:5060","persistence":{"engine":"sipp"}}"#,
            "unknown persistence engine \"sipp\" (known: sip)",
        ),
        (
            r#"{"address":"udp://[2001:db8::1]:53","persistence":{"netmask":"255.255.0.0"}}"#,
            "the netmask 255.255.0.0 of udp://[2001:db8::1]:53 is none for IPv6 clients",
        ),
        (
            r#"{"address":"udp://10.0.0.1:53","persistence":{"netmask":"/33"}}"#,
            "the netmask /33 of udp://10.0.0.1:53 is none for IPv4 clients",
        ),
        (
            r#"{"address":"udp://10.0.0.1:53","persistence":{"timeout":0}}"#,
            "\"0\" is not a time of persistence from 1s to 31d",
        ),
        (
            r#"{"address":"udp://10.0.0.1:53","timeouts":{"tcp":{"established":5}}}"#,
            "the timeout tcp.established means nothing to udp://10.0.0.1:53",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","timeouts":{"udp":5}}"#,
            "the timeout udp means nothing to tcp://10.0.0.1:53",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","match":["any://10.0.0.1"]}"#,
            "the match rule any://10.0.0.1 is for a service by firewall mark, which tcp://10.0.0.1:53 is not",
        ),
        (
            r#"{"address":"fwmark6://1","match":["any://10.0.0.1"]}"#,
            "the match rule any://10.0.0.1 is of another address family than fwmark6://1",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","scheduler":"rr","scheduler_flags":["sh-port"]}"#,
            "the scheduler flag \"sh-port\" is sh's: the scheduler is rr",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","servers":[{"address":"10.1.0.1","tunnel":"gre"}]}"#,
            "the real server 10.1.0.1:53 has the tunnel gre but the method direct",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","servers":[{"address":"10.1.0.1","upper_threshold":2,"lower_threshold":3}]}"#,
            "the lower threshold 3 is above the upper threshold 2",
        ),
        (
            r#"{"address":"tcp://10.0.0.1:53","servers":[{"address":"10.1.0.1","upper_threshold":2147483648}]}"#,
            "the threshold 2147483648 is not a number from 0 to 2147483647",
        ),
    ] {
        let error = serde_json::from_str::<Service>(text)
            .expect_err(text)
            .to_string();
        assert!(error.starts_with(message), "{text}: {error}");
    }
    let rules = vec!["\"any://10.0.0.1\""; MAX_RULES + 1].join(",");
    let text = format!(r#"{{"address":"fwmark://1","match":[{rules}]}}"#);
    let error = serde_json::from_str::<Service>(&text).expect_err("rules");
    assert!(
        error
            .to_string()
            .starts_with("fwmark://1 has more than 64 match rules"),
        "{error}"
    );
}

#[test]
fn options_are_written_one_way() {
    let text = r#"{"address":"udp://10.0.0.1:5060","scheduler":"mh","scheduler_flags":["flag-2"],
        "persistence":{"timeout":"5m","netmask":"/24","engine":"sip"},"one_packet":true,
        "timeouts":{"udp":"1m"},"move_udp":true,
        "servers":[{"address":"10.1.0.1","method":"tunnel","tunnel":"gre:csum","upper_threshold":9,"lower_threshold":3}]}"#;
    let service: Service = serde_json::from_str(text).expect("service");
    assert_eq!(
        serde_json::to_string(&service).expect("json"),
        concat!(
            r#"{"address":"udp://10.0.0.1:5060","scheduler":"mh","scheduler_flags":["mh-port"],"#,
            r#""persistence":{"timeout":"300s","netmask":"255.255.255.0","engine":"sip"},"one_packet":true,"#,
            r#""timeouts":{"udp":"60s"},"move_udp":true,"#,
            r#""servers":[{"address":"10.1.0.1:5060","method":"tunnel","tunnel":"gre:csum","weight":1,"#,
            r#""upper_threshold":9,"lower_threshold":3}]}"#
        )
    );
}
