//! Looking at this machine: installed packages, programs, mounts. Changes nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::needs::{self, Machine, Package, Probe};
use super::toolchain::Toolchain;
use crate::process::answer;

/// Where programs and maps are pinned.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// This machine, as it was when looked at.
pub(crate) struct Here {
    installed: BTreeSet<String>,
    toolchain: Toolchain,
    bpffs: bool,
}

impl Here {
    pub(crate) fn look() -> Self {
        let status = ["-W", "-f", "${Package} ${db:Status-Status}\\n"];
        let installed =
            parse_installed(&answer(Command::new("dpkg-query").args(status)).unwrap_or_default());
        let debian = needs::COMPILER
            .iter()
            .all(|package| installed.contains(package.name));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            toolchain: Toolchain::find(debian),
            bpffs: is_bpffs(&mounts),
            installed,
        }
    }
}

impl Machine for Here {
    fn has(&self, package: &Package) -> bool {
        match package.probe {
            Probe::Program(program) => in_path(program).is_some(),
            Probe::Installed => self.installed(package.name),
        }
    }

    fn installed(&self, name: &str) -> bool {
        self.installed.contains(name)
    }

    fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    fn bpffs(&self) -> bool {
        self.bpffs
    }
}

/// A program of this name in PATH, or where root's programs are, which is not in everyone's PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories
        .map(|directory| directory.join(program))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn parse_installed(dpkg: &str) -> BTreeSet<String> {
    dpkg.lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

/// Is the last thing mounted at the place of pins a bpf file system?
fn is_bpffs(mounts: &str) -> bool {
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == BPFFS).then(|| words.next())?
    });
    kinds.next_back() == Some("bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_installations_count() {
        let installed = parse_installed(
            "curl installed\nwrk config-files\nnft not-installed\nxz-utils half-installed\n\n",
        );
        assert_eq!(installed.into_iter().collect::<Vec<_>>(), ["curl"]);
    }

    #[test]
    fn the_last_mount_decides() {
        assert!(is_bpffs(
            "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"
        ));
        assert!(is_bpffs(
            "t /sys/fs/bpf tmpfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"
        ));
        assert!(!is_bpffs(
            "bpf /sys/fs/bpf bpf rw 0 0\nt /sys/fs/bpf tmpfs rw 0 0\n"
        ));
        assert!(!is_bpffs(
            "bpf /mnt bpf rw 0 0\nsys /sys sysfs rw 0 0\nodd\n"
        ));
    }

    #[test]
    fn programs_are_found_and_others_are_not() {
        assert!(in_path("sh").is_some());
        assert_eq!(in_path("no-program-has-this-name"), None);
    }
}
