//! What tests leave behind on this machine, found by the process id that every name of theirs contains.
//!
//! A test removes what it made. One that was killed cannot: a run sweeps, before it begins and after it, what belongs to
//! processes that are no more, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rvs_lab::Lab;

/// Where directors of tests pin what they load: `NAME-PID-NUMBER`.
const PINS: &str = "/sys/fs/bpf/rvs";
const NAMESPACES: &str = "/run/netns";
/// Namespaces are named `rvs-PID-NUMBER-HOST`, directories `rvs-lab-PID-NUMBER-...`.
const NAMESPACE_PREFIX: &str = "rvs-";
const DIRECTORY_PREFIX: &str = "rvs-lab-";

/// What a process that has ended left behind; it is removed.
pub(crate) fn of_process(pid: u32) -> Result<Vec<String>> {
    let left: Vec<String> = all()
        .into_iter()
        .filter(|left| left.owner == pid)
        .map(|left| left.path.display().to_string())
        .collect();
    if !left.is_empty() {
        sweep()?;
    }
    Ok(left)
}

/// Removes what processes left behind that are no more, and names it.
pub(crate) fn sweep() -> Result<Vec<String>> {
    let orphans: Vec<Left> = all().into_iter().filter(Left::is_orphan).collect();
    // Ends the processes in namespaces before it removes these, which pins may still need.
    Lab::sweep()?;
    for left in &orphans {
        if left.path.starts_with(PINS) {
            drop(fs::remove_dir_all(&left.path));
        }
    }
    Ok(orphans
        .into_iter()
        .map(|left| left.path.display().to_string())
        .collect())
}

/// One thing that a test made.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    path: PathBuf,
    owner: u32,
}

impl Left {
    fn is_orphan(&self) -> bool {
        !Path::new("/proc").join(self.owner.to_string()).exists()
    }
}

/// The process id in a name, if it is the name of something that a test made.
type OwnerOf = fn(&str) -> Option<u32>;

fn all() -> Vec<Left> {
    let temporary = std::env::temp_dir();
    let places: [(&Path, OwnerOf); 3] = [
        (Path::new(NAMESPACES), |name| {
            owner(name.strip_prefix(NAMESPACE_PREFIX)?)
        }),
        (&temporary, |name| {
            owner(name.strip_prefix(DIRECTORY_PREFIX)?)
        }),
        (Path::new(PINS), owner_of_pins),
    ];
    let mut all = Vec::new();
    for (place, owner) in places {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(owner) = name.to_str().and_then(owner) {
                let path = entry.path();
                // A lab that was kept on purpose, for a person to look at.
                if !path.join("kept").exists() {
                    all.push(Left { path, owner });
                }
            }
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

/// The process id in `PID-NUMBER-...`.
fn owner(rest: &str) -> Option<u32> {
    let mut parts = rest.splitn(3, '-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().map(|_| pid)
}

/// The process id in `NAME-PID-NUMBER`.
fn owner_of_pins(name: &str) -> Option<u32> {
    let mut parts = name.rsplitn(3, '-');
    parts.next()?.parse::<u32>().ok()?;
    let pid = parts.next()?.parse().ok()?;
    parts.next().map(|_| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_from_names_of_tests_only() {
        assert_eq!(owner("12-0-client"), Some(12));
        assert_eq!(owner_of_pins("test-12-3"), Some(12));
        assert_eq!(owner_of_pins("parity-4711-0"), Some(4711));
        for name in ["12-0", "x-0-client", "12-y-client", "", "lab-12-0-x"] {
            assert_eq!(owner(name), None, "{name}");
        }
        for name in ["default", "web-1", "12-3", "test-12-x"] {
            assert_eq!(owner_of_pins(name), None, "{name}");
        }
    }
}
