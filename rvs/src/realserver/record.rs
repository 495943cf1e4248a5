//! What `rvs realserver up` changed, on disk until `down` undid it. The file is under `/run`, so
//! that it lasts as long as the changes do: until the next boot.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rvs_config::Method;
use serde::{Deserialize, Serialize};

use super::plan::Change;

const DIRECTORY: &str = "/run/rvs";

/// What was asked for and what was changed for it, in that order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The form of this file.
    version: u32,
    pub(crate) method: Method,
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) device: Option<String>,
    pub(crate) changes: Vec<Change>,
}

impl Record {
    const VERSION: u32 = 1;

    pub(crate) fn new(method: Method, device: Option<String>) -> Self {
        Self {
            version: Self::VERSION,
            method,
            vips: Vec::new(),
            device,
            changes: Vec::new(),
        }
    }
}

/// The record's file, locked against others who would change this host at the same time.
pub(crate) struct Store {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// The record of this namespace.
    pub(crate) fn open() -> anyhow::Result<Self> {
        fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        let path = Path::new(DIRECTORY).join(format!("{}.json", namespace_name()?));
        // One for all namespaces, so that none is left behind with each.
        let lock_path = Path::new(DIRECTORY).join("realserver.lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot write {}", lock_path.display()))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", lock_path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// What was changed, if anything was.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Record>> {
        read(&self.path)
    }

    /// Replaces the file in one step.
    pub(crate) fn save(&self, record: &Record) -> anyhow::Result<()> {
        let describe = || format!("cannot write {}", self.path.display());
        let text = serde_json::to_vec_pretty(record).with_context(describe)?;
        let new = self.path.with_extension("new");
        fs::write(&new, text).with_context(describe)?;
        fs::rename(&new, &self.path).with_context(describe)
    }

    /// Nothing is changed any more.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The record of this namespace, only to look at.
pub(crate) fn peek() -> anyhow::Result<Option<Record>> {
    read(&Path::new(DIRECTORY).join(format!("{}.json", namespace_name()?)))
}

fn read(path: &Path) -> anyhow::Result<Option<Record>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let record: Record = serde_json::from_str(&text)
        .with_context(|| format!("{} is no record of `rvs realserver up`", path.display()))?;
    if record.version != Record::VERSION {
        bail!(
            "{}: written by another version of rvs (form {}, not {})",
            path.display(),
            record.version,
            Record::VERSION
        );
    }
    Ok(Some(record))
}

/// `realserver`, and in any namespace but the machine's first with its number.
fn namespace_name() -> anyhow::Result<String> {
    let number = |path: &str| fs::metadata(path).map(|data| data.ino());
    let own = number("/proc/thread-self/ns/net").context("cannot tell the network namespace")?;
    // Without rights to see it, process 1 is taken to be elsewhere.
    Ok(match number("/proc/1/ns/net") {
        Ok(first) if first == own => "realserver".to_owned(),
        Ok(_) | Err(_) => format!("realserver-{own}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realserver::sysctl::Key;

    #[test]
    fn records_are_read_back() -> anyhow::Result<()> {
        let mut record = Record::new(Method::Tunnel, Some("eth0".to_owned()));
        record.vips = vec![[10, 0, 0, 102].into()];
        record.changes = vec![
            Change::Sysctl {
                key: Key::ipv4("eth0.5", "arp_ignore"),
                from: 0,
                to: 1,
            },
            Change::Device {
                name: "tunl0".to_owned(),
            },
            Change::Up {
                device: "tunl0".to_owned(),
            },
            Change::Decapsulation {
                device: "eth0".to_owned(),
                vips: record.vips.clone(),
                before: Vec::new(),
            },
            Change::Address {
                vip: [10, 0, 0, 102].into(),
                device: "lo".to_owned(),
            },
        ];
        let text = serde_json::to_string(&record)?;
        assert_eq!(serde_json::from_str::<Record>(&text)?, record);
        Ok(())
    }
}
