//! Debian packages, unpacked into the cache instead of installed: no maintainer script runs, no service starts, and
//! the machine's own packages stay as they are.
//!
//! ```text
//! tools/NAME/tree      the files, without documentation
//!            bin       a script for each program: it sets the tree's libraries and becomes the program
//!            packages  what was unpacked, PACKAGE=VERSION
//! ```
//! A directory is made under another name and moved to its place when it is complete, so whatever has the name is
//! whole. `dpkg` is not told of the files; what a package needs beside and the machine has is not unpacked again.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::progress::Progress;

/// Directories of programs, and of libraries, in a tree.
const PROGRAMS: [&str; 4] = ["usr/bin", "bin", "usr/sbin", "sbin"];
const LIBRARIES: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib",
    "lib",
];
/// Directories that nothing reads there.
const SURPLUS: [&str; 5] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];
/// The dynamic loader and the C library have one version, and the loader is the machine's.
const LEFT_OUT: &str = "libc6";
/// Programs that run as a user whom the package's installation makes, and the option that spares them the user.
const OPTIONS: [(&str, &str); 1] = [("tcpdump", "-Z root")];

/// The result of unpacking packages.
pub(crate) struct Unpacked {
    pub(crate) packages: usize,
    pub(crate) fetched_bytes: u64,
    pub(crate) unpacked_bytes: u64,
}

/// Makes `directory` out of these packages and what else they need.
pub(crate) fn unpack(directory: &Path, packages: &[&str]) -> Result<Unpacked> {
    let part = Part::new(directory)?;
    let debs = part.path.join("debs");
    fs::create_dir(&debs)?;
    let plan = fetch(&debs, packages)?;
    let fetched_bytes = size(&debs);

    let tree = part.path.join("tree");
    for deb in entries(&debs)? {
        let mut dpkg = Command::new("dpkg");
        process::run(dpkg.arg("-x").arg(&deb).arg(&tree))?;
    }
    fs::remove_dir_all(&debs)?;
    for surplus in SURPLUS {
        let surplus = tree.join(surplus);
        if surplus.exists() {
            fs::remove_dir_all(surplus)?;
        }
    }
    mend_links(&tree, &tree)?;
    let programs = programs(&tree)?;
    check_libraries(&tree, &programs)?;
    let place = directory.join("tree");
    for program in &programs {
        let inside = program.strip_prefix(&tree)?;
        let text = script(&library_path(&place), &place.join(inside));
        let name = program.file_name().context("a program without a name")?;
        write_script(&part.path.join("bin").join(name), &text)?;
    }
    fs::write(part.path.join("packages"), plan.join("\n") + "\n")?;
    let unpacked_bytes = size(&part.path);
    part.finish()?;
    Ok(Unpacked {
        packages: plan.len(),
        fetched_bytes,
        unpacked_bytes,
    })
}

/// A directory that is being made. Dropped before it is finished, it leaves nothing.
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    place: PathBuf,
}

impl Part {
    pub(crate) fn new(place: &Path) -> Result<Self> {
        let path = place.with_extension("part");
        remove(&path)?;
        fs::create_dir_all(path.join("bin")).with_context(|| path.display().to_string())?;
        Ok(Self {
            path,
            place: place.to_owned(),
        })
    }

    /// Puts it where it belongs, in place of the previous one.
    pub(crate) fn finish(self) -> Result<()> {
        let previous = self.place.with_extension("old");
        remove(&previous)?;
        if self.place.exists() {
            fs::rename(&self.place, &previous)?;
        }
        fs::rename(&self.path, &self.place)?;
        remove(&previous)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A tree that stays is removed before the next attempt.
        let _ = remove(&self.path);
    }
}

/// The libraries of a tree, as `LD_LIBRARY_PATH`.
pub(crate) fn library_path(tree: &Path) -> String {
    LIBRARIES
        .map(|directory| tree.join(directory).display().to_string())
        .join(":")
}

/// A script that becomes `program`: the process is the same, and so is its number.
pub(crate) fn script(library_path: &str, program: &Path) -> String {
    let quoted = |text: &str| process::quoted(text.as_ref());
    let mut text = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH={}\nexec {}",
        quoted(library_path),
        process::quoted(program.as_os_str())
    );
    let name = program.file_name().unwrap_or_default();
    for (_, option) in OPTIONS.iter().filter(|(program, _)| name == *program) {
        // A String takes everything.
        let _ = write!(text, " {option}");
    }
    text + " \"$@\"\n"
}

