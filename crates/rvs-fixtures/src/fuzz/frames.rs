//! Frames, near to real ones and far from them, through directors of several kinds.

use std::cell::RefCell;

use etherparse::{Icmpv4Type, Icmpv6Type, icmpv4::DestUnreachableHeader};
use rvs_abi::{Counter, Method, Verdict as Fate, slot::Link};
use rvs_core::{
    Action, ChecksumChange, Hop, Packet,
    decapsulate::{self, Decapsulator},
};
use rvs_table::tag;

use super::Choices;
use crate::recipe::{GUE_PORT, Outer};
use crate::{
    Edit, Engine, Frame, Input, Mode, NativeEngine, Recipe, Surroundings, Verdict, World,
    frame::Checksum,
    place::{self, Family},
};

/// The most packets of one run.
const PACKETS: usize = 64;

/// The director keeps its promises on any frames.
pub fn frame(data: &[u8]) {
    let mut choices = Choices(data);
    let world = world(&mut choices);
    let mut engine = NativeEngine::new(&world, Mode::Whole);
    for _ in 0..PACKETS {
        if choices.is_empty() {
            break;
        }
        if choices.below(16) == 15 {
            engine.edit(edit(&mut choices, &world));
            continue;
        }
        let input = input(&mut choices);
        let outcome = engine.run(&input);
        promises(&input, &outcome);
        recount(&engine);
    }
}

/// Where XDP runs first, the same comes out.
pub fn express_equals_director(data: &[u8]) {
    let mut choices = Choices(data);
    let world = world(&mut choices);
    let mut whole = NativeEngine::new(&world, Mode::Whole);
    let mut express = NativeEngine::new(&world, Mode::ExpressFirst);
    for _ in 0..PACKETS {
        if choices.is_empty() {
            break;
        }
        if choices.below(16) == 15 {
            let edit = edit(&mut choices, &world);
            whole.edit(edit);
            express.edit(edit);
            continue;
        }
        let mut input = input(&mut choices);
        input.checksum = Checksum::Whole;
        let expected = whole.run(&input);
        let found = express.run(&input).without(Counter::NeighbourUnknown);
        assert_eq!(found, expected, "{:02x?}", input.bytes);
        assert_eq!(
            connections(&express),
            connections(&whole),
            "{:02x?}",
            input.bytes
        );
    }
}

/// What every slot holds of its connection's life.
fn connections(engine: &NativeEngine) -> Vec<[u32; 4]> {
    let memory = engine.memory();
    let heads = memory.slots4.iter().map(|slot| &slot.head);
    heads
        .chain(memory.slots6.iter().map(|slot| &slot.head))
        .map(|head| {
            [
                head.tag.load(),
                head.state.load(),
                head.stamp.load(),
                head.packets.load(),
            ]
        })
        .collect()
}

/// A tunnel's end takes off what is whole and leaves all else.
pub fn decapsulate(data: &[u8]) {
    let mut choices = Choices(data);
    let family = Family::ALL[choices.below(2)];
    let mut recipe = base(&mut choices, family).tos(choices.byte());
    if choices.below(8) != 0 {
        let outer = choices.byte();
        let kind = Outer::ALL[choices.below(Outer::ALL.len())];
        let through = Family::ALL[choices.below(2)];
        recipe = recipe
            .wrapped_in(through.own(), through.server(0), kind)
            .tos(outer);
    }
    let bytes = mangled(&mut choices, recipe.frame());
    let mut end = TunnelEnd::new(&bytes);
    let action = decapsulate::decapsulate(&mut end);
    let counted = end.counted().len();
    match action {
        Action::Transmit => panic!("a tunnel's end sends nothing"),
        Action::Drop => assert_eq!(counted, 1),
        Action::Pass => {
            assert_eq!(counted, 0);
            let left = end.frame.bytes();
            if left.len() == bytes.len() {
                assert_eq!(left, bytes);
            } else {
                let taken = bytes.len() - left.len();
                // An IP header, and behind it nothing, GRE's or GUE's, perhaps with options.
                let outer = if bytes[12] == 8 { 20 } else { 40 };
                assert!((outer..=outer + 12 + 124).contains(&taken), "{taken}");
                assert_eq!(left[..12], bytes[..12]);
                // Only the congestion mark and its checksum may differ.
                let (inner, known) = (&left[14..], &bytes[14 + taken..]);
                let is_v6 = left[12..14] == [0x86, 0xdd];
                assert_eq!(inner[0] >> 4, if is_v6 { 6 } else { 4 });
                let header = if is_v6 { 2 } else { 12 };
                assert_eq!(inner[header..], known[header..]);
            }
        }
    }
}

