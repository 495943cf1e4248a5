//! A real server as the kernel side sees it: a line that packets read, a line that they write, and
//! a line for tunnels and for user space.

use crate::Word32;

/// Forwarding methods; the numbers are those of `IP_VS_CONN_F_FWD_MASK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Method {
    /// Network address translation (masquerading).
    Nat = 0,
    /// Delivery to the director's own stack.
    Local = 1,
    /// IP-in-IP tunnelling.
    Tunnel = 2,
    /// Direct routing (gatewaying).
    Direct = 3,
    /// Cache bypass: on to the original destination.
    Bypass = 4,
}

/// How tunnelled packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Encapsulation {
    /// IP in IP (RFC 2003, RFC 2473).
    Ipip = 0,
    /// Generic UDP encapsulation (`IP_VS_CONN_F_TUNNEL_TYPE_GUE`).
    Gue = 1,
    /// Generic routing encapsulation (RFC 2784).
    Gre = 2,
}

impl Method {
    /// The method with this number, if there is one.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Nat),
            1 => Some(Self::Local),
            2 => Some(Self::Tunnel),
            3 => Some(Self::Direct),
            4 => Some(Self::Bypass),
            _ => None,
        }
    }
}

/// One real server of one service: 192 bytes, three lines.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Server {
    // The line that packets read.
    /// Address; IPv4 in the first word. Packet byte order.
    pub address: [Word32; 4],
    /// The neighbour that leads there: the server itself or a gateway. Packet byte order.
    pub hop_address: [Word32; 4],
    /// [`Server::IN_USE`] and others, method in bits 8..12, the method that
    /// was asked for in bits 12..16, hop family in bits 16..24.
    pub flags: Word32,
    /// Interface that leads there; 0 while no route is known.
    pub hop_ifindex: Word32,
    /// Largest IP packet that the route takes.
    pub hop_mtu: Word32,
    /// Tick until which `hop_macs` may be used without asking the kernel.
    pub hop_valid_until: Word32,
    /// Destination MAC, then source MAC, as they lie in a frame.
    pub hop_macs: [Word32; 3],
    /// Weight, 0..=2^31-1; 0 quiesces.
    pub weight: Word32,

    // The line that packets write.
    /// Connections in an active state.
    pub active: Word32,
    /// Connections in any other state.
    pub inactive: Word32,
    /// Number of the last full sweep that found a slot of this server.
    pub seen: Word32,
    /// Templates that name the server.
    pub persistent: Word32,
    /// 1 from the moment when all connections reach the upper threshold until they are few enough again.
    pub overloaded: Word32,
    written_spare: [Word32; 11],

    // The line for tunnels and user space.
    /// The director's own address towards the server: the outer source of tunnelled packets, and the
    /// source of what the director itself tells the server. Packet byte order.
    pub own_address: [Word32; 4],
    /// Index of the service.
    pub service: Word32,
    /// Port, as it lies in a packet, in the low half.
    pub port: Word32,
    /// Order in which the service's servers were added.
    pub sequence: Word32,
    /// Upper threshold of connections; 0 is none.
    pub upper: Word32,
    /// Lower threshold; 0 is three quarters of the upper one.
    pub lower: Word32,
    /// [`Encapsulation`] in bits 0..8, [`Server::CHECKSUM`] and [`Server::REMOTE_CHECKSUM`] in 8..16, GUE's port as
    /// it lies in a packet in 16..32.
    pub tunnel: Word32,
    /// mh: the last weight that was not 0.
    pub last_weight: Word32,
    /// Tunnels: the largest packet that the whole path takes, as a router said; 0 is no such word.
    pub path_mtu: Word32,
    /// Tick until which `path_mtu` counts.
    pub path_mtu_until: Word32,
    /// Tunnels: the largest IP packet that the route takes, where `hop_mtu` is the path's.
    pub route_mtu: Word32,
    cold_spare: [Word32; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Server>() == 192);

impl Server {
    /// The index belongs to a server.
    pub const IN_USE: u32 = 1;
    /// The server was removed; connections that still name it go with their next packet.
    pub const REMOVED: u32 = 2;
    /// The addresses are IPv6.
    pub const V6: u32 = 4;
    /// Made from the configuration file, not at run time.
    pub const CONFIGURED: u32 = 8;
    /// `hop_macs` hold the neighbour's address, good until `hop_valid_until`.
    pub const HOP_KNOWN: u32 = 16;

    /// The service has time-outs of its own.
    pub const OWN_TIMEOUTS: u32 = 32;
    /// The server has an upper threshold.
    pub const CAPPED: u32 = 64;

    /// In [`Server::tunnel`]: the outer checksum is filled in.
    pub const CHECKSUM: u32 = 1 << 8;
    /// In [`Server::tunnel`]: GUE's remote checksum offload.
    pub const REMOTE_CHECKSUM: u32 = 2 << 8;

    /// Whether the flags are those of a server that is there: the index belongs to one, and it was not removed.
    #[inline(always)]
    pub const fn is_there(flags: u32) -> bool {
        flags & (Self::IN_USE | Self::REMOVED) == Self::IN_USE
    }

    /// The method that the flags hold.
    #[inline(always)]
    pub fn method_of(flags: u32) -> Option<Method> {
        Method::from_number(flags >> 8 & 15)
    }

    /// Flags with the method written into them.
    #[inline(always)]
    pub const fn with_method(flags: u32, method: Method) -> u32 {
        flags & !(15 << 8) | (method as u32) << 8
    }
}

/// What one CPU counted of one server; user space adds the CPUs up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct ServerStats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients (segments, where the kernel hands over many in one).
    pub packets_in: u64,
    /// Packets from the server.
    pub packets_out: u64,
    /// IP bytes from clients.
    pub bytes_in: u64,
    /// IP bytes from the server.
    pub bytes_out: u64,
}
