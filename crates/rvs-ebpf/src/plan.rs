//! What user space tells the feeding programs of `bench.rs`. This file is part of both, so it uses
//! the language only.
//!
//! A plan is [`WORDS`] words: the generator's state, how many flows there are, and the frame that every
//! packet begins as. Flow `i` has a source address and a source port of its own.

/// Words of a plan.
pub const WORDS: usize = 20;
/// Where the generator stands; in sequence, the next flow.
pub const STATE: usize = 0;
/// Flows to choose from at random; 0 takes each flow once, in sequence.
pub const FLOWS: usize = 1;
/// Where the frame begins.
pub const FRAME: usize = 4;

/// Bytes of the frame that are written for each packet.
pub const FRAME_BYTES: usize = 60;
/// Where the complement of the source port is written, so that sums over the packet stay what they are.
pub const BALANCE: usize = 42;
/// The first flow's source address, host order: 10.64.0.0.
pub const FIRST_SOURCE: u32 = 0x0a40_0000;
/// The first flow's source port.
pub const FIRST_PORT: u32 = 1024;
/// Source ports that a source address uses, as a power of two.
pub const PORT_BITS: u32 = 14;
