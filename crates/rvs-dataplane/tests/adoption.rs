//! What one process wrote, another reads back: with the same tables, and with tables of another size.

mod common;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use common::{instance_name, pinned_maps};
use rvs_config::{Config, Director, Server, Services};
use rvs_dataplane::{Adoption, Dataplane, Origin, ServiceState};
use rvs_lab::{Flood, Host, Lab, SYN, tcp_frame};

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

/// The director's, and its neighbour.
type Hosts<'a> = (&'a Host, &'a Host);

/// Does something with a director on an interface of its own, and removes it again.
fn with_director(
    settings: &Director,
    work: impl FnOnce(Hosts<'_>, Dataplane) -> Result<Dataplane, Box<dyn std::error::Error>>,
) -> Outcome {
    let lab = Lab::new()?;
    let (host, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&host, "eth0", &peer, "eth0")?;
    let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(settings))??;
    assert_eq!(adoption, Adoption::Fresh);
    let outcome = catch_unwind(AssertUnwindSafe(|| work((&host, &peer), dataplane)));
    match outcome {
        Ok(Ok(dataplane)) => Ok(host.in_namespace(|| dataplane.detach())??),
        failed => {
            // What is pinned outlives the namespaces.
            if let Ok(Ok((dataplane, _))) = host.in_namespace(|| Dataplane::open(settings)) {
                let _ = host.in_namespace(|| dataplane.detach());
            }
            match failed {
                Ok(outcome) => outcome.map(drop),
                Err(panic) => resume_unwind(panic),
            }
        }
    }
}

fn settings(config: &Config, name: &str) -> Director {
    let mut settings = config.director.clone();
    settings.instance = instance_name(name).parse().expect("a name");
    settings
}

#[test]
fn every_option_is_read_back() -> Outcome {
    let config = Config::parse(SERVICES, "test")?;
    let settings = settings(&config, "readback");
    with_director(&settings, |(host, _), mut dataplane| {
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
    with_director(&settings, |(host, _), mut dataplane| {
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

/// A director of so many slots with two servers, and as many connections through it.
fn with_flows(
    name: &str,
    slots: u32,
    flows: u16,
    work: impl FnOnce(Hosts<'_>, &Director, Dataplane) -> Result<Dataplane, Box<dyn std::error::Error>>,
) -> Outcome {
    let config = format!(
        r#"
[director]
interfaces = ["eth0"]
connections = {slots}
connections_v6 = 4096

[[service]]
address = "tcp://10.0.0.1:80"
method = "direct"
servers = ["10.0.0.3", "10.0.0.4"]
"#
    );
    let config = Config::parse(&config, "test")?;
    let settings = settings(&config, name);
    with_director(&settings, |(host, peer), mut dataplane| {
        for service in &config.services {
            dataplane.add_service(service, Origin::Runtime)?;
        }
        dataplane.publish_all();
        let macs = (host.mac("eth0")?, peer.mac("eth0")?);
        let virtual_address = "10.0.0.1:80".parse()?;
        let flood = Flood::start(peer, "eth0", 100_000, move |number| {
            let port = u16::try_from(number).ok().filter(|port| *port < flows)?;
            let client = SocketAddr::from(([10, 0, 0, 2], 10_000 + port));
            tcp_frame(macs, (client, virtual_address), SYN, 0).ok()
        })?;
        flood.finish()?;
        assert_eq!(dataplane.connections().len(), usize::from(flows));
        work((host, peer), &settings, dataplane)
    })
}

/// Another release may count other things: what it pinned has another name, and another map of counters.
#[test]
fn what_an_upgrade_does_not_read_may_differ() -> Outcome {
    with_flows("other", 4096, 50, |(host, _), settings, dataplane| {
        let before = dataplane.services();
        drop(dataplane);
        let current = pinned_maps(settings);
        std::fs::remove_file(current.join("COUNTS"))?;
        std::fs::rename(&current, current.with_file_name("0123456789abcdef"))?;
        let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(settings))??;
        assert_eq!(
            adoption,
            Adoption::Upgraded {
                connections: 50,
                refused: 0
            }
        );
        assert_eq!(dataplane.connections().len(), 50);
        assert_eq!(dataplane.services().len(), before.len());
        pinned_maps(settings);
        Ok(dataplane)
    })
}

/// A process that was killed while it went from one table to another leaves both. Whichever the next start
/// finds under its own name, the other's connections are not lost.
#[test]
fn an_interrupted_upgrade_is_finished() -> Outcome {
    with_flows("whole", 4096, 50, |(host, _), settings, dataplane| {
        drop(dataplane);
        let current = pinned_maps(settings);
        with_flows("half", 8192, 0, |_, half, dataplane| {
            let made = pinned_maps(half);
            let place = current.with_file_name(made.file_name().expect("a name"));
            std::fs::rename(made, place)?;
            Ok(dataplane)
        })?;
        let larger = Director {
            connections: "8192".parse()?,
            ..settings.clone()
        };
        let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(&larger))??;
        assert_eq!(adoption, Adoption::Adopted);
        assert_eq!(dataplane.connections().len(), 50);
        assert_eq!(dataplane.services().len(), 1);
        pinned_maps(settings);
        Ok(dataplane)
    })
}

/// A server that came and went before the kernel's list was told of it is gone for whoever starts next, too.
#[test]
fn a_server_that_was_never_published_stays_removed() -> Outcome {
    with_flows("brief", 4096, 0, |(host, _), settings, mut dataplane| {
        let service = dataplane.services()[0].clone();
        let server = |text: &str| -> Result<Server, Box<dyn std::error::Error>> {
            let json = format!(
                r#"{{"address": "tcp://10.0.0.1:80", "servers": [{{"address": "{text}"}}]}}"#
            );
            let service: rvs_config::Service = serde_json::from_str(&json)?;
            Ok(service.servers()[0])
        };
        // The first change goes to the kernel at once, the next two wait for each other.
        dataplane.add_server(&service.key, &server("10.0.0.5")?, Origin::Runtime)?;
        let brief = server("10.0.0.6")?;
        dataplane.add_server(&service.key, &brief, Origin::Runtime)?;
        dataplane.remove_server(&service.key, brief.socket_addr())?;
        dataplane.publish_all();
        let before = dataplane.services();
        drop(dataplane);
        let (dataplane, adoption) = host.in_namespace(|| Dataplane::open(settings))??;
        assert_eq!(adoption, Adoption::Adopted);
        assert_eq!(before[0].servers.len(), 3);
        assert_eq!(dataplane.services()[0].servers.len(), 3);
        Ok(dataplane)
    })
}
