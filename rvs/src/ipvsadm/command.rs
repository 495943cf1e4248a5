//! What a command line asks for, once it is understood.

use std::net::SocketAddr;
use std::{fmt, io};

use rvs_config::{Server, ServiceKey, ServiceOptions};

use super::print::Format;
use super::table::{TableError, TimeoutChange};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    AddService {
        key: ServiceKey,
        options: OptionsArgument,
    },
    EditService {
        key: ServiceKey,
        options: OptionsArgument,
    },
    /// A key of `None` belongs to no service that can exist, such as one on a multicast address.
    DeleteService {
        key: Option<ServiceKey>,
    },
    Clear,
    AddServer {
        key: Option<ServiceKey>,
        server: ServerArgument,
    },
    EditServer {
        key: Option<ServiceKey>,
        server: ServerArgument,
    },
    DeleteServer {
        key: Option<ServiceKey>,
        server: SocketAddr,
    },
    List {
        what: What,
        format: Format,
    },
    Save {
        format: Format,
    },
    Restore,
    Zero {
        key: Wanted,
    },
    Set {
        change: TimeoutChange,
    },
    Help,
    Version,
}

impl Command {
    /// Whether it changes which servers a packet may go to.
    pub(super) const fn changes_servers(&self) -> bool {
        match self {
            Self::EditService { .. }
            | Self::AddServer { .. }
            | Self::EditServer { .. }
            | Self::DeleteServer { .. } => true,
            Self::AddService { .. }
            | Self::DeleteService { .. }
            | Self::Clear
            | Self::List { .. }
            | Self::Zero { .. }
            | Self::Set { .. }
            | Self::Save { .. }
            | Self::Restore
            | Self::Help
            | Self::Version => false,
        }
    }
}

/// What is to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Services(Wanted),
    Connections,
    Timeouts,
}

/// All services or one; one that cannot exist is `One(None)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    One(Option<ServiceKey>),
}

/// A service's options as asked for. What is wrong with them is only said when nothing is wrong with the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OptionsArgument {
    Possible(Box<ServiceOptions>),
    Impossible(TableError),
}

/// A server as asked for. What is wrong with it is only said when its service is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerArgument {
    Possible(Server),
    /// Nobody can be reached at its address, or the service cannot have it.
    Nowhere(TableError),
    /// Its numbers are wrong.
    OutOfRange,
}

/// Why a command was not, or not wholly, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) exit: u8,
    pub(super) reach: Reach,
}

/// What a failure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The program: the lines after it are not restored.
    Program,
    /// The command only: a restore goes on with the next line.
    Command,
}

impl Failure {
    /// A wrong use of options, as ipvsadm ends on it.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            exit: 2,
            reach: Reach::Program,
        }
    }

    /// Standard output takes no more. Whoever closed it has seen enough: the end is that by SIGPIPE, and silent.
    pub(super) fn output(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure {
                message: String::new(),
                exit: 141,
                reach: Reach::Program,
            };
        }
        Failure::usage(format!("standard output: {error}"))
    }

    /// What popt or the director refuses.
    pub(super) fn refused(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            exit: 255,
            reach: Reach::Command,
        }
    }

    /// No command in sight.
    pub(super) fn try_help() -> Failure {
        let message = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.".to_owned();
        Failure {
            message,
            exit: 255,
            reach: Reach::Program,
        }
    }

    /// A part of ipvsadm that RVS lacks.
    pub(super) fn not_built(what: impl fmt::Display) -> Failure {
        Failure {
            message: format!("ipvsadm: {what} is not built yet"),
            exit: 1,
            reach: Reach::Command,
        }
    }
}
