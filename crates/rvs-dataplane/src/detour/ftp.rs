//! What an FTP control connection says: the data connection that it announces is made ahead, and 227's and 229's
//! words are changed to what the client can reach (IPVS: `ip_vs_ftp.c`).
//!
//! Of a client only its own address is taken, of a server only its own or the virtual one: who could announce
//! others' addresses would open connections to them through the director. What is not understood goes on unchanged.
//!
//! Numbers are the kernel side's business, here is only noted by how much a segment grew. A segment that is
//! sent again is changed in the same way: the connection that was made for it is found again.

use aya::Ebpf;
use rvs_abi::{
    AddressKey, Counter, FragmentKey, FragmentNote, Locality, LocalityKey, Role, Rule, Sequence,
    SequenceKey, Server, Service, ServiceKey, Settings, Slot, Slot4, Slot6, TcpState, Ticket,
    Word32, family, protocol,
    slot::{Link, State},
    sweep::Insertion,
};
use rvs_core::{
    Flow, NONE, Tables, connection,
    ftp::text::{self, Named},
    tables::Traffic,
};
use rvs_table::tag;

use crate::{
    object::Maps,
    programs,
    shared::{Cells, Plain, Shared},
    wire,
};

const ETHERNET_BYTES: usize = 14;
/// Ports that are tried for a passive data connection, where another server's have the first.
const PORTS: u16 = 16;

/// Does what the packet asks for, and gives the packet that goes on in its stead; `None` drops it, and its sender
/// will repeat it.
pub(super) fn handle(
    maps: &mut Maps,
    object: &Ebpf,
    ticket: Ticket,
    frame: Vec<u8>,
) -> Option<Vec<u8>> {
    let Some(segment) = Segment::of(&frame) else {
        return Some(frame);
    };
    let control = if segment.is_v6 {
        Control::find(&maps.slots6, ticket, true)
    } else {
        Control::find(&maps.slots4, ticket, false)
    };
    // It ended in the meantime: the kernel side knows what becomes of the packet.
    let Some(control) = control else {
        return Some(frame);
    };
    let said = &frame[segment.payload..segment.end];
    if control.is_reply {
        let Some(named) = text::reply(said).filter(|named| control.may_listen(named)) else {
            return Some(frame);
        };
        let port = passive(maps, object, &control, named.port)?;
        let words = match (named.address, control.virtual_address()) {
            (None, _) => text::write_extended(port),
            (Some(_), std::net::IpAddr::V4(address)) => text::write_six(address, port),
            (Some(_), std::net::IpAddr::V6(_)) => return Some(frame),
        };
        Some(rewrite(maps, &control, &segment, &frame, &named, words))
    } else {
        let Some(named) = text::command(said).filter(|named| control.may_be_called(named)) else {
            return Some(frame);
        };
        active(maps, object, &control, named.port).then_some(frame)
    }
}

/// An FTP control connection.
#[derive(Debug)]
struct Control {
    is_v6: bool,
    is_reply: bool,
    request: u32,
    reply: u32,
    generation: u32,
    client: [u32; 4],
    virtual_address: [u32; 4],
    server_address: [u32; 4],
    ports: u32,
    server_port: u16,
    server: u32,
}

impl Control {
    fn find<const N: usize, const PAD: usize>(
        slots: &Shared<Slot<N, PAD>>,
        ticket: Ticket,
        is_v6: bool,
    ) -> Option<Self>
    where
        Slot<N, PAD>: Cells,
    {
        let found = slots.get(ticket.index)?;
        let seen = found.head.tag.load();
        if !tag::readable(seen) || tag::generation(seen) != ticket.generation {
            return None;
        }
        let is_reply = Link(found.head.link.load()).role() == Role::Reply;
        let other = found.head.pair.load();
        let pair = slots.get(other)?;
        let pair_seen = pair.head.tag.load();
        if !tag::readable(pair_seen)
            || tag::generation(pair_seen) != found.head.pair_generation.load()
        {
            return None;
        }
        let (request, reply, index, reply_index, generation) = if is_reply {
            (pair, found, other, ticket.index, tag::generation(pair_seen))
        } else {
            (found, pair, ticket.index, other, ticket.generation)
        };
        Some(Self {
            is_v6,
            is_reply,
            request: index,
            reply: reply_index,
            generation,
            client: wire::load(&request.source),
            virtual_address: wire::load(&request.destination),
            server_address: wire::load(&reply.source),
            ports: request.head.ports.load(),
            server_port: u16::from_be(reply.head.ports.load() as u16),
            server: request.head.server.load(),
        })
    }

