//! A director to measure by `BPF_PROG_TEST_RUN`: a real data plane in a namespace of its own, the very
//! programs that it attaches, loaded once more over its pinned maps, and the feeding programs that call
//! them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, ProgramArray},
    programs::{Program, ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use rvs_config::{
    Attach, Director, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, TableSize,
    Weight,
};
use rvs_dataplane::{Dataplane, OBJECT, Origin, hops::Hop};
use rvs_lab::{Host, Lab};

use crate::frame::{self, Kind};

#[path = "../../rvs-ebpf/src/plan.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the file is shared with the feeding programs"
)]
pub(crate) mod plan;

/// The feeding programs.
pub(crate) static FEED: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// Where all services are.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// The real servers.
pub(crate) const SERVERS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 1, 0, 21), Ipv4Addr::new(10, 1, 0, 22)];
/// Test runs come in by the loopback unless told otherwise.
const LOOPBACK: u32 = 1;
/// Packets of one test run while connections are made: short enough for next hops to stay valid.
const SLICE: u32 = 1 << 19;

/// Where in the receive path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// `rvs_express`.
    Xdp,
    /// `rvs_ingress`.
    Tc,
}

/// What the feed goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// The director's program.
    Director,
    /// A program that does nothing.
    Nothing,
}

/// A director under measurement.
pub(crate) struct Bed {
    dataplane: Dataplane,
    feed: Ebpf,
    product: Ebpf,
    hop: Hop,
    servers: Vec<Ipv4Addr>,
    mac: [u8; 6],
    ifindex: u32,
    maps: PathBuf,
    host: Host,
    _lab: Lab,
}

impl Bed {
    /// A director with one TCP service of two servers and a table of `slots` slots. The calling thread
    /// moves into the director's namespace, and again for each measurement.
    pub(crate) fn new(method: Method, slots: u64, slots_v6: u64) -> Result<Self> {
        Self::with_servers(method, &SERVERS, slots, slots_v6)
    }

