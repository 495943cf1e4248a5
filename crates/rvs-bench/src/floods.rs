//! Floods of SYNs from forged sources, as many a second as this machine makes, by NAT at tc; beside them a well-behaved
//! client that asks for pages over connections of their own. Without defence, with each, and with all of them automatic.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread::{ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use rvs_abi::Counter;
use rvs_config::{Defence, Knobs, Method, TableSize};
use rvs_dataplane::{Dataplane, Origin, hops::Hop};
use rvs_lab::{Family, Flood, Host, Lab, Nginx, SYN, Topology, tcp_frame};

use crate::{
    Wanted,
    bed::{self, SERVERS, VIP},
    report::{Report, Row, median},
};

/// IPv4 slots, as many as a director has that is told nothing else; a NAT connection takes two.
const SLOTS: u64 = 1 << 20;
const SLOTS_V6: u64 = 1 << 10;
/// The flood's lead over the client at the most; less once the table is as good as full.
const LEAD: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(4);
/// Requests at a time.
const CLIENTS: usize = 8;
/// How long a request may take: time for a SYN to be repeated after 1 and 3 seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// What defends, and what rows call it.
#[derive(Clone, Copy, Debug)]
struct Defended {
    name: &'static str,
    drop_entry: Defence,
    drop_packet: Defence,
    secure_tcp: Defence,
}

const NONE: Defended = Defended {
    name: "no defence",
    drop_entry: Defence::OFF,
    drop_packet: Defence::OFF,
    secure_tcp: Defence::OFF,
};
const ALL: [Defended; 5] = [
    NONE,
    Defended {
        name: "drop_entry",
        drop_entry: Defence::ON,
        ..NONE
    },
    Defended {
        name: "drop_packet",
        drop_packet: Defence::ON,
        ..NONE
    },
    Defended {
        name: "secure_tcp",
        secure_tcp: Defence::ON,
        ..NONE
    },
    Defended {
        name: "all automatic",
        drop_entry: Defence::AUTO,
        drop_packet: Defence::AUTO,
        secure_tcp: Defence::AUTO,
    },
];

/// What one run found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// SYNs that the director decided on in a second.
    handled: f64,
    /// Requests answered in a second.
    answered: f64,
    /// Requests not answered in time, in a second.
    failed: f64,
}

/// All rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    let mut undefended = Found::default();
    for defended in ALL {
        let names = ["SYNs handled", "requests answered", "requests failed"]
            .map(|what| format!("{what} in a SYN flood, {}", defended.name));
        if !wanted.any(&[&names[0], &names[1], &names[2]]) {
            continue;
        }
        let mut all = Vec::new();
        for _ in 0..wanted.runs {
            all.push(measure(defended)?);
        }
        let middle = |of: fn(&Found) -> f64| median(&all.iter().map(of).collect::<Vec<f64>>());
        let found = Found {
            handled: middle(|found| found.handled),
            answered: middle(|found| found.answered),
            failed: middle(|found| found.failed),
        };
        let rows = [
            (found.handled / 1e6, undefended.handled / 1e6, "Mpps"),
            (found.answered, undefended.answered, "/s"),
            (found.failed, undefended.failed, "/s"),
        ];
        for (name, (value, peer, unit)) in names.iter().zip(rows) {
            let row = Row::new(name, unit, value);
            report.add(if defended.name == NONE.name {
                row
            } else {
                row.against(NONE.name, peer)
            });
        }
        if defended.name == NONE.name {
            undefended = found;
        }
    }
    Ok(())
}

/// A client, a director, two web servers, and an attacker.
struct Scene {
    dataplane: Dataplane,
    hops: Vec<(IpAddr, Option<Hop>)>,
    attacker: Host,
    _servers: Vec<Nginx>,
    net: Topology,
    _lab: Lab,
}