    fn virtual_address(&self) -> std::net::IpAddr {
        wire::address(self.virtual_address, self.is_v6)
    }

    /// Whether the server may say that it listens there.
    fn may_listen(&self, named: &Named) -> bool {
        named.address.is_none_or(|address| {
            address == wire::address(self.server_address, self.is_v6)
                || address == self.virtual_address()
        })
    }

    /// Whether the client may ask to be called there.
    fn may_be_called(&self, named: &Named) -> bool {
        named.address == Some(wire::address(self.client, self.is_v6))
    }

    fn family(&self) -> u8 {
        if self.is_v6 { family::V6 } else { family::V4 }
    }

    /// The state of one of its slots.
    fn state<'a>(&self, maps: &'a Maps, index: u32) -> Option<&'a Word32> {
        if self.is_v6 {
            maps.slots6.get(index).map(|slot| &slot.head.state)
        } else {
            maps.slots4.get(index).map(|slot| &slot.head.state)
        }
    }

    /// A data connection of this one.
    fn data(&self, protocol: u8, client_port: u16, virtual_port: u16, port: u16) -> Insertion {
        Insertion {
            client: self.client,
            virtual_address: self.virtual_address,
            ports: u32::from(client_port.to_be()) | u32::from(virtual_port.to_be()) << 16,
            server: self.server,
            protocol: protocol.into(),
            family: self.family().into(),
            state: TcpState::Listen as u32 | State::INACTIVE | State::CONTROLLED,
            control: self.request,
            control_generation: self.generation,
            packets: 1,
            server_port: port.to_be().into(),
            ..Insertion::default()
        }
    }

    /// The tuple of such a connection's requests.
    fn flow(&self, data: &Insertion) -> Flow {
        Flow {
            source: data.client,
            destination: data.virtual_address,
            ports: data.ports,
            protocol: data.protocol as u8,
            family: self.family(),
            ..Flow::default()
        }
    }
}

/// Lets the client be called by the server: from the port below its control port, as the virtual service's port below
/// its own. Says whether that can be.
fn active(maps: &Maps, object: &Ebpf, control: &Control, port: u16) -> bool {
    let virtual_port = u16::from_be((control.ports >> 16) as u16).wrapping_sub(1);
    let server_port = control.server_port.wrapping_sub(1);
    if virtual_port == 0 || server_port == 0 {
        return false;
    }
    let data = control.data(protocol::TCP, port, virtual_port, server_port);
    match insert(object, data) {
        1 => true,
        2 => is_of(maps, control, &data),
        _ => false,
    }
}

/// Expects the client to call the server's `port`; gives the virtual service's port that leads there.
fn passive(maps: &Maps, object: &Ebpf, control: &Control, port: u16) -> Option<u16> {
    let expected = protocol::of_expected(protocol::TCP);
    for step in 0..PORTS {
        let virtual_port = port.checked_add(step).unwrap_or(1024 + step);
        let mut data = control.data(expected, 0, virtual_port, port);
        data.state |= State::NO_CLIENT_PORT;
        let made = match insert(object, data) {
            1 => true,
            2 => is_of(maps, control, &data),
            _ => return None,
        };
        if made {
            set_flag(maps);
            return Some(virtual_port);
        }
    }
    None
}

/// Newcomers look for expected connections from now on.
fn set_flag(maps: &Maps) {
    if let Some(settings) = maps.settings.get(0) {
        set_bits(&settings.flags, Settings::HAS_EXPECTED);
    }
}

fn insert(object: &Ebpf, data: Insertion) -> u32 {
    let outcome = programs::clock(object).and_then(|reading| {
        let stamp = reading.tick;
        programs::insert(object, Insertion { stamp, ..data })
    });
    match outcome {
        Ok(answer) => answer.outcome,
        Err(error) => {
            tracing::error!(%error, "an FTP data connection could not be made");
            0
        }
    }
}

/// Whether the connection with this tuple is the one that was to be made.
fn is_of(maps: &Maps, control: &Control, data: &Insertion) -> bool {
    let index = connection::find(&View(maps), &control.flow(data));
    let same = |server: u32, ports: u32| server == data.server && ports >> 16 == data.server_port;
    if control.is_v6 {
        maps.slots6
            .get(index)
            .is_some_and(|slot| same(slot.head.server.load(), slot.head.rewrite_ports.load()))
    } else {
        maps.slots4
            .get(index)
            .is_some_and(|slot| same(slot.head.server.load(), slot.head.rewrite_ports.load()))
    }
}

