//! `cargo xtask setup`: gets what the project needs on Debian 12, and says what and why.
//!
//! Programs and compilers are Debian's packages, unpacked into the cache: nothing is installed on the machine and
//! nothing is started. What the machine has in PATH serves, and is not fetched.
//!
//! ```text
//! look at the machine ─► nothing lacks: done
//!      ▲      └► something lacks ─► --check: say so, exit status 1
//!      │                       └► packages, or else bpf-linker, or else the mount ─┐
//!      └───────────────────────────────────────────────────────────────────────────┘
//! ```
//! A round that changes nothing ends the walk, so it always ends.

mod linker;
mod machine;
mod needs;
mod toolchain;
mod unpack;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{ebpf, process, progress};
use machine::Here;
use needs::{Bundle, LINKER_VERSION, Lack};
pub(crate) use toolchain::debian_clippy;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing (exit status 1 if anything is); change nothing.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lacks = needs::lacks(&Here::look());
    if args.check && !lacks.is_empty() {
        for lack in &lacks {
            println!("missing {lack}");
        }
        println!("`cargo xtask setup` gets this, into {}", tools()?.display());
        return Ok(ExitCode::FAILURE);
    }
    mend(lacks)?;
    println!("everything is there");
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that everything is there, quickly when it is; for commands that need it.
pub(crate) fn ensure() -> Result<()> {
    mend(needs::lacks(&Here::look()))
}

/// The same for the programs alone.
pub(crate) fn ensure_programs() -> Result<()> {
    let mut lacks = needs::lacks(&Here::look());
    lacks.retain(|lack| match lack {
        Lack::Package { bundle, .. } => *bundle == Bundle::Programs,
        Lack::Linker { .. } | Lack::Bpffs => false,
    });
    if lacks.is_empty() {
        return Ok(());
    }
    let _lock = lock(&tools()?)?;
    println!("{}", Step::next(&lacks).take()?);
    Ok(())
}

fn mend(mut lacks: Vec<Lack>) -> Result<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    let tools = tools()?;
    println!(
        "setup: {} (`cargo xtask setup --check` tells all)",
        summary(&lacks)
    );
    let _lock = lock(&tools)?;
    // Another setup may have been at work.
    lacks = needs::lacks(&Here::look());
    while !lacks.is_empty() {
        println!("setup: {}", Step::next(&lacks).take()?);
        let before = std::mem::replace(&mut lacks, needs::lacks(&Here::look()));
        if lacks == before {
            let list: Vec<_> = lacks.iter().map(Lack::to_string).collect();
            bail!(
                "still missing after the attempt to get it: {}",
                list.join("; ")
            );
        }
    }
    println!(
        "setup: no package was installed and nothing was started; `rm -rf {}` undoes this",
        tools.display()
    );
    Ok(())
}

