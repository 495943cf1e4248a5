//! Which compiler and linker could build the eBPF programs. Finding them only; building is elsewhere.
//!
//! Two compilers serve: Debian's rustc-web, which brings a core library for eBPF, and a rustup nightly
//! with rust-src. Both hand LLVM bitcode to bpf-linker, whose LLVM must be able to read it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::needs::LINKER_VERSION;
use crate::ebpf;
use crate::process::answer;

/// The path of Debian's clippy, if it is installed.
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Toolchain {
    /// The LLVM version of Debian's compiler, when that is there.
    pub(crate) debian_llvm: Option<u32>,
    /// Whether the clippy of that compiler is there.
    pub(crate) debian_clippy: bool,
    /// The LLVM version of the rustup nightly, when that is installed with rust-src.
    pub(crate) nightly_llvm: Option<u32>,
    pub(crate) linker: Linker,
}

/// The bpf-linker that a build would find.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Linker {
    Absent,
    /// There, but it does not start.
    Broken {
        reason: String,
    },
    /// There, and linked with this LLVM (unknown when linked statically).
    Runs {
        version: String,
        llvm: Option<u32>,
    },
}

impl Toolchain {
    /// Looks at this machine.
    pub(crate) fn find() -> Self {
        Self {
            debian_llvm: ebpf::debian_compiler().and_then(|rustc| llvm_version(&rustc)),
            debian_clippy: debian_clippy().is_some(),
            nightly_llvm: nightly_llvm(),
            linker: Linker::find(),
        }
    }
}

impl Linker {
    /// The one that a build takes.
    fn find() -> Self {
        let Some(program) = ebpf::find_linker() else {
            return Self::Absent;
        };
        let reason = |text: String| {
            format!(
                "{}: {}",
                program.display(),
                text.lines().next().unwrap_or("no reason given").trim()
            )
        };
        match Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
        {
            Err(error) => Self::Broken {
                reason: reason(error.to_string()),
            },
            Ok(output) if !output.status.success() => Self::Broken {
                reason: reason(String::from_utf8_lossy(&output.stderr).into_owned()),
            },
            Ok(output) => {
                let version = String::from_utf8_lossy(&output.stdout);
                let version = version
                    .split_whitespace()
                    .nth(1)
                    .unwrap_or("of unknown version")
                    .to_owned();
                // In the cache the program is a script that starts this.
                let started = program
                    .parent()
                    .map(|bin| bin.join("../libexec/bpf-linker"));
                let file = started.filter(|file| file.is_file()).unwrap_or(program);
                let libraries = answer(Command::new("ldd").arg(file)).unwrap_or_default();
                Self::Runs {
                    version,
                    llvm: llvm_of_libraries(&libraries),
                }
            }
        }
    }

    /// Is it the version the project is built with, for this LLVM?
    pub(crate) fn is_ours_for(&self, llvm: u32) -> bool {
        matches!(self, Self::Runs { version, llvm: own } if version == LINKER_VERSION && own.is_none_or(|own| own == llvm))
    }

    /// Can it read what a compiler with this LLVM writes? An older LLVM cannot.
    pub(crate) fn reads(&self, llvm: u32) -> bool {
        matches!(self, Self::Runs { llvm: own, .. } if own.is_none_or(|own| own >= llvm))
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "none found"),
            Self::Broken { reason } => write!(f, "the one found does not start: {reason}"),
            Self::Runs {
                version,
                llvm: Some(llvm),
            } => write!(f, "found {version} for LLVM {llvm}"),
            Self::Runs {
                version,
                llvm: None,
            } => write!(f, "found {version}"),
        }
    }
}

/// The library of LLVM that Debian's compiler uses. `libraries` are the cache's, as `LD_LIBRARY_PATH`.
pub(crate) fn llvm_library(libraries: &str) -> Option<PathBuf> {
    let rustc = ebpf::debian_compiler()?;
    // In the cache it is a script.
    let started = rustc.parent().map(|bin| bin.join("../tree/usr/bin/rustc"));
    let file = started.filter(|file| file.is_file()).unwrap_or(rustc);
    let mut ldd = Command::new("ldd");
    library_of_libraries(&answer(ldd.env("LD_LIBRARY_PATH", libraries).arg(file))?)
}

