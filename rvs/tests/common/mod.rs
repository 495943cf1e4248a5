//! What the end-to-end tests share: a director that runs `rvs run` in a namespace, asked by the commands that a person
//! would type, and a cluster around it. What is expected of them is in the tests.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test program has a copy, and uses a part of it"
)]

mod cluster;
mod director;
mod fragments;

pub(crate) use cluster::{Cluster, Forward, TRAFFIC};
pub(crate) use director::{Director, RVS, table_sizes, text};
pub(crate) use fragments::fragments;

/// What a test returns.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Whether this runs in the emulated guest, where everything takes some twenty times as long.
pub(crate) fn in_guest() -> bool {
    std::env::var_os("RVS_IN_GUEST").is_some()
}
