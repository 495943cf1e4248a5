//! Finding and running the programs that a lab needs (`ip`, `nginx`, ...). Where they run, which
//! namespace, is not decided here.

use crate::error::{Context as _, LabError, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What errors say for things that happen outside all namespaces.
pub(crate) const THIS_MACHINE: &str = "this machine";

/// Program and Debian package, for those that tests are known to use.
const PACKAGES: [(&str, &str); 17] = [
    ("arping", "iputils-arping"),
    ("bridge", "iproute2"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("ipvsadm", "ipvsadm"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("socat", "socat"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("tracepath", "iputils-tracepath"),
    ("tshark", "tshark"),
    ("wg", "wireguard-tools"),
];

/// Where Debian keeps administration programs, which a user's PATH may lack.
const MORE_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Refuses when the effective user is not root.
pub fn require_root() -> Result<()> {
    let euid = rustix::process::geteuid().as_raw();
    if euid == 0 {
        Ok(())
    } else {
        Err(LabError::NotRoot { euid })
    }
}

/// The directory of the programs that `cargo xtask setup` unpacked because the machine lacked them; no matter whether
/// it did.
pub fn unpacked_programs() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")))?;
    Some(cache.join("rvs-lab/tools/programs/bin"))
}

/// PATH for children: with the directories that [`require_program`] looks at as well.
pub fn search_path() -> OsString {
    let mut all: Vec<PathBuf> = Vec::new();
    for directory in directories() {
        if !all.contains(&directory) {
            all.push(directory);
        }
    }
    // A directory whose name has a colon cannot be in PATH.
    std::env::join_paths(all).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

/// The path of a program: in PATH, where administration programs are, or among those that setup unpacked. The error names
/// the command that fetches it.
pub fn require_program(program: &str) -> Result<PathBuf> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing(program))
        };
    }
    directories()
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing(program))
}

/// Runs a command to its end; its stdout, or an error with the command line and its stderr.
pub(crate) fn output(place: &str, command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .at(place, || format!("cannot run `{}`", line(command)))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let words = if stderr.is_empty() { stdout } else { stderr };
    Err(LabError::Command {
        place: place.to_owned(),
        command: line(command),
        status: status.to_string(),
        stderr: String::from_utf8_lossy(&words).trim().to_owned(),
    })
}

/// Runs `ip` with the given arguments outside all namespaces.
pub(crate) fn ip<S: AsRef<OsStr>>(arguments: &[S]) -> Result<String> {
    let ip = require_program("ip")?;
    output(THIS_MACHINE, Command::new(ip).args(arguments))
}

/// A command line as one would type it, without the `nsenter` in front.
pub(crate) fn line(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let entered = words
        .first()
        .is_some_and(|first| Path::new(first).ends_with("nsenter"));
    match words.get(3..) {
        Some(inner) if entered => inner.join(" "),
        Some(_) | None => words.join(" "),
    }
}

fn directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_path: Vec<_> = std::env::split_paths(&path).collect();
    of_path
        .into_iter()
        .chain(MORE_DIRECTORIES.map(PathBuf::from))
        .chain(unpacked_programs())
}

fn missing(program: &str) -> LabError {
    let name = program.rsplit('/').next().unwrap_or(program);
    let package = PACKAGES.iter().find(|(known, _)| *known == name);
    LabError::MissingProgram {
        program: program.to_owned(),
        package: package.map_or(name, |(_, package)| package).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_names_its_package() {
        let error = missing("/usr/sbin/nginx").to_string();
        assert!(error.contains("apt-get install nginx-light"), "{error}");
        assert!(error.contains("cargo xtask setup"), "{error}");
        assert!(require_program("rvs-no-such-program").is_err());
    }

    #[test]
    fn line_leaves_out_nsenter() {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--net=/run/netns/x", "--", "ip", "link"]);
        assert_eq!(line(&command), "ip link");
        assert_eq!(line(Command::new("ip").arg("link")), "ip link");
    }
}
