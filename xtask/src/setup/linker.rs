//! Building bpf-linker with the compiler's own LLVM, into the cache.
//!
//! Of LLVM it needs the library alone, under the name that linkers look for; no headers, and no `llvm-config`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::needs::LINKER_VERSION;
use super::toolchain;
use super::unpack::{Part, library_path, script, write_script};
use crate::compile::{self, Work};
use crate::process;

/// How many crates it consists of.
const CRATES: u64 = 70;

/// Builds it for this LLVM into `tools/linker`; the compiler may be in `tools/compiler`.
pub(crate) fn build(tools: &Path, llvm: u32) -> Result<()> {
    let place = tools.join("linker");
    let part = Part::new(&place)?;
    let libraries = library_path(&tools.join("compiler/tree"));
    let library = toolchain::llvm_library(&libraries)
        .with_context(|| format!("the compiler's LLVM {llvm} library is not found"))?;
    let prefix = part.path.join("llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    symlink(&library, prefix.join("lib/libLLVM.so"))?;

    let root = part.path.join("root");
    let search: Vec<String> = libraries
        .split(':')
        .map(|directory| format!("-Clink-arg=-Wl,-rpath-link,{directory}"))
        .collect();
    let mut cargo = process::cargo();
    cargo
        .env("LLVM_PREFIX", &prefix)
        .env("CARGO_ENCODED_RUSTFLAGS", search.join("\x1f"))
        // The work is LLVM's; debug information would take a third of the time.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env_remove("LD_LIBRARY_PATH");
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION]);
    cargo.args(["--locked", "--no-default-features", "--features"]);
    cargo.arg(format!("llvm-{llvm}")).arg("--root").arg(&root);
    cargo.arg("--target-dir").arg(part.path.join("target"));
    let label = format!("setup: building bpf-linker {LINKER_VERSION} for LLVM {llvm}");
    compile::run(&mut cargo, &label, Work::Count(CRATES))?;

    fs::create_dir(part.path.join("libexec"))?;
    let built = root.join("bin/bpf-linker");
    ensure!(built.is_file(), "cargo made no {}", built.display());
    fs::rename(built, part.path.join("libexec/bpf-linker"))?;
    let text = script(&libraries, &place.join("libexec/bpf-linker"));
    write_script(&part.path.join("bin/bpf-linker"), &text)?;
    let versions = format!("bpf-linker={LINKER_VERSION}\nllvm={llvm}\n");
    fs::write(part.path.join("packages"), versions)?;
    for surplus in [root, prefix, part.path.join("target")] {
        fs::remove_dir_all(surplus)?;
    }
    part.finish()
}
