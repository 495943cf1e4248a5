//! What one process wrote, another reads back: with the same tables, and with tables of another size.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use rvs_config::{Config, Director, Services};
use rvs_dataplane::{Adoption, Dataplane, Origin, ServiceState};
use rvs_lab::{Host, Lab};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A service of every kind, with every option that a running director takes.
const SERVICES: &str = r#"
[director]
interfaces = ["eth0"]
connections = 4096
connections_v6 = 4096

[[service]]
address = "tcp://10.0.0.1:80"
scheduler = "sh"
scheduler_flags = ["sh-port", "sh-fallback", "flag-3"]
persistence = { timeout = "31d", netmask = "255.0.255.0" }
timeouts.tcp = { established = "1h", none = 1 }
method = "nat"
servers = ["10.1.0.1:8080", { address = "10.1.0.2:8081", weight = 7, upper_threshold = 9, lower_threshold = 3 }]

[[service]]
address = "udp://10.0.0.1:5060"
scheduler = "rr"
scheduler_flags = ["flag-1", "flag-2"]
persistence = { timeout = 60, engine = "sip" }
one_packet = true
move_udp = true
timeouts.udp = 7
servers = ["10.1.0.1"]

[[service]]
address = "sctp://[2001:db8::1]:36412"
scheduler = "mh"
scheduler_flags = ["mh-port"]
persistence = { timeout = 300, netmask = "/64" }
timeouts.sctp.closed = 5
servers = ["2001:db8:1::1"]

[[service]]
address = "tcp://10.0.0.2:0"
persistence = 300
servers = ["10.1.0.1", { address = "10.1.0.2:81", method = "nat" }]

[[service]]
address = "tcp://10.0.0.2:21"
scheduler = "none"

[[service]]
address = "fwmark://4294967295"
match = ["tcp://10.0.3.0/24:80-90", "any://10.0.4.1-10.0.4.9"]
scheduler = "lblcr"
method = "tunnel"
servers = [
    { address = "10.1.0.1", tunnel = "gue:6080:remcsum" },
    { address = "10.1.0.2", tunnel = "gre:csum" },
    { address = "10.1.0.3", tunnel = "gue:1:csum", weight = 0 },
    { address = "2001:db8:1::1" },
]

[[service]]
address = "fwmark6://7"
scheduler = "twos"
servers = ["2001:db8:1::1"]
"#;

/// A service without what only the process knows that was told of it.
fn lasting(states: Vec<ServiceState>) -> Vec<ServiceState> {
    let forget = |mut state: ServiceState| {
        state.name = None;
        state
    };
    states.into_iter().map(forget).collect()
}

fn expect(dataplane: &Dataplane, wanted: &Services) {
    let states = dataplane.services();
    assert_eq!(states.len(), wanted.len());
    for (state, service) in states.iter().zip(wanted) {
        assert_eq!(
            (state.key, &state.options),
            (service.key(), service.options())
        );
        let servers: Vec<_> = state
            .servers
            .iter()
            .rev()
            .map(|state| state.server)
            .collect();
        assert_eq!(servers, service.servers(), "{}", state.key);
    }
}

/// Does something with a director on an interface of its own, and removes it again.
fn with_director(
    settings: &Director,
    work: impl FnOnce(&Host, Dataplane) -> Result<Dataplane, Box<dyn std::error::Error>>,
) -> Outcome {
    let lab = Lab::new()?;
    let (host, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&host, "eth0", &peer, "eth0")?;
    let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(settings))??;
    assert_eq!(adoption, Adoption::Fresh);
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&host, dataplane)));
    match outcome {
        Ok(Ok(dataplane)) => Ok(host.in_namespace(|| dataplane.detach())??),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            // What is pinned outlives the namespaces.
            if let Ok(Ok((dataplane, _))) = host.in_namespace(|| Dataplane::open(settings)) {
                let _ = host.in_namespace(|| dataplane.detach());
            }
            resume_unwind(panic)
        }
    }
}

fn settings(config: &Config, name: &str) -> Director {
    let mut settings = config.director.clone();
    settings.instance = format!("{name}-{}", std::process::id())
        .parse()
        .expect("a name");
    settings
}

#[test]
fn every_option_is_read_back() -> Outcome {
    let config = Config::parse(SERVICES, "test")?;
    let settings = settings(&config, "readback");
    with_director(&settings, |host, mut dataplane| {
        for service in &config.services {
            dataplane.add_service(service, Origin::Configured)?;
        }
        expect(&dataplane, &config.services);
        let before = lasting(dataplane.services());
        drop(dataplane);
        let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(&settings))??;
        assert_eq!(adoption, Adoption::Adopted);
        expect(&dataplane, &config.services);
        assert_eq!(lasting(dataplane.services()), before);
        drop(dataplane);
        let mut larger = settings.clone();
        larger.connections = "8192".parse()?;
        let (mut dataplane, adoption) = host.in_namespace(|| Dataplane::open(&larger))??;
        assert!(
            matches!(adoption, Adoption::Upgraded { .. }),
            "{adoption:?}"
        );
        expect(&dataplane, &config.services);
        // Changed in place, back to nothing.
        for service in &config.services {
            let plain = rvs_config::ServiceOptions {
                persistence: service
                    .options()
                    .persistence
                    .map(|known| rvs_config::Persistence::new(known.timeout)),
                ..rvs_config::ServiceOptions::default()
            };
            dataplane.set_options(&service.key(), &plain)?;
            let state = dataplane.service(&service.key()).ok_or("it is gone")?;
            assert_eq!(state.options, plain);
            assert_eq!(state.servers.len(), service.servers().len());
        }
        Ok(dataplane)
    })
}

#[test]
fn sixteen_thousand_services() -> Outcome {
    let config = Config::parse(SERVICES, "test")?;
    let settings = settings(&config, "many");
    let mut services = Services::new();
    for number in 1..=16_384_u32 {
        let servers: Vec<String> = (0..if number == 5 { 1024 } else { 1 })
            .map(|port| format!(r#"{{"address": "10.1.0.1:{}"}}"#, 1000 + port))
            .collect();
        let text = format!(
            r#"{{"address": "tcp://10.{}.{}.1:80", "method": "nat", "servers": [{}]}}"#,
            100 + number / 256,
            number % 256,
            servers.join(",")
        );
        services.add(serde_json::from_str(&text)?)?;
    }
    with_director(&settings, |host, mut dataplane| {
        let begin = Instant::now();
        for service in &services {
            dataplane.add_service(service, Origin::Configured)?;
        }
        dataplane.publish_all();
        eprintln!("added in {:?}", begin.elapsed());
        let one_more: rvs_config::Service =
            serde_json::from_str(r#"{"address": "tcp://10.0.0.1:80"}"#)?;
        assert_eq!(
            dataplane
                .add_service(&one_more, Origin::Runtime)
                .expect_err("full")
                .to_string(),
            "no room for another service: the limit is 16384"
        );
        drop(dataplane);
        let begin = Instant::now();
        let (mut dataplane, adoption) = host.in_namespace(|| Dataplane::open(&settings))??;
        eprintln!("adopted in {:?}", begin.elapsed());
        assert_eq!(adoption, Adoption::Adopted);
        expect(&dataplane, &services);
        let begin = Instant::now();
        for service in &services {
            dataplane.remove_service(&service.key())?;
        }
        eprintln!("removed in {:?}", begin.elapsed());
        assert!(dataplane.services().is_empty());
        Ok(dataplane)
    })
}
