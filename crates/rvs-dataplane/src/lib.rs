//! The data plane as user space sees it: loads, attaches and pins the programs, gives typed access to
//! the maps, sweeps the connection table, and hands the state on from one process, one layout, one
//! table size to the next.
//!
//! The kernel holds the state: everything that this crate remembers can be read back from the maps
//! ([`Dataplane::open`] does, where a director is there already). It decides nothing about packets
//! (`rvs-core` does) and knows nothing of configuration files, sockets or users (`rvs-control` does).

mod addresses;
mod attach;
mod calls;
mod change;
mod coalesce;
mod connections;
mod dataplane;
pub mod decapsulation;
mod defence;
mod detour;
mod error;
pub mod hops;
mod kernel;
mod knobs;
mod links;
mod local;
mod localities;
mod object;
mod observe;
mod options;
mod programs;
mod publish;
mod regions;
mod rows;
mod rules;
mod shared;
mod state;
mod stats;
mod sweeper;
mod tables;
mod upgrade;
mod ways;
mod wire;

pub use dataplane::Dataplane;
pub use defence::Defences;
pub use error::{ChangeError, OpenError};
pub use links::unsuitable;
pub use object::{OBJECT, join_programs};
pub use state::{
    Adoption, Connection, InterfaceState, Origin, ServerState, ServiceState, Stats, TableState,
    Tick, Totals,
};
