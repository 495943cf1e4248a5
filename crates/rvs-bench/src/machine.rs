//! The machine that is measured on: its name for the report, and the one CPU that does the work.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// CPU, cores and kernel, in one line.
pub(crate) fn description() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpus.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map_or("?", |(_, value)| value.trim())
            .to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} (family {} model {}, {} MHz), {} cores, Linux {}",
        field("model name"),
        field("cpu family"),
        field("model"),
        field("cpu MHz"),
        cores(),
        kernel.trim()
    )
}

/// Whether the kernel has IPVS, or a module of it, and ipvsadm is there.
pub(crate) fn has_ipvs() -> bool {
    let _ = Command::new("modprobe").arg("ip_vs").output();
    Command::new("ipvsadm")
        .arg("-Ln")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps the calling thread on the last core, before everybody else there: time that others take
/// would be counted as the director's.
pub(crate) fn pin() -> Result<usize> {
    let cpu = cores() - 1;
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on CPU {cpu}"))?;
    rustix::process::nice(-20).context("cannot go before others (nice)")?;
    Ok(cpu)
}
