//! Running other programs: the repository's root, root privileges, live output that is also read.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The checkout this program was built from.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || repository().join("target"),
        |directory| repository().join(directory),
    )
}

/// The cargo that runs us, started at the repository's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    cargo
}

/// A program that finds what setup unpacked.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command.env("PATH", rvs_lab::search_path());
    command
}

/// Are we root? (The effective user of this process, as the kernel says.)
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_uid(&status) == Some(0)
}

/// The command as one could type it, but for PATH, which is long and only says where the cache is.
pub(crate) fn shown(command: &Command) -> String {
    let set = command.get_envs().filter(|(name, _)| *name != "PATH");
    let set = set.filter_map(|(name, value)| {
        value.map(|value| format!("{}={}", name.display(), quoted(value)))
    });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs to the end with our output; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| shown(command))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Standard output of a quick question, or nothing when the program is missing or fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end; its standard output is passed on as it comes (`Show::Live`) and handed over line by line.
pub(crate) fn read_lines(
    command: &mut Command,
    show: Show,
    mut line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| shown(command))?;
    let output = child.stdout.take().context("no pipe from the child")?;
    let output = Watched { output, show };
    each_line(output, &mut line)?;
    Ok(child.wait()?)
}

/// Hands over what is read, line by line; the last needs no end.
pub(crate) fn each_line(mut output: impl Read, mut line: impl FnMut(&str)) -> Result<()> {
    let mut pending = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let length = output.read(&mut chunk)?;
        let Some(new) = chunk.get(..length).filter(|new| !new.is_empty()) else {
            break;
        };
        pending.extend_from_slice(new);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            line(&String::from_utf8_lossy(&pending[..end]));
            pending.drain(..=end);
        }
    }
    line(&String::from_utf8_lossy(&pending));
    Ok(())
}

/// What becomes of the output that is read.
#[derive(Clone, Copy)]
pub(crate) enum Show {
    /// Passed on as it comes.
    Live,
    /// Only read.
    Not,
}

/// Output that is passed on, or not, when it is read.
struct Watched<R> {
    output: R,
    show: Show,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.output.read(buffer)?;
        match self.show {
            Show::Live => {
                let mut out = std::io::stdout().lock();
                out.write_all(buffer.get(..length).unwrap_or_default())?;
                out.flush()?;
            }
            Show::Not => {}
        }
        Ok(length)
    }
}

fn effective_uid(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// One word as a shell takes it.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_one_types_them() {
        let mut command = Command::new("sh");
        command.env("A", "1 2").args(["-c", "echo it's"]);
        assert_eq!(shown(&command), r"A='1 2' sh -c 'echo it'\''s'");
    }

    #[test]
    fn the_effective_user_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t7\t8\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn lines_come_one_by_one_and_the_last_needs_no_end() {
        let mut lines = Vec::new();
        let status = read_lines(
            Command::new("printf").arg("a\\nb\\n\\nc"),
            Show::Not,
            |line| lines.push(line.to_owned()),
        );
        assert!(status.expect("printf runs").success());
        assert_eq!(lines, ["a", "b", "", "c"]);
    }
}
