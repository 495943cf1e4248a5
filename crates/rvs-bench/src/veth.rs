//! Packets a second over veth: client, director and sink on one CPU, 60-byte UDP.
//!
//! The client sends live frames of the feeding program (`BPF_F_TEST_XDP_LIVE_FRAMES`), the sink counts
//! and drops them at XDP. Each director has a network of its own; they are measured in turns.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use rvs_config::{Attach, Method};
use rvs_dataplane::{Dataplane, Origin, hops::Hop};
use rvs_lab::{Host, Lab};

use crate::{
    Wanted,
    bed::{self, SERVERS, VIP, plan},
    frame::{self, Kind},
    machine,
    report::{Report, Row, Target, median},
    testrun::on_a_thread,
};

const FLOWS: u32 = 1024;
const FRAMES: u32 = 1 << 16;
const BATCH: u32 = 64;
/// Frames that veth holds for its receiver (`VETH_RING_SIZE`).
pub(crate) const RING: u32 = 256;
const TIME: Duration = Duration::from_millis(400);
const NFTABLES: &str = "nftables DNAT";

/// All rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    let names: Vec<String> = Middle::ALL
        .iter()
        .flat_map(|kind| [kind.row("pps"), kind.row("CPU")])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if !wanted.any(&names) {
        return Ok(());
    }
    on_a_thread(|| {
        let cpu = machine::pin()?;
        let mut lines = Vec::new();
        let done = Middle::ALL
            .iter()
            .try_for_each(|kind| Line::new(*kind).map(|line| lines.push((*kind, line))))
            .and_then(|()| measure(&mut lines, cpu, wanted, report));
        for (_, line) in lines {
            line.close()?;
        }
        done
    })
}

fn measure(
    lines: &mut [(Middle, Line)],
    cpu: usize,
    wanted: &Wanted,
    report: &mut Report,
) -> Result<()> {
    let mut found = vec![(Vec::new(), Vec::new()); lines.len()];
    for (_, line) in lines.iter_mut() {
        line.run(cpu, TIME / 4)?;
    }
    for _ in 0..wanted.runs {
        for ((_, line), (rates, costs)) in lines.iter_mut().zip(&mut found) {
            let (rate, cost) = line.run(cpu, TIME)?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    let medians: Vec<(f64, f64)> = found
        .iter()
        .map(|(rates, costs)| (median(rates), median(costs)))
        .collect();
    let of = |wanted: Middle| {
        lines
            .iter()
            .position(|(kind, _)| *kind == wanted)
            .and_then(|place| medians.get(place).copied())
            .unwrap_or_default()
    };
    let (nft, nft_cost) = of(Middle::Nftables);
    for kind in Middle::ALL {
        let (rate, cost) = of(kind);
        let rate = Row::new(&kind.row("pps"), "Mpps", rate);
        let cost = Row::new(&kind.row("CPU"), "ns", cost);
        let target = match kind {
            Middle::Rvs(Attach::Xdp, _) => Target::Ratio(3.5),
            Middle::Rvs(..) => Target::Ratio(1.25),
            Middle::Ipvs(_) | Middle::Nftables | Middle::Forwarding | Middle::Bare => Target::None,
        };
        if kind == Middle::Nftables {
            report.add(rate);
            report.add(cost);
        } else {
            report.add(rate.against(NFTABLES, nft).target(target));
            report.add(cost.against(NFTABLES, nft_cost));
        }
    }
    Ok(())
}

/// What stands in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Middle {
    /// RVS, at XDP where it can or at tc alone.
    Rvs(Attach, Method),
    /// The kernel's IPVS.
    Ipvs(Method),
    /// nftables DNAT.
    Nftables,
    /// Plain forwarding.
    Forwarding,
    /// Nobody: from one interface to the other at XDP. What is left is the generator, the line and the sink.
    Bare,
}

impl Middle {
    const ALL: [Self; 4] = [
        Self::Rvs(Attach::Xdp, Method::Nat),
        Self::Rvs(Attach::Tc, Method::Nat),
        Self::Nftables,
        Self::Forwarding,
    ];

    /// What rows call it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Rvs(Attach::Xdp, method) => format!("xdp {method}"),
            Self::Rvs(_, method) => format!("tc {method}"),
            Self::Ipvs(method) => format!("ipvs {method}"),
            Self::Nftables => "nftables nat".to_owned(),
            Self::Forwarding => "kernel forwarding".to_owned(),
            Self::Bare => "bare line".to_owned(),
        }
    }

    fn row(self, what: &str) -> String {
        format!("{} {what} over veth", self.name())
    }
}

