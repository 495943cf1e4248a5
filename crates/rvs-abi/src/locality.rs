//! What lblc and lblcr remember: which servers a destination address went to.

use crate::Word32;

/// The key of a memory: a service, and a destination address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct LocalityKey {
    /// The service's index.
    pub service: u32,
    /// Address; IPv4 in the first word, zeros behind. Packet byte order.
    pub address: [u32; 4],
}

/// The most servers that lblcr remembers of an address.
pub const SERVERS: usize = 16;

/// The memory.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Locality {
    /// The tick when somebody last asked for the address.
    pub used: Word32,
    /// lblcr: the tick when a server last came or went.
    pub modified: Word32,
    /// Indexes of servers, each plus 1; 0 is none. lblc has the first only. lblcr's latest is the last.
    pub servers: [Word32; SERVERS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Locality>() == 72);

/// The most addresses that the director remembers, over all services.
pub const LOCALITIES: u32 = 256 * 1024;
/// Addresses of one service of which the daemon begins to forget those that were not asked for lately.
pub const MANY: u32 = 16 * 1024;
/// Addresses of one service beyond which none is remembered.
pub const TOO_MANY: u32 = MANY + MANY / 2;