/// Debian's clippy, if it starts: it needs the very version of the compiler's library.
pub(crate) fn debian_clippy() -> Option<PathBuf> {
    let unpacked = ebpf::tools().map(|tools| tools.join("compiler/bin/clippy-driver"));
    let starts = |clippy: &PathBuf| {
        answer(
            Command::new(clippy)
                .arg("--version")
                .env_remove("LD_LIBRARY_PATH"),
        )
        .is_some()
    };
    unpacked
        .into_iter()
        .chain([PathBuf::from(DEBIAN_CLIPPY)])
        .find(starts)
}

fn llvm_version(rustc: &Path) -> Option<u32> {
    // `cargo run` sets LD_LIBRARY_PATH to the libraries of another compiler.
    llvm_of_rustc(&answer(
        Command::new(rustc).arg("-vV").env_remove("LD_LIBRARY_PATH"),
    )?)
}

fn nightly_llvm() -> Option<u32> {
    // Without `rustup run`, which may set out to install a toolchain that is missing.
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".rustup")))?;
    let mut toolchains: Vec<_> = std::fs::read_dir(home.join("toolchains"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    toolchains.sort();
    // The plain nightly: the one that `cargo +nightly` means.
    let is_plain = |path: &PathBuf| {
        let rest = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("nightly-"));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let nightly = toolchains.into_iter().find(is_plain)?;
    if !nightly.join("lib/rustlib/src/rust/library/core").is_dir() {
        return None;
    }
    llvm_version(&nightly.join("bin/rustc"))
}

/// The major version in the line "LLVM version: 22.1.8" of `rustc -vV`.
fn llvm_of_rustc(verbose_version: &str) -> Option<u32> {
    let version = verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version:"))?;
    version.trim().split('.').next()?.parse().ok()
}

/// The path in the line "libLLVM.so.22.1 => /path/libLLVM.so.22.1 (0x1)" of `ldd`.
fn library_of_libraries(ldd: &str) -> Option<PathBuf> {
    let line = ldd
        .lines()
        .find(|line| line.trim_start().starts_with("libLLVM"))?;
    let path = line.split_once("=> ")?.1.split(" (").next()?;
    path.starts_with('/').then(|| path.into())
}

/// The major version in the line "libLLVM.so.22.1 => ..." of `ldd`, or "libLLVM-19.so.1 => ...".
fn llvm_of_libraries(ldd: &str) -> Option<u32> {
    let name = ldd
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("libLLVM"))?;
    let digits = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    digits(
        name.strip_prefix(".so.")
            .or_else(|| name.strip_prefix('-'))?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_its_llvm() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_of_rustc(debian), Some(22));
        assert_eq!(llvm_of_rustc("rustc 1.70.0\nLLVM version: 16\n"), Some(16));
        for none in [
            "",
            "rustc 1.96.0\n",
            "LLVM version:\n",
            "LLVM version: unknown\n",
            "x LLVM version: 22\n",
        ] {
            assert_eq!(llvm_of_rustc(none), None, "{none}");
        }
    }

    #[test]
    fn the_linker_tells_its_llvm() {
        let ldd = "\tlinux-vdso.so.1 (0x1)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n";
        assert_eq!(llvm_of_libraries(ldd), Some(22));
        assert_eq!(
            llvm_of_libraries("\tlibLLVM-19.so.1 => /x (0x7)\n"),
            Some(19)
        );
        for none in [
            "",
            "\tnot a dynamic executable\n",
            "\tlibLLVM.so => /x\n",
            "\tlibLLVMx.so.3\n",
        ] {
            assert_eq!(llvm_of_libraries(none), None, "{none}");
        }
    }

    #[test]
    fn the_library_of_llvm_has_a_path() {
        let ldd = "\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\tlibLLVM.so.22.1 => /a b/libLLVM.so.22.1 (0x7)\n";
        assert_eq!(
            library_of_libraries(ldd),
            Some("/a b/libLLVM.so.22.1".into())
        );
        assert_eq!(
            library_of_libraries("\tlibLLVM.so.22.1 => not found\n"),
            None
        );
    }

    #[test]
    fn a_linker_serves_its_own_llvm() {
        let linker = Linker::Runs {
            version: LINKER_VERSION.into(),
            llvm: Some(22),
        };
        assert!(linker.is_ours_for(22));
        assert!(!linker.is_ours_for(21));
        assert!(linker.reads(22) && linker.reads(21) && !linker.reads(23));
        let other = Linker::Runs {
            version: "0.10.3".into(),
            llvm: Some(22),
        };
        assert!(!other.is_ours_for(22));
        assert!(!Linker::Absent.reads(22));
    }
}
