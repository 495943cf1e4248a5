//! A director's configuration as data, from which every engine fills its own tables.

use std::net::IpAddr;

use rvs_abi::{
    AddressKey, Method, Rule, Scheduler, Server, Service, ServiceKey, Settings, Word32, Word64,
    device::LOOPBACK,
    family,
    service::{Region, address},
    settings::{SCTP_TIMEOUT, UDP_TIMEOUT},
};

use rvs_core::schedule::build::{self, Candidate, MAGLEV_EXACT};

use crate::{
    Memory,
    place::{self, Family, LINK_MTU},
};

/// Addresses that lblc and lblcr can remember.
const LOCALITIES: usize = 64;

/// What differs from machine to machine: interface numbers and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Number of the interface towards clients.
    pub wan: u32,
    /// Number of the interface towards servers.
    pub lan: u32,
    /// The tick now.
    pub now: u32,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            wan: 2,
            lan: 3,
            now: 1_000_000,
        }
    }
}

/// What the director knows of the way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// Interface, MTU and link address.
    Known,
    /// Interface and MTU; the kernel asks for the link address.
    NoNeighbour,
    /// Nothing: the route is asked for.
    Nothing,
    /// Nothing, nor which address of the director's own it takes.
    Unasked,
    /// As `Known`, but the link address is out of date.
    Stale,
    /// The server is on the director itself.
    Here,
}

/// A real server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSpec {
    /// Number of its host.
    pub host: usize,
    /// Its port; NAT only.
    pub port: u16,
    /// Forwarding method.
    pub method: Method,
    /// Weight.
    pub weight: u32,
    /// The way there.
    pub hops: Hops,
    /// Largest packet on the way there.
    pub mtu: u32,
    /// The kind of tunnel, as in [`Server::tunnel`].
    pub tunnel: u32,
    /// Whether the tunnel leads through the other family.
    pub is_mixed: bool,
    /// Upper threshold of connections; 0 is none.
    pub upper: u32,
    /// Lower threshold.
    pub lower: u32,
}

/// A virtual service and its servers, in the order in which schedulers walk them.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Flags beside [`Service::IN_USE`].
    pub flags: u32,
    /// Ticks for which a template lives on; 0 is no persistence.
    pub persistence: u32,
    /// IPv4: which part of the client's address counts; IPv6: how many bits of it.
    pub netmask: u32,
    /// [`Service::NO_ENGINE`] or another.
    pub engine: u32,
    /// The firewall mark of a service by one; 0 is none.
    pub mark: u32,
    /// Its own time-outs: place and ticks.
    pub timeouts: Vec<(usize, u32)>,
    /// Servers.
    pub servers: Vec<ServerSpec>,
}

/// The number of the daemon's device, where there is one.
const DETOUR: u32 = 4242;

/// A match rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleSpec {
    /// The mark that it gives.
    pub mark: u32,
    /// Protocol; 0 is any.
    pub protocol: u8,
    /// First and last destination address.
    pub addresses: (IpAddr, IpAddr),
    /// First and last destination port.
    pub ports: (u16, u16),
}

/// A director.
#[derive(Clone, Debug)]
pub struct World {
    /// Services; servers are numbered through all of them.
    pub services: Vec<ServiceSpec>,
    /// Slots of each family's connection table, a power of two.
    pub slots: u32,
    /// Whether new connections are scheduled.
    pub schedules: bool,
    /// The director's other flags ([`Settings::DEFAULTS`] to begin with).
    pub flags: u32,
    /// ICMP errors that may be sent in a window of ticks.
    pub icmp_burst: u32,
    /// Ticks for which the dead rest.
    pub quarantine: u32,
    /// Match rules.
    pub rules: Vec<RuleSpec>,
    /// drop_packet: one new connection in so many is dropped; 0 is none.
    pub drop_rate: u32,
    /// For how many ticks that still counts, if not for ever; below zero it counts no longer.
    pub drop_left: Option<i32>,
    /// Whether connections are idle as soon as they are made.
    pub idle_at_once: bool,
    /// Ticks in a second.
    pub ticks_per_second: u32,
    /// Whether the daemon takes packets that go the long way round.
    pub detours: bool,
}

impl World {
    /// A director without services.
    pub fn new() -> Self {
        Self {
            services: Vec::new(),
            slots: 1024,
            schedules: true,
            flags: Settings::DEFAULTS,
            icmp_burst: 1000,
            quarantine: 1_000_000_000,
            rules: Vec::new(),
            drop_rate: 0,
            drop_left: None,
            idle_at_once: false,
            ticks_per_second: 250,
            detours: false,
        }
    }

