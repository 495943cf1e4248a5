//! The connection table, read through its mapping.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_abi::{
    Role, SctpState, Slot, TcpState, protocol,
    slot::{Link, State},
};
use rvs_config::Protocol;
use rvs_table::tag;

use crate::{Connection, calls, dataplane::Dataplane, object::Maps, wire};

/// How many slots make a slice: a few milliseconds' work, a few megabytes at most.
const SLICE: u64 = 32 * 1024;

/// A connection as the table has it, servers by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) is_v6: bool,
    pub(crate) client: [u32; 4],
    pub(crate) virtual_address: [u32; 4],
    pub(crate) ports: u32,
    pub(crate) protocol: u8,
    /// [`Link::method`]
    pub(crate) method: u32,
    pub(crate) server: u32,
    pub(crate) state: u32,
    pub(crate) stamp: u32,
    pub(crate) packets: u32,
    /// The slot, with its generation.
    pub(crate) place: (u32, u32),
    /// The slot that controls it, with its generation.
    pub(crate) control: (u32, u32),
    /// How many it controls.
    pub(crate) controlled: u32,
    /// The server's port as it lies in a packet.
    pub(crate) server_port: u32,
}

/// Client, virtual address, ports, protocol, and whether they are of IPv6.
pub(crate) type EntryKey = ([u32; 4], [u32; 4], u32, u8, bool);

impl Entry {
    /// What it is found by, in any table.
    pub(crate) fn key(&self) -> EntryKey {
        (
            self.client,
            self.virtual_address,
            self.ports,
            self.protocol,
            self.is_v6,
        )
    }

    /// Whether others may be controlled by it.
    pub(crate) fn controls(&self) -> bool {
        self.controlled > 0 || State(self.state).has(State::TEMPLATE)
    }
}

impl Dataplane {
    /// Every connection. There may be millions: 150 bytes each.
    pub fn connections(&self) -> Vec<Connection> {
        let mut all = Vec::new();
        self.for_each_connection(|connection| {
            all.push(connection);
            true
        });
        all
    }

    /// Shows each connection to `visit` until it says `false`.
    pub fn for_each_connection(&self, mut visit: impl FnMut(Connection) -> bool) {
        let clock = self.clock();
        for entry in entries(&self.maps) {
            if let Some(connection) = self.connection(&entry, clock)
                && !visit(connection)
            {
                return;
            }
        }
    }

    /// Shows the connections of a slice of the tables, which begins at `place` (0 for the first), and says where the
    /// next slice begins.
    pub fn for_slice(&self, place: u64, mut visit: impl FnMut(Connection)) -> Option<u64> {
        let clock = self.clock();
        let (v4, v6) = (u64::from(self.sizes.slots4), u64::from(self.sizes.slots6));
        let end = place.saturating_add(SLICE).min(v4 + v6);
        for place in place..end {
            let entry = match u32::try_from(place - place.min(v4)) {
                _ if place < v4 => entry4(&self.maps, place as u32),
                Ok(index) => entry6(&self.maps, index),
                Err(_) => None,
            };
            if let Some(connection) = entry.and_then(|entry| self.connection(&entry, clock)) {
                visit(connection);
            }
        }
        (end < v4 + v6).then_some(end)
    }

