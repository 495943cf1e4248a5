//! Leftovers of processes that were killed and so could not clear up: found by the process id in every name, and
//! removed. Nothing of a process that lives is touched, so that this may run while tests run.
//!
//! A process id is used again some day. So a lab's directory says in [`OWNER_FILE`] when its process began.

use crate::error::Result;
use crate::lab::{
    DIRECTORY_PREFIX, KEPT_MARK, NAMESPACE_PREFIX, NAMESPACES, names_in, remove_namespace,
};
use crate::program::{THIS_MACHINE, require_root};
use crate::wait::wait_until;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says when the process began that a lab's directory belongs to.
pub(crate) const OWNER_FILE: &str = "owner";

const REMOVAL_TIME: Duration = Duration::from_secs(5);

/// Places outside of labs where programs that run in them leave things. Whoever looks for leftovers knows these programs;
/// this crate does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traces<'a> {
    /// Directories whose entries are named `WORD-PID-NUMBER`, by the process that owns the lab.
    pub by_owner: &'a [&'a str],
    /// Paths with `{}` in the place of the number of the network namespace.
    pub by_namespace: &'a [&'a str],
}

/// Whether labs that were kept on purpose ([`crate::Lab::keep`]) are left over too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptLabs {
    /// They stay.
    Stay,
    /// They are as good as any other.
    Go,
}

/// Something that a process left behind which is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The id of that process.
    pub owner: u32,
    /// The file or directory; for a namespace the file that stands for it.
    pub path: PathBuf,
}

impl Leftover {
    /// All that processes left behind, sorted: first namespaces, then files and directories.
    pub fn find(traces: Traces<'_>, kept_labs: KeptLabs) -> Vec<Self> {
        let labs = LabDirectory::all();
        let kept: Vec<&LabDirectory> = match kept_labs {
            KeptLabs::Stay => labs.iter().filter(|lab| lab.kept.is_some()).collect(),
            KeptLabs::Go => Vec::new(),
        };
        let is_kept = |name: &str| {
            let mut prefixes = kept.iter().filter_map(|lab| lab.kept.as_deref());
            prefixes.any(|prefix| name.starts_with(prefix))
        };
        let mut found = Vec::new();
        let mut numbers = Vec::new();
        for name in names_in(Path::new(NAMESPACES)) {
            let Some(owner) = owner_of_namespace(&name).filter(|owner| !lives(*owner, &labs))
            else {
                continue;
            };
            if is_kept(&name) {
                continue;
            }
            let path = Path::new(NAMESPACES).join(name);
            numbers.extend(fs::metadata(&path).map(|data| (owner, data.ino())));
            found.push(Self { owner, path });
        }
        for (owner, number) in numbers {
            let places = traces.by_namespace.iter();
            let paths = places.map(|place| PathBuf::from(place.replace("{}", &number.to_string())));
            found.extend(
                paths
                    .filter(|path| path.exists())
                    .map(|path| Self { owner, path }),
            );
        }
        for place in traces.by_owner {
            let names = names_in(Path::new(place)).into_iter();
            found.extend(names.filter_map(|name| {
                let owner = owner_of_trace(&name).filter(|owner| {
                    // It does not say which lab it belongs to.
                    !lives(*owner, &labs) && kept.iter().all(|lab| lab.owner != *owner)
                })?;
                let path = Path::new(place).join(name);
                Some(Self { owner, path })
            }));
        }
        found.extend(labs.iter().filter_map(|lab| {
            let is_kept = kept.iter().any(|kept| kept.path == lab.path);
            (!lab.is_owned() && !is_kept).then(|| Self {
                owner: lab.owner,
                path: lab.path.clone(),
            })
        }));
        found
    }

    /// Removes it, and with a namespace the processes in it.
    pub fn remove(&self) -> Result<()> {
        require_root()?;
        if let Ok(name) = self.path.strip_prefix(NAMESPACES) {
            remove_namespace(&name.to_string_lossy());
        } else if self.path.is_dir() {
            drop(fs::remove_dir_all(&self.path));
        } else {
            drop(fs::remove_file(&self.path));
        }
        // Another process may be about to remove it, too.
        let what = format!("{THIS_MACHINE}: removal of {}", self.path.display());
        wait_until(&what, REMOVAL_TIME, || !self.path.exists())
    }
}

/// The content of [`OWNER_FILE`] for this process.
pub(crate) fn own_mark() -> String {
    beginning(std::process::id()).unwrap_or_default()
}