/// One setup at a time. The lock ends with the file's closing.
fn lock(tools: &Path) -> Result<File> {
    fs::create_dir_all(tools).with_context(|| tools.display().to_string())?;
    let lock = File::create(tools.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn tools() -> Result<PathBuf> {
    ebpf::tools().context("neither XDG_CACHE_HOME nor HOME is set: no place for what is fetched")
}

/// What is done in one round.
#[derive(Debug, Eq, PartialEq)]
enum Step {
    Unpack(Bundle),
    BuildLinker {
        llvm: u32,
    },
    MountBpffs,
    /// Nothing can be done before something that could not be done either.
    Stuck(String),
}

impl Step {
    /// Packages first: the rest needs them.
    fn next(lacks: &[Lack]) -> Self {
        let of_lack = |lack: &Lack| match lack {
            Lack::Package { bundle, .. } => Some(Self::Unpack(*bundle)),
            Lack::Linker { llvm, .. } => llvm.map(|llvm| Self::BuildLinker { llvm }),
            Lack::Bpffs => Some(Self::MountBpffs),
        };
        lacks.iter().find_map(of_lack).unwrap_or_else(|| {
            let list: Vec<_> = lacks.iter().map(Lack::to_string).collect();
            Self::Stuck(list.join("; "))
        })
    }

    /// Does it, and says what was done.
    fn take(self) -> Result<String> {
        match self {
            Self::Unpack(bundle) => unpack(bundle),
            Self::BuildLinker { llvm } => {
                let start = Instant::now();
                linker::build(&tools()?, llvm)?;
                Ok(format!(
                    "built bpf-linker {LINKER_VERSION} for LLVM {llvm}, in {}",
                    progress::duration(start.elapsed())
                ))
            }
            Self::MountBpffs => {
                let mut mount = Command::new("mount");
                mount.args(["-t", "bpf", "bpf", machine::BPFFS]);
                if !process::is_root() {
                    bail!("this needs root; run as root: {}", process::shown(&mount));
                }
                process::run(&mut mount)?;
                Ok(format!(
                    "mounted a bpf file system at {} (`umount {0}` undoes this)",
                    machine::BPFFS
                ))
            }
            Self::Stuck(what) => {
                bail!("the compiler does not tell its LLVM version, so these cannot be had: {what}")
            }
        }
    }
}

fn unpack(bundle: Bundle) -> Result<String> {
    let packages = needs::request(&Here::look(), bundle);
    let directory = tools()?.join(bundle.directory());
    let done = unpack::unpack(&directory, &packages)?;
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    Ok(format!(
        "unpacked {} Debian packages ({} MB fetched, {} MB on disk) into {}: {}",
        done.packages,
        megabytes(done.fetched_bytes),
        megabytes(done.unpacked_bytes),
        directory.display(),
        packages.join(" ")
    ))
}

/// The things that are lacking, by kinds.
fn summary(lacks: &[Lack]) -> String {
    let count = |bundle: Bundle| {
        let of_bundle =
            |lack: &&Lack| matches!(lack, Lack::Package { bundle: own, .. } if *own == bundle);
        lacks.iter().filter(of_bundle).count()
    };
    let mut parts = Vec::new();
    match count(Bundle::Programs) {
        0 => {}
        1 => parts.push("a program for the tests".to_owned()),
        programs => parts.push(format!("{programs} programs for the tests and the demo")),
    }
    if count(Bundle::Compiler) > 0 {
        parts.push("the compiler for eBPF".to_owned());
    }
    for lack in lacks {
        match lack {
            Lack::Package { .. } => {}
            Lack::Linker { .. } => parts.push("bpf-linker".to_owned()),
            Lack::Bpffs => parts.push("a bpf file system".to_owned()),
        }
    }
    format!("missing {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(bundle: Bundle, name: &'static str) -> Lack {
        Lack::Package {
            bundle,
            name,
            why: "why".into(),
        }
    }

    fn linker(llvm: Option<u32>) -> Lack {
        Lack::Linker {
            llvm,
            found: "none found".into(),
        }
    }

    #[test]
    fn packages_come_before_what_needs_them() {
        let compiler = package(Bundle::Compiler, "rustc-web");
        let lacks = [compiler, linker(None), Lack::Bpffs];
        assert_eq!(Step::next(&lacks), Step::Unpack(Bundle::Compiler));
        let program = package(Bundle::Programs, "wrk");
        assert_eq!(
            Step::next(&[linker(Some(22)), program, Lack::Bpffs]),
            Step::BuildLinker { llvm: 22 }
        );
        assert_eq!(Step::next(&[Lack::Bpffs]), Step::MountBpffs);
        assert!(matches!(Step::next(&[linker(None)]), Step::Stuck(_)));
    }

    #[test]
    fn a_summary_has_each_kind_once() {
        let lacks = [
            package(Bundle::Compiler, "rustc-web"),
            package(Bundle::Compiler, "rust-web-clippy"),
            linker(None),
            package(Bundle::Programs, "curl"),
            package(Bundle::Programs, "wrk"),
            Lack::Bpffs,
        ];
        assert_eq!(
            summary(&lacks),
            "missing 2 programs for the tests and the demo, the compiler for eBPF, bpf-linker, a bpf file system"
        );
        assert_eq!(
            summary(&[package(Bundle::Programs, "curl")]),
            "missing a program for the tests"
        );
    }
}
