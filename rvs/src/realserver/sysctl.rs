//! Sysctls of this network namespace, by the files under `/proc/sys`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A sysctl's name, as its path below `/proc/sys`: an interface's name may have dots, so that the
/// dotted form would be ambiguous.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key(String);

impl Key {
    /// `net/ipv4/ip_forward` and the like.
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// An interface's IPv4 setting; `all` and `default` are interfaces too.
    pub(crate) fn ipv4(interface: &str, name: &str) -> Self {
        Self(format!("net/ipv4/conf/{interface}/{name}"))
    }

    /// An interface's IPv6 setting.
    pub(crate) fn ipv6(interface: &str, name: &str) -> Self {
        Self(format!("net/ipv6/conf/{interface}/{name}"))
    }

    /// Its value; `None` where this kernel or namespace has no such thing.
    pub(crate) fn read(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its value as a number.
    pub(crate) fn number(&self) -> Option<i64> {
        self.read().ok()??.parse().ok()
    }

    /// Sets it.
    pub(crate) fn write(&self, value: &str) -> io::Result<()> {
        fs::write(self.path(), value)
    }

    /// The command that sets it.
    pub(crate) fn command(&self, value: impl fmt::Display) -> String {
        format!("sysctl -w {self}={value}")
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/sys").join(&self.0)
    }
}

/// As sysctl(8) has it: dots and slashes changed for each other.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dotted: String = self
            .0
            .chars()
            .map(|letter| match letter {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect();
        f.pad(&dotted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_sysctl() {
        assert_eq!(
            Key::ipv4("eth0.5", "rp_filter").to_string(),
            "net.ipv4.conf.eth0/5.rp_filter"
        );
        assert_eq!(
            Key::ipv4("eth0.5", "rp_filter").path(),
            Path::new("/proc/sys/net/ipv4/conf/eth0.5/rp_filter")
        );
        assert_eq!(
            Key::new("net/ipv4/ip_forward").command(1),
            "sysctl -w net.ipv4.ip_forward=1"
        );
    }

    #[test]
    fn what_is_not_there_is_none() -> io::Result<()> {
        assert_eq!(Key::ipv4("no-such-device", "rp_filter").read()?, None);
        Ok(())
    }
}
