//! As many services as a director takes: adding, changing and removing one costs the same among all of them as alone.

mod common;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use common::instance_name;
use rvs_config::{
    Director, MAX_SERVERS, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, Weight,
};
use rvs_dataplane::{Dataplane, Origin};
use rvs_lab::{Lab, Topology};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SERVICES: u32 = 16_384;
const SERVERS: u32 = 3;
/// Services that are compared.
const SOME: u32 = 1024;

fn key(number: u32) -> ServiceKey {
    let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
    format!("tcp://{vip}:80").parse().expect("a service")
}

fn server(service: u32, number: u32) -> Server {
    // Each address serves many services, as in a real cluster.
    let address =
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + (service % 64) * 8 + number);
    let port = 1024 + (service / 64) as u16;
    Server::new(IpAddr::V4(address), port, Method::Nat, Weight::default()).expect("a server")
}

fn service(number: u32) -> Outcome<Service> {
    let servers = (0..SERVERS).map(|i| server(number, i));
    Ok(Service::new(key(number), ServiceOptions::new(Scheduler::Wlc))?.with_servers(servers)?)
}

#[test]
fn the_last_service_costs_what_the_first_did() -> Outcome {
    let lab = Lab::new()?;
    let topology = Topology::new(&lab)?;
    let interfaces = ["eth0", "eth1"].map(|name| name.parse().expect("an interface name"));
    let name = instance_name("many");
    let settings = Director::new(name.parse()?, interfaces.to_vec());
    let (mut dataplane, _) = topology
        .director
        .in_namespace(|| Dataplane::open(&settings))??;
    let outcome = catch_unwind(AssertUnwindSafe(|| many(&mut dataplane)));
    topology.director.in_namespace(|| dataplane.detach())??;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn many(dataplane: &mut Dataplane) -> Outcome {
    let mut took = Vec::new();
    let begin = Instant::now();
    for first in (0..SERVICES).step_by(SOME as usize) {
        took.push(time(first..first + SOME, |number| {
            dataplane.add_service(&service(number)?, Origin::Runtime)?;
            Ok(())
        })?);
    }
    eprintln!(
        "{SERVICES} services added in {:?}: {took:?}",
        begin.elapsed()
    );
    assert!(
        dataplane
            .add_service(&service(SERVICES)?, Origin::Runtime)
            .is_err()
    );
    grows_not("adding a service", &took[1..5], &took[took.len() - 4..]);

    // Another server for each, and away with it: among all, and later among few.
    let mut changes = |numbers: std::ops::Range<u32>| {
        time(numbers, |number| {
            let extra = Server::new(
                IpAddr::from([10, 2, 0, 1]),
                1024 + number as u16,
                Method::Nat,
                Weight::default(),
            )?;
            dataplane.add_server(&key(number), &extra, Origin::Runtime)?;
            dataplane.publish_due();
            dataplane.remove_server(&key(number), extra.socket_addr())?;
            dataplane.publish_due();
            Ok(())
        })
    };
    let mut among_all = Vec::new();
    for _ in 0..4 {
        among_all.push(changes(0..SOME)?);
    }
    dataplane.publish_all();

    let mut took = Vec::new();
    for first in (SOME..SERVICES).step_by(SOME as usize) {
        took.push(time(first..first + SOME, |number| {
            dataplane.remove_service(&key(number))?;
            Ok(())
        })?);
    }
    eprintln!("removed: {took:?}");
    grows_not("removing a service", &took[took.len() - 4..], &took[..4]);
    let mut among_few = || {
        time(0..SOME, |number| {
            let extra: SocketAddr = ([10, 2, 0, 2], 1024 + number as u16).into();
            let extra = Server::new(extra.ip(), extra.port(), Method::Nat, Weight::default())?;
            dataplane.add_server(&key(number), &extra, Origin::Runtime)?;
            dataplane.publish_due();
            dataplane.remove_server(&key(number), extra.socket_addr())?;
            dataplane.publish_due();
            Ok(())
        })
    };
    let among_few = [among_few()?, among_few()?, among_few()?, among_few()?];
    eprintln!("servers changed: {among_all:?} among all, {among_few:?} among few");
    grows_not("changing a list", &among_few, &among_all);
    a_full_list(dataplane)
}

/// The limit of a service's servers holds for those that are added one by one, too.
fn a_full_list(dataplane: &mut Dataplane) -> Outcome {
    let number = |port: usize| {
        let port = u16::try_from(port)?;
        let address = IpAddr::from([10, 2, 0, 3]);
        Ok::<_, Box<dyn std::error::Error>>(Server::new(
            address,
            port,
            Method::Nat,
            Weight::default(),
        )?)
    };
    for port in SERVERS as usize + 1..=MAX_SERVERS {
        dataplane.add_server(&key(0), &number(port)?, Origin::Runtime)?;
    }
    let beyond = number(MAX_SERVERS + 1)?;
    let refused = dataplane.add_server(&key(0), &beyond, Origin::Runtime);
    assert_eq!(
        refused.expect_err("one beyond").to_string(),
        "tcp://198.18.0.0:80 has 1024 real servers already: no room for 10.2.0.3:1025"
    );
    // One goes, and one has its place.
    dataplane.remove_server(&key(0), number(MAX_SERVERS)?.socket_addr())?;
    dataplane.add_server(&key(0), &beyond, Origin::Runtime)?;
    Ok(())
}

/// The processor time that it takes.
fn time(
    numbers: impl Iterator<Item = u32>,
    mut each: impl FnMut(u32) -> Outcome,
) -> Outcome<Duration> {
    let begin = rvs_lab::processor_time();
    for number in numbers {
        each(number)?;
    }
    Ok(rvs_lab::processor_time() - begin)
}

/// What walks through all services would take sixteen times as long, every time.
fn grows_not(what: &str, among_few: &[Duration], among_all: &[Duration]) {
    let (least_among_all, least_among_few) = (among_all.iter().min(), among_few.iter().min());
    assert!(
        least_among_all < least_among_few.map(|least| *least * 4).as_ref(),
        "{what}: {among_all:?} among all, {among_few:?} among few"
    );
}
