//! Why the data plane could not be opened, or would not change. Each prints as one line.

use std::{io, net::SocketAddr, path::PathBuf};

use rvs_config::{MAX_SERVERS, ServiceKey};

/// Why the data plane could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not root, and without the capabilities.
    #[error("loading BPF programs needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    NotPrivileged,
    /// The kernel lacks what is needed.
    #[error("the kernel is {found}: Linux 6.1 or later is needed")]
    KernelTooOld {
        /// What `uname -r` says.
        found: String,
    },
    /// Not a BPF file system.
    #[error("no BPF file system at {path}: mount -t bpf bpf {path}")]
    NoBpffs {
        /// Where it was expected.
        path: PathBuf,
    },
    /// No such interface.
    #[error("no interface {0}")]
    NoInterface(String),
    /// An interface on which the director cannot sit.
    #[error("interface {interface}: {reason}")]
    Unsuitable {
        /// The interface.
        interface: String,
        /// Why not.
        reason: &'static str,
    },
    /// Another director's program is on the interface.
    #[error(
        "interface {0} is served by another director: stop that one, or give each its own interfaces"
    )]
    InterfaceTaken(String),
    /// XDP was asked for and is not there.
    #[error("interface {interface} has no native XDP: {source}")]
    NoXdp {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: aya::programs::ProgramError,
    },
    /// Something is pinned where our maps should be.
    #[error("{path} is not this program's: {reason}")]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The verifier refused a program.
    #[error("program {name}: {reason}")]
    Program {
        /// Its name.
        name: &'static str,
        /// The verifier's last words.
        reason: String,
    },
    /// The kernel refused something else.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The BPF object could not be loaded.
    #[error("cannot load the BPF object: {0}")]
    Object(String),
}

impl OpenError {
    pub(crate) fn kernel(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Why a change was refused. The data plane is then as it was before.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub enum ChangeError {
    /// No such service.
    #[error("no service {0}")]
    NoSuchService(ServiceKey),
    /// The service is there already.
    #[error("the service {0} is there already")]
    ServiceExists(ServiceKey),
    /// No such server.
    #[error("{service} has no real server {server}")]
    NoSuchServer {
        service: ServiceKey,
        server: SocketAddr,
    },
    /// The server is there already.
    #[error("the real server {server} is in {service} already")]
    ServerExists {
        service: ServiceKey,
        server: SocketAddr,
    },
    /// The service's list is full.
    #[error("{service} has {MAX_SERVERS} real servers already: no room for {server}")]
    TooManyServers {
        service: ServiceKey,
        server: SocketAddr,
    },
    /// A table is full.
    #[error("no room for another {what}: the limit is {limit}")]
    NoRoom { what: &'static str, limit: u64 },
    /// The kernel refused.
    #[error("{call}: {source}")]
    Kernel {
        call: &'static str,
        source: io::Error,
    },
}
