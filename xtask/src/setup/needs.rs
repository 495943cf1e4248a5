//! What the project needs, as data, and what is lacking on a machine. Pure: looks at nothing itself.
//!
//! The compiler for the eBPF programs decides which LLVM they are linked with, so what is lacking
//! can only be told one step at a time: [`lacks`] is asked again after each step until it says nothing.

use std::fmt;

use super::toolchain::Toolchain;

/// A Debian package, how to see that it (or its like) is there, and why it is needed.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) probe: Probe,
    pub(crate) why: &'static str,
}

/// How to see that a package is there.
pub(crate) enum Probe {
    /// Its program is found, whoever installed it.
    Program(&'static str),
    /// Debian's package manager says so.
    Installed,
}

/// Programs that the tests, the demo and the benchmarks run.
pub(crate) const PROGRAMS: &[Package] = &[
    program(
        "iproute2",
        "ip",
        "makes the network namespaces of tests and demo",
    ),
    program(
        "ethtool",
        "ethtool",
        "switches offloads, so that tests run with and without segmentation",
    ),
    program(
        "nginx-light",
        "nginx",
        "the real web server behind virtual services",
    ),
    program(
        "vsftpd",
        "vsftpd",
        "the real FTP server behind virtual services",
    ),
    program("curl", "curl", "the real client"),
    program(
        "iputils-ping",
        "ping",
        "asks whether hosts of a test reach each other",
    ),
    program(
        "tcpdump",
        "tcpdump",
        "shows what is on the wire when a test fails",
    ),
    program(
        "ipvsadm",
        "ipvsadm",
        "the original, to compare our front end with",
    ),
    program(
        "nftables",
        "nft",
        "the rival in benchmarks, and the firewall that doctor looks at",
    ),
    program("wrk", "wrk", "HTTP load"),
    program(
        "socat",
        "socat",
        "carries packets between the tun devices of tests",
    ),
    program(
        "wireguard-tools",
        "wg",
        "gives the wireguard devices of tests their keys",
    ),
    program("cpio", "cpio", "packs the guest's first file system"),
    program("kmod", "depmod", "lists the modules of the guest's kernel"),
    program(
        "xz-utils",
        "xz",
        "unpacks the modules of the guest's kernel",
    ),
];

/// Debian's compiler for the eBPF programs.
pub(crate) const COMPILER: &[Package] = &[
    Package {
        name: "rustc-web",
        probe: Probe::Installed,
        why: "compiles the eBPF programs",
    },
    Package {
        name: "libstd-rust-web-dev-bpf",
        probe: Probe::Installed,
        why: "Rust's core library for eBPF",
    },
];

/// What building bpf-linker needs, besides LLVM.
pub(crate) const LINKER_BUILD: &[Package] = &[
    program("g++", "g++", "links bpf-linker with LLVM"),
    Package {
        name: "libzstd-dev",
        probe: Probe::Installed,
        why: "LLVM links with it, to build bpf-linker",
    },
    Package {
        name: "zlib1g-dev",
        probe: Probe::Installed,
        why: "LLVM links with it, to build bpf-linker",
    },
];

/// The version of bpf-linker that the project is built with.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built for.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// One thing that is lacking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Lack {
    /// A Debian package.
    Package { name: String, why: String },
    /// LLVM's development packages: which, the compiler tells once it is installed.
    LlvmOfCompiler,
    /// bpf-linker, for this LLVM (or the compiler's, not yet known).
    Linker { llvm: Option<u32>, found: String },
    /// /sys/fs/bpf, where programs and maps are pinned, is not a bpf file system.
    Bpffs,
}

/// What was found on a machine.
pub(crate) trait Machine {
    /// Is this package, or a program that serves as well, there?
    fn has(&self, package: &Package) -> bool;
    /// Does Debian's package manager say that the package of this name is installed?
    fn installed(&self, name: &str) -> bool;
    /// What the eBPF programs could be built with.
    fn toolchain(&self) -> &Toolchain;
    /// Is /sys/fs/bpf a bpf file system?
    fn bpffs(&self) -> bool;
}

/// All that is lacking as far as can be told now, in the order in which it is to be mended.
pub(crate) fn lacks(machine: &impl Machine) -> Vec<Lack> {
    let mut lacks = toolchain_lacks(machine);
    lacks.extend(missing(machine, PROGRAMS));
    if !machine.bpffs() {
        lacks.push(Lack::Bpffs);
    }
    lacks
}

fn toolchain_lacks(machine: &impl Machine) -> Vec<Lack> {
    let Toolchain {
        debian_llvm,
        nightly_llvm,
        linker,
    } = machine.toolchain();
    if nightly_llvm.is_some_and(|llvm| linker.reads(llvm)) {
        return Vec::new();
    }
    let mut lacks: Vec<_> = missing(machine, COMPILER).collect();
    match *debian_llvm {
        Some(llvm) if linker.is_ours_for(llvm) => return lacks,
        Some(llvm) if !LINKER_LLVM.contains(&llvm) => {
            let (from, to) = (LINKER_LLVM.start(), LINKER_LLVM.end());
            let why = format!(
                "it has LLVM {llvm}, bpf-linker {LINKER_VERSION} works with {from} to {to}"
            );
            lacks.push(Lack::Package {
                name: "rustc-web".into(),
                why,
            });
        }
        Some(llvm) => {
            for (name, why) in [
                (
                    format!("llvm-{llvm}-dev"),
                    "the compiler's LLVM, to build bpf-linker",
                ),
                (
                    format!("libpolly-{llvm}-dev"),
                    "a part of LLVM, to build bpf-linker",
                ),
            ] {
                if !machine.installed(&name) {
                    lacks.push(Lack::Package {
                        name,
                        why: why.into(),
                    });
                }
            }
        }
        None => lacks.push(Lack::LlvmOfCompiler),
    }
    lacks.extend(missing(machine, LINKER_BUILD));
    lacks.push(Lack::Linker {
        llvm: *debian_llvm,
        found: linker.to_string(),
    });
    lacks
}

