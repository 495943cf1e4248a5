//! The core, run natively.

use rvs_abi::{
    AddressKey, Counter, FragmentKey, FragmentNote, Locality, LocalityKey, Sequence, SequenceKey,
    Server, ServerStats, Service, ServiceKey, Settings, Slot4, Slot6, device::LOOPBACK,
};
use rvs_core::{
    Action, ChecksumChange, Flow, Hop, Packet, Path, Tables, director, express, tables::Traffic,
};

use crate::{
    Edit, Frame, Memory, Outcome, Surroundings, Verdict, World,
    case::{Engine, Input},
    frame::Resolved,
    place,
};

/// A frame on its way through tables in memory.
#[derive(Debug)]
pub struct Native<'a> {
    /// The packet.
    pub frame: Frame,
    /// The tables.
    pub memory: &'a Memory,
}

impl Native<'_> {
    /// Sends the packet the whole way.
    pub fn direct(&mut self) -> u32 {
        director::direct(self, &mut Flow::default())
    }

    /// Sends a packet of the director's own host the whole way.
    pub fn direct_local(&mut self) -> u32 {
        let mut flow = Flow {
            flags: Flow::LOCAL,
            ..Flow::default()
        };
        director::direct(self, &mut flow)
    }

    /// Sends the packet the express way.
    pub fn express(&mut self) -> Action {
        express::express(self)
    }
}

impl Path for Native<'_> {}

impl Tables for Native<'_> {
    fn now(&self) -> u32 {
        self.memory.now()
    }
    fn random(&self) -> u32 {
        self.memory.random()
    }
    fn settings(&self) -> Option<&Settings> {
        self.memory.settings()
    }
    fn service(&self, index: u32) -> Option<&Service> {
        self.memory.service(index)
    }
    fn server(&self, index: u32) -> Option<&Server> {
        self.memory.server(index)
    }
    fn rule(&self, place: u32) -> Option<&rvs_abi::Rule> {
        self.memory.rule(place)
    }
    fn member_word(&self, place: u32) -> Option<u64> {
        self.memory.member_word(place)
    }
    fn locality(&self, key: &LocalityKey) -> Option<&Locality> {
        self.memory.locality(key)
    }
    fn remember(&self, flow: &Flow, service: u32, server: u32) -> u32 {
        self.memory.remember(flow, service, server)
    }
    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        self.memory.find_service(key)
    }
    fn find_address(&self, key: &AddressKey) -> u32 {
        self.memory.find_address(key)
    }
    fn find_note(&self, key: &FragmentKey) -> Option<FragmentNote> {
        self.memory.find_note(key)
    }
    fn put_note(&self, key: &FragmentKey, note: &FragmentNote) {
        self.memory.put_note(key, note);
    }
    fn sequence(&self, key: &SequenceKey) -> Option<Sequence> {
        self.memory.sequence(key)
    }
    fn slot4(&self, index: u32) -> Option<&Slot4> {
        self.memory.slot4(index)
    }
    fn slot6(&self, index: u32) -> Option<&Slot6> {
        self.memory.slot6(index)
    }
    fn count(&self, counter: Counter) {
        self.memory.count(counter);
    }
    fn account(&self, server: u32, traffic: Traffic) {
        self.memory.account(server, traffic);
    }
}

impl Packet for Native<'_> {
    fn ethertype(&self) -> u16 {
        self.frame.ethertype()
    }
    fn network_offset(&self) -> u32 {
        self.frame.network_offset()
    }
    fn length(&self) -> u32 {
        self.frame.length()
    }
    fn mark(&self) -> u32 {
        self.frame.mark()
    }
    fn mark_tunneled(&mut self) {
        self.frame.mark_tunneled();
    }
    fn is_tunneled(&self) -> bool {
        self.frame.is_tunneled()
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
    fn can_transmit(&self, hop: &Hop) -> bool {
        hop.ifindex != LOOPBACK
    }
    fn transmit(&mut self, hop: &Hop) -> Action {
        self.frame.transmit(hop)
    }
    fn detour(&mut self, ifindex: u32, ticket: &[u32; 3]) -> Action {
        self.frame.detour(ifindex, ticket)
    }
    fn deliver(&mut self) -> Action {
        self.frame.deliver()
    }
    fn bounce(&mut self) -> Action {
        self.frame.bounce()
    }
}

