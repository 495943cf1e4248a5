//! One packet, seen through what a BPF program can do with it.

/// What becomes of the packet in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// The host's stack goes on with it.
    Pass = 0,
    /// It ends here.
    Drop = 1,
    /// It leaves by the hop that was given to [`Packet::transmit`].
    Transmit = 2,
}

/// The way to a neighbour. Addresses in packet byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Hop {
    /// The neighbour's address; IPv4 in the first word.
    pub address: [u32; 4],
    /// The interface; 0 where no route is known.
    pub ifindex: u32,
    /// Largest IP packet.
    pub mtu: u32,
    /// IP version of `address`.
    pub family: u32,
    /// 1 where `macs` may be used.
    pub macs_known: u32,
    /// Destination and source MAC, as they lie in a frame.
    pub macs: [u32; 3],
}

/// A change of words that a transport checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ChecksumChange {
    /// Where the checksum lies.
    pub offset: u32,
    /// One's complement difference of the addresses, which are in the pseudo-header (not folded below 32 bits).
    pub pseudo: u32,
    /// Ports before, as a word.
    pub old_ports: u32,
    /// Ports after, as a word.
    pub new_ports: u32,
    /// UDP: a checksum of zero is none and stays; a computed zero is written as 0xffff.
    pub is_udp: bool,
}

/// Bounds-checked access to one frame. Offsets count from its first byte. Nothing here panics:
/// what lies outside is `None` or `false`.
pub trait Packet {
    /// The EtherType, host order, of the frame without VLAN tag.
    fn ethertype(&self) -> u16;

    /// Where the network header begins: 14 on Ethernet, 0 on devices without a link header.
    fn network_offset(&self) -> u32;

    /// Length of the frame in bytes.
    fn length(&self) -> u32;

    /// The firewall mark (`skb->mark`); 0 is none.
    fn mark(&self) -> u32 {
        0
    }

    /// Notes that the packet is the host's to unwrap, if it is something wrapped.
    fn mark_tunneled(&mut self) {}

    /// Whether it was noted so, and now is what was inside.
    fn is_tunneled(&self) -> bool {
        false
    }

    /// Segments and bytes of payload in each, of a super-packet; `(1, 0)` of an ordinary packet.
    fn segments(&self) -> (u32, u32);

    /// `N` bytes at `offset`.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// `N` words at `offset`, in packet byte order.
    fn read_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]>;

    /// Overwrites `N` words at `offset`, in packet byte order. Says whether it could.
    fn write_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> bool;

    /// Overwrites `N` bytes at `offset`. Says whether it could.
    fn write<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool;

    /// Updates a TCP or UDP checksum. Where the checksum is still to be filled in by hardware, only
    /// the pseudo-header's part is there, and only that changes.
    fn change_checksum(&mut self, change: &ChecksumChange) -> bool;

    /// Puts `header` before the network header: an outer IPv4 (5 words) or IPv6 (10) header, and behind it none, one
    /// or two words of GRE, or three of UDP and GUE. The frame's EtherType becomes the outer one.
    fn encapsulate<const N: usize>(&mut self, header: &[u32; N]) -> bool;

    /// Puts `header`, `N` words, before the network header, as an ordinary packet's own.
    fn push<const N: usize>(&mut self, header: &[u32; N]) -> bool;

    /// Takes `length` bytes away before the inner network header, whose EtherType is `ethertype`.
    fn decapsulate(&mut self, length: u32, ethertype: u16) -> bool;

    /// Makes the frame `length` bytes long; what was there stays, what is new is undefined.
    fn resize(&mut self, length: u32) -> bool;

    /// Asks for the way to `destination` (`family` 4 or 6) of a packet that came in here. `hop.mtu`
    /// holds the packet's size when called; afterwards at least that if it fits, else what fits.
    fn route(&self, family: u32, destination: &[u32; 4], source: &[u32; 4], hop: &mut Hop) -> bool;

    /// Whether this program can send to the hop's interface. XDP can only where it runs itself: to a
    /// bridge, a VLAN or a device without XDP its frames would be lost.
    fn can_transmit(&self, _hop: &Hop) -> bool {
        true
    }

    /// Sends the packet to `hop`, which fills in the link addresses.
    fn transmit(&mut self, hop: &Hop) -> Action;

    /// The interface that the packet came in by.
    fn came_by(&self) -> u32 {
        0
    }

    /// Sends the packet to the daemon's device `ifindex`, with `ticket` in the place of its link addresses.
    fn detour(&mut self, ifindex: u32, ticket: &[u32; 3]) -> Action;
    /// Hands the packet to the host's own stack as what came in on the loopback interface: its source may be an
    /// address of the host, which the stack refuses from everywhere else.
    fn deliver(&mut self) -> Action {
        Action::Pass
    }

    /// Lets the packet, which the host itself sent, go on where it was going, switched as it is now.
    fn let_go(&mut self) -> Action {
        Action::Pass
    }

    /// Sends the packet back where it came from, link addresses exchanged.
    fn bounce(&mut self) -> Action;
}
