//! RVS, the Rust Virtual Server.

#[expect(dead_code, reason = "no director is reached yet")]
mod ipvsadm;

fn main() {}
