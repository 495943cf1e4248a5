//! The director's decisions: what becomes of one packet.
//!
//! Everything here is a function of a packet ([`Packet`]) and of the tables ([`Tables`]); nothing
//! allocates, blocks, logs or panics. The same code runs in the kernel, bound to BPF contexts and
//! maps by `rvs-ebpf`, and natively over byte slices and memory, in tests and fuzzers.
//!
//! ```text
//! parse ─► find connection ─ found ─────────────────────────────┐
//!             └ none ─► find service ─ none ─► pass to the host │
//!                           └► schedule ─► new connection       │
//!                                               ▼               ▼
//!                                 state ─► count ─► forward: nat | tunnel | direct | local ─► verdict
//!         replies, ICMP errors and fragments enter at "find connection" by their own keys
//! ```
//!
//! [`director`] is the way itself. Each step is a method of [`Path`] whose default is the function
//! of the module named after it; the kernel overrides each by a global BPF function, so that the
//! verifier checks it once, on its own.
//!
//! Words that come from packets (addresses, ports) keep the packet's byte order, as a little-endian
//! machine loads them; everything else is in host order.

#![no_std]

pub mod bypass;
pub mod checksum;
pub mod connection;
pub mod crc32c;
pub mod decapsulate;
mod defend;
pub mod detour;
pub mod director;
pub mod express;
pub mod flow;
pub mod forward;
pub mod fragments;
pub mod ftp;
pub mod icmp;
pub mod intent;
pub mod ipsec;
pub mod packet;
pub mod parse;
pub mod path;
pub mod persist;
pub mod restore;
pub mod room;
pub mod schedule;
pub mod service;
pub mod sip;
pub mod state;
pub mod sweep;
pub mod tables;

pub use flow::{Direction, Flow};
pub use intent::Intent;
pub use packet::{Action, ChecksumChange, Hop, Packet};
pub use path::Path;
pub use tables::{NONE, Tables};