/// Flows that a line's client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// A thousand flows, again and again, at random.
    Known,
    /// Every packet is the first of its flow.
    New,
}

/// Client, director and sink.
pub(crate) struct Line {
    dataplane: Option<Dataplane>,
    hop: Hop,
    client: Host,
    director: Host,
    ifindex: u32,
    words: [u32; plan::WORDS],
    next: u32,
    frames: u32,
    feed: Ebpf,
    sink: Ebpf,
    _bare: Option<Ebpf>,
    _lab: Lab,
}

impl Line {
    pub(crate) fn new(kind: Middle) -> Result<Self> {
        let lab = Lab::new()?;
        let (client, director, sink) = (
            lab.host("client")?,
            lab.host("director")?,
            lab.host("sink")?,
        );
        lab.link(&client, "eth0", &director, "eth0")?;
        lab.link(&director, "eth1", &sink, "eth0")?;
        director.sysctl("net.ipv4.ip_forward", "1")?;
        director.add_address("eth0", "10.0.0.10/24")?;
        director.add_vip("eth0", IpAddr::V4(VIP))?;
        director.add_address("eth1", "10.1.0.1/24")?;
        let gateway = Ipv4Addr::new(10, 0, 0, 2);
        director.neighbour("eth0", IpAddr::V4(gateway), client.mac("eth0")?)?;
        director.route(&["add", "10.64.0.0/10", "via", &gateway.to_string()])?;
        for server in SERVERS {
            director.neighbour("eth1", IpAddr::V4(server), sink.mac("eth0")?)?;
        }
        // What veth receives from XDP elsewhere, it takes in only with NAPI, which GRO brings.
        director.run(&["ethtool", "-K", "eth0", "gro", "on"])?;

        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&sink.mac("eth0")?);
        macs[6..].copy_from_slice(&director.mac("eth1")?);
        let hop = Hop {
            ifindex: director.ifindex("eth1")?,
            gateway: None,
            source: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))),
            mtu: 1500,
            local: false,
            macs: Some(macs),
        };
        let mut sink_object = bed::load_feed()?;
        sink.in_namespace(|| -> Result<()> {
            let program: &mut Xdp = bed::program(&mut sink_object, "bench_sink")?;
            program.attach("eth0", XdpMode::Driver)?;
            Ok(())
        })??;
        let bare = if kind == Middle::Bare {
            Some(bare(&director, hop.ifindex)?)
        } else {
            None
        };
        let destination = if kind == Middle::Forwarding {
            SERVERS[0]
        } else {
            VIP
        };
        let macs = (director.mac("eth0")?, client.mac("eth0")?);
        Ok(Self {
            dataplane: director_of(kind, &director)?,
            hop,
            ifindex: client.ifindex("eth0")?,
            words: frame::plan_of(Kind::Udp, macs, destination, FLOWS),
            next: 0,
            frames: FRAMES,
            client,
            director,
            feed: bed::load_feed()?,
            sink: sink_object,
            _bare: bare,
            _lab: lab,
        })
    }

    /// From now on sends what `load` says, `frames` frames at a time.
    pub(crate) fn load(&mut self, load: Load, frames: u32) {
        self.frames = frames;
        self.words[plan::FLOWS] = if load == Load::New { 0 } else { FLOWS };
    }

    /// Sends for a while: million packets that arrived in a second of the CPU's time, and its
    /// nanoseconds for each.
    pub(crate) fn run(&mut self, cpu: usize, time: Duration) -> Result<(f64, f64)> {
        self.client.enter()?;
        let mut words = self.words;
        if words[plan::FLOWS] == 0 {
            // Flows that were never seen.
            words[plan::STATE] = self.next;
        }
        bed::write_plan(&mut self.feed, words)?;
        if let Some(dataplane) = &mut self.dataplane {
            dataplane.apply_hops(&SERVERS.map(|server| (IpAddr::V4(server), Some(self.hop))));
        }
        let (arrived, busy) = (self.arrived()?, busy(cpu)?);
        let start = Instant::now();
        let mut sent = 0_u64;
        while start.elapsed() < time {
            self.send()?;
            sent += u64::from(self.frames);
            if self.frames <= RING {
                // What waits in the softirq's thread gets its turn: on a slow machine all of it does.
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        self.next = self.next.wrapping_add(sent as u32);
        let busy = self::busy(cpu)? - busy;
        let arrived = self.arrived()? - arrived;
        ensure!(
            arrived * 10 > sent * 8,
            "{arrived} of {sent} frames arrived: {:?}",
            self.dataplane.as_ref().map(Dataplane::counters)
        );
        let packets = arrived as f64;
        Ok((packets * 1e3 / busy, busy / packets))
    }

    fn send(&mut self) -> Result<()> {
        let data = frame::plan_bytes(&self.words);
        // struct xdp_md: data_end, ingress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(data.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&self.ifindex.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(&data),
            ctx_in: Some(&context),
            repeat: self.frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let program: &mut Xdp = bed::program(&mut self.feed, "bench_feed")?;
        program.test_run(options)?;
        Ok(())
    }

    fn arrived(&self) -> Result<u64> {
        let map = self.sink.map("ARRIVED").context("ARRIVED")?;
        let counts = PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?;
        Ok(counts.iter().sum())
    }

    pub(crate) fn close(self) -> Result<()> {
        // Without tcx the filters are found by the interfaces' names.
        self.director.enter()?;
        self.dataplane.map_or(Ok(()), Dataplane::detach)?;
        Ok(())
    }
}

/// The program that decides nothing, in the director's place.
fn bare(director: &Host, way_out: u32) -> Result<Ebpf> {
    let mut object = bed::load_feed()?;
    let map = object.map_mut("WAY_OUT").context("WAY_OUT")?;
    aya::maps::Array::<_, u32>::try_from(map)?.set(0, way_out, 0)?;
    director.in_namespace(|| -> Result<()> {
        let program: &mut Xdp = bed::program(&mut object, "bench_bare")?;
        program.attach("eth0", XdpMode::Driver)?;
        Ok(())
    })??;
    Ok(object)
}

/// Sets up what stands in the middle.
fn director_of(kind: Middle, director: &Host) -> Result<Option<Dataplane>> {
    let (attach, method) = match kind {
        Middle::Rvs(attach, method) => (attach, method),
        Middle::Ipvs(method) => {
            ipvs(director, method)?;
            return Ok(None);
        }
        Middle::Nftables => {
            nftables(director, "udp")?;
            return Ok(None);
        }
        Middle::Forwarding | Middle::Bare => return Ok(None),
    };
    let mut settings = bed::settings(director, &["eth0", "eth1"])?;
    settings.attach = attach;
    let (mut dataplane, _) = director.in_namespace(|| Dataplane::open(&settings))??;
    dataplane.add_service(&bed::service("udp", method, &SERVERS)?, Origin::Runtime)?;
    Ok(Some(dataplane))
}

/// The same by the kernel's IPVS, by its own tool.
fn ipvs(director: &Host, method: Method) -> Result<()> {
    let virtual_service = format!("{VIP}:80");
    director.run(&["ipvsadm", "-A", "-u", &virtual_service, "-s", "rr"])?;
    let letter = match method {
        Method::Nat => "-m",
        Method::Tunnel => "-i",
        Method::Direct => "-g",
    };
    for server in SERVERS {
        let server = format!("{server}:80");
        let words = [
            "ipvsadm",
            "-a",
            "-u",
            &virtual_service,
            "-r",
            &server,
            letter,
        ];
        director.run(&words)?;
    }
    Ok(())
}

/// The same by nftables: round robin over the servers, remembered by conntrack.
pub(crate) fn nftables(director: &Host, protocol: &str) -> Result<()> {
    director.run(&["nft", "add table ip bench"])?;
    director.run(&[
        "nft",
        "add chain ip bench pre { type nat hook prerouting priority -100; }",
    ])?;
    let servers: Vec<String> = SERVERS
        .iter()
        .enumerate()
        .map(|(number, server)| format!("{number} : {server}"))
        .collect();
    director.run(&[
        "nft",
        &format!(
            "add rule ip bench pre ip daddr {VIP} {protocol} dport 80 dnat to numgen inc mod {} map {{ {} }}",
            SERVERS.len(),
            servers.join(", ")
        ),
    ])?;
    Ok(())
}

/// Nanoseconds that the calling thread and the CPU's softirq thread have run (schedstat, which counts
/// the softirqs that ran on top of them); what others do on the CPU is not in it.
fn busy(cpu: usize) -> Result<f64> {
    let mut sum = schedstat("/proc/thread-self/schedstat")?;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim() == format!("ksoftirqd/{cpu}") {
            sum += schedstat(&path.join("schedstat").to_string_lossy())?;
        }
    }
    Ok(sum)
}

fn schedstat(path: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let first = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    first.with_context(|| format!("no number in {path}"))
}