/// The frame with other words, and a note of how much it grew.
fn rewrite(
    maps: &mut Maps,
    control: &Control,
    segment: &Segment,
    frame: &[u8],
    named: &Named,
    (words, length): ([u8; 23], usize),
) -> Vec<u8> {
    let (from, to) = (segment.payload + named.from, segment.payload + named.to);
    let mut new = frame[..from].to_vec();
    new.extend_from_slice(&words[..length]);
    new.extend_from_slice(&frame[to..segment.end]);
    let grown = (length as u32).wrapping_sub((to - from) as u32);
    if grown != 0 {
        let key = Plain(SequenceKey::new(
            control.request,
            control.generation,
            control.family(),
        ));
        // What lies there from a connection that had the slot long before is not this one's.
        let is_adjusted = control
            .state(maps, control.request)
            .is_some_and(|state| state.load() & State::SEQUENCE != 0);
        let mut sequence = match maps.sequences.get(&key, 0) {
            Ok(Plain(found)) if is_adjusted => found,
            _ => Sequence::default(),
        };
        sequence.replies = sequence.replies.grown(segment.number, grown);
        if let Err(error) = maps.sequences.insert(key, Plain(sequence), 0) {
            tracing::error!(%error, "a sequence adjustment could not be noted");
            return frame.to_vec();
        }
        for index in [control.request, control.reply] {
            if let Some(state) = control.state(maps, index) {
                set_bits(state, State::SEQUENCE);
            }
        }
    }
    segment.finish(&mut new);
    new
}

fn set_bits(word: &Word32, bits: u32) {
    let mut old = word.load();
    // All ones is the state of a connection that has ended.
    while old != u32::MAX && old & bits != bits {
        let found = word.cas(old, old | bits);
        if found == old {
            return;
        }
        old = found;
    }
}

/// Where what lies in a frame.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    is_v6: bool,
    tcp: usize,
    payload: usize,
    end: usize,
    number: u32,
}

impl Segment {
    fn of(frame: &[u8]) -> Option<Self> {
        let half = |at: usize| -> Option<usize> {
            Some(usize::from(u16::from_be_bytes([
                *frame.get(at)?,
                *frame.get(at + 1)?,
            ])))
        };
        let version = frame.get(ETHERNET_BYTES)? >> 4;
        let (is_v6, tcp, end, next) = match version {
            4 => (
                false,
                ETHERNET_BYTES + usize::from(frame.get(ETHERNET_BYTES)? & 15) * 4,
                ETHERNET_BYTES + half(ETHERNET_BYTES + 2)?,
                *frame.get(ETHERNET_BYTES + 9)?,
            ),
            6 => (
                true,
                ETHERNET_BYTES + 40,
                ETHERNET_BYTES + 40 + half(ETHERNET_BYTES + 4)?,
                *frame.get(ETHERNET_BYTES + 6)?,
            ),
            _ => return None,
        };
        let payload = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
        if next != protocol::TCP || payload < tcp + 20 || payload > end || end > frame.len() {
            return None;
        }
        let number = frame.get(tcp + 4..tcp + 8)?;
        Some(Self {
            is_v6,
            tcp,
            payload,
            end,
            number: u32::from_be_bytes(number.try_into().ok()?),
        })
    }

