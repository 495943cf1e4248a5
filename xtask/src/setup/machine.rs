//! Looking at this machine: programs, compilers, mounts. Changes nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::needs::{Machine, Place};
use super::toolchain::Toolchain;

/// Where programs and maps are pinned.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// This machine, as it was when looked at.
pub(crate) struct Here {
    toolchain: Toolchain,
    bpffs: bool,
}

impl Here {
    pub(crate) fn look() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            toolchain: Toolchain::find(),
            bpffs: is_bpffs(&mounts),
        }
    }
}

impl Machine for Here {
    fn place(&self, program: &str) -> Option<Place> {
        let unpacked = rvs_lab::unpacked_programs();
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Root's programs are not in everyone's PATH.
        let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        let is_there = |directory: PathBuf| is_program(&directory.join(program));
        if directories
            .filter(|directory| Some(directory) != unpacked.as_ref())
            .any(is_there)
        {
            return Some(Place::Machine);
        }
        unpacked.is_some_and(is_there).then_some(Place::Cache)
    }

    fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    fn bpffs(&self) -> bool {
        self.bpffs
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
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
        let here = Here::look();
        assert_eq!(here.place("sh"), Some(Place::Machine));
        assert_eq!(here.place("no-program-has-this-name"), None);
    }

    #[test]
    fn build_scripts_and_the_lab_look_into_one_cache() {
        let tools = crate::ebpf::tools().map(|tools| tools.join("programs/bin"));
        assert_eq!(tools, rvs_lab::unpacked_programs());
    }
}
