//! `cargo xtask setup`: installs what the project needs on Debian 12, and says what and why.
//!
//! ```text
//! look at the machine ─► nothing lacks: done
//!      ▲      └► something lacks ─► --check: say so, exit status 1
//!      │                       └► packages, or else bpf-linker, or else the mount ─┐
//!      └───────────────────────────────────────────────────────────────────────────┘
//! ```
//! A round that changes nothing ends the walk, so it always ends.

mod machine;
mod needs;
mod toolchain;

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use machine::Here;
use needs::{LINKER_VERSION, Lack};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing (exit status 1 if anything is); change nothing.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lacks = needs::lacks(&Here::look());
    if args.check && !lacks.is_empty() {
        report(&lacks);
        println!("`cargo xtask setup` as root mends this");
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

fn mend(mut lacks: Vec<Lack>) -> Result<()> {
    let mut said: Vec<Lack> = Vec::new();
    while !lacks.is_empty() {
        report(
            &lacks
                .iter()
                .filter(|lack| !said.contains(lack))
                .cloned()
                .collect::<Vec<_>>(),
        );
        said.extend(lacks.iter().cloned());
        let step = Step::next(&lacks);
        if step.needs_root() && !process::is_root() {
            bail!("this needs root; run as root:\n{}", by_hand(&lacks));
        }
        step.take()?;
        let before = std::mem::replace(&mut lacks, needs::lacks(&Here::look()));
        if lacks == before {
            bail!(
                "still missing after the attempt to mend it: {}",
                listed(&lacks)
            );
        }
    }
    Ok(())
}

/// What is done in one round.
#[derive(Debug, Eq, PartialEq)]
enum Step {
    Install(Vec<String>),
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
        let packages = packages(lacks);
        if !packages.is_empty() {
            return Self::Install(packages);
        }
        for lack in lacks {
            match lack {
                Lack::Linker {
                    llvm: Some(llvm), ..
                } => return Self::BuildLinker { llvm: *llvm },
                Lack::Bpffs => return Self::MountBpffs,
                Lack::Package { .. } | Lack::LlvmOfCompiler | Lack::Linker { llvm: None, .. } => {}
            }
        }
        Self::Stuck(listed(lacks))
    }

    fn needs_root(&self) -> bool {
        match self {
            Self::Install(_) | Self::MountBpffs => true,
            Self::BuildLinker { .. } | Self::Stuck(_) => false,
        }
    }

    fn take(self) -> Result<()> {
        match self {
            Self::Install(packages) => install(&packages),
            Self::BuildLinker { llvm } => announced(&mut linker_install(llvm)),
            Self::MountBpffs => announced(&mut bpffs_mount()),
            Self::Stuck(what) => bail!(
                "/usr/bin/rustc -vV does not tell its LLVM version, so these cannot be installed: {what}"
            ),
        }
    }
}

fn install(packages: &[String]) -> Result<()> {
    let mut updated = !have_package_lists();
    if updated {
        announced(&mut apt_update())?;
    }
    loop {
        let failure = match announced(&mut apt_install(packages)) {
            Err(failure) => failure,
            Ok(()) if updated || arrived(packages) => return Ok(()),
            Ok(()) => anyhow::anyhow!("apt-get install changed nothing"),
        };
        if updated {
            return Err(failure);
        }
        // Old lists name packages that are no longer offered, or not the newest.
        println!("{failure:#}; once more with new package lists");
        announced(&mut apt_update())?;
        updated = true;
    }
}

fn arrived(packages: &[String]) -> bool {
    let still = self::packages(&needs::lacks(&Here::look()));
    !packages.iter().any(|package| still.contains(package))
}

fn have_package_lists() -> bool {
    let lists = std::fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten();
    lists
        .into_iter()
        .any(|list| list.file_name().to_string_lossy().contains("_Packages"))
}