pub(crate) fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The bytes of a directory and all that it holds; what vanishes while being looked at counts nothing.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let inside = if metadata.is_dir() {
        entries(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    metadata.len() + inside.iter().map(|path| size(path)).sum::<u64>()
}

/// Downloads the packages, and what they need beside, into `debs`; what that was.
fn fetch(debs: &Path, packages: &[&str]) -> Result<Vec<String>> {
    let mut updated = !have_package_lists();
    if updated {
        update()?;
    }
    loop {
        let failure = match plan(packages).and_then(|plan| download(debs, &plan).map(|()| plan)) {
            Ok(plan) => return Ok(plan),
            Err(failure) => failure,
        };
        if updated {
            return Err(failure);
        }
        // Old lists name packages that are no longer offered, or not the newest.
        println!("setup: {failure:#}; once more with new package lists");
        update()?;
        updated = true;
    }
}

fn have_package_lists() -> bool {
    entries(Path::new("/var/lib/apt/lists"))
        .unwrap_or_default()
        .iter()
        .any(|list| list.to_string_lossy().contains("_Packages"))
}

fn update() -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "DPkg::Lock::Timeout=600", "update"]);
    ensure!(
        process::is_root(),
        "the package lists are missing or old; run this as root: {}",
        process::shown(&apt)
    );
    println!("setup: reading the package lists (apt-get update)");
    quietly(&mut apt).map(drop)
}

/// The packages that would have to be installed for these, as PACKAGE=VERSION.
fn plan(packages: &[&str]) -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["-s", "install", "--no-install-recommends"])
        .args(packages);
    let plan = planned(&quietly(&mut apt)?);
    ensure!(
        !plan.is_empty(),
        "Debian's package manager has installed {}, but their programs are not in PATH or do not start",
        packages.join(" ")
    );
    Ok(plan)
}

/// Reads `apt-get -s install`: `Inst PACKAGE [OLD] (VERSION ARCHIVE [ARCHITECTURE])`.
fn planned(simulation: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let (package, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let (_, rest) = rest.split_once('(')?;
        let version = rest.split([' ', ')']).next()?;
        (package != LEFT_OUT).then(|| format!("{package}={version}"))
    };
    simulation.lines().filter_map(of_line).collect()
}