/// Which ways a packet is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole way only, as at tc.
    Whole,
    /// The express way first, as where XDP runs before tc.
    ExpressFirst,
}

/// A case's world in memory.
#[derive(Debug)]
pub struct NativeEngine {
    memory: Memory,
    surroundings: Surroundings,
    mode: Mode,
    finished: usize,
    routed: bool,
}

impl NativeEngine {
    /// The engine for one case.
    pub fn new(world: &World, mode: Mode) -> Self {
        let surroundings = Surroundings::default();
        Self {
            memory: world.memory(&surroundings),
            surroundings,
            mode,
            finished: 0,
            routed: false,
        }
    }

    /// The tables.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How many packets the express way finished.
    pub fn finished_by_express(&self) -> usize {
        self.finished
    }

    /// Whether the last packet's way was looked up in the routes.
    pub fn routed(&self) -> bool {
        self.routed
    }

    fn frame(&self, input: &Input) -> Frame {
        let frame = Frame::new(&input.bytes, resolved(&self.surroundings));
        match input.segments {
            Some((segments, size)) => frame.segmented(segments, size),
            None => frame,
        }
        .with_checksum(input.checksum)
        .marked(input.mark)
    }
}

impl Frame {
    /// The routes of the place that all cases share.
    pub fn routes(surroundings: &Surroundings) -> Vec<Resolved> {
        resolved(surroundings)
    }
}

/// The routes with this machine's interface numbers.
pub(crate) fn resolved(surroundings: &Surroundings) -> Vec<Resolved> {
    let resolve = |route: place::Route| Resolved {
        ifindex: if route.lan {
            surroundings.lan
        } else {
            surroundings.wan
        },
        route,
    };
    place::routes().into_iter().map(resolve).collect()
}

impl Engine for NativeEngine {
    fn run(&mut self, input: &Input) -> Outcome {
        let before = (self.memory.counts(), self.memory.stats());
        let frame = self.frame(input);
        let mut native = Native {
            frame,
            memory: &self.memory,
        };
        let mut action = Action::Pass as u32;
        if self.mode == Mode::ExpressFirst && input.segments.is_none() && !input.is_local {
            action = native.express() as u32;
            if action == Action::Pass as u32 {
                assert_eq!(
                    native.frame.bytes(),
                    input.bytes,
                    "the express way passed a packet that it had changed"
                );
                assert_eq!(before.1, self.memory.stats());
            } else {
                self.finished += 1;
            }
        }
        if action == Action::Pass as u32 {
            action = if input.is_local {
                native.direct_local()
            } else {
                native.direct()
            };
        }
        let verdict = match (action, native.frame.sent()) {
            (action, _) if action == Action::Pass as u32 => Verdict::Pass,
            (action, _) if action == Action::Drop as u32 => Verdict::Drop,
            (_, Some(_)) => Verdict::Transmit,
            (action, None) => panic!("action {action}, but nothing was sent"),
        };
        let bytes = native.frame.bytes().to_vec();
        self.routed = native.frame.routed();
        Outcome::new(
            verdict,
            bytes,
            (&before.0, &self.memory.counts()),
            (&before.1, &self.memory.stats()),
            census(&self.memory.servers),
        )
    }

    fn edit(&mut self, edit: Edit) {
        edit.apply(&self.memory);
    }
}

/// Active and inactive connections of every server.
fn census(servers: &[Server]) -> Vec<(u32, u32)> {
    let count = |server: &Server| (server.active.load(), server.inactive.load());
    servers.iter().map(count).collect()
}

/// Statistics' difference.
pub(crate) fn moved(before: &ServerStats, after: &ServerStats) -> ServerStats {
    ServerStats {
        connections: after.connections - before.connections,
        packets_in: after.packets_in - before.packets_in,
        packets_out: after.packets_out - before.packets_out,
        bytes_in: after.bytes_in - before.bytes_in,
        bytes_out: after.bytes_out - before.bytes_out,
    }
}