impl Scene {
    fn new(defended: Defended) -> Result<Self> {
        let lab = Lab::new()?;
        let net = Topology::with_real_servers(&lab, SERVERS.len())?;
        let attacker = lab.host("attacker")?;
        lab.link(&net.director, "eth2", &attacker, "eth0")?;
        net.static_neighbours()?;
        let servers: Result<Vec<Nginx>, _> = net.real_servers.iter().map(Nginx::start).collect();
        let director = &net.director;
        let mut hops = Vec::new();
        for (number, host) in net.real_servers.iter().enumerate() {
            let mut macs = [0; 12];
            macs[..6].copy_from_slice(&host.mac("eth1")?);
            macs[6..].copy_from_slice(&director.mac("eth1")?);
            let hop = Hop {
                ifindex: director.ifindex("eth1")?,
                gateway: None,
                source: Some(Topology::director_inside_address(Family::V4)),
                mtu: 1500,
                local: false,
                macs: Some(macs),
            };
            hops.push((Topology::inside_address(number, Family::V4), Some(hop)));
        }
        let mut settings = bed::settings(director, &["eth0", "eth1", "eth2"])?;
        settings.connections = TableSize::new(SLOTS)?;
        settings.connections_v6 = TableSize::new(SLOTS_V6)?;
        settings.knobs = Knobs {
            drop_entry: defended.drop_entry,
            drop_packet: defended.drop_packet,
            secure_tcp: defended.secure_tcp,
            ..Knobs::defaults(None)
        };
        let (mut dataplane, _) = director.in_namespace(|| Dataplane::open(&settings))??;
        let ready = bed::service("tcp", Method::Nat, &SERVERS)
            .and_then(|service| Ok(dataplane.add_service(&service, Origin::Runtime)?));
        if let Err(error) = ready {
            director.in_namespace(|| dataplane.detach())??;
            return Err(error);
        }
        dataplane.apply_hops(&hops);
        Ok(Self {
            dataplane,
            hops,
            attacker,
            _servers: servers?,
            net,
            _lab: lab,
        })
    }

    /// Lets time pass, and does meanwhile what the daemon does every second.
    fn pass(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.dataplane.apply_hops(&self.hops);
            self.dataplane.tick();
            sleep(SECOND);
        }
    }

    /// Whether the last sweep found the table as full as automatic defences let it be.
    fn is_full(&self) -> bool {
        self.dataplane.table().used4 * 8 >= SLOTS * 7
    }

    /// First packets that the director decided on.
    fn handled(&self) -> u64 {
        let wanted = [Counter::DropTableFull, Counter::DropDefence];
        let counters = self.dataplane.counters();
        let dropped = counters
            .iter()
            .filter(|(counter, _)| wanted.contains(counter))
            .map(|(_, count)| count);
        let services = self.dataplane.services();
        let made = services.iter().map(|service| service.stats.connections);
        dropped.sum::<u64>() + made.sum::<u64>()
    }
}

fn measure(defended: Defended) -> Result<Found> {
    let mut scene = Scene::new(defended)?;
    let found = flood(&mut scene);
    let director = scene.net.director.clone();
    let Scene { dataplane, .. } = scene;
    director.in_namespace(|| dataplane.detach())??;
    found
}

fn flood(scene: &mut Scene) -> Result<Found> {
    let macs = (scene.net.director.mac("eth2")?, scene.attacker.mac("eth0")?);
    let at = SocketAddr::from((VIP, 80));
    let flood = Flood::start(&scene.attacker, "eth0", u32::MAX, move |number| {
        tcp_frame(macs, (forged(number), at), SYN, number as u32).ok()
    })?;
    let start = Instant::now();
    while start.elapsed() < LEAD && !scene.is_full() {
        scene.pass(SECOND);
    }
    // For a defence that is called up by what the last second found.
    scene.pass(SECOND * 2);
    let (answered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let client = scene.net.client.clone();
    let (before, start) = (scene.handled(), Instant::now());
    let seconds = scope(|scope| {
        let asking: Vec<ScopedJoinHandle<'_, Result<()>>> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    client.enter()?;
                    while start.elapsed() < TIME {
                        let count = if is_answered() { &answered } else { &failed };
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        while !asking.iter().all(ScopedJoinHandle::is_finished) {
            scene.pass(SECOND);
        }
        for thread in asking {
            thread.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok::<f64, anyhow::Error>(start.elapsed().as_secs_f64())
    })?;
    let handled = scene.handled() - before;
    flood.stop()?;
    Ok(Found {
        handled: handled as f64 / seconds,
        answered: answered.load(Ordering::SeqCst) as f64 / seconds,
        failed: failed.load(Ordering::SeqCst) as f64 / seconds,
    })
}

/// An address and port that nobody has, another for each number until all ports were used.
fn forged(number: u64) -> SocketAddr {
    let address = u32::from(Ipv4Addr::new(172, 16, 0, 0)) + (number & 0xf_ffff) as u32;
    SocketAddr::from((address.to_be_bytes(), 1024 + (number >> 20) as u16))
}

/// One request.
fn is_answered() -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((VIP, 80)), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /id HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 "))
}