fn download(debs: &Path, plan: &[String]) -> Result<()> {
    let total = sizes(&quietly(Command::new("apt-cache").arg("show").args(plan))?);
    let mut apt = Command::new("apt-get");
    apt.current_dir(debs).arg("-qq");
    if process::is_root() {
        // The user whom apt would download as may not write here.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    apt.arg("download").args(plan);
    let mut child = apt
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| process::shown(&apt))?;
    let mut progress = Progress::new(&format!(
        "setup: fetching {} packages, {} MB",
        plan.len(),
        total / 1_000_000
    ));
    while child.try_wait()?.is_none() {
        progress.at(size(debs), total);
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(progress);
    succeeded(&apt, &child.wait_with_output()?)?;
    let count = entries(debs)?.len();
    ensure!(
        count == plan.len(),
        "apt-get download brought {count} packages of {}",
        plan.len()
    );
    Ok(())
}

/// The sum of the sizes in what `apt-cache show` prints.
fn sizes(records: &str) -> u64 {
    records
        .lines()
        .filter_map(|line| line.strip_prefix("Size: ")?.trim().parse::<u64>().ok())
        .sum()
}

/// Runs a command whose output is of interest only when it fails.
fn quietly(command: &mut Command) -> Result<String> {
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| process::shown(command))?;
    succeeded(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeeded(command: &Command, output: &std::process::Output) -> Result<()> {
    if !output.status.success() {
        let program = command.get_program().display();
        let words: Vec<_> = command.get_args().map(process::quoted).collect();
        let words = words.join(" ");
        bail!(
            "`{program} {words}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Links of a package lead to where it would be installed: absolute ones into the machine instead of the tree, relative
/// ones to files of packages that the machine has and the tree has not.
fn mend_links(tree: &Path, directory: &Path) -> Result<()> {
    for path in entries(directory)? {
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            mend_links(tree, &path)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            let installed = Path::new("/").join(directory.strip_prefix(tree)?);
            let Some(new) = corrected_link(&installed, &target, |path| {
                tree.join(path).symlink_metadata().is_ok()
            }) else {
                continue;
            };
            fs::remove_file(&path)?;
            symlink(new, &path)?;
        }
    }
    Ok(())
}

/// The target that a link in `directory` (as installed) needs instead of `target`, if another. `in_tree` tells whether
/// the tree has a path (without its first slash).
fn corrected_link(
    directory: &Path,
    target: &Path,
    in_tree: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let installed = normal(&directory.join(target));
    let inside = installed.strip_prefix("/").ok()?;
    match (in_tree(inside), target.is_absolute()) {
        (true, true) => {
            let up = directory.components().skip(1).map(|_| Component::ParentDir);
            Some(up.collect::<PathBuf>().join(inside))
        }
        (false, false) => Some(installed),
        (true, false) | (false, true) => None,
    }
}

/// An absolute path without `..` in it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    normal
}

fn programs(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for directory in PROGRAMS.map(|directory| tree.join(directory)) {
        if !directory.is_dir() {
            continue;
        }
        let is_program = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        programs.extend(entries(&directory)?.into_iter().filter(is_program));
    }
    Ok(programs)
}

/// Every program must find all its libraries: what was unpacked would else fail at its first use.
fn check_libraries(tree: &Path, programs: &[PathBuf]) -> Result<()> {
    let libraries = library_path(tree);
    for program in programs {
        let mut ldd = Command::new("ldd");
        ldd.env("LD_LIBRARY_PATH", &libraries).arg(program);
        // It fails for scripts, which need nothing.
        let listed = process::answer(&mut ldd).unwrap_or_default();
        if let Some(line) = listed.lines().find(|line| line.contains("not found")) {
            bail!("{} lacks a library: {}", program.display(), line.trim());
        }
    }
    Ok(())
}

/// The entries of a directory, in the order of their names.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut entries = read().with_context(|| directory.display().to_string())?;
    entries.sort();
    Ok(entries)
}

fn remove(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_tells_packages_and_versions() {
        let simulation = "NOTE: This is only a simulation!\nThe following NEW packages will be installed:\n  wrk\n\
            Inst libc6 [2.36-9] (2.36-9+deb12u13 Debian:12.12/oldstable [amd64])\n\
            Inst libluajit-5.1-2 (2.1.0~beta3+git20220320+dfsg-4.1 Debian:12.12/oldstable [amd64])\n\
            Inst wrk [1:4.0-1] [libfoo:amd64 ] (1:4.1.0-3+b2 Debian:12.12/oldstable [amd64]) []\n\
            Remv other [1.0]\nConf wrk (1:4.1.0-3+b2 Debian:12.12/oldstable [amd64])\n";
        assert_eq!(
            planned(simulation),
            [
                "libluajit-5.1-2=2.1.0~beta3+git20220320+dfsg-4.1",
                "wrk=1:4.1.0-3+b2"
            ]
        );
        assert!(planned("Reading package lists...\n0 upgraded\n").is_empty());
    }

    #[test]
    fn sizes_are_added_up() {
        assert_eq!(
            sizes("Package: a\nInstalled-Size: 9\nSize: 10\n\nPackage: b\nSize: 32\n"),
            42
        );
    }

    #[test]
    fn a_script_becomes_the_program() {
        assert_eq!(
            script("/a b/lib", Path::new("/a b/usr/sbin/nginx")),
            "#!/bin/sh\nexport LD_LIBRARY_PATH='/a b/lib'\nexec '/a b/usr/sbin/nginx' \"$@\"\n"
        );
        assert!(script("/x", Path::new("/x/bin/tcpdump")).contains("/tcpdump -Z root \"$@\""));
    }

    #[test]
    fn links_lead_into_the_tree_or_to_the_machine() {
        let has =
            |path: &Path| [Path::new("bin/kmod"), Path::new("usr/lib/libz.so.1")].contains(&path);
        let corrected_link = |directory: &str, target: &str| {
            corrected_link(directory.as_ref(), target.as_ref(), has)
        };
        // Debian's /sbin/depmod.
        assert_eq!(
            corrected_link("/sbin", "/bin/kmod"),
            Some("../bin/kmod".into())
        );
        assert_eq!(corrected_link("/usr/lib", "libz.so.1"), None);
        assert_eq!(
            corrected_link("/usr/lib/gcc", "../libstdc++.so.6"),
            Some("/usr/lib/libstdc++.so.6".into())
        );
        assert_eq!(corrected_link("/etc/alternatives", "/usr/bin/vi"), None);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() -> Result<()> {
        let place = std::env::temp_dir().join(format!("rvs-unpack-{}", std::process::id()));
        let part = Part::new(&place)?;
        let unfinished = part.path.clone();
        fs::write(unfinished.join("bin/x"), "x")?;
        drop(part);
        assert!(!unfinished.exists() && !place.exists());
        for text in ["first", "second"] {
            let part = Part::new(&place)?;
            fs::write(part.path.join("packages"), text)?;
            part.finish()?;
            assert_eq!(fs::read_to_string(place.join("packages"))?, text);
        }
        assert!(!place.with_extension("old").exists());
        remove(&place)
    }
}
