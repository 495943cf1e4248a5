//! Why a request was refused, for people and for programs.

use std::net::SocketAddr;

use rvs_config::{ServiceError, ServiceKey};

use crate::forwarding::ChangeError;
use crate::source::LoadError;
use crate::wire::Code;

/// Why a request was refused. The director is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No such service.
    #[error("no service {0}")]
    NoSuchService(ServiceKey),
    /// No such server.
    #[error("{service} has no real server {server}")]
    NoSuchServer {
        /// The service.
        service: ServiceKey,
        /// The server.
        server: SocketAddr,
    },
    /// The name is another service's.
    #[error("the service name {name:?} belongs to {holder} already")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        holder: ServiceKey,
    },
    /// A change that is written wrongly.
    #[error("{0}")]
    Options(#[source] serde_json::Error),
    /// No service can be so.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// There is no configuration, or it is wrong.
    #[error("{}", .0.one_line())]
    Load(#[from] LoadError),
    /// The configuration is right, but not for a director that runs.
    #[error("director.{setting} cannot change while the director runs: restart it")]
    NeedsRestart {
        /// What differs.
        setting: &'static str,
    },
    /// The data plane refused.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl RequestError {
    /// The word for programs.
    pub fn code(&self) -> Code {
        match self {
            RequestError::NoSuchService(_) => Code::NoSuchService,
            RequestError::NoSuchServer { .. } => Code::NoSuchServer,
            RequestError::NameTaken { .. } => Code::ServiceExists,
            RequestError::Options(_) | RequestError::Service(_) => Code::Invalid,
            RequestError::Load(_) | RequestError::NeedsRestart { .. } => Code::BadConfiguration,
            RequestError::Change(error) => match error {
                ChangeError::NoSuchService(_) => Code::NoSuchService,
                ChangeError::NoSuchServer { .. } => Code::NoSuchServer,
                ChangeError::ServiceExists(_) => Code::ServiceExists,
                ChangeError::ServerExists { .. } => Code::ServerExists,
                ChangeError::NoRoom { .. } | ChangeError::TooManyServers { .. } => Code::NoRoom,
                ChangeError::Kernel { .. } => Code::Kernel,
            },
        }
    }
}
