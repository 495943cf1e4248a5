//! The director's own settings: where it sits, how large its tables are, what it does when it stops.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::knobs::Knobs;
use crate::text::serde_as_text;
use crate::timeouts::Timeouts;

/// One director's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Director {
    /// Which of the directors on this machine.
    pub instance: Name,
    /// Where its traffic arrives. Not empty, none twice, if it came from a configuration.
    pub interfaces: Vec<InterfaceName>,
    /// Where in the kernel's receive path it sits.
    pub attach: Attach,
    /// Slots of the IPv4 connection table.
    pub connections: TableSize,
    /// Slots of the IPv6 connection table.
    pub connections_v6: TableSize,
    /// Where the API listens.
    pub socket: PathBuf,
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
    /// Whether clients on the director itself are served.
    pub local_clients: bool,
    /// What becomes of the traffic when the daemon is stopped.
    pub forwarding_on_stop: ForwardingOnStop,
    /// Whose defaults hold.
    pub compat: Option<Compat>,
    /// IPVS's sysctls.
    pub knobs: Knobs,
    /// How long silent connections are kept.
    pub timeouts: Timeouts,
}

impl Director {
    /// The default settings of an instance on these interfaces.
    pub fn new(instance: Name, interfaces: Vec<InterfaceName>) -> Director {
        Director {
            socket: Director::default_socket(&instance),
            instance,
            interfaces,
            attach: Attach::Auto,
            connections: TableSize::DEFAULT,
            connections_v6: TableSize::DEFAULT_V6,
            bpffs: PathBuf::from(Director::DEFAULT_BPFFS),
            local_clients: false,
            forwarding_on_stop: ForwardingOnStop::Keep,
            compat: None,
            knobs: Knobs::defaults(None),
            timeouts: Timeouts::defaults(None),
        }
    }

    /// Where the BPF file system usually is.
    pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";

    /// Where the API of an instance listens unless told otherwise.
    pub fn default_socket(instance: &Name) -> PathBuf {
        PathBuf::from(format!("/run/rvs/{instance}.sock"))
    }
}

/// An instance's name: 1 to 32 of A-Z a-z 0-9 _ -, so that it can be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Name("default".to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(known) {
            Ok(Name(text.to_owned()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }
}

/// A text that is no instance's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an instance name: 1 to 32 of A-Z a-z 0-9 _ -")]
pub struct NameError(pub String);

/// A network interface's name, as the kernel allows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if (1..=15).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.chars().any(refused)
        {
            Ok(InterfaceName(text.to_owned()))
        } else {
            Err(InterfaceNameError(text.to_owned()))
        }
    }
}

/// A text that no interface can be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interface name: 1 to 15 bytes without blanks, '/' and ':'")]
pub struct InterfaceNameError(pub String);

/// Where the data plane is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attach {
    /// XDP where that is safe and fast, and tc everywhere.
    #[default]
    Auto,
    /// tc only.
    Tc,
    /// XDP on every interface (and tc for what XDP passes on).
    Xdp,
}

impl Attach {
    /// Every choice there is.
    pub const ALL: [Attach; 3] = [Attach::Auto, Attach::Tc, Attach::Xdp];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Attach::Auto => "auto",
            Attach::Tc => "tc",
            Attach::Xdp => "xdp",
        }
    }
}

/// What becomes of the traffic when the daemon is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardingOnStop {
    /// The kernel goes on forwarding; the next start takes over.
    #[default]
    Keep,
    /// Programs and tables are removed, and all connections with them.
    Stop,
}

impl ForwardingOnStop {
    /// Every choice there is.
    pub const ALL: [ForwardingOnStop; 2] = [ForwardingOnStop::Keep, ForwardingOnStop::Stop];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            ForwardingOnStop::Keep => "keep",
            ForwardingOnStop::Stop => "stop",
        }
    }
}

/// Another program whose defaults hold, to the letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compat {
    /// Linux's IPVS.
    Ipvs,
}

impl Compat {
    /// Every choice there is.
    pub const ALL: [Compat; 1] = [Compat::Ipvs];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Compat::Ipvs => "ipvs",
        }
    }
}

/// How many slots a connection table has: a power of two. An IPv4 NAT connection takes two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableSize(u32);

impl TableSize {
    /// The smallest table.
    pub const MIN: TableSize = TableSize(1 << 10);
    /// The largest table.
    pub const MAX: TableSize = TableSize(1 << 24);
    /// The IPv4 table unless told otherwise.
    pub const DEFAULT: TableSize = TableSize(1 << 20);
    /// The IPv6 table unless told otherwise.
    pub const DEFAULT_V6: TableSize = TableSize(1 << 18);

    /// The smallest table with this many slots or more.
    pub fn new(slots: u64) -> Result<TableSize, TableSizeError> {
        match u32::try_from(slots) {
            Ok(slots) if (TableSize::MIN.0..=TableSize::MAX.0).contains(&slots) => {
                Ok(TableSize(slots.next_power_of_two()))
            }
            Ok(_) | Err(_) => Err(TableSizeError(slots.to_string())),
        }
    }

    /// The number of slots.
    pub const fn slots(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TableSize {
    type Err = TableSizeError;

    /// Reads `65536`, `64Ki` or `1Mi`.
    fn from_str(text: &str) -> Result<Self, TableSizeError> {
        let error = || TableSizeError(text.to_owned());
        let (digits, unit) = match (text.strip_suffix("Ki"), text.strip_suffix("Mi")) {
            (Some(digits), _) => (digits, 1 << 10),
            (None, Some(digits)) => (digits, 1 << 20),
            (None, None) => (text, 1),
        };
        let number: u64 = digits.trim_end().parse().map_err(|_| error())?;
        number
            .checked_mul(unit)
            .ok_or_else(error)
            .and_then(|slots| TableSize::new(slots).map_err(|_| error()))
    }
}

/// A size that no connection table has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a table size: 1024 to 16777216 slots (64Ki and 1Mi are numbers too)")]
pub struct TableSizeError(pub String);

serde_as_text!(Name, InterfaceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!("a-b_C9".parse::<Name>().is_ok());
        for text in ["", "a/b", "..", "ä", &"x".repeat(33)] {
            assert_eq!(text.parse::<Name>(), Err(NameError(text.to_owned())));
        }
        assert!("eth0.100".parse::<InterfaceName>().is_ok());
        for text in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a:1",
            "sixteen-bytes-ab",
            "a\u{7}",
        ] {
            assert_eq!(
                text.parse::<InterfaceName>(),
                Err(InterfaceNameError(text.to_owned()))
            );
        }
    }

    #[test]
    fn table_sizes() {
        for (text, slots) in [
            ("1024", 1024),
            ("1025", 2048),
            ("16777216", 1 << 24),
            ("64Ki", 65536),
            ("16Mi", 1 << 24),
            ("3 Ki", 4096),
        ] {
            assert_eq!(text.parse::<TableSize>().map(TableSize::slots), Ok(slots));
        }
        for text in [
            "0",
            "1023",
            "16777217",
            "17Mi",
            "-1",
            "",
            "Ki",
            "99999999999999999999Mi",
            "18446744073709551615Mi",
        ] {
            assert_eq!(
                text.parse::<TableSize>(),
                Err(TableSizeError(text.to_owned()))
            );
        }
    }
}
