//! What can go wrong while a lab is made or used. Every error prints as one line that names the
//! thing and the place, except that a program's own words (stderr, log tail) follow as they are.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// The result of everything in this crate.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Why a lab operation failed.
#[derive(thiserror::Error)]
pub enum LabError {
    /// The effective user is not root.
    #[error(
        "rvs-lab: root is needed to make network namespaces (effective uid is {euid}): run the test or the demo as root"
    )]
    NotRoot {
        /// The effective user id found.
        euid: u32,
    },
    /// A program is not installed.
    #[error(
        "rvs-lab: {program} is not installed: run `cargo xtask setup` or `apt-get install {package}`"
    )]
    MissingProgram {
        /// The program's name.
        program: String,
        /// The Debian package that has it.
        package: String,
    },
    /// A program ran and failed.
    #[error("{place}: `{command}` failed ({status}): {stderr}")]
    Command {
        /// The host (or "this machine") where it ran.
        place: String,
        /// The whole command line.
        command: String,
        /// The exit status in words.
        status: String,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// An operating system call failed.
    #[error("{place}: {what}: {cause}")]
    Io {
        /// The host (or "this machine") where it failed.
        place: String,
        /// What was tried.
        what: String,
        /// The system's answer; part of the line, and so not also a `source`.
        cause: io::Error,
    },
    /// Something did not become true in time.
    #[error("{what}: not within {timeout:?}{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        timeout: Duration,
        /// What is known about it, a log's tail for instance; empty or starting with a separator.
        detail: String,
    },
    /// A child process ended although it should have stayed.
    #[error("{place}: {program} ended ({status}); log {}:\n{log_tail}", log.display())]
    Ended {
        /// The host where it ran.
        place: String,
        /// The program.
        program: String,
        /// The exit status in words.
        status: String,
        /// Its whole output.
        log: PathBuf,
        /// The last lines of it.
        log_tail: String,
    },
    /// A peer answered, and the answer is not what the protocol says.
    #[error("{place}: {what}")]
    Answer {
        /// The host that got the answer.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The lab has no such host, interface or address.
    #[error("{place}: no {what}")]
    Unknown {
        /// Where it was looked for.
        place: String,
        /// What was looked for.
        what: String,
    },
}

/// A test that returns an error has it printed by `Debug`: that shall be the one clear line too.
impl fmt::Debug for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Adds the place and the deed to an I/O error.
pub(crate) trait Context<T> {
    fn at(self, place: &str, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn at(self, place: &str, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| LabError::Io {
            place: place.to_owned(),
            what: what(),
            cause: error.into(),
        })
    }
}