    /// With one more service, round robin.
    pub fn service(mut self, address: IpAddr, port: u16, protocol: u8) -> Self {
        self.services.push(ServiceSpec {
            address,
            port,
            protocol,
            scheduler: Scheduler::Rr,
            flags: 0,
            persistence: 0,
            netmask: 0,
            engine: Service::NO_ENGINE,
            mark: 0,
            timeouts: Vec::new(),
            servers: Vec::new(),
        });
        self
    }

    /// The last service changed.
    pub fn with_service(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(self.services.last_mut().unwrap());
        self
    }

    /// With persistence of the last service, by the client's whole address.
    pub fn persistent(self, ticks: u32) -> Self {
        self.with_service(|service| {
            service.persistence = ticks;
            service.netmask = if service.address.is_ipv6() {
                128
            } else {
                u32::MAX
            };
        })
    }

    /// The last service is one of a firewall mark; its address only says the family.
    pub fn marked(self, mark: u32) -> Self {
        self.with(Settings::HAS_MARKS)
            .with_service(|service| service.mark = mark)
    }

    /// With one more server of the last service, on host `host`.
    pub fn server(self, host: usize, method: Method) -> Self {
        let port = if method == Method::Nat { 8080 } else { 80 };
        self.server_spec(ServerSpec {
            host,
            port,
            method,
            weight: 1,
            hops: Hops::Known,
            mtu: LINK_MTU,
            tunnel: 0,
            is_mixed: false,
            upper: 0,
            lower: 0,
        })
    }

    /// With one more server of the last service.
    pub fn server_spec(mut self, server: ServerSpec) -> Self {
        self.services.last_mut().unwrap().servers.push(server);
        self
    }

    /// The last server changed.
    pub fn but(mut self, change: impl FnOnce(&mut ServerSpec)) -> Self {
        change(
            self.services
                .last_mut()
                .unwrap()
                .servers
                .last_mut()
                .unwrap(),
        );
        self
    }

    /// With tables of this many slots.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// With one more match rule.
    pub fn rule(mut self, rule: RuleSpec) -> Self {
        self.rules.push(rule);
        self.with(Settings::HAS_RULES)
    }

