//! What this kernel and this host have, asked before anything is touched.

use std::{fs, io, path::Path};

use rustix::{fs::statfs, net::netdevice, system::uname};

use crate::OpenError;

/// `f_type` of a BPF file system.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// The oldest kernel.
const OLDEST: (u32, u32) = (6, 1);
/// The first kernel with tcx links.
const TCX: (u32, u32) = (6, 6);

/// CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// Checks privileges, kernel and the BPF file system at `bpffs`.
pub(crate) fn check(bpffs: &Path) -> Result<(), OpenError> {
    if !privileged() {
        return Err(OpenError::NotPrivileged);
    }
    if version() < OLDEST {
        return Err(OpenError::KernelTooOld {
            found: uname().release().to_string_lossy().into_owned(),
        });
    }
    match statfs(bpffs) {
        Ok(found) if found.f_type == BPF_FS_MAGIC => Ok(()),
        _ => Err(OpenError::NoBpffs {
            path: bpffs.to_owned(),
        }),
    }
}

/// Whether tc programs are attached by links (tcx), or by clsact filters.
pub(crate) fn has_tcx() -> bool {
    version() >= TCX
}

/// The index of the interface called `name` in this network namespace.
pub(crate) fn ifindex(name: &str) -> Result<u32, OpenError> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .map_err(|error| OpenError::kernel("socket", error))?;
    netdevice::name_to_index(&socket, name).map_err(|_| OpenError::NoInterface(name.to_owned()))
}

/// Writes a setting of this network namespace.
pub(crate) fn write_sysctl(name: &str, value: &str) -> Result<(), OpenError> {
    let path = Path::new("/proc/sys").join(name);
    if fs::read_to_string(&path).is_ok_and(|old| old.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value)
        .map_err(|error| OpenError::kernel(format!("writing {value} to {}", path.display()), error))
}

fn version() -> (u32, u32) {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn privileged() -> bool {
    let effective = || -> io::Result<u64> {
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Ok(line
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0))
    };
    effective().is_ok_and(|found| found & CAPABILITIES == CAPABILITIES)
}
