//! From what is wanted to what is: the director's intent, its changes at run time, and the API through which people
//! and programs see and change both.
//!
//! ```text
//!   file ──► source ─┐                                   ┌─► wire ─► api ─► unix socket
//!                    ├─► reconcile ─► director ─► forwarding (the data plane)
//!   API ─► requests ─┘                    └─► events, rates, metrics
//! ```
//!
//! One thread owns the data plane (`actor`); everybody else asks it, so that changes never overlap. Deciding what must
//! change is a pure function (`reconcile`). Not here: packets, maps and programs, which are the data plane's, and the
//! command line.

pub mod actor;
pub mod api;
pub mod client;
pub mod director;
pub mod events;
pub mod forwarding;
pub mod listener;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod metrics;
pub mod rates;
pub mod reconcile;
pub mod source;
pub mod wire;
