//! What must be so before the kernel is asked for anything: one clear line for each that is not.

use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use rustix::thread::CapabilitySet;
use rvs_config::Director;

/// The oldest kernel that has what the data plane needs.
const OLDEST: (u32, u32) = (6, 1);
/// The BPF file system's magic number (linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Refuses a machine on which the data plane cannot work.
pub(super) fn check(director: &Director) -> Result<(), PreflightError> {
    capabilities()?;
    kernel(&rustix::system::uname().release().to_string_lossy())?;
    let mounted = rustix::fs::statfs(&director.bpffs)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == BPF_FS_MAGIC));
    if !mounted {
        return Err(PreflightError::NoBpffs(director.bpffs.clone()));
    }
    let asker = socket(AddressFamily::UNIX, SocketType::DGRAM, None)
        .map_err(|errno| PreflightError::Interfaces(errno.into()))?;
    for interface in &director.interfaces {
        if netdevice::name_to_index(&asker, interface.as_str()).is_err() {
            return Err(PreflightError::NoInterface(interface.to_string()));
        }
    }
    Ok(())
}

fn capabilities() -> Result<(), PreflightError> {
    let effective = rustix::thread::capabilities(None)
        .map_err(|errno| PreflightError::Capabilities(errno.into()))?
        .effective;
    // SYS_ADMIN stands for both BPF and PERFMON.
    let bpf = effective.contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
        || effective.contains(CapabilitySet::SYS_ADMIN);
    let missing = match (bpf, effective.contains(CapabilitySet::NET_ADMIN)) {
        (true, true) => return Ok(()),
        (false, true) => "CAP_BPF and CAP_PERFMON",
        (true, false) => "CAP_NET_ADMIN",
        (false, false) => "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
    };
    Err(PreflightError::NotPrivileged(missing))
}

fn kernel(release: &str) -> Result<(), PreflightError> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => {
            Err(PreflightError::KernelTooOld(release.to_owned()))
        }
        // A kernel that hides its number may be new enough; the verifier will tell.
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// Why the data plane cannot work here.
#[derive(Debug, thiserror::Error)]
pub(super) enum PreflightError {
    #[error("no privileges: {0} missing (run as root)")]
    NotPrivileged(&'static str),
    #[error("cannot read the process's capabilities: {0}")]
    Capabilities(std::io::Error),
    #[error("Linux {0} is too old: {major}.{minor} or later is needed", major = OLDEST.0, minor = OLDEST.1)]
    KernelTooOld(String),
    #[error("no BPF file system at {path}: mount -t bpf bpf {path}", path = .0.display())]
    NoBpffs(PathBuf),
    #[error("cannot look for interfaces: {0}")]
    Interfaces(std::io::Error),
    #[error("the interface {0} does not exist")]
    NoInterface(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for release in ["6.1.0-13-amd64", "6.18", "7.0.0-rc1", "strange", ""] {
            assert!(kernel(release).is_ok(), "{release}");
        }
        for release in ["6.0.9", "5.15.0", "4.19"] {
            assert_eq!(
                kernel(release).expect_err(release).to_string(),
                format!("Linux {release} is too old: 6.1 or later is needed")
            );
        }
    }

    #[test]
    fn a_place_without_bpffs_is_named() {
        let mut director = Director::new("x".parse().expect("name"), Vec::new());
        director.bpffs = PathBuf::from("/proc");
        let error = check(&director).expect_err("no bpffs").to_string();
        assert!(
            error == "no BPF file system at /proc: mount -t bpf bpf /proc"
                || error.starts_with("no privileges"),
            "{error}"
        );
    }
}
