//! What it costs to add services, one by one, up to as many as a director takes.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::Result;
use rvs_config::{Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, Weight};
use rvs_dataplane::{Dataplane, Origin};
use rvs_lab::Lab;

use crate::{
    Wanted,
    bed::settings,
    report::{Report, Row, median},
    testrun::on_a_thread,
};

const SERVICES: u32 = 16_384;
const SERVERS: u32 = 3;
/// The last of them, which are measured by themselves.
const LAST: u32 = 1024;
const ALL: &str = "16,384 services added";
const ONE: &str = "a service added among 16 k";

/// Both rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    if !wanted.any(&[ALL, ONE]) {
        return Ok(());
    }
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for _ in 0..wanted.runs {
        on_a_thread(|| {
            let (whole, last) = measure()?;
            all.push(whole * 1e3);
            one.push(last * 1e6 / f64::from(LAST));
            Ok(())
        })?;
    }
    report.add(Row::new(ALL, "ms", median(&all)));
    report.add(Row::new(ONE, "us", median(&one)));
    Ok(())
}

/// Seconds for all, and for the last.
fn measure() -> Result<(f64, f64)> {
    let services: Vec<Service> = (0..SERVICES).map(service).collect::<Result<_>>()?;
    let lab = Lab::new()?;
    let host = lab.host("director")?;
    let outside = lab.host("outside")?;
    lab.link(&host, "eth0", &outside, "eth0")?;
    host.enter()?;
    let (mut dataplane, _) = Dataplane::open(&settings(&host, &["eth0"])?)?;
    let done = add(&mut dataplane, &services);
    dataplane.detach()?;
    done
}

fn add(dataplane: &mut Dataplane, services: &[Service]) -> Result<(f64, f64)> {
    let (first, last) = services.split_at(services.len() - LAST as usize);
    let begin = Instant::now();
    for service in first {
        dataplane.add_service(service, Origin::Runtime)?;
    }
    let middle = Instant::now();
    for service in last {
        dataplane.add_service(service, Origin::Runtime)?;
    }
    Ok((
        begin.elapsed().as_secs_f64(),
        middle.elapsed().as_secs_f64(),
    ))
}

/// A service with an address of its own. Its servers' addresses serve others too.
fn service(number: u32) -> Result<Service> {
    let from = |base: [u8; 4], offset: u32| Ipv4Addr::from(u32::from_be_bytes(base) + offset);
    let key: ServiceKey = format!("tcp://{}:80", from([198, 18, 0, 0], number)).parse()?;
    let servers = (0..SERVERS)
        .map(|place| {
            let address = from([10, 1, 0, 0], number % 64 * 8 + place);
            let port = u16::try_from(1024 + number / 64)?;
            Ok(Server::new(
                IpAddr::V4(address),
                port,
                Method::Nat,
                Weight::default(),
            )?)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Service::new(key, ServiceOptions::new(Scheduler::Wlc))?.with_servers(servers)?)
}