fn missing<'a>(
    machine: &'a impl Machine,
    packages: &'a [Package],
) -> impl Iterator<Item = Lack> + 'a {
    let absent = packages.iter().filter(|package| !machine.has(package));
    absent.map(|package| Lack::Package {
        name: package.name.into(),
        why: package.why.into(),
    })
}

const fn program(name: &'static str, program: &'static str, why: &'static str) -> Package {
    Package {
        name,
        probe: Probe::Program(program),
        why,
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package { name, why } => write!(f, "package {name}: {why}"),
            Self::LlvmOfCompiler => write!(
                f,
                "packages llvm-N-dev and libpolly-N-dev: the compiler's LLVM, to build bpf-linker (`/usr/bin/rustc -vV` tells N once rustc-web is there)"
            ),
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
        installed: Vec<String>,
        programs: Vec<&'static str>,
        toolchain: Toolchain,
        bpffs: bool,
    }

    impl Machine for Fake {
        fn has(&self, package: &Package) -> bool {
            match package.probe {
                Probe::Program(program) => self.programs.contains(&program),
                Probe::Installed => self.installed(package.name),
            }
        }
        fn installed(&self, name: &str) -> bool {
            self.installed.iter().any(|installed| installed == name)
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
            programs: Vec::new(),
            toolchain: Toolchain {
                debian_llvm: None,
                nightly_llvm: None,
                linker: Linker::Absent,
            },
            bpffs: false,
        }
    }

    fn complete() -> Fake {
        let everything = || PROGRAMS.iter().chain(COMPILER);
        Fake {
            installed: everything()
                .map(|package| package.name.to_owned())
                .collect(),
            programs: everything()
                .filter_map(|package| match package.probe {
                    Probe::Program(program) => Some(program),
                    Probe::Installed => None,
                })
                .collect(),
            toolchain: Toolchain {
                debian_llvm: Some(22),
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
            Lack::Package { name, .. } => name.clone(),
            Lack::LlvmOfCompiler => "llvm-N".into(),
            Lack::Linker { llvm, .. } => format!("linker {llvm:?}"),
            Lack::Bpffs => "bpffs".into(),
        };
        lacks.iter().map(name).collect()
    }

    #[test]
    fn a_complete_machine_lacks_nothing() {
        assert_eq!(lacks(&complete()), []);
    }

    #[test]
    fn a_fresh_machine_lacks_everything() {
        let names = names(&lacks(&fresh()));
        let compiler = [
            "rustc-web",
            "libstd-rust-web-dev-bpf",
            "llvm-N",
            "g++",
            "libzstd-dev",
            "zlib1g-dev",
            "linker None",
        ];
        assert_eq!(names[..7], compiler);
        assert_eq!(
            names[7..names.len() - 1],
            PROGRAMS
                .iter()
                .map(|package| package.name)
                .collect::<Vec<_>>()
        );
        assert_eq!(names.last().map(String::as_str), Some("bpffs"));
    }

    #[test]
    fn the_compiler_decides_which_llvm() {
        for llvm in [21, 22, 23] {
            let mut machine = complete();
            machine.toolchain = Toolchain {
                debian_llvm: Some(llvm),
                nightly_llvm: None,
                linker: Linker::Absent,
            };
            machine.programs.push("g++");
            machine
                .installed
                .extend(["libzstd-dev".to_owned(), "zlib1g-dev".to_owned()]);
            let wanted = [
                format!("llvm-{llvm}-dev"),
                format!("libpolly-{llvm}-dev"),
                format!("linker Some({llvm})"),
            ];
            assert_eq!(names(&lacks(&machine)), wanted);
            machine
                .installed
                .extend([format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]);
            assert_eq!(names(&lacks(&machine)), wanted[2..]);
        }
    }

    #[test]
    fn a_compiler_that_is_too_old_is_named() {
        let mut machine = complete();
        machine.toolchain.debian_llvm = Some(19);
        let lacks = lacks(&machine);
        assert_eq!(names(&lacks)[0], "rustc-web");
        assert_eq!(
            lacks[0].to_string(),
            "package rustc-web: it has LLVM 19, bpf-linker 0.13.0 works with 21 to 23"
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
            let names = names(&lacks(&machine));
            assert_eq!(
                names.last().map(String::as_str),
                Some("linker Some(22)"),
                "{names:?}"
            );
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
        machine
            .installed
            .retain(|name| !COMPILER.iter().any(|package| package.name == name));
        machine.toolchain = Toolchain {
            debian_llvm: None,
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
        machine.programs.retain(|&program| program != "wrk");
        let lacks = lacks(&machine);
        assert_eq!(lacks.len(), 1);
        assert_eq!(lacks[0].to_string(), "package wrk: HTTP load");
    }
}