    /// With these flags of the director too.
    pub fn with(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// Without these flags of the director.
    pub fn without(mut self, flags: u32) -> Self {
        self.flags &= !flags;
        self
    }

    /// All servers, in order of their index.
    pub fn servers(&self) -> impl Iterator<Item = &ServerSpec> {
        self.services.iter().flat_map(|service| &service.servers)
    }

    /// The tables.
    pub fn memory(&self, surroundings: &Surroundings) -> Memory {
        let mut memory = Memory::default();
        memory.settings = self.settings();
        if self.detours {
            memory.settings.detour_ifindex.store(DETOUR);
            let until = surroundings.now.wrapping_add(1 << 20);
            memory.settings.detour_until.store(until);
        }
        if let Some(left) = self.drop_left {
            let until = surroundings.now.wrapping_add_signed(left);
            memory.settings.drop_until.store(until);
        }
        memory.now.set(surroundings.now);
        memory.random.set(0x1234_5678_9abc_def1);
        // Not at the array's beginning, since the list in use need not be there.
        memory.rules.push(Rule::default());
        memory.rules.extend(self.rules.iter().map(rule_of));
        memory
            .settings
            .rules
            .store(rvs_abi::rule::list(1, self.rules.len() as u32));
        memory
            .slots4
            .resize_with(self.slots as usize, Default::default);
        memory
            .slots6
            .resize_with(self.slots as usize, Default::default);
        memory.localities.resize_with(LOCALITIES, Default::default);
        for (number, spec) in self.services.iter().enumerate() {
            add_service(&mut memory, number as u32, spec, surroundings);
        }
        memory
    }

    fn settings(&self) -> Settings {
        let settings = Settings::default();
        for (i, word) in settings.hash_key.iter().enumerate() {
            word.store(0x9e37_79b9_u32.wrapping_mul(i as u32 + 1));
        }
        settings.mask4.store(self.slots - 1);
        settings.mask6.store(self.slots - 1);
        settings.quarantine.store(self.quarantine);
        settings.flags.store(if self.schedules {
            self.flags | Settings::SCHEDULE
        } else {
            self.flags
        });
        settings.ticks_per_second.store(self.ticks_per_second);
        settings.drop_rate.store(self.drop_rate);
        settings.icmp_burst.store(self.icmp_burst);
        let seconds = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];
        for (word, seconds) in settings.timeouts.iter().zip(seconds) {
            word.store(seconds * 250);
        }
        settings.timeouts[UDP_TIMEOUT].store(300 * 250);
        for word in &settings.timeouts[SCTP_TIMEOUT..SCTP_TIMEOUT + 14] {
            word.store(61 * 250);
        }
        if self.idle_at_once {
            for word in &settings.timeouts {
                word.store(0);
            }
        }
        settings
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn add_service(memory: &mut Memory, number: u32, spec: &ServiceSpec, surroundings: &Surroundings) {
    let service = Service::default();
    let version = family_of(spec.address);
    let mut key = ServiceKey {
        address: place::words(spec.address),
        port: spec.port.to_be(),
        protocol: spec.protocol,
        family: version,
    };
    if spec.mark != 0 {
        key.address = [spec.mark, 0, 0, 0];
        (key.port, key.protocol) = (0, 0);
    }
    for (word, value) in service.address.iter().zip(key.address) {
        word.store(value);
    }
    let (port, protocol) = (u32::from(key.port), u32::from(key.protocol));
    service
        .key
        .store(port | protocol << 16 | u32::from(version) << 24);
    let by_mark = if spec.mark == 0 { 0 } else { Service::BY_MARK };
    let mut server_flags = 0;
    if !spec.timeouts.is_empty() {
        server_flags = Server::OWN_TIMEOUTS;
    }
    for (place, ticks) in &spec.timeouts {
        service.timeouts[*place].store(*ticks);
    }
    service.flags.store(Service::IN_USE | spec.flags | by_mark);
    service.persistence.store(spec.persistence);
    service.netmask.store(spec.netmask);
    service.engine.store(spec.engine);
    service.scheduler.store(spec.scheduler as u32);
    let weights = || {
        spec.servers
            .iter()
            .map(|server| server.weight)
            .filter(|weight| *weight > 0)
    };
    let step = weights().fold(0, gcd).max(1);
    service.weight_step.store(step);
    service
        .weight_top
        .store(weights().max().map_or(0, |top| top - step + 1));
    let sum: u64 = weights().map(u64::from).sum();
    service.weight_sum.store(sum as u32);
    service.weight_sum_high.store((sum >> 32) as u32);
    let exact = spec.flags & Service::EXACT != 0;
    let region = Region {
        offset: memory.members.len() as u32,
        length: spec.servers.len() as u32,
        table: build::size(spec.scheduler, exact, spec.servers.len(), MAGLEV_EXACT),
        version: 1,
    };
    service.members.store(region.pack());
    memory.services.push(service);
    memory.index.push((key, number));
    if spec.mark == 0 {
        meaning(memory, spec.address, spec.protocol, 0, address::VIRTUAL);
    }
    for server in &spec.servers {
        let family = if version == family::V6 {
            Family::V6
        } else {
            Family::V4
        };
        memory
            .members
            .push(Word64::new(memory.servers.len() as u64));
        memory
            .servers
            .push(server_of(server, family, number, surroundings));
        if let Some(entry) = memory.servers.last() {
            entry.flags.store(entry.flags.load() | server_flags);
        }
        if server.method == Method::Nat {
            let index = memory.servers.len() as u32 - 1;
            let at = family.server(server.host);
            let bits = address::NAT_SERVER;
            meaning(memory, at, spec.protocol, 0, bits);
            let bits = bits | index << address::SERVER_SHIFT;
            meaning(memory, at, spec.protocol, server.port, bits);
        }
    }
    let candidate = |(position, server): (usize, &ServerSpec)| {
        let family = if version == family::V6 {
            Family::V6
        } else {
            Family::V4
        };
        let address = place::words(family.server(server.host));
        // Where the last weight counts that was not 0, a quiesced server had one.
        let weight = match server.weight {
            0 if !exact || spec.scheduler == Scheduler::Mh => 3,
            weight => weight,
        };
        Candidate::new(address, server.port, position as u16, weight)
    };
    let mut candidates: Vec<_> = spec.servers.iter().enumerate().map(candidate).collect();
    let mut entries = vec![0; region.table as usize];
    build::fill(spec.scheduler, exact, &mut candidates, &mut entries);
    let words = entries.chunks(4).map(|four| Word64::new(build::word(four)));
    memory.members.extend(words);
}

fn server_of(spec: &ServerSpec, family: Family, service: u32, around: &Surroundings) -> Server {
    let server = Server::default();
    let family = if spec.is_mixed {
        family.other()
    } else {
        family
    };
    server.tunnel.store(spec.tunnel);
    store(&server.address, family.server(spec.host));
    store(&server.hop_address, family.server(spec.host));
    if spec.hops != Hops::Unasked {
        store(&server.own_address, family.own());
    }
    let version = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let mut flags = Server::IN_USE | version << 16;
    if family == Family::V6 {
        flags |= Server::V6;
    }
    if matches!(spec.hops, Hops::Known | Hops::Stale) {
        flags |= Server::HOP_KNOWN;
        let macs = place::mac_words(place::server_mac(spec.host), place::LAN);
        for (word, mac) in server.hop_macs.iter().zip(macs) {
            word.store(mac);
        }
    }
    if spec.hops == Hops::Here {
        server.hop_ifindex.store(LOOPBACK);
        server.hop_mtu.store(65536);
    } else if !matches!(spec.hops, Hops::Nothing | Hops::Unasked) {
        server.hop_ifindex.store(around.lan);
        server.hop_mtu.store(spec.mtu);
        server.route_mtu.store(spec.mtu);
    }
    let ahead = if spec.hops == Hops::Stale {
        0_u32.wrapping_sub(1000)
    } else {
        1 << 20
    };
    server.hop_valid_until.store(around.now.wrapping_add(ahead));
    server.flags.store(Server::with_method(flags, spec.method));
    server.weight.store(spec.weight);
    server.service.store(service);
    server.port.store(u32::from(spec.port.to_be()));
    server.upper.store(spec.upper);
    server.lower.store(spec.lower);
    if spec.upper != 0 {
        server.flags.store(server.flags.load() | Server::CAPPED);
    }
    server
}

/// A change while packets go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A server was removed.
    Remove(usize),
    /// A server has another weight.
    Weight(usize, u32),
    /// The director's flags become these ([`Settings::SCHEDULE`] and others).
    Flags(u32),
    /// A server that was removed is back.
    Return(usize),
    /// Connections are on their way to another director's tables, for so many ticks from the start on.
    Takeover(i32),
}

impl Edit {
    /// Makes the change.
    pub fn apply(self, memory: &Memory) {
        match self {
            Self::Remove(server) => {
                let flags = &memory.servers[server].flags;
                flags.store(flags.load() | Server::REMOVED);
            }
            Self::Return(server) => {
                let flags = &memory.servers[server].flags;
                flags.store(flags.load() & !Server::REMOVED);
            }
            Self::Weight(server, weight) => memory.servers[server].weight.store(weight),
            Self::Flags(flags) => memory.settings.flags.store(flags),
            Self::Takeover(ticks) => {
                let until = memory.now.get().wrapping_add_signed(ticks);
                memory.settings.takeover_until.store(until);
            }
        }
    }
}

fn meaning(memory: &mut Memory, address: IpAddr, protocol: u8, port: u16, bits: u32) {
    let key = AddressKey {
        address: place::words(address),
        protocol,
        family: family_of(address),
        port: port.to_be(),
    };
    match memory.addresses.iter_mut().find(|(known, _)| *known == key) {
        Some((_, meaning)) => *meaning |= bits & address::BITS,
        None => memory.addresses.push((key, bits)),
    }
}

fn rule_of(spec: &RuleSpec) -> Rule {
    let rule = Rule::default();
    for (words, address) in [
        (&rule.first, spec.addresses.0),
        (&rule.last, spec.addresses.1),
    ] {
        for (word, value) in words.iter().zip(place::words(address)) {
            word.store(u32::from_be(value));
        }
    }
    rule.ports
        .store(u32::from(spec.ports.0) | u32::from(spec.ports.1) << 16);
    let family = u32::from(family_of(spec.addresses.0));
    rule.what.store(u32::from(spec.protocol) | family << 8);
    rule.mark.store(spec.mark);
    rule
}

fn store(words: &[Word32; 4], address: IpAddr) {
    for (word, value) in words.iter().zip(place::words(address)) {
        word.store(value);
    }
}

fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv6() {
        family::V6
    } else {
        family::V4
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
