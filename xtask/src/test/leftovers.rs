//! Leftovers of tests on this machine. A test removes what it made; one that was killed cannot. So a run sweeps, before it
//! begins and after each test, what belongs to processes that are no more, and nothing else.

use anyhow::Result;
use rvs_lab::{KeptLabs, Leftover, Traces};

/// Places outside of labs in which programs under test leave things: directors pin what they load, `rvs realserver` pins its
/// program and keeps a record by network namespace.
const TRACES: Traces<'_> = Traces {
    by_owner: &["/sys/fs/bpf/rvs"],
    by_namespace: &[
        "/sys/fs/bpf/rvs-realserver/{}",
        "/run/rvs/realserver-{}.json",
    ],
};

/// Removes what a process that has ended left behind, and names it.
pub(crate) fn of_process(pid: u32) -> Result<Vec<String>> {
    remove(|left| left.owner == pid)
}

/// Removes what processes left behind that are no more, and names it.
pub(crate) fn sweep() -> Result<Vec<String>> {
    remove(|_| true)
}

fn remove(is_meant: impl Fn(&Leftover) -> bool) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for left in Leftover::find(TRACES, KeptLabs::Stay) {
        if is_meant(&left) {
            left.remove()?;
            names.push(left.path.display().to_string());
        }
    }
    Ok(names)
}
