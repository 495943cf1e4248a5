//! The way to each real server: interface, gateway, MTU and hardware addresses, as the kernel's
//! routing and neighbour tables have them. XDP needs the hardware addresses, tc the rest.
//!
//! [`resolve`] asks once; a [`Keeper`] asks every second, and at once when the kernel says that
//! routes, links or neighbours changed; an [`Asker`] asks for who waits. All only read, but for one thing: a neighbour that is not
//! known, or not confirmed lately, is asked for (`NTF_USE`), because frames that XDP sends do not
//! pass the kernel's neighbour code, which would otherwise never notice that a server's hardware
//! address changed.
//!
//! It is not a routing table: an address has one way, the one that the kernel gives to a packet of
//! its own without marks, ports and device, in the main table or, for packets that come in by an
//! interface of a VRF, in the VRF's. It does not write to the data plane's maps either.

mod asker;
mod keeper;
mod lookup;

pub use asker::Asker;
pub use keeper::Keeper;
pub use lookup::{HopError, resolve, resolve_from};

use std::net::IpAddr;

/// The way to a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The output interface; that of the local route when the address is local.
    pub ifindex: u32,
    /// The gateway, when the server is not on the link. It may be of the other family.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel prefers on this way.
    pub source: Option<IpAddr>,
    /// The route's MTU, or else the device's, in bytes from the IP header on.
    pub mtu: u32,
    /// Whether the address is this host's own.
    pub local: bool,
    /// Destination and source as at the head of a frame; none while the neighbour is unknown, for
    /// local addresses and on devices without Ethernet addresses.
    pub macs: Option<[u8; 12]>,
}
