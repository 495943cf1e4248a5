//! A list of servers that changes more than a thousand times a second while connections come in.

mod common;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use common::instance_name;
use rvs_config::{
    Director, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, Weight,
};
use rvs_dataplane::{Dataplane, Origin};
use rvs_lab::{Family, Lab, Topology, Vip};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Servers in the list at any time.
const WINDOW: u32 = 1000;
/// Changes, each the addition of a new server or the removal of the oldest.
const CHANGES: u32 = 2500;
/// The port of the first server; its number is what is above.
const FIRST_PORT: u32 = 2000;

/// What a client knew when it sent from a port: no server below the first number was there any more, and no
/// server of the second or above was there yet.
type Sent = BTreeMap<u16, (u32, u32)>;

/// Sends a datagram from port after port, until told to stop.
fn send(vip: SocketAddr, gone: &AtomicU32, there: &AtomicU32, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::new();
    for port in 1024..=u16::MAX {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let Ok(socket) = UdpSocket::bind((IpAddr::from([0, 0, 0, 0]), port)) else {
            continue;
        };
        let gone = gone.load(Ordering::SeqCst);
        // A full queue is no fault.
        let _ = socket.send_to(b"hello", vip);
        sent.insert(port, (gone, there.load(Ordering::SeqCst)));
    }
    sent
}

#[test]
fn every_choice_is_from_an_old_list_or_a_new_one() -> Outcome {
    let lab = Lab::new()?;
    let topology = Topology::new(&lab)?;
    let interfaces = ["eth0", "eth1"].map(|name| name.parse().expect("an interface name"));
    let name = instance_name("churn");
    let settings = Director::new(name.parse()?, interfaces.to_vec());
    let (mut dataplane, _) = topology
        .director
        .in_namespace(|| Dataplane::open(&settings))??;
    let outcome = catch_unwind(AssertUnwindSafe(|| churn(&topology, &mut dataplane)));
    topology.director.in_namespace(|| dataplane.detach())??;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn churn(topology: &Topology, dataplane: &mut Dataplane) -> Outcome {
    let vip = SocketAddr::new(Vip::Nat.address(Family::V4), 53);
    let key: ServiceKey = format!("udp://{vip}").parse()?;
    let addresses: Vec<IpAddr> = (0..3)
        .map(|number| Topology::inside_address(number, Family::V4))
        .collect();
    let server = |number: u32| {
        let address = addresses[number as usize % addresses.len()];
        let port = u16::try_from(FIRST_PORT + number).expect("few servers");
        Server::new(address, port, Method::Nat, Weight::default()).expect("a server")
    };
    // The newest is the list's head.
    let service = Service::new(key, ServiceOptions::new(Scheduler::Rr))?
        .with_servers((0..WINDOW).map(server))?;
    dataplane.add_service(&service, Origin::Runtime)?;

    let (gone, there) = (AtomicU32::new(0), AtomicU32::new(WINDOW));
    let stop = AtomicBool::new(false);
    let (sent, took) = std::thread::scope(|scope| -> Result<_, Box<dyn std::error::Error>> {
        let client = scope.spawn(|| {
            topology
                .client
                .in_namespace(|| send(vip, &gone, &there, &stop))
        });
        let begin = rvs_lab::processor_time();
        let mut changed = || -> Result<(), Box<dyn std::error::Error>> {
            for change in 0..CHANGES {
                let step = change / 2;
                if change % 2 == 0 {
                    there.store(WINDOW + step + 1, Ordering::SeqCst);
                    dataplane.add_server(&key, &server(WINDOW + step), Origin::Runtime)?;
                } else {
                    dataplane.remove_server(&key, server(step).socket_addr())?;
                }
                if dataplane.publish_due().is_none() {
                    // The packets' list is this very one.
                    gone.store(change.div_ceil(2), Ordering::SeqCst);
                }
            }
            Ok(())
        };
        let outcome = changed();
        // By its own work, whatever else the machine does.
        let took = rvs_lab::processor_time() - begin;
        // Some more on the last list.
        dataplane.publish_all();
        gone.store(CHANGES / 2, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::SeqCst);
        let sent = client.join().map_err(|_| "the client panicked")??;
        outcome?;
        Ok((sent, took))
    })?;
    let per_second = f64::from(CHANGES) / took.as_secs_f64();
    assert!(per_second >= 1000.0, "{per_second} changes a second");

    std::thread::sleep(Duration::from_millis(100));
    let mut checked = 0;
    for connection in dataplane.connections() {
        let Some(&(gone, there)) = sent.get(&connection.client.port()) else {
            continue;
        };
        let number = u32::from(connection.server.port()) - FIRST_PORT;
        assert_eq!(connection.server, server(number).socket_addr());
        // A datagram may have waited a moment, while servers came.
        let soon = there + 500;
        assert!(
            (gone..soon).contains(&number),
            "{number} of {gone}..{there} was chosen for {connection:?}"
        );
        checked += 1;
    }
    eprintln!("{checked} choices during {CHANGES} changes in {took:?}");
    assert!(checked > 1000, "{checked} of {} datagrams", sent.len());
    let state = dataplane.service(&key).ok_or("the service is gone")?;
    let last: Vec<u16> = (CHANGES / 2..WINDOW + CHANGES / 2)
        .rev()
        .map(|number| server(number).port())
        .collect();
    let listed: Vec<u16> = state
        .servers
        .iter()
        .filter(|state| !state.draining_removed)
        .map(|state| state.server.port())
        .collect();
    assert_eq!(listed, last);
    Ok(())
}