fn packages(lacks: &[Lack]) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for lack in lacks {
        match lack {
            Lack::Package { name, .. } if !packages.contains(name) => packages.push(name.clone()),
            Lack::Package { .. } | Lack::LlvmOfCompiler | Lack::Linker { .. } | Lack::Bpffs => {}
        }
    }
    packages
}

fn apt_update() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-o", "DPkg::Lock::Timeout=600", "update"]);
    apt
}

fn apt_install(packages: &[String]) -> Command {
    let mut apt = Command::new("apt-get");
    // RUNLEVEL=1 keeps the packages' services from being started.
    apt.env("RUNLEVEL", "1")
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt.args([
        "-q",
        "-o",
        "DPkg::Lock::Timeout=600",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    // Someone else's package is not ours to remove: let apt-get say what is in the way.
    apt.args(["install", "-y", "--no-install-recommends", "--no-remove"])
        .args(packages);
    apt
}

fn linker_install(llvm: u32) -> Command {
    let mut cargo = process::cargo();
    cargo.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    cargo.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
    ]);
    cargo.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{llvm}"),
    ]);
    cargo
}

fn bpffs_mount() -> Command {
    let mut mount = Command::new("mount");
    mount.args(["-t", "bpf", "bpf", machine::BPFFS]);
    mount
}

fn announced(command: &mut Command) -> Result<()> {
    println!("$ {}", process::shown(command));
    process::run(command)
}

/// The commands that mend all this, for someone to type.
fn by_hand(lacks: &[Lack]) -> String {
    let mut lines = Vec::new();
    let packages = packages(lacks);
    if !packages.is_empty() {
        lines.push(process::shown(&apt_update()));
        lines.push(process::shown(&apt_install(&packages)));
    }
    for lack in lacks {
        match lack {
            Lack::Package { .. } => {}
            Lack::LlvmOfCompiler => lines.push("apt-get install llvm-N-dev libpolly-N-dev  # N: the LLVM version that /usr/bin/rustc -vV tells".into()),
            Lack::Linker { llvm, .. } => {
                let llvm = llvm.map_or_else(|| "N".to_owned(), |llvm| llvm.to_string());
                let install = process::shown(&linker_install(0)).replace("llvm-0", &format!("llvm-{llvm}"));
                lines.push(format!("{install}  # as yourself, not as root"));
            }
            Lack::Bpffs => lines.push(process::shown(&bpffs_mount())),
        }
    }
    lines
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn report(lacks: &[Lack]) {
    for lack in lacks {
        println!("missing {lack}");
    }
}

fn listed(lacks: &[Lack]) -> String {
    lacks
        .iter()
        .map(Lack::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Lack {
        Lack::Package {
            name: name.into(),
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
        let lacks = [
            package("a"),
            linker(Some(22)),
            package("b"),
            package("a"),
            Lack::Bpffs,
        ];
        assert_eq!(
            Step::next(&lacks),
            Step::Install(vec!["a".into(), "b".into()])
        );
        assert_eq!(
            Step::next(&[linker(Some(22)), Lack::Bpffs]),
            Step::BuildLinker { llvm: 22 }
        );
        assert_eq!(Step::next(&[Lack::Bpffs]), Step::MountBpffs);
        assert!(matches!(
            Step::next(&[Lack::LlvmOfCompiler, linker(None)]),
            Step::Stuck(_)
        ));
    }

    #[test]
    fn only_the_linker_can_be_built_without_root() {
        assert!(Step::Install(vec![]).needs_root());
        assert!(Step::MountBpffs.needs_root());
        assert!(!Step::BuildLinker { llvm: 22 }.needs_root());
    }

    #[test]
    fn what_to_type_is_complete() {
        let text = by_hand(&[
            package("curl"),
            Lack::LlvmOfCompiler,
            linker(None),
            Lack::Bpffs,
        ]);
        for part in [
            "apt-get -q",
            "--no-install-recommends --no-remove curl",
            "llvm-N-dev",
            "LLVM_PREFIX=/usr/lib/llvm-N",
            "--features llvm-N",
            "mount -t bpf bpf /sys/fs/bpf",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
