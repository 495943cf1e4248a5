//! A lab: the owner of namespaces, links, processes and files, and the one who clears them away.
//! It knows nothing of what the hosts are for; see [`crate::Topology`] for that.

use crate::error::{Context as _, Result};
use crate::evidence;
use crate::host::Host;
use crate::leftovers::{KeptLabs, Leftover, OWNER_FILE, Traces, own_mark};
use crate::link::{Link, Switch};
use crate::program::{THIS_MACHINE, ip, require_program, require_root};
use crate::tap::Tap;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where `ip netns` keeps the files that stand for namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";
/// Set for every program that runs on a host, so that it can be found again.
pub(crate) const NAMESPACE_VARIABLE: &str = "RVS_LAB_NAMESPACE";
pub(crate) const NAMESPACE_PREFIX: &str = "rvs-";
pub(crate) const DIRECTORY_PREFIX: &str = "rvs-lab-";
pub(crate) const KEPT_MARK: &str = "kept";

/// A set of hosts and switches on this machine. Dropping it kills what runs in them and deletes
/// them.
///
/// Names are unique per lab (`rvs-<pid>-<n>-<host>`), so labs can live side by side.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
}

/// What hosts, links and services of one lab know in common.
#[derive(Debug)]
pub(crate) struct Shared {
    prefix: String,
    directory: PathBuf,
    kept: AtomicBool,
    namespaces: Mutex<Vec<String>>,
    links: Mutex<Vec<Link>>,
    files: AtomicU32,
    /// The directory for evidence, if there is one, and the traffic to write there.
    evidence: Option<PathBuf>,
    taps: Mutex<Vec<Tap>>,
}

/// What [`Lab::keep`] left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The namespaces' names, for `ip netns exec NAME ...`.
    pub namespaces: Vec<String>,
    /// Logs, configurations and files of the lab.
    pub directory: PathBuf,
}

impl Lab {
    /// A new, empty lab. Needs root, `ip` and `nsenter`.
    pub fn new() -> Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        require_root()?;
        require_program("ip")?;
        require_program("nsenter")?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{NAMESPACE_PREFIX}{}-{number}-", std::process::id());
        let directory = tempfile::Builder::new()
            .prefix(&format!(
                "{DIRECTORY_PREFIX}{}-{number}-",
                std::process::id()
            ))
            .tempdir()
            .at(THIS_MACHINE, || {
                "cannot make a temporary directory".to_owned()
            })?
            .keep();
        let mark = directory.join(OWNER_FILE);
        fs::write(&mark, own_mark())
            .at(THIS_MACHINE, || format!("cannot write {}", mark.display()))?;
        let shared = Arc::new(Shared {
            evidence: evidence::directory(&prefix),
            prefix,
            directory,
            kept: AtomicBool::new(false),
            namespaces: Mutex::default(),
            links: Mutex::default(),
            files: AtomicU32::new(0),
            taps: Mutex::default(),
        });
        evidence::register(Arc::downgrade(&shared));
        Ok(Self { shared })
    }

    /// Makes a host: a namespace with loopback up and predictable sysctls (no duplicate address
    /// detection, no router solicitations, no reverse path filter).
    pub fn host(&self, name: &str) -> Result<Host> {
        let namespace = format!("{}{name}", self.shared.prefix);
        ip(&["netns", "add", &namespace])?;
        lock(&self.shared.namespaces).push(namespace.clone());
        let host = Host::new(Arc::clone(&self.shared), name, &namespace);
        if self.shared.evidence.is_some() {
            lock(&self.shared.taps).push(Tap::open(name, &namespace)?);
        }
        host.prepare()?;
        Ok(host)
    }

    /// Makes a switch: a bridge in a namespace of its own.
    pub fn switch(&self, name: &str) -> Result<Switch> {
        Switch::new(self.host(name)?)
    }

    /// Joins two hosts by a veth pair, both ends up.
    pub fn link(&self, a: &Host, a_ifname: &str, b: &Host, b_ifname: &str) -> Result<Link> {
        Link::new(a, a_ifname, b, b_ifname)
    }

    /// The lab's directory for logs, configurations and files.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// What every namespace's name of this lab starts with.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Leaves namespaces, processes and files as they are and says where. Services that are
    /// threads of this process ([`crate::UdpEcho`] and the like) end with it nevertheless.
    pub fn keep(self) -> Result<Kept> {
        let mark = self.shared.directory.join(KEPT_MARK);
        fs::write(&mark, &self.shared.prefix)
            .at(THIS_MACHINE, || format!("cannot write {}", mark.display()))?;
        self.shared.kept.store(true, Ordering::SeqCst);
        Ok(Kept {
            namespaces: lock(&self.shared.namespaces).clone(),
            directory: self.shared.directory.clone(),
        })
    }

    /// Removes what labs of processes that are no more left behind, except what [`Lab::keep`]
    /// left on purpose. Returns the names of the namespaces removed.
    pub fn sweep() -> Result<Vec<String>> {
        sweep(KeptLabs::Stay)
    }

    /// Like [`Lab::sweep`], and the kept ones too.
    pub fn sweep_kept() -> Result<Vec<String>> {
        sweep(KeptLabs::Go)
    }
}