/// Whether what came out is consistent in itself.
fn promises(input: &Input, outcome: &crate::Outcome) {
    let reasons = |fate: Fate| {
        let counters = outcome.counters().iter();
        counters.filter(|counter| counter.verdict() == fate).count()
    };
    match outcome.verdict() {
        Verdict::Pass => {
            assert_eq!(outcome.bytes(), input.bytes, "passed, but changed");
            assert_eq!(reasons(Fate::Pass), 1, "{outcome:?}");
        }
        Verdict::Drop => assert_eq!(reasons(Fate::Drop), 1, "{outcome:?}"),
        Verdict::Transmit => {
            assert_eq!(reasons(Fate::Pass), 0, "{outcome:?}");
            assert!(reasons(Fate::Answer) <= 1, "{outcome:?}");
            if input.segments.is_none() && header_is_right(&input.bytes) {
                assert!(header_is_right(outcome.bytes()), "{outcome:02x?}");
            }
        }
    }
}

/// Whether an IPv4 header without options sums up.
fn header_is_right(frame: &[u8]) -> bool {
    if frame.len() < 34 || frame[12..15] != [8, 0, 0x45] {
        return frame.len() >= 34 && frame[12..14] != [8, 0];
    }
    let sum: u32 = frame[14..34]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// What servers count is what the table holds.
fn recount(engine: &NativeEngine) {
    let memory = engine.memory();
    let mut connections = vec![0; memory.servers.len()];
    let heads = memory.slots4.iter().map(|slot| &slot.head);
    for head in heads.chain(memory.slots6.iter().map(|slot| &slot.head)) {
        let live = tag::state(head.tag.load()) == tag::LIVE;
        if live && Link(head.link.load()).role() == rvs_abi::Role::Request {
            connections[head.server.load() as usize] += 1;
        }
    }
    for (server, connections) in memory.servers.iter().zip(connections) {
        let counted = server.active.load().wrapping_add(server.inactive.load());
        assert_eq!(counted, connections);
    }
}

/// A director with services of both families and all methods.
pub(super) fn world(choices: &mut Choices<'_>) -> World {
    let mut world = World::new().slots([1024, 64, 8, 2, 1][choices.below(5)]);
    for family in Family::ALL {
        for (n, protocol) in [6, 17, 132].into_iter().enumerate() {
            world = world.service(family.vip(n), 80, protocol);
            for host in 0..choices.below(3) {
                let method =
                    [Method::Nat, Method::Direct, Method::Tunnel, Method::Local][choices.below(4)];
                let mtu = [1500, 1500, 60, 40, 20, 0][choices.below(6)];
                let hops = [
                    crate::Hops::Known,
                    crate::Hops::NoNeighbour,
                    crate::Hops::Nothing,
                ][choices.below(3)];
                let kind = choices.byte();
                world = world.server(host, method).but(|server| {
                    server.mtu = mtu;
                    server.hops = hops;
                    if method == Method::Tunnel && kind >= 128 {
                        server.is_mixed = kind & 1 != 0;
                        server.tunnel = u32::from(kind >> 1 & 3) | u32::from(kind >> 3 & 3) << 8;
                        server.tunnel |= u32::from(GUE_PORT.to_be()) << 16;
                    }
                });
            }
        }
    }
    world.icmp_burst = if choices.below(4) == 0 { 1 } else { 1000 };
    world.quarantine = if choices.below(2) == 0 {
        0
    } else {
        1_000_000_000
    };
    world.idle_at_once = choices.below(4) == 0;
    world
}

fn edit(choices: &mut Choices<'_>, world: &World) -> Edit {
    let servers = world.servers().count();
    if servers == 0 {
        return Edit::Flags(0);
    }
    let server = choices.below(servers);
    match choices.below(8) {
        0 => Edit::Flags(0),
        1 | 2 => Edit::Remove(server),
        _ => Edit::Weight(server, choices.below(3) as u32),
    }
}

/// A packet of some kind that concerns the directors above.
fn base(choices: &mut Choices<'_>, family: Family) -> Recipe {
    const FLAGS: [&str; 8] = ["S", "A", "PA", "FA", "R", "SA", "RA", ""];
    let client = (family.client(), 40000 + choices.below(4) as u16);
    let n = choices.below(3);
    let (service, server) = ((family.vip(n), 80), (family.server(choices.below(3)), 8080));
    let flags = FLAGS[choices.below(FLAGS.len())];
    let request = match n {
        1 => Recipe::udp(client, service),
        2 => Recipe::sctp(client, service, choices.byte() % 16),
        _ => Recipe::tcp(client, service, flags),
    };
    let turned = |source, destination| request.clone().source(source).destination(destination);
    let packet = match choices.below(8) {
        0..4 => request,
        4 => turned(server, client).from_server(0),
        5 => turned(service, client).from_server(0),
        6 => quoting(
            family,
            family.gateway(),
            family.vip(n),
            &turned(service, client),
        ),
        _ => quoting(
            family,
            family.server(0),
            family.client(),
            &turned(client, server),
        ),
    };
    let packet = packet.ttl([64, 64, 64, 2, 1, 0][choices.below(6)]);
    match choices.below(8) {
        0 if family == Family::V4 => packet.may_fragment(),
        1 if family == Family::V4 => packet.ip_options(&[1, 1, 1, 0]),
        1 => packet.extension(0, &[1, 4, 0, 0, 0, 0]),
        2 => packet.fragment(0, false),
        3 => packet.fragment(choices.below(3) as u16, true),
        4 => packet.tos(choices.byte()),
        _ => packet,
    }
}

fn quoting(family: Family, from: std::net::IpAddr, to: std::net::IpAddr, about: &Recipe) -> Recipe {
    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
    match family {
        Family::V4 => Recipe::icmp4(
            from,
            to,
            Icmpv4Type::DestinationUnreachable(needed),
            &about.ip(),
        ),
        Family::V6 => Recipe::icmp6(
            from,
            to,
            Icmpv6Type::PacketTooBig { mtu: 1300 },
            &about.ip(),
        ),
    }
}

fn input(choices: &mut Choices<'_>) -> Input {
    let family = Family::ALL[choices.below(2)];
    let mut bytes = if choices.below(16) == 0 {
        let length = choices.below(128);
        choices.bytes(length).to_vec()
    } else {
        let recipe = base(choices, family);
        mangled(choices, recipe.frame())
    };
    // What a kernel makes of many segments holds more than one.
    let segments = (choices.below(16) == 0).then(|| {
        bytes.resize(bytes.len() + 400, 0x5a);
        let size = 1 + choices.below(200);
        (400_usize.div_ceil(size) as u32, size as u32)
    });
    let checksum = if choices.below(8) == 0 {
        Checksum::Partial
    } else {
        Checksum::Whole
    };
    Input {
        bytes,
        segments,
        checksum,
        mark: 0,
        is_local: false,
    }
}

/// The frame with a few bytes changed, or cut off.
fn mangled(choices: &mut Choices<'_>, mut frame: Vec<u8>) -> Vec<u8> {
    if choices.below(4) != 0 {
        return frame;
    }
    for _ in 0..choices.below(4) {
        let at = choices.below(frame.len().min(128));
        frame[at] = choices.byte();
    }
    if choices.below(4) == 0 {
        frame.truncate(choices.below(frame.len() + 1));
    }
    frame
}

/// A frame at a real server that decapsulates for every virtual address of [`place`].
#[derive(Debug)]
pub struct TunnelEnd {
    frame: Frame,
    counted: RefCell<Vec<Counter>>,
}

impl TunnelEnd {
    /// The frame as it comes in.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            frame: Frame::new(bytes, Vec::new()),
            counted: RefCell::default(),
        }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        self.frame.bytes()
    }

    /// What was counted.
    pub fn counted(&self) -> Vec<Counter> {
        self.counted.borrow().clone()
    }
}