    /// [`Bed::new`] with other servers.
    pub(crate) fn with_servers(
        method: Method,
        servers: &[Ipv4Addr],
        slots: u64,
        slots_v6: u64,
    ) -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("director")?;
        let outside = lab.host("outside")?;
        lab.link(&host, "eth0", &outside, "eth0")?;
        host.enter()?;
        let (mac, ifindex) = (host.mac("eth0")?, host.ifindex("eth0")?);
        let mut settings = settings(&host, &["eth0"])?;
        settings.connections = TableSize::new(slots)?;
        settings.connections_v6 = TableSize::new(slots_v6)?;
        let (mut dataplane, _) = Dataplane::open(&settings)?;
        let opened = service("tcp", method, servers)
            .and_then(|service| Ok(dataplane.add_service(&service, Origin::Runtime)?));
        let loaded = opened.and_then(|()| {
            let maps = maps_of(&settings)?;
            Ok((load_product(&maps)?, load_feed()?, maps))
        });
        let (product, feed, maps) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                dataplane.detach()?;
                return Err(error);
            }
        };
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&outside.mac("eth0")?);
        macs[6..].copy_from_slice(&mac);
        let mut bed = Self {
            dataplane,
            feed,
            product,
            hop: Hop {
                ifindex,
                gateway: None,
                source: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))),
                mtu: 1500,
                local: false,
                macs: Some(macs),
            },
            servers: servers.to_vec(),
            mac,
            ifindex,
            maps,
            host,
            _lab: lab,
        };
        bed.prepare()?;
        Ok(bed)
    }

    /// Lets the service choose, and remember, by these options from now on.
    pub(crate) fn set_options(&mut self, options: &ServiceOptions) -> Result<()> {
        let key = ServiceKey::from_str(&format!("tcp://{VIP}:80"))?;
        Ok(self.dataplane.set_options(&key, options)?)
    }

    /// Makes `flows` connections by the tc program, established.
    pub(crate) fn establish(&mut self, flows: u32) -> Result<()> {
        let before = self.connections();
        self.pass(Kind::Syn, flows)?;
        self.pass(Kind::Ack, flows)?;
        let made = self.connections() - before;
        ensure!(
            made + u64::from(flows / 1000) >= u64::from(flows),
            "{made} of {flows} connections were made: {:?}",
            self.counted()
        );
        Ok(())
    }

    /// One segment of each flow through the tc program.
    fn pass(&mut self, kind: Kind, flows: u32) -> Result<()> {
        let mut from = 0;
        while from < flows {
            let count = SLICE.min(flows - from);
            self.sequence(kind, Measured::Director, from, count)?;
            from += count;
        }
        Ok(())
    }

    /// Nanoseconds a packet at tc for `count` segments of as many flows, from flow `from` on.
    pub(crate) fn sequence(
        &mut self,
        kind: Kind,
        measured: Measured,
        from: u32,
        count: u32,
    ) -> Result<f64> {
        let mut words = self.words(kind, 0);
        words[plan::STATE] = from;
        self.feed(Hook::Tc, measured, words, count)
    }

    /// Nanoseconds a packet for `count` packets of `flows` established connections, in random order.
    pub(crate) fn random(
        &mut self,
        hook: Hook,
        measured: Measured,
        flows: u32,
        count: u32,
    ) -> Result<f64> {
        let before = self.forwarded();
        let words = self.words(Kind::Ack, flows);
        let nanoseconds = self.feed(hook, measured, words, count)?;
        let forwarded = self.forwarded() - before;
        let expected = if measured == Measured::Director {
            u64::from(count)
        } else {
            0
        };
        // Where the table was full, a few flows have no connection.
        ensure!(
            forwarded + expected / 1000 >= expected,
            "{forwarded} of {expected} packets were forwarded: {:?}",
            self.counted()
        );
        Ok(nanoseconds)
    }

    /// Nanoseconds of a program that does nothing, without a feed.
    pub(crate) fn nothing(&mut self, count: u32) -> Result<f64> {
        let data = [0; plan::FRAME_BYTES];
        let options = TestRunOptions {
            data_in: Some(&data),
            repeat: count,
            ..TestRunOptions::new()
        };
        let program: &mut Xdp = program(&mut self.feed, "bench_nothing")?;
        Ok(program.test_run(options)?.duration.as_nanos() as f64)
    }

    /// Nanoseconds of one packet in a test run of its own: what changes the packet's length cannot be
    /// repeated.
    pub(crate) fn single(&mut self, measured: Measured, flows: u32) -> Result<f64> {
        let words = self.words(Kind::Ack, flows);
        self.aim(Hook::Tc, measured, words)?;
        let mut all = Vec::new();
        for round in 0..SINGLES {
            if round % 4096 == 0 {
                self.refresh();
            }
            all.push(self.shoot(Hook::Tc, 1)?);
        }
        Ok(crate::report::median(&all))
    }

    /// Bytes that the kernel holds for each of the director's maps and programs.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.maps)? {
            let map = MapData::from_pin(entry?.path())?;
            bytes += memlock(map.fd().as_fd())?;
        }
        for (_, program) in self.product.programs() {
            if let Ok(fd) = program.fd() {
                bytes += memlock(fd.as_fd())?;
            }
        }
        Ok(bytes)
    }

    /// Takes everything away.
    pub(crate) fn close(self) -> Result<()> {
        self.dataplane.detach().context("detaching")
    }

    /// Connections that were ever made.
    fn connections(&self) -> u64 {
        self.dataplane
            .services()
            .iter()
            .map(|service| service.stats.connections)
            .sum()
    }

    fn forwarded(&self) -> u64 {
        self.dataplane
            .services()
            .iter()
            .map(|service| service.stats.packets_in)
            .sum()
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        self.dataplane
            .counters()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(counter, count)| (counter.name(), count))
            .collect()
    }

    fn words(&self, kind: Kind, flows: u32) -> [u32; plan::WORDS] {
        frame::plan_of(kind, (self.mac, [2, 0, 0, 0, 0, 9]), VIP, flows)
    }

    /// Next hops are good for seconds only.
    fn refresh(&mut self) {
        let way = |server: &Ipv4Addr| (IpAddr::V4(*server), Some(self.hop));
        let hops: Vec<_> = self.servers.iter().map(way).collect();
        self.dataplane.apply_hops(&hops);
    }

    fn feed(
        &mut self,
        hook: Hook,
        measured: Measured,
        words: [u32; plan::WORDS],
        count: u32,
    ) -> Result<f64> {
        self.aim(hook, measured, words)?;
        self.refresh();
        self.shoot(hook, count)
    }

    /// Sets what the feed sends, and to which program.
    fn aim(&mut self, hook: Hook, measured: Measured, words: [u32; plan::WORDS]) -> Result<()> {
        // The interface of the test run's context is looked for where the thread is.
        self.host.enter()?;
        write_plan(&mut self.feed, words)?;
        let (array, ours, nothing) = match hook {
            Hook::Xdp => ("XDP_TARGET", "rvs_express", "bench_nothing"),
            Hook::Tc => ("TC_TARGET", "rvs_ingress", "bench_nothing_tc"),
        };
        let fd = match measured {
            Measured::Director => descriptor(&self.product, ours)?,
            Measured::Nothing => descriptor(&self.feed, nothing)?,
        };
        let map = self.feed.map_mut(array).context(array)?;
        ProgramArray::try_from(map)?.set(0, &fd, 0)?;
        Ok(())
    }

    fn shoot(&mut self, hook: Hook, count: u32) -> Result<f64> {
        let data = frame::plan_bytes(&self.words(Kind::Ack, 1));
        let mut context = [0; 192];
        // struct __sk_buff: ifindex.
        context[40..44].copy_from_slice(&self.ifindex.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(&data),
            ctx_in: (hook == Hook::Tc).then_some(context.as_slice()),
            repeat: count,
            ..TestRunOptions::new()
        };
        let result = match hook {
            Hook::Xdp => program::<Xdp>(&mut self.feed, "bench_feed")?.test_run(options)?,
            Hook::Tc => {
                program::<SchedClassifier>(&mut self.feed, "bench_feed_tc")?.test_run(options)?
            }
        };
        Ok(result.duration.as_nanos() as f64)
    }

    /// Makes the frame's destination the address of the interface that XDP test runs come in by.
    fn prepare(&mut self) -> Result<()> {
        let map = MapData::from_pin(self.maps.join("DEVICES"))?;
        let mut devices = Array::<_, [u32; 4]>::try_from(Map::Array(map))?;
        let m = self.mac;
        let device = [
            LOOPBACK,
            u32::from_ne_bytes([m[0], m[1], m[2], m[3]]),
            u32::from(u16::from_ne_bytes([m[4], m[5]])),
            0,
        ];
        devices.set(LOOPBACK, device, 0)?;
        // The interface that frames leave by is one that XDP runs on.
        devices.set(self.ifindex % devices.len(), [self.ifindex, 0, 0, 0], 0)?;
        Ok(())
    }
}

