//! ICMP and ICMPv6: errors that concern a connection, and errors that the director sends itself.

mod answer;
mod follow;
mod quote;
mod schedule;
mod tunnel;

pub use answer::{answer, sum};
pub(crate) use follow::hops;
pub use follow::{READ, follow, mend, read_quoted, relay};
pub(crate) use schedule::schedule;
pub use tunnel::{lead, learn, read_tunneled, unfollowed};

/// Larger than the path takes; [`too_big`] adds the MTU.
pub const TOO_BIG: u32 = 1;
/// Time to live used up.
pub const TTL: u32 = 2;
/// Nobody serves this port.
pub const UNREACHABLE: u32 = 3;
/// As somebody else said: ICMP's type above bit 8, its code above bit 16.
pub const RELAYED: u32 = 4;
/// In what [`answer`] is told: the answer is not sent back where the packet came from, but by [`lead`].
pub const ROUTED: u32 = 0x80;
/// Such an answer was built.
pub const BUILT: u32 = 16;
/// In [`answer`]'s index: it is not a slot's but a server's.
pub const OF_SERVER: u32 = 1 << 31;

/// What [`answer`] is told: a kind, and for [`TOO_BIG`] the largest IP packet that would have fitted.
#[inline(always)]
pub const fn too_big(mtu: u32) -> u32 {
    TOO_BIG | mtu << 8
}
