//! A virtual service as the kernel side sees it, and the keys by which packets find it.

use crate::{Word32, Word64};

macro_rules! schedulers {
    ($($name:ident = $number:literal, $help:literal;)*) => {
        /// Scheduling algorithms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Scheduler {
            $(#[doc = $help] $name = $number,)*
        }

        impl Scheduler {
            /// Every scheduler, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The scheduler with this number, if there is one.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

schedulers! {
    Rr = 0, "Round robin.";
    Wrr = 1, "Weighted round robin.";
    Lc = 2, "Least connections.";
    Wlc = 3, "Weighted least connections.";
    Dh = 4, "Destination hashing.";
    Sh = 5, "Source hashing.";
    Lblc = 6, "Locality-based least connections.";
    Lblcr = 7, "Locality-based least connections with replication.";
    Sed = 8, "Shortest expected delay.";
    Nq = 9, "Never queue.";
    Mh = 10, "Maglev hashing.";
    Fo = 11, "Weighted fail-over.";
    Ovf = 12, "Weighted overflow.";
    Twos = 13, "Power of two choices, weighted.";
    Unscheduled = 14, "None: no new connections.";
}

/// One virtual service: 320 bytes. Two lines that the packets of new connections read, one that they
/// write, and two of time-outs.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Service {
    /// The servers' region in the members array: see [`Region`].
    pub members: Word64,
    /// [`Service::IN_USE`] and others.
    pub flags: Word32,
    /// A [`Scheduler`] as a number.
    pub scheduler: Word32,
    /// wrr: greatest common divisor of the positive weights, at least 1.
    pub weight_step: Word32,
    /// wrr: where a round starts, the largest weight less the step plus 1; 0 while no weight is positive.
    pub weight_top: Word32,
    /// Address; IPv4 in the first word. Packet byte order. Of a service by firewall mark: the mark, in
    /// host order, in the first word.
    pub address: [Word32; 4],
    /// Port as it lies in a packet in bits 0..16, protocol in 16..24, IP version in 24..32. Port and
    /// protocol are 0 where the service is one of a firewall mark.
    pub key: Word32,
    /// Order in which services were added.
    pub sequence: Word32,
    /// Persistence: how long a template lives on after its last use, in ticks; 0 is no persistence.
    pub persistence: Word32,
    /// Persistence: IPv4, the mask in packet byte order; IPv6, the prefix's length in bits.
    pub netmask: Word32,
    /// Persistence engine: [`Service::NO_ENGINE`] or [`Service::SIP`].
    pub engine: Word32,
    /// mh: how many entries its table shall have; 0 is the director's usual number. How many a published
    /// table has is in its [`Region`].
    pub table_size: Word32,

    /// twos: the sum of all weights, low word.
    pub weight_sum: Word32,
    /// Seconds of persistence as they were asked for.
    pub persistence_seconds: Word32,
    /// twos: the sum of all weights, high word.
    pub weight_sum_high: Word32,
    /// lblc, lblcr: destination addresses that are remembered, as user space last counted them plus those
    /// that came since.
    pub localities: Word32,
    read_spare: [Word32; 12],

    /// Where the scheduler stands: position in bits 0..16, wrr's current weight in 32..64.
    pub cursor: Word64,
    written_spare: [Word32; 14],

    /// Idle time-outs in ticks, placed as in [`crate::Settings::timeouts`]; 0 is the director's.
    pub timeouts: [Word32; crate::TIMEOUTS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Service>() == 320);

impl Service {
    /// The index belongs to a service.
    pub const IN_USE: u32 = 1;
    /// Made from the configuration file, not at run time.
    pub const CONFIGURED: u32 = 8;
    /// One-packet scheduling: every datagram is scheduled anew and leaves no connection.
    pub const ONE_PACKET: u32 = 16;
    /// sh-fallback, mh-fallback (`IP_VS_SVC_F_SCHED1`).
    pub const FALLBACK: u32 = 32;
    /// sh-port, mh-port (`IP_VS_SVC_F_SCHED2`).
    pub const PORT: u32 = 64;
    /// flag-3 (`IP_VS_SVC_F_SCHED3`), which no scheduler uses.
    pub const FLAG3: u32 = 128;
    /// UDP flows of a removed server go to another at once.
    pub const MOVE_UDP: u32 = 256;
    /// Some of the service's own time-outs are set.
    pub const OWN_TIMEOUTS: u32 = 512;
    /// A firewall mark, not an address.
    pub const BY_MARK: u32 = 1024;
    /// Scheduling to the letter of IPVS, oddities included.
    pub const EXACT: u32 = 2048;
    /// flag-1 and flag-2 where the scheduler gives them no meaning are kept here.
    pub const FLAG1: u32 = 4096;
    /// See [`Service::FLAG1`].
    pub const FLAG2: u32 = 8192;

    /// No persistence engine.
    pub const NO_ENGINE: u32 = 0;
    /// The SIP engine: by Call-ID.
    pub const SIP: u32 = 1;
}

/// A service's region of the members array, as [`Service::members`] packs it: the list of servers, newest
/// first, and behind it the scheduler's table, if it has one, four entries a word, each the position of
/// a server in the list ([`Region::NOBODY`] where there is none). One word holds all of it, so that no reader
/// can take the size of one table for another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First member.
    pub offset: u32,
    /// How many members.
    pub length: u32,
    /// Entries of the table of dh, sh or mh behind them; 0 is no table.
    pub table: u32,
    /// Raised by one at each publication; wraps at 10 bits.
    pub version: u32,
}

impl Region {
    /// A table's entry that names nobody.
    pub const NOBODY: u16 = u16::MAX;
    /// The last place that a region may begin at.
    pub const OFFSET_MAX: u32 = (1 << 24) - 1;
    /// The most entries of a table.
    pub const TABLE_MAX: u32 = (1 << 18) - 1;

    /// Unpacks.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self {
            offset: word as u32 & Self::OFFSET_MAX,
            length: (word >> 24) as u32 & 0xfff,
            table: (word >> 36) as u32 & Self::TABLE_MAX,
            version: (word >> 54) as u32,
        }
    }

    /// Packs; each field is cut to its bits.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.offset & Self::OFFSET_MAX) as u64
            | (self.length as u64 & 0xfff) << 24
            | ((self.table & Self::TABLE_MAX) as u64) << 36
            | (self.version as u64) << 54
    }

    /// Words of the members array that it takes.
    pub const fn words(self) -> u32 {
        self.length + self.table.div_ceil(4)
    }
}

/// The key of the service index. Of a service by firewall mark: the mark, in host order, in the first
/// word of the address, with port and protocol 0. Port 0 is any port that has no service of its own.
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

/// The key of the address index, which tells whether packets of no service and no connection concern the director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AddressKey {
    /// Address; IPv4 in the first word, zeros behind. Packet byte order.
    pub address: [u32; 4],
    /// IP protocol number.
    pub protocol: u8,
    /// IP version.
    pub family: u8,
    /// A NAT server's port as it lies in a packet; 0 is the address alone.
    pub port: u16,
}

/// Values of the address index: bits.
pub mod address {
    /// The address of a virtual service of the protocol.
    pub const VIRTUAL: u32 = 1;
    /// The address of a NAT server of the protocol; with the port in the key, one that serves there.
    pub const NAT_SERVER: u32 = 2;
    /// At a real server: UDP packets to the key's port are GUE's.
    pub const GUE: u32 = 4;
    /// The bits that say what an address is.
    pub const BITS: u32 = 3;
    /// Where the key has a port: the server's index lies above this bit.
    pub const SERVER_SHIFT: u32 = 8;
}
