//! What XDP knows of the interfaces that it runs on.

use crate::Word32;

/// Places for interfaces; a power of two. An interface's place is its index modulo this.
pub const DEVICES: u32 = 64;

/// The index of the loopback interface, in every network namespace. As a server's next hop it says that the
/// server is on the director itself.
pub const LOOPBACK: u32 = 1;

/// An interface: 16 bytes.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Device {
    /// Its index; 0 where the place is free.
    pub ifindex: Word32,
    /// Its address as it lies in a frame: first four bytes, last two.
    pub mac: [Word32; 2],
    zero: Word32,
}
