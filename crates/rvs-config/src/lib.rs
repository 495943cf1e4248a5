//! The director's model and its configuration file.
//!
//! What a person wrote (TOML, JSON, a command line) becomes here, once and at the edge, values that cannot be wrong:
//! a [`Weight`] is in range, a [`Service`] has no server twice, a [`Config`] no service twice. Whoever holds such a
//! value need not check it again.
//!
//! Not here: anything that looks at the machine (whether an interface exists, whether a port is free), and what the
//! kernel counts.

mod config;
mod director;
mod method;
mod scheduler;
mod server;
mod service;
mod service_key;
mod services;
mod text;
mod timeouts;

pub use config::{Config, ConfigError, ConfigErrors};
pub use director::{
    Attach, Compat, Director, ForwardingOnStop, InterfaceName, InterfaceNameError, Name, NameError,
    TableSize, TableSizeError,
};
pub use method::{Method, UnknownMethod};
pub use scheduler::{Scheduler, UnknownScheduler};
pub use server::{AddressError, Server, ServerError, Weight, WeightError};
pub use service::{MAX_SERVERS, Service, ServiceError};
pub use service_key::{Protocol, ServiceKey, ServiceKeyError, UnknownProtocol};
pub use services::{Services, ServicesError};
pub use timeouts::{TcpTimeouts, TimeoutError, Timeouts, parse_timeout, timeout_text};
