//! What a scenario asks of a director, whichever it is.

mod kernel;
mod rvs;

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::wire::Wire;

pub(crate) use kernel::Kernel;
pub(crate) use rvs::Rvs;

/// A setting that both directors know: the name of IPVS's sysctl, and its value.
pub(crate) type Knob = (&'static str, &'static str);

/// Packets that get a firewall mark: those to this prefix (TCP and UDP alike).
pub(crate) type Mark = (&'static str, u32);

/// A director, one at a time in the calling thread's network.
pub(crate) trait Director {
    /// "kernel" or "rvs".
    fn name(&self) -> &'static str;

    /// Makes a director without services and connections, with these settings and marks.
    fn start(&mut self, knobs: &[Knob], marks: &[Mark]) -> Result<()>;

    /// The wire of the director that was started.
    fn wire(&mut self) -> Result<&mut Wire>;

    /// Its ipvsadm, still without words.
    fn ipvsadm(&self) -> Command;

    /// The last lines of its process's log; empty where it has none.
    fn log(&self) -> String;
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Its messages with the bare name of the program: ipvsadm quotes `argv[0]`, which is a path where setup unpacked it.
fn without_directories(text: &str) -> String {
    text.split_inclusive(['`', '\''])
        .map(|part| match part.split_once(' ') {
            Some((program, rest)) if program.starts_with('/') && program.ends_with("/ipvsadm") => {
                format!("ipvsadm {rest}")
            }
            Some(_) | None => part.to_owned(),
        })
        .collect()
}

/// Runs ipvsadm with words and standard input.
pub(crate) fn ipvsadm(director: &dyn Director, words: &str, input: &str) -> Result<Said> {
    let mut child = director
        .ipvsadm()
        .args(words.split_whitespace())
        // Name servers are as unreachable as everything outside: one try, and not for long.
        .env("RES_OPTIONS", "timeout:1 attempts:1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("ipvsadm of {}", director.name()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It need not read all, or any, of it.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        status: output.status.code(),
        stdout: text(&output.stdout),
        stderr: without_directories(&text(&output.stderr)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bare_name_of_the_program() {
        let told = "Try `/a/sbin/ipvsadm -h' or '/a/sbin/ipvsadm --help' for more information.\n";
        assert_eq!(
            without_directories(told),
            "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"
        );
        let other = "/etc/ipvsadm.rules: no such file\n";
        assert_eq!(without_directories(other), other);
    }
}
