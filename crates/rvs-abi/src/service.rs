//! A virtual service as the kernel side sees it, and the keys by which packets find it.

use crate::{Word32, Word64};

/// Scheduling algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Scheduler {
    /// Round robin.
    Rr = 0,
    /// Weighted round robin.
    Wrr = 1,
    /// Least connections.
    Lc = 2,
    /// Weighted least connections.
    Wlc = 3,
}

impl Scheduler {
    /// The scheduler with this number, if there is one.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Rr),
            1 => Some(Self::Wrr),
            2 => Some(Self::Lc),
            3 => Some(Self::Wlc),
            _ => None,
        }
    }
}

/// One virtual service: 128 bytes, a line that packets read and a line that they write.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Service {
    /// The servers' region in the members array: offset in bits 0..32, length in 32..48, version in 48..64.
    pub members: Word64,
    /// [`Service::IN_USE`] and others.
    pub flags: Word32,
    /// A [`Scheduler`] as a number.
    pub scheduler: Word32,
    /// wrr: greatest common divisor of the positive weights, at least 1.
    pub weight_step: Word32,
    /// wrr: where a round starts, the largest weight less the step plus 1; 0 while no weight is positive.
    pub weight_top: Word32,
    /// Address; IPv4 in the first word. Packet byte order.
    pub address: [Word32; 4],
    /// Port as it lies in a packet in bits 0..16, protocol in 16..24, IP version in 24..32.
    pub key: Word32,
    /// Order in which services were added.
    pub sequence: Word32,
    read_spare: [Word32; 4],

    /// Where the scheduler stands: position in bits 0..16, wrr's current weight in 32..64.
    pub cursor: Word64,
    written_spare: [Word32; 14],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Service>() == 128);

impl Service {
    /// The index belongs to a service.
    pub const IN_USE: u32 = 1;
    /// Made from the configuration file, not at run time.
    pub const CONFIGURED: u32 = 8;
}

/// A service's region of the members array, as [`Service::members`] packs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First member.
    pub offset: u32,
    /// How many.
    pub length: u32,
    /// Raised by one at each publication.
    pub version: u32,
}

impl Region {
    /// Unpacks.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self {
            offset: word as u32,
            length: (word >> 32) as u32 & 0xffff,
            version: (word >> 48) as u32,
        }
    }

    /// Packs; the version wraps at 16 bits.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        self.offset as u64 | (self.length as u64 & 0xffff) << 32 | (self.version as u64) << 48
    }
}

/// The key of the service index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// Address; IPv4 in the first word, zeros behind. Packet byte order.
    pub address: [u32; 4],
    /// Port as it lies in a packet.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// IP version.
    pub family: u8,
}

/// The key of the address index, which tells whether fragments concern the director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AddressKey {
    /// Address; IPv4 in the first word, zeros behind. Packet byte order.
    pub address: [u32; 4],
    /// IP protocol number.
    pub protocol: u8,
    /// IP version.
    pub family: u8,
    /// Zero.
    pub zero: u16,
}

/// Values of the address index: bits.
pub mod address {
    /// The address of a virtual service of the protocol.
    pub const VIRTUAL: u32 = 1;
    /// The address of a NAT server of the protocol.
    pub const NAT_SERVER: u32 = 2;
}