/// Test runs of one packet whose median is one value.
const SINGLES: u32 = 20_000;

/// The settings of a director on these interfaces of a host, for tc alone.
pub(crate) fn settings(host: &Host, interfaces: &[&str]) -> Result<Director> {
    let interfaces: Result<Vec<_>, _> = interfaces.iter().map(|name| name.parse()).collect();
    // The namespace's name is that of one lab's host; bpffs is everybody's.
    let name = host.namespace().replacen("rvs-", "bench-", 1);
    let mut settings = Director::new(name.parse()?, interfaces?);
    settings.attach = Attach::Tc;
    Ok(settings)
}

/// A service at the address that all frames go to.
pub(crate) fn service(protocol: &str, method: Method, servers: &[Ipv4Addr]) -> Result<Service> {
    let address = SocketAddr::from((VIP, 80));
    let key = ServiceKey::from_str(&format!("{protocol}://{address}"))?;
    let servers: Result<Vec<Server>, _> = servers
        .iter()
        .map(|server| Server::new(IpAddr::V4(*server), key.port(), method, Weight::default()))
        .collect();
    Ok(Service::new(key, ServiceOptions::new(Scheduler::Rr))?.with_servers(servers?)?)
}

/// Loads the feeding programs.
pub(crate) fn load_feed() -> Result<Ebpf> {
    let mut feed = EbpfLoader::new().load(FEED)?;
    for (_, program) in feed.programs_mut() {
        load(program)?;
    }
    Ok(feed)
}

/// Writes the feeding programs' plan.
pub(crate) fn write_plan(feed: &mut Ebpf, words: [u32; plan::WORDS]) -> Result<()> {
    let map = feed.map_mut("PLAN").context("PLAN")?;
    Array::<_, [u32; plan::WORDS]>::try_from(map)?.set(0, words, 0)?;
    Ok(())
}

/// A program of an object.
pub(crate) fn program<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = object.program_mut(name).with_context(|| name.to_owned())?;
    Ok(program.try_into()?)
}

fn load(program: &mut Program) -> Result<()> {
    if let Program::Xdp(program) = program {
        program.load()?;
    } else if let Program::SchedClassifier(program) = program {
        program.load()?;
    }
    Ok(())
}

/// The director's programs once more, over the maps that are pinned in `maps`.
fn load_product(maps: &Path) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(maps)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    for name in &names {
        loader.map_pin_path(name, maps.join(name));
    }
    let mut product = loader.load(OBJECT)?;
    program::<Xdp>(&mut product, "rvs_express")?.load()?;
    program::<SchedClassifier>(&mut product, "rvs_ingress")?.load()?;
    rvs_dataplane::join_programs(&mut product)?;
    Ok(product)
}

/// The directory of a director's maps.
fn maps_of(settings: &Director) -> Result<PathBuf> {
    let root = settings.bpffs.join("rvs").join(settings.instance.as_str());
    for entry in std::fs::read_dir(&root)? {
        let path = entry?.path();
        if path.join("SLOTS4").exists() {
            return Ok(path);
        }
    }
    bail!("no maps in {}", root.display())
}

fn descriptor(object: &Ebpf, name: &str) -> Result<ProgramFd> {
    let program = object.program(name).with_context(|| name.to_owned())?;
    Ok(program.fd()?.try_clone()?)
}

/// What a map or program weighs, by the kernel's account.
fn memlock(object: BorrowedFd<'_>) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", object.as_raw_fd());
    let text = std::fs::read_to_string(&path)?;
    let bytes = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .and_then(|bytes| bytes.trim().parse().ok());
    bytes.with_context(|| format!("no memlock in {path}"))
}