impl Decapsulator for TunnelEnd {
    fn is_virtual(&self, family: u8, address: &[u32; 4]) -> bool {
        let known = Family::ALL[usize::from(family == 6)];
        (0..4).any(|n| place::words(known.vip(n)) == *address)
    }

    fn is_gue(&self, port: u16) -> bool {
        port == GUE_PORT.to_be()
    }

    fn count_decapsulated(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }
}

impl Packet for TunnelEnd {
    fn ethertype(&self) -> u16 {
        self.frame.ethertype()
    }
    fn network_offset(&self) -> u32 {
        self.frame.network_offset()
    }
    fn length(&self) -> u32 {
        self.frame.length()
    }
    fn segments(&self) -> (u32, u32) {
        self.frame.segments()
    }
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.frame.read(offset)
    }
    fn read_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        self.frame.read_words(offset)
    }
    fn write_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> bool {
        self.frame.write_words(offset, words)
    }
    fn write<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        self.frame.write(offset, bytes)
    }
    fn change_checksum(&mut self, change: &ChecksumChange) -> bool {
        self.frame.change_checksum(change)
    }
    fn encapsulate<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        self.frame.encapsulate(header)
    }
    fn push<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        self.frame.push(header)
    }
    fn decapsulate(&mut self, length: u32, ethertype: u16) -> bool {
        self.frame.decapsulate(length, ethertype)
    }
    fn resize(&mut self, length: u32) -> bool {
        self.frame.resize(length)
    }
    fn route(&self, family: u32, destination: &[u32; 4], source: &[u32; 4], hop: &mut Hop) -> bool {
        self.frame.route(family, destination, source, hop)
    }
    fn transmit(&mut self, hop: &Hop) -> Action {
        self.frame.transmit(hop)
    }
    fn detour(&mut self, ifindex: u32, ticket: &[u32; 3]) -> Action {
        self.frame.detour(ifindex, ticket)
    }
    fn bounce(&mut self) -> Action {
        self.frame.bounce()
    }
}

/// The tables of the directors above hold what user space puts into them too.
pub(super) fn surroundings() -> Surroundings {
    Surroundings::default()
}