    /// Sets lengths and checksums of the frame, whose payload has changed.
    fn finish(&self, frame: &mut [u8]) {
        let ip = ETHERNET_BYTES;
        let length = frame.len() - ip;
        let segment = frame.len() - self.tcp;
        let addresses = if self.is_v6 {
            let payload = (length - 40) as u16;
            frame[ip + 4..ip + 6].copy_from_slice(&payload.to_be_bytes());
            ip + 8..ip + 40
        } else {
            frame[ip + 2..ip + 4].copy_from_slice(&(length as u16).to_be_bytes());
            frame[ip + 10..ip + 12].copy_from_slice(&[0, 0]);
            let sum = !sum(0, &frame[ip..self.tcp]);
            frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
            ip + 12..ip + 20
        };
        frame[self.tcp + 16..self.tcp + 18].copy_from_slice(&[0, 0]);
        let pseudo = segment as u32 + u32::from(protocol::TCP);
        let pseudo = u32::from(sum(pseudo, &frame[addresses]));
        let sum = !sum(pseudo, &frame[self.tcp..]);
        frame[self.tcp + 16..self.tcp + 18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The one's complement sum (RFC 1071).
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Lets the sequence adjustments of the old tables' connections hold in the new ones'.
pub(crate) fn copy_sequences(new: &mut Maps, old: &Maps) {
    for (Plain(key), Plain(sequence)) in old.sequences.iter().flatten() {
        let is_v6 = key.kind >> 8 == u32::from(family::V6);
        let flow = if is_v6 {
            old.slots6
                .get(key.index)
                .and_then(|slot| flow_of(slot, key))
        } else {
            old.slots4
                .get(key.index)
                .and_then(|slot| flow_of(slot, key))
        };
        let Some(flow) = flow else {
            continue;
        };
        let index = connection::find(&View(new), &flow);
        let tag = if is_v6 {
            new.slots6.get(index).map(|slot| slot.head.tag.load())
        } else {
            new.slots4.get(index).map(|slot| slot.head.tag.load())
        };
        if let Some(tag) = tag.filter(|_| index != NONE) {
            let key = SequenceKey::new(index, tag::generation(tag), flow.family);
            if let Err(error) = new.sequences.insert(Plain(key), Plain(sequence), 0) {
                tracing::error!(%error, "a sequence adjustment could not be taken over");
            }
        }
    }
}

fn flow_of<const N: usize, const PAD: usize>(
    slot: &Slot<N, PAD>,
    key: SequenceKey,
) -> Option<Flow> {
    let seen = slot.head.tag.load();
    (tag::readable(seen) && tag::generation(seen) == key.kind & 0xff).then(|| Flow {
        source: wire::load(&slot.source),
        destination: wire::load(&slot.destination),
        ports: slot.head.ports.load(),
        protocol: Link(slot.head.link.load()).protocol(),
        family: (key.kind >> 8) as u8,
        ..Flow::default()
    })
}

/// The mapped tables, for looking a connection up as packets do. Nothing is counted, nothing else is in them.
struct View<'a>(&'a Maps);

impl Tables for View<'_> {
    fn now(&self) -> u32 {
        0
    }
    fn random(&self) -> u32 {
        0
    }
    fn settings(&self) -> Option<&Settings> {
        self.0.settings.get(0)
    }
    fn service(&self, index: u32) -> Option<&Service> {
        self.0.services.get(index)
    }
    fn server(&self, index: u32) -> Option<&Server> {
        self.0.servers.get(index)
    }
    fn member_word(&self, _place: u32) -> Option<u64> {
        None
    }
    fn locality(&self, _key: &LocalityKey) -> Option<&Locality> {
        None
    }
    fn remember(&self, _flow: &Flow, _service: u32, _server: u32) -> u32 {
        0
    }
    fn rule(&self, _place: u32) -> Option<&Rule> {
        None
    }
    fn find_service(&self, _key: &ServiceKey) -> Option<u32> {
        None
    }
    fn find_address(&self, _key: &AddressKey) -> u32 {
        0
    }
    fn find_note(&self, _key: &FragmentKey) -> Option<FragmentNote> {
        None
    }
    fn put_note(&self, _key: &FragmentKey, _note: &FragmentNote) {}
    fn sequence(&self, _key: &SequenceKey) -> Option<Sequence> {
        None
    }
    fn slot4(&self, index: u32) -> Option<&Slot4> {
        self.0.slots4.get(index)
    }
    fn slot6(&self, index: u32) -> Option<&Slot6> {
        self.0.slots6.get(index)
    }
    fn count(&self, _counter: Counter) {}
    fn account(&self, _server: u32, _traffic: Traffic) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_are_no_whole_segments_are_left_alone() {
        let mut frame = vec![0; ETHERNET_BYTES];
        frame.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 1]);
        frame.extend([
            0, 21, 0x9c, 0x40, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0,
        ]);
        frame.extend(*b"227 ");
        let whole = Segment::of(&frame).expect("a segment");
        assert_eq!(
            (whole.payload, whole.end, whole.number),
            (54, 58, 0x0102_0304)
        );
        for length in 0..frame.len() {
            assert_eq!(Segment::of(&frame[..length]), None, "{length} bytes");
        }
        // Padding is no part of it.
        let mut padded = frame.clone();
        padded.extend([0; 8]);
        assert_eq!(Segment::of(&padded), Some(whole));
        for (at, byte) in [(12, 0x40), (9, 17), (0, 0x55)] {
            let mut wrong = frame.clone();
            let base = if at == 12 { 34 } else { ETHERNET_BYTES };
            wrong[base + at] = byte;
            assert_eq!(Segment::of(&wrong), None);
        }
    }
}
