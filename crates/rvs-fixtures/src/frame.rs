//! A packet in memory: bytes with room before them, as a socket buffer has.

use std::cell::Cell;

use rvs_core::{Action, ChecksumChange, Hop, Packet, checksum};

use crate::{
    Surroundings,
    native::resolved,
    place::{self, Route},
};

/// How the packet left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// By a hop.
    To(Hop),
    /// Back where it came from.
    Back,
    /// To the host itself, by the loopback interface.
    Here,
    /// The long way round, by the daemon's device.
    Detour(u32),
}

/// Whether a transport checksum is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is.
    #[default]
    Whole,
    /// Hardware will fill it in: only the pseudo-header's part is there.
    Partial,
}

/// One frame, and what became of it.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    segments: (u32, u32),
    checksum: Checksum,
    mark: u32,
    tunneled: bool,
    routes: Vec<Resolved>,
    routed: Cell<bool>,
    sent: Option<Sent>,
}

/// A route with the interface's number and the neighbours on its link.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The route.
    pub route: Route,
    /// Its interface.
    pub ifindex: u32,
}

impl Frame {
    /// An ordinary packet, with routes, longest prefixes first.
    pub fn new(bytes: &[u8], routes: Vec<Resolved>) -> Self {
        Self {
            bytes: bytes.to_vec(),
            segments: (1, 0),
            checksum: Checksum::Whole,
            mark: 0,
            tunneled: false,
            routes,
            routed: Cell::new(false),
            sent: None,
        }
    }

    /// An ordinary packet, with the routes of [`place`].
    pub fn with_place_routes(bytes: &[u8], surroundings: &Surroundings) -> Self {
        Self::new(bytes, resolved(surroundings))
    }

    /// A super-packet: segments, and bytes of payload in each.
    pub fn segmented(mut self, segments: u32, size: u32) -> Self {
        self.segments = (segments, size);
        self
    }

    /// With this firewall mark.
    pub fn marked(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// With a checksum still to be filled in.
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the routes were asked.
    pub fn routed(&self) -> bool {
        self.routed.get()
    }

    /// How the packet left, if it did.
    pub fn sent(&self) -> Option<Sent> {
        self.sent
    }

    fn range(&self, offset: u32, length: usize) -> Option<core::ops::Range<usize>> {
        let start = offset as usize;
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    fn insert(&mut self, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.bytes.splice(14..14, bytes);
    }
}

impl Packet for Frame {
    fn ethertype(&self) -> u16 {
        self.read::<2>(12).map_or(0, u16::from_be_bytes)
    }

    fn network_offset(&self) -> u32 {
        14
    }

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn mark_tunneled(&mut self) {
        self.tunneled = true;
    }

    fn is_tunneled(&self) -> bool {
        self.tunneled
    }

    fn segments(&self) -> (u32, u32) {
        self.segments
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.bytes[self.range(offset, N)?].try_into().ok()
    }

    fn read_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let range = self.range(offset, N * 4)?;
        let mut chunks = self.bytes[range].chunks_exact(4);
        let mut words = [0; N];
        for word in &mut words {
            *word = u32::from_ne_bytes(chunks.next()?.try_into().ok()?);
        }
        Some(words)
    }

    fn write_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> bool {
        let Some(range) = self.range(offset, N * 4) else {
            return false;
        };
        for (place, word) in self.bytes[range].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        true
    }

    fn write<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        let Some(range) = self.range(offset, N) else {
            return false;
        };
        self.bytes[range].copy_from_slice(bytes);
        true
    }

    /// As `bpf_l4_csum_replace` does it, with and without `BPF_F_PSEUDO_HDR`.
    fn mark(&self) -> u32 {
        self.mark
    }

    fn change_checksum(&mut self, change: &ChecksumChange) -> bool {
        let Some(old) = self.read::<2>(change.offset) else {
            return false;
        };
        let old = u16::from_ne_bytes(old);
        if change.is_udp && old == 0 {
            return true;
        }
        let new = match self.checksum {
            Checksum::Whole => {
                let ports = checksum::difference(change.old_ports, change.new_ports);
                let new = checksum::update(old, checksum::add(change.pseudo, ports));
                if change.is_udp && new == 0 {
                    0xffff
                } else {
                    new
                }
            }
            // Not inverted: hardware sums this word with the rest.
            Checksum::Partial => checksum::fold(checksum::add(u32::from(old), change.pseudo)),
        };
        self.write(change.offset, &new.to_ne_bytes())
    }

    fn encapsulate<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        if self.bytes.len() < 14 {
            return false;
        }
        self.insert(header);
        let ethertype: u16 = if N >= 10 { 0x86dd } else { 0x0800 };
        self.write(12, &ethertype.to_be_bytes())
    }

    fn push<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        if self.bytes.len() < 14 {
            return false;
        }
        self.insert(header);
        true
    }

    fn decapsulate(&mut self, length: u32, ethertype: u16) -> bool {
        if self.range(14, length as usize).is_none() {
            return false;
        }
        self.bytes.drain(14..14 + length as usize);
        self.write(12, &ethertype.to_be_bytes())
    }

    fn resize(&mut self, length: u32) -> bool {
        self.bytes.resize(length as usize, 0);
        self.segments = (1, 0);
        true
    }

    /// As `bpf_fib_lookup` answers for a forwarded packet.
    fn route(
        &self,
        family: u32,
        destination: &[u32; 4],
        _source: &[u32; 4],
        hop: &mut Hop,
    ) -> bool {
        self.routed.set(true);
        let Some(found) = self
            .routes
            .iter()
            .find(|resolved| place::within(destination, family, resolved.route.prefix))
        else {
            return false;
        };
        if hop.mtu > found.route.mtu {
            hop.mtu = found.route.mtu;
            hop.macs_known = 0;
            return true;
        }
        hop.ifindex = found.ifindex;
        hop.family = family;
        hop.address = found.route.via.map_or(*destination, place::words);
        let neighbour = place::neighbours()
            .into_iter()
            .find(|(address, _, _)| place::words(*address) == hop.address);
        match neighbour {
            Some((_, mac, lan)) => {
                let own = if lan { place::LAN } else { place::WAN };
                hop.mtu = found.route.mtu;
                hop.macs = place::mac_words(mac, own);
                hop.macs_known = 1;
            }
            None => hop.macs_known = 0,
        }
        true
    }

    fn transmit(&mut self, hop: &Hop) -> Action {
        if hop.macs_known != 0 && !self.write_words(0, &hop.macs) {
            return Action::Drop;
        }
        self.sent = Some(Sent::To(*hop));
        Action::Transmit
    }

    fn detour(&mut self, ifindex: u32, ticket: &[u32; 3]) -> Action {
        if !self.write_words(0, ticket) {
            return Action::Drop;
        }
        self.sent = Some(Sent::Detour(ifindex));
        Action::Transmit
    }

    fn deliver(&mut self) -> Action {
        if !self.write_words(0, &[0; 3]) {
            return Action::Drop;
        }
        self.sent = Some(Sent::Here);
        Action::Transmit
    }

    fn bounce(&mut self) -> Action {
        let Some([d0, d1, d2, d3, d4, d5, s @ ..]) = self.read::<12>(0) else {
            return Action::Drop;
        };
        let [s0, s1, s2, s3, s4, s5] = s;
        self.write(0, &[s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5]);
        self.sent = Some(Sent::Back);
        Action::Transmit
    }
}
