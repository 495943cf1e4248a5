//! What the director notes about fragmented packets: the first fragment shows the ports, the others
//! follow what it left.

/// What all fragments of one packet have in common. Packet byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address; IPv4 in the first word.
    pub source: [u32; 4],
    /// Destination address; IPv4 in the first word.
    pub destination: [u32; 4],
    /// Identification.
    pub identification: u32,
    /// Protocol in the low byte, IP version in the next.
    pub kind: u32,
}

impl FragmentKey {
    /// [`FragmentKey::kind`].
    #[inline(always)]
    pub const fn kind_of(protocol: u8, family: u8) -> u32 {
        protocol as u32 | (family as u32) << 8
    }
}

/// What became of a first fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentNote {
    /// The slot by which it was forwarded.
    pub index: u32,
    /// That slot's generation.
    pub generation: u32,
    /// Tick of the first fragment.
    pub stamp: u32,
    /// [`way`].
    pub way: u32,
}

/// How the first fragment went on.
pub mod way {
    /// From the client to the server.
    pub const REQUEST: u32 = 0;
    /// From a NAT server to the client.
    pub const REPLY: u32 = 1;
    /// From a direct-routing or tunnel server to the client.
    pub const RETURNING: u32 = 2;
    /// To the host.
    pub const PASS: u32 = 3;
}

/// Notes that are kept: the oldest make room.
pub const NOTES: u32 = 16 * 1024;
/// Seconds for which a note counts: as long as Linux waits for a packet's fragments (`ipfrag_time`).
pub const NOTE_SECONDS: u32 = 30;