    fn connection(&self, entry: &Entry, (now, ticks): (u32, u32)) -> Option<Connection> {
        let row = self.rows.servers.get(&entry.server)?;
        let (entry, call) = calls::shown(&self.maps, entry);
        let state = State(entry.state);
        let own = self
            .maps
            .servers
            .get(entry.server)
            .filter(|server| {
                state.has(State::TEMPLATE)
                    || server.flags.load() & rvs_abi::Server::OWN_TIMEOUTS != 0
            })
            .and_then(|server| self.maps.services.get(server.service.load()));
        let timeout =
            rvs_core::sweep::timeout_of(self.maps.settings.get(0)?, own, entry.protocol, state);
        let idle = now.wrapping_sub(entry.stamp);
        let idle = if idle >> 31 != 0 { 0 } else { idle };
        let seconds = u64::from(timeout.saturating_sub(idle) / ticks.max(1));
        let template = state.has(State::TEMPLATE);
        let number = if template {
            protocol::of_template(entry.protocol)
        } else {
            entry.protocol
        };
        // A firewall mark's template is of no protocol; it lies where an address's last bytes would.
        let word = if entry.is_v6 { 3 } else { 0 };
        let mark = if template && number == 0 {
            u32::from_be(entry.virtual_address[word])
        } else {
            0
        };
        let (protocol, name) = if template {
            let assured = state.has(State::ASSURED);
            let mut all = Protocol::ALL.into_iter();
            (
                all.find(|protocol| protocol.number() == number)
                    .unwrap_or(Protocol::Tcp),
                if assured { "ASSURED" } else { "NONE" },
            )
        } else if [protocol::TCP, protocol::of_expected(protocol::TCP)].contains(&entry.protocol) {
            (
                Protocol::Tcp,
                TcpState::ALL
                    .get(state.number() as usize)
                    .map_or("NONE", |state| state.name()),
            )
        } else if entry.protocol == protocol::SCTP {
            (
                Protocol::Sctp,
                SctpState::ALL
                    .get(state.number() as usize)
                    .map_or("NONE", |state| state.name()),
            )
        } else {
            (Protocol::Udp, "UDP")
        };
        let server = row.server.socket_addr();
        let virtual_port = u16::from_be((entry.ports >> 16) as u16);
        let port = match (template, u16::from_be(entry.server_port as u16)) {
            // What remembers a client for all ports is of none.
            (true, _) if virtual_port == 0 => 0,
            (true, _) => server.port(),
            // Not rewritten: the server sees the port that the client meant.
            (false, 0) => virtual_port,
            (false, rewritten) => rewritten,
        };
        Some(Connection {
            protocol,
            key: row.service,
            // What a template has in the client's port tells it from others.
            client: wire::socket_address(
                entry.client,
                if template { 0 } else { entry.ports as u16 },
                entry.is_v6,
            ),
            service: wire::socket_address(
                entry.virtual_address,
                (entry.ports >> 16) as u16,
                entry.is_v6,
            ),
            server: SocketAddr::new(server.ip(), port),
            state: name,
            expires: Duration::from_secs(seconds),
            active: !state.has(State::INACTIVE),
            packets: entry.packets,
            template,
            mark,
            call,
        })
    }
}

/// The live connections of both tables.
pub(crate) fn entries(maps: &Maps) -> impl Iterator<Item = Entry> {
    let v4 = maps
        .slots4
        .iter()
        .filter_map(|(index, _)| entry4(maps, index));
    let v6 = maps
        .slots6
        .iter()
        .filter_map(|(index, _)| entry6(maps, index));
    v4.chain(v6)
}

/// The connection at an index of the IPv4 table.
fn entry4(maps: &Maps, index: u32) -> Option<Entry> {
    let slot = maps.slots4.get(index)?;
    let entry = read(slot, index, false)?;
    let reply = maps.slots4.get(slot.head.pair.load());
    let reply = reply.and_then(|reply| stamp_of_pair(slot, reply));
    let stamp = later(entry.stamp, reply);
    Some(Entry { stamp, ..entry })
}

/// The connection at an index of the IPv6 table.
fn entry6(maps: &Maps, index: u32) -> Option<Entry> {
    let slot = maps.slots6.get(index)?;
    let entry = read(slot, index, true)?;
    let reply = maps.slots6.get(slot.head.pair.load());
    let reply = reply.and_then(|reply| stamp_of_pair(slot, reply));
    let stamp = later(entry.stamp, reply);
    Some(Entry { stamp, ..entry })
}

/// Reads a request slot, if it is one and stays the same meanwhile.
fn read<const N: usize, const PAD: usize>(
    slot: &Slot<N, PAD>,
    index: u32,
    is_v6: bool,
) -> Option<Entry> {
    let seen = slot.head.tag.load();
    if tag::state(seen) != tag::LIVE {
        return None;
    }
    let link = Link(slot.head.link.load());
    if link.role() != Role::Request {
        return None;
    }
    let entry = Entry {
        is_v6,
        client: wire::load(&slot.source),
        virtual_address: wire::load(&slot.destination),
        ports: slot.head.ports.load(),
        protocol: link.protocol(),
        method: link.method(),
        server: slot.head.server.load(),
        state: slot.head.state.load(),
        stamp: slot.head.stamp.load(),
        packets: slot.head.packets.load(),
        place: (index, tag::generation(seen)),
        control: (
            slot.head.control.load(),
            slot.head.control_generation.load(),
        ),
        controlled: slot.head.controlled.load(),
        server_port: slot.head.rewrite_ports.load() >> 16,
    };
    (slot.head.tag.load() == seen).then_some(entry)
}

fn stamp_of_pair<const N: usize, const PAD: usize>(
    slot: &Slot<N, PAD>,
    reply: &Slot<N, PAD>,
) -> Option<u32> {
    let seen = reply.head.tag.load();
    (tag::readable(seen) && tag::generation(seen) == slot.head.pair_generation.load())
        .then(|| reply.head.stamp.load())
}

fn later(a: u32, b: Option<u32>) -> u32 {
    match b {
        Some(b) if b.wrapping_sub(a) >> 31 == 0 => b,
        _ => a,
    }
}
