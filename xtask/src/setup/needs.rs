//! What the project needs, as data, and what is lacking on a machine. Pure: looks at nothing itself.
//!
//! The compiler for the eBPF programs decides which LLVM they are linked with, so what is lacking
//! can only be told one step at a time: [`lacks`] is asked again after each step until it says nothing.

use std::fmt;
use std::ops::RangeInclusive;

use super::toolchain::Toolchain;

/// A Debian package, the program in it by which it is recognized, and why it is needed.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) why: &'static str,
}

/// Packages that are unpacked together, into one directory of the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bundle {
    /// Programs that the tests, the demo and the benchmarks run; in PATH for them.
    Programs,
    /// The compiler for the eBPF programs; never in PATH, where it would be taken for rustup's.
    Compiler,
}

impl Bundle {
    /// The directory's name.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Compiler => "compiler",
        }
    }
}

/// Programs that the tests, the demo and the benchmarks run.
pub(crate) const PROGRAMS: &[Package] = &[
    package(
        "iproute2",
        "ip",
        "makes the network namespaces of tests and demo",
    ),
    package(
        "ethtool",
        "ethtool",
        "switches offloads, so that tests run with and without segmentation",
    ),
    package(
        "nginx-light",
        "nginx",
        "the real web server behind virtual services",
    ),
    package(
        "vsftpd",
        "vsftpd",
        "the real FTP server behind virtual services",
    ),
    package("curl", "curl", "the real client"),
    package(
        "iputils-ping",
        "ping",
        "asks whether hosts of a test reach each other",
    ),
    package(
        "tcpdump",
        "tcpdump",
        "shows what is on the wire when a test fails",
    ),
    package(
        "ipvsadm",
        "ipvsadm",
        "the original, to compare our front end with",
    ),
    package(
        "nftables",
        "nft",
        "the rival in benchmarks, and the firewall that doctor looks at",
    ),
    package("wrk", "wrk", "HTTP load"),
    package(
        "socat",
        "socat",
        "carries packets between the tun devices of tests",
    ),
    package(
        "wireguard-tools",
        "wg",
        "gives the wireguard devices of tests their keys",
    ),
    package("cpio", "cpio", "packs the guest's first file system"),
    package("kmod", "depmod", "lists the modules of the guest's kernel"),
    package(
        "xz-utils",
        "xz",
        "unpacks the modules of the guest's kernel",
    ),
];

/// Debian's compiler for the eBPF programs.
pub(crate) const COMPILER: &[Package] = &[
    package("rustc-web", "rustc", "compiles the eBPF programs"),
    package(
        "libstd-rust-web-dev-bpf",
        "rustc",
        "Rust's core library for eBPF",
    ),
    CLIPPY,
];

const CLIPPY: Package = package(
    "rust-web-clippy",
    "clippy-driver",
    "lints the eBPF programs, for `cargo xtask lint`",
);

/// The version of bpf-linker that the project is built with.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built for.
const LINKER_LLVM: RangeInclusive<u32> = 21..=23;

/// One thing that is lacking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Lack {
    /// A Debian package.
    Package {
        bundle: Bundle,
        name: &'static str,
        why: String,
    },
    /// bpf-linker, for this LLVM (or the compiler's, not yet known).
    Linker { llvm: Option<u32>, found: String },
    /// /sys/fs/bpf, where programs and maps are pinned, is not a bpf file system.
    Bpffs,
}

/// The place in which a program was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// On the machine itself, whoever installed it.
    Machine,
    /// Among those that setup unpacked.
    Cache,
}

/// What was found on a machine.
pub(crate) trait Machine {
    /// The place of this program.
    fn place(&self, program: &str) -> Option<Place>;
    /// What the eBPF programs could be built with.
    fn toolchain(&self) -> &Toolchain;
    /// Is /sys/fs/bpf a bpf file system?
    fn bpffs(&self) -> bool;
}

/// All that is lacking as far as can be told now, in the order in which it is to be fixed.
pub(crate) fn lacks(machine: &impl Machine) -> Vec<Lack> {
    let mut lacks = toolchain_lacks(machine.toolchain());
    let absent = PROGRAMS
        .iter()
        .filter(|package| machine.place(package.program).is_none());
    lacks.extend(absent.map(|package| lack(Bundle::Programs, package)));
    if !machine.bpffs() {
        lacks.push(Lack::Bpffs);
    }
    lacks
}

