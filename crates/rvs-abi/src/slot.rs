//! The connection table's slots: one cache line for IPv4, two for IPv6.
//!
//! A direct-routing, tunnel or local connection has one slot, found by what the client sends. A NAT
//! connection has two: the *request* slot, found by what the client sends, holds the connection's
//! state; the *reply* slot is found by what the server sends. Each names the other and holds what
//! its own direction writes into a packet. Who may write which word when is the business of
//! `rvs-table`; this file only says where the words are.

use crate::Word32;

/// The words that slots of both families begin with. All multi-byte fields that come from packets
/// keep the packet's byte order.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Head {
    /// State, generation and fingerprint (see `rvs_table::tag`).
    pub tag: Word32,
    /// Source and destination port of the packets that this slot matches, as they lie in the packet.
    pub ports: Word32,
    /// Protocol, role, level and forwarding method (see [`Link`]).
    pub link: Word32,
    /// Index of the other slot of a NAT connection, with its generation in [`Head::pair_generation`].
    pub pair: Word32,
    /// The generation that the pair had when this slot was written.
    pub pair_generation: Word32,
    /// Protocol state and flags (see [`State`]).
    pub state: Word32,
    /// Tick of the last packet; of a dead slot, tick of its death.
    pub stamp: Word32,
    /// Index of the real server.
    pub server: Word32,
    /// The ports that a NAT packet leaves with, as they lie in the packet.
    pub rewrite_ports: Word32,
    /// Packets seen in this direction since the slot was made, saturating at 2^32 - 1.
    pub packets: Word32,
    /// Index of the slot that controls this connection: its template, or its FTP control connection.
    pub control: Word32,
    /// The generation that the controlling slot had; [`NO_CONTROL`] where there is none.
    pub control_generation: Word32,
    /// How many connections name this slot in [`Head::control`].
    pub controlled: Word32,
}

/// A generation that no slot has.
pub const NO_CONTROL: u32 = u32::MAX;

/// A slot whose addresses have `N` words, padded by `PAD` words to a whole number of lines.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
#[repr(C)]
pub struct Slot<const N: usize, const PAD: usize> {
    /// What both families have.
    pub head: Head,
    /// Source address of the packets that this slot matches.
    pub source: [Word32; N],
    /// Destination address of the packets that this slot matches.
    pub destination: [Word32; N],
    /// NAT: the address that a request's destination, or a reply's source, becomes.
    pub rewrite: [Word32; N],
    spare: [Word32; PAD],
}

/// An IPv4 slot: 64 bytes.
pub type Slot4 = Slot<1, 0>;
/// An IPv6 slot: 128 bytes.
pub type Slot6 = Slot<4, 7>;

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot4>() == 64 && size_of::<Slot6>() == 128);

#[cfg(not(target_arch = "bpf"))]
impl<const N: usize, const PAD: usize> Default for Slot<N, PAD> {
    fn default() -> Self {
        let zeros = || core::array::from_fn(|_| Word32::new(0));
        Self {
            head: Head::default(),
            source: zeros(),
            destination: zeros(),
            rewrite: zeros(),
            spare: core::array::from_fn(|_| Word32::new(0)),
        }
    }
}

/// What a slot is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Packets from the client to the virtual service.
    Request = 0,
    /// Packets from the real server to the client (NAT only).
    Reply = 1,
}

/// The fields of [`Head::link`]: protocol in bits 0..8, role in 8..10, level in 10..12, method in 12..16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u32);

impl Link {
    /// Packs the fields. `level` says which of the key's windows holds the slot (0..4).
    #[inline(always)]
    pub fn new(protocol: u8, role: Role, level: u32, method: u32) -> Self {
        Self(u32::from(protocol) | (role as u32) << 8 | (level & 3) << 10 | (method & 15) << 12)
    }

    /// The IP protocol number.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        self.0 as u8
    }

    /// The role.
    #[inline(always)]
    pub fn role(self) -> Role {
        if self.0 & 1 << 8 == 0 {
            Role::Request
        } else {
            Role::Reply
        }
    }

    /// Which of the key's windows holds the slot.
    #[inline(always)]
    pub fn level(self) -> u32 {
        self.0 >> 10 & 3
    }

    /// In a method's number: there is no reply slot, whatever the method (templates).
    pub const SINGLE: u32 = 8;

    /// The forwarding method, a [`crate::Method`] as a number, with [`Link::SINGLE`] where that was set.
    #[inline(always)]
    pub fn method(self) -> u32 {
        self.0 >> 12 & 15
    }
}

/// The fields of [`Head::state`]: the protocol's state in bits 0..8, flags above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u32);

impl State {
    /// The connection is counted as inactive at its server (`IP_VS_CONN_F_INACTIVE`).
    pub const INACTIVE: u32 = 1 << 8;
    /// The director has seen no packet from the server (`IP_VS_CONN_F_NOOUTPUT`).
    pub const NO_OUTPUT: u32 = 1 << 9;

    /// The state's number, as on the sync wire.
    #[inline(always)]
    pub fn number(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// A persistence template (`IP_VS_CONN_F_TEMPLATE`).
    pub const TEMPLATE: u32 = 1 << 10;
    /// Of a template: some connection of it was established, or answered.
    pub const ASSURED: u32 = 1 << 11;
    /// The client's port is not known yet (`IP_VS_CONN_F_NO_CPORT`).
    pub const NO_CLIENT_PORT: u32 = 1 << 12;
    /// Sequence numbers are adjusted (`IP_VS_CONN_F_IN_SEQ`, `IP_VS_CONN_F_OUT_SEQ`).
    pub const SEQUENCE: u32 = 1 << 13;
    /// [`Head::control`] names a slot that controls this connection.
    pub const CONTROLLED: u32 = 1 << 14;
    /// An FTP control connection: what its packets say is read.
    pub const FTP: u32 = 1 << 16;
    /// The client is on the director itself: what is for it goes to the host's own stack.
    pub const LOCAL_CLIENT: u32 = 1 << 17;
    /// The connection was inserted as another table, or FTP's control connection, had it; no packet made it.
    pub const COPIED: u32 = 1 << 18;
    /// The flags of connections whose packets the express way leaves to the whole one. (The state of a connection
    /// that ended has every bit set.)
    pub const WHOLE_WAY: u32 = Self::LOCAL_CLIENT | Self::FTP | Self::SEQUENCE;

    /// The same flags with another state number.
    #[inline(always)]
    pub fn with_number(self, number: u32) -> Self {
        Self(self.0 & !0xff | number & 0xff)
    }
}