fn sweep(kept_labs: KeptLabs) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for leftover in Leftover::find(Traces::default(), kept_labs) {
        leftover.remove()?;
        if let Ok(namespace) = leftover.path.strip_prefix(NAMESPACES) {
            removed.push(namespace.to_string_lossy().into_owned());
        }
    }
    Ok(removed)
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.shared.kept.load(Ordering::SeqCst) {
            return;
        }
        self.shared.leave_evidence();
        for namespace in lock(&self.shared.namespaces).drain(..) {
            remove_namespace(&namespace);
        }
        lock(&self.shared.links).clear();
        // A test that fails must still find the logs, so they stay then, unless they are with the evidence.
        if self.shared.evidence.is_some() || !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.shared.directory));
        }
    }
}

impl Shared {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes evidence, if any is wanted. Traffic that was written once is not written again.
    pub(crate) fn leave_evidence(&self) {
        let Some(place) = &self.evidence else {
            return;
        };
        let taps = std::mem::take(&mut *lock(&self.taps));
        if let Err(error) = evidence::write(place, &self.prefix, &self.directory, taps) {
            eprintln!("{error}");
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::SeqCst)
    }

    /// A file name in the lab's directory that nobody else has.
    pub(crate) fn new_file(&self, stem: &str, extension: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{stem}-{number}.{extension}"))
    }

    pub(crate) fn add_link(&self, link: Link) {
        lock(&self.links).push(link);
    }

    pub(crate) fn find_link(&self, namespace: &str, ifname: &str) -> Option<Link> {
        lock(&self.links)
            .iter()
            .find(|link| link.has_end(namespace, ifname))
            .cloned()
    }
}

/// Locks whatever another thread's panic may have done: all data here is valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills what runs in a namespace and deletes it. Errors cannot be helped: this runs while
/// clearing up, and what is left is found by the next sweep.
pub(crate) fn remove_namespace(namespace: &str) {
    for pid in inhabitants(namespace) {
        let _ = kill_process(pid, Signal::KILL);
    }
    drop(ip(&["netns", "del", namespace]));
}

/// The processes of a namespace: those in it, and those started for it that have not entered it
/// yet, which their environment shows.
fn inhabitants(namespace: &str) -> Vec<Pid> {
    let own = std::process::id().to_string();
    let mark = format!("{NAMESPACE_VARIABLE}={namespace}");
    let identity = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let place = identity(&Path::new(NAMESPACES).join(namespace));
    names_in(Path::new("/proc"))
        .into_iter()
        .filter(|name| *name != own)
        .filter_map(|name| {
            let pid = Pid::from_raw(name.parse().ok()?)?;
            let process = Path::new("/proc").join(&name);
            let is_inside = place.is_some() && identity(&process.join("ns/net")) == place;
            let environment = || fs::read(process.join("environ")).unwrap_or_default();
            let is_marked = || {
                environment()
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            };
            (is_inside || is_marked()).then_some(pid)
        })
        .collect()
}

/// The names in a directory, sorted; none if it cannot be read.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