/// The packages of a whole bundle: a directory of the cache is made as one, so what it held before is in it again.
pub(crate) fn request(machine: &impl Machine, bundle: Bundle) -> Vec<&'static str> {
    let packages = match bundle {
        Bundle::Programs => PROGRAMS,
        Bundle::Compiler => COMPILER,
    };
    let is_wanted = |package: &&Package| match bundle {
        Bundle::Programs => machine.place(package.program) != Some(Place::Machine),
        // Packages that belong together have one version.
        Bundle::Compiler => true,
    };
    packages
        .iter()
        .filter(is_wanted)
        .map(|package| package.name)
        .collect()
}

fn toolchain_lacks(toolchain: &Toolchain) -> Vec<Lack> {
    let Toolchain {
        debian_llvm,
        debian_clippy,
        nightly_llvm,
        linker,
    } = toolchain;
    if nightly_llvm.is_some_and(|llvm| linker.reads(llvm)) {
        return Vec::new();
    }
    let mut lacks = Vec::new();
    match *debian_llvm {
        Some(llvm) if !LINKER_LLVM.contains(&llvm) => {
            let (from, to) = (LINKER_LLVM.start(), LINKER_LLVM.end());
            lacks.push(Lack::Package {
                bundle: Bundle::Compiler,
                name: "rustc-web",
                why: format!(
                    "the one found has LLVM {llvm}, bpf-linker {LINKER_VERSION} works with {from} to {to}"
                ),
            });
        }
        Some(_) if !debian_clippy => lacks.push(lack(Bundle::Compiler, &CLIPPY)),
        Some(_) => {}
        None => {
            lacks.extend(
                COMPILER
                    .iter()
                    .map(|package| lack(Bundle::Compiler, package)),
            );
        }
    }
    if !debian_llvm.is_some_and(|llvm| linker.is_ours_for(llvm)) {
        lacks.push(Lack::Linker {
            llvm: debian_llvm.filter(|llvm| LINKER_LLVM.contains(llvm)),
            found: linker.to_string(),
        });
    }
    lacks
}

fn lack(bundle: Bundle, package: &Package) -> Lack {
    Lack::Package {
        bundle,
        name: package.name,
        why: package.why.into(),
    }
}

