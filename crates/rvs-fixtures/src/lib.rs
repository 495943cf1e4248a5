//! What the data path's tests share: the core over plain memory, and a table of named packet cases
//! that every engine runs (the core natively, the tc and XDP programs by `BPF_PROG_TEST_RUN`).
//!
//! - [`Native`] is a packet ([`Frame`]) on its way through tables in memory ([`Memory`]).
//! - [`World`] describes a director's tables as data; [`place`] the network around it.
//! - [`Recipe`] describes a packet; its bytes, with every checksum whole, come from etherparse, never
//!   from the code under test.
//! - [`cases()`] is the table; [`check`] runs one case on one [`Engine`].
//! - [`fuzz`] holds the bodies of the fuzz targets, so that an ordinary test can replay their corpus.
//!
//! For tests only: it panics where a test would.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be built is a failed test"
)]

pub mod case;
mod cases;
mod frame;
pub mod fuzz;
mod memory;
mod native;
pub mod place;
mod play;
mod recipe;
mod world;

pub use case::{Case, Engine, Expected, Input, Moved, Outcome, Step, Verdict, check};
pub use cases::cases;
pub use frame::{Frame, Sent};
pub use memory::Memory;
pub use native::{Mode, Native, NativeEngine};
pub use play::SECOND;
pub use recipe::{GUE_PORT, Outer, Recipe, Tcp, ip_bytes};
pub use world::{Edit, Hops, RuleSpec, ServerSpec, ServiceSpec, Surroundings, World};
