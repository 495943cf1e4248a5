//! What was decided about a new connection, before it is made.

use rvs_abi::slot::NO_CONTROL;

use crate::NONE;

/// Filled step by step by [`crate::director`]'s way for newcomers; flat, and in memory of the caller's choice,
/// so that one BPF function can hand it to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Intent {
    /// The service; [`NONE`] of a connection that was expected.
    pub service: u32,
    /// The server.
    pub server: u32,
    /// The server's port as it lies in a packet; 0 is the server's own, or else the packet's.
    pub server_port: u32,
    /// The slot that will control the connection.
    pub control: u32,
    /// That slot's generation, or [`NO_CONTROL`].
    pub control_generation: u32,
    /// Bits of [`rvs_abi::slot::State`] that the connection begins with beside those of its protocol.
    pub state: u32,
    /// The firewall mark of the packet, or that a match rule gives it.
    pub mark: u32,
    /// The request slot of the connection that was made; [`NONE`] where the packet is forwarded without one.
    pub slot: u32,
}

impl Intent {
    /// Nothing is decided.
    pub const NEW: Self = Self {
        service: NONE,
        server: NONE,
        server_port: 0,
        control: NONE,
        control_generation: NO_CONTROL,
        state: 0,
        mark: 0,
        slot: NONE,
    };
}