const fn package(name: &'static str, program: &'static str, why: &'static str) -> Package {
    Package { name, program, why }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { name, why, .. } => write!(f, "package {name}: {why}"),
            Self::Linker { llvm, found } => {
                write!(f, "program bpf-linker {LINKER_VERSION}")?;
                if let Some(llvm) = llvm {
                    write!(f, " for LLVM {llvm}")?;
                }
                write!(f, ": links the eBPF programs ({found})")
            }
            Self::Bpffs => write!(
                f,
                "mount /sys/fs/bpf: the bpf file system, where programs and maps are pinned"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::toolchain::Linker;
    use super::*;

    struct Fake {
        installed: Vec<&'static str>,
        unpacked: Vec<&'static str>,
        toolchain: Toolchain,
        bpffs: bool,
    }

    impl Machine for Fake {
        fn place(&self, program: &str) -> Option<Place> {
            if self.installed.contains(&program) {
                Some(Place::Machine)
            } else {
                self.unpacked.contains(&program).then_some(Place::Cache)
            }
        }
        fn toolchain(&self) -> &Toolchain {
            &self.toolchain
        }
        fn bpffs(&self) -> bool {
            self.bpffs
        }
    }

    fn fresh() -> Fake {
        Fake {
            installed: Vec::new(),
            unpacked: Vec::new(),
            toolchain: Toolchain {
                debian_llvm: None,
                debian_clippy: false,
                nightly_llvm: None,
                linker: Linker::Absent,
            },
            bpffs: false,
        }
    }

    fn complete() -> Fake {
        Fake {
            installed: PROGRAMS.iter().map(|package| package.program).collect(),
            unpacked: Vec::new(),
            toolchain: Toolchain {
                debian_llvm: Some(22),
                debian_clippy: true,
                nightly_llvm: None,
                linker: ours(22),
            },
            bpffs: true,
        }
    }

    fn ours(llvm: u32) -> Linker {
        Linker::Runs {
            version: LINKER_VERSION.into(),
            llvm: Some(llvm),
        }
    }

    fn names(lacks: &[Lack]) -> Vec<String> {
        let name = |lack: &Lack| match lack {
            Lack::Package { name, .. } => (*name).to_owned(),
            Lack::Linker { llvm, .. } => format!("linker {llvm:?}"),
            Lack::Bpffs => "bpffs".into(),
        };
        lacks.iter().map(name).collect()
    }

    fn all_of(packages: &[Package]) -> Vec<&'static str> {
        packages.iter().map(|package| package.name).collect()
    }

    #[test]
    fn a_complete_machine_lacks_nothing() {
        assert_eq!(lacks(&complete()), []);
    }

    #[test]
    fn a_fresh_machine_lacks_everything() {
        let names = names(&lacks(&fresh()));
        assert_eq!(names[..COMPILER.len()], all_of(COMPILER));
        assert_eq!(names[COMPILER.len()], "linker None");
        assert_eq!(names[COMPILER.len() + 1..names.len() - 1], all_of(PROGRAMS));
        assert_eq!(names.last().map(String::as_str), Some("bpffs"));
    }

    #[test]
    fn the_linker_is_for_the_llvm_of_the_compiler() {
        for llvm in [21, 22, 23] {
            let mut machine = complete();
            machine.toolchain.debian_llvm = Some(llvm);
            machine.toolchain.linker = Linker::Absent;
            assert_eq!(names(&lacks(&machine)), [format!("linker Some({llvm})")]);
        }
    }

    #[test]
    fn a_compiler_that_is_too_old_is_named() {
        let mut machine = complete();
        machine.toolchain.debian_llvm = Some(19);
        let lacks = lacks(&machine);
        assert_eq!(names(&lacks), ["rustc-web", "linker None"]);
        assert_eq!(
            lacks[0].to_string(),
            "package rustc-web: the one found has LLVM 19, bpf-linker 0.13.0 works with 21 to 23"
        );
    }

    #[test]
    fn a_linker_that_does_not_fit_is_replaced() {
        for linker in [
            Linker::Absent,
            Linker::Broken {
                reason: "libLLVM.so.22.1: cannot open".into(),
            },
            Linker::Runs {
                version: "0.9.15".into(),
                llvm: Some(22),
            },
            ours(21),
        ] {
            let mut machine = complete();
            machine.toolchain.linker = linker;
            assert_eq!(names(&lacks(&machine)), ["linker Some(22)"]);
        }
        let mut machine = complete();
        machine.toolchain.linker = Linker::Runs {
            version: LINKER_VERSION.into(),
            llvm: None,
        };
        assert_eq!(lacks(&machine), []);
    }

    #[test]
    fn a_nightly_compiler_serves_as_well() {
        let mut machine = complete();
        machine.toolchain = Toolchain {
            debian_llvm: None,
            debian_clippy: false,
            nightly_llvm: Some(22),
            linker: ours(22),
        };
        assert_eq!(lacks(&machine), []);
        machine.toolchain.linker = ours(21);
        assert!(names(&lacks(&machine)).contains(&"rustc-web".to_owned()));
        machine.toolchain.linker = Linker::Absent;
        assert!(names(&lacks(&machine)).contains(&"rustc-web".to_owned()));
    }

    #[test]
    fn one_missing_program_is_one_lack() {
        let mut machine = complete();
        machine.installed.retain(|&program| program != "wrk");
        let lacks = lacks(&machine);
        assert_eq!(lacks.len(), 1);
        assert_eq!(lacks[0].to_string(), "package wrk: HTTP load");
    }

    #[test]
    fn clippy_alone_may_be_lacking() {
        let mut machine = complete();
        machine.toolchain.debian_clippy = false;
        assert_eq!(names(&lacks(&machine)), ["rust-web-clippy"]);
    }

    #[test]
    fn a_bundle_is_made_whole_without_what_the_machine_has() {
        let mut machine = complete();
        machine
            .installed
            .retain(|program| !["wrk", "curl"].contains(program));
        machine.unpacked.push("curl");
        assert_eq!(names(&lacks(&machine)), ["wrk"]);
        assert_eq!(request(&machine, Bundle::Programs), ["curl", "wrk"]);
        assert_eq!(request(&machine, Bundle::Compiler), all_of(COMPILER));
    }
}
