//! Building the kernel side: `crates/rvs-ebpf` for `bpfel-unknown-none`.
//!
//! The build scripts of `rvs-dataplane` and `rvs-bench` include this file, so it uses the standard
//! library only. It looks for a compiler that brings a `core` for the target (Debian's `rustc-web`), or for a
//! nightly with `rust-src`, and for `bpf-linker`; it installs nothing. `cargo xtask setup` puts what a machine
//! lacks into [`tools`], which is therefore looked at first.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
/// Debian's compiler where it is installed; it has a prebuilt `core` for the target.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const FLAGS: &[&str] = &[
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    "-Cpanic=abort",
];

/// A whole build script: builds the kernel side and puts its program `binary` as `object` where the
/// crate's code finds it (`OUT_DIR`). What fails is told in cargo's own way.
pub(crate) fn build_script(binary: &str, object: &str) {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let repository = manifest.join("../..");
    for source in SOURCES {
        println!(
            "cargo::rerun-if-changed={}",
            repository.join(source).display()
        );
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let built = build(&repository, &out.join("bpf"), binary)
        .and_then(|product| fs::copy(product, out.join(object)).map_err(|error| error.to_string()));
    if let Err(error) = built {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// The compiler of the kernel side.
pub(crate) enum Compiler {
    /// Debian's `rustc-web`, at this path.
    Debian(PathBuf),
    /// The nightly of rustup, which builds `core` as well.
    Nightly,
}

impl Compiler {
    pub(crate) fn find() -> Option<Self> {
        debian_compiler()
            .map(Self::Debian)
            .or_else(|| nightly_has_source().then_some(Self::Nightly))
    }
}

/// The first of Debian's compilers that starts and has a `core` for the target.
pub(crate) fn debian_compiler() -> Option<PathBuf> {
    let unpacked = tools().map(|tools| tools.join("compiler/bin/rustc"));
    unpacked
        .into_iter()
        .chain([PathBuf::from(DEBIAN_RUSTC)])
        .find(|rustc| has_core(rustc))
}

/// The `bpf-linker` that is used.
pub(crate) fn find_linker() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    tools()
        .map(|tools| tools.join("linker/bin"))
        .into_iter()
        .chain(home.map(|home| home.join("bin")))
        .chain(env::split_paths(&path))
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// The cache's directory of tools. `rvs_lab::unpacked_programs` is in it.
pub(crate) fn tools() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")))?;
    Some(cache.join("rvs-lab/tools"))
}

/// Cargo at work on the kernel side, with the compiler, the flags and the environment of its build. `target` is a
/// directory for this alone. The error is one line, for the user.
pub(crate) fn cargo(
    compiler: &Compiler,
    subcommand: &str,
    more_flags: &[&str],
    repository: &Path,
    target: &Path,
) -> Result<Command, String> {
    let linker = find_linker().ok_or_else(|| missing("bpf-linker"))?;
    let mut flags: Vec<String> = FLAGS
        .iter()
        .chain(more_flags)
        .map(ToString::to_string)
        .collect();
    flags.push(format!("-Clinker={}", linker.display()));

    let program = match compiler {
        Compiler::Debian(_) => env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")),
        // Only rustup's own knows toolchains by name.
        Compiler::Nightly => OsString::from("cargo"),
    };
    let mut cargo = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_outer_build =
            text.starts_with("CARGO_") && text != "CARGO_HOME" && text != "CARGO_NET_OFFLINE";
        if of_outer_build
            || text.starts_with("RUST") && text != "RUSTUP_HOME"
            || text == "LD_LIBRARY_PATH"
        {
            cargo.env_remove(&name);
        }
    }
    cargo.arg(subcommand);
    match compiler {
        Compiler::Debian(rustc) => cargo.env("RUSTC", rustc),
        Compiler::Nightly => cargo
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .arg("-Zbuild-std=core"),
    };
    cargo
        // aya-ebpf, and the cells of rvs-abi, need an unstable feature.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(repository.join("crates/rvs-ebpf"))
        .args([
            "--release",
            "--locked",
            "--quiet",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target);
    Ok(cargo)
}

/// Builds a program's object and returns its path. `repository` is the root of the tree.
fn build(repository: &Path, target: &Path, binary: &str) -> Result<PathBuf, String> {
    let compiler =
        Compiler::find().ok_or_else(|| missing("a compiler with a core for bpfel-unknown-none"))?;
    let output = cargo(&compiler, "build", &[], repository, target)?
        .args(["--bin", binary])
        .output()
        .map_err(|error| format!("cannot run cargo for the kernel side: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "the kernel side does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(target.join(TARGET).join("release").join(binary))
}

/// What the build reads, for `cargo:rerun-if-changed`.
const SOURCES: &[&str] = &[
    "crates/rvs-ebpf",
    "crates/rvs-core/src",
    "crates/rvs-table/src",
    "crates/rvs-abi/src",
    "xtask/src/ebpf.rs",
];

fn missing(what: &str) -> String {
    format!("{what} is missing: run `cargo xtask setup`")
}

/// Whether `rustc` brings a `core` for the target.
fn has_core(rustc: &Path) -> bool {
    sysroot(Command::new(rustc).env_remove("LD_LIBRARY_PATH"))
        .is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn nightly_has_source() -> bool {
    sysroot(
        Command::new("rustc")
            .arg("+nightly")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH"),
    )
    .is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