/// The directory of a lab.
#[derive(Debug)]
struct LabDirectory {
    path: PathBuf,
    owner: u32,
    /// When its process began, if it says so.
    mark: Option<String>,
    /// The prefix of its namespaces' names, if it was kept on purpose.
    kept: Option<String>,
}

impl LabDirectory {
    fn all() -> Vec<Self> {
        let parent = std::env::temp_dir();
        let names = names_in(&parent).into_iter();
        let directories = names.filter_map(|name| {
            let owner = owner_of_directory(&name)?;
            let path = parent.join(name);
            Some(Self {
                owner,
                mark: fs::read_to_string(path.join(OWNER_FILE)).ok(),
                kept: fs::read_to_string(path.join(KEPT_MARK))
                    .ok()
                    .filter(|prefix| !prefix.is_empty()),
                path,
            })
        });
        directories.collect()
    }

    /// Whether the process that made it lives.
    fn is_owned(&self) -> bool {
        let beginning = beginning(self.owner);
        beginning.is_some() && (self.mark.is_none() || self.mark == beginning)
    }
}

/// Whether a process lives, and is that which made the labs of its number.
fn lives(owner: u32, labs: &[LabDirectory]) -> bool {
    let mut own = labs.iter().filter(|lab| lab.owner == owner).peekable();
    if own.peek().is_none() {
        return beginning(owner).is_some();
    }
    own.any(LabDirectory::is_owned)
}

/// When a process that lives began, in words that no other process of its number has: boot and clock ticks since.
fn beginning(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // proc(5): the name, in brackets, may contain blanks; the state is the third field, the beginning the 22nd.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, ticks) = (fields.first()?, fields.get(19)?);
    (*state != "Z" && *state != "X").then(|| format!("{} {ticks}\n", boot.trim()))
}

/// The process id in `rvs-PID-NUMBER-HOST`.
fn owner_of_namespace(name: &str) -> Option<u32> {
    owner(name.strip_prefix(NAMESPACE_PREFIX)?)
}

/// The process id in `rvs-lab-PID-NUMBER-...`.
fn owner_of_directory(name: &str) -> Option<u32> {
    owner(name.strip_prefix(DIRECTORY_PREFIX)?)
}

fn owner(rest: &str) -> Option<u32> {
    let mut parts = rest.splitn(3, '-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().map(|_| pid)
}

/// The process id in `WORD-PID-NUMBER`; the word may have dashes.
fn owner_of_trace(name: &str) -> Option<u32> {
    let mut parts = name.rsplitn(3, '-');
    parts.next()?.parse::<u32>().ok()?;
    let pid = parts.next()?.parse().ok()?;
    parts.next().filter(|word| !word.is_empty()).map(|_| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_from_names_of_labs_only() {
        assert_eq!(owner_of_namespace("rvs-12-0-client"), Some(12));
        assert_eq!(owner_of_directory("rvs-lab-12-0-Xy3"), Some(12));
        assert_eq!(owner_of_trace("test-12-0"), Some(12));
        assert_eq!(owner_of_trace("collide-honest-12-3"), Some(12));
        for name in [
            "rvs-12-0",
            "rvs-x-0-client",
            "rvs-12-y-client",
            "rvs-lab-12-0-Xy3",
            "other-12-0-client",
            "rvs-",
            "",
        ] {
            assert_eq!(owner_of_namespace(name), None, "{name}");
        }
        for name in ["rvs-lab-test1", "rvs-lab-12-Xy", "rvs-12-0-client"] {
            assert_eq!(owner_of_directory(name), None, "{name}");
        }
        for name in ["default", "web-1", "12-3", "-12-3", "test-12-x", "test-12"] {
            assert_eq!(owner_of_trace(name), None, "{name}");
        }
    }

    #[test]
    fn a_process_is_known_by_when_it_began() {
        let own = std::process::id();
        let mut lab = LabDirectory {
            path: PathBuf::new(),
            owner: own,
            mark: Some(own_mark()),
            kept: None,
        };
        assert!(lab.is_owned());
        assert!(lives(own, &[]));
        // Another process had this one's number.
        lab.mark = Some("0 0\n".to_owned());
        assert!(!lab.is_owned());
        assert!(!lives(own, std::slice::from_ref(&lab)));
        lab.mark = None;
        assert!(lab.is_owned());

        let mut over = std::process::Command::new("true").spawn().expect("true");
        let pid = over.id();
        let waited = wait_until("its end", Duration::from_secs(20), || {
            beginning(pid).is_none()
        });
        // It is a zombie now, which owns nothing.
        waited.expect("an end");
        over.wait().expect("its status");
        assert_eq!(beginning(pid), None);
    }
}
