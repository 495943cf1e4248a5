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
mod knobs;
mod match_rule;
mod method;
mod options;
mod persistence;
mod scheduler;
mod server;
mod service;
mod service_key;
mod services;
mod text;
mod timeouts;
mod tunnel;

pub use config::{Config, ConfigError, ConfigErrors};
pub use director::{
    Attach, Compat, Director, ForwardingOnStop, InterfaceName, InterfaceNameError, Name, NameError,
    TableSize, TableSizeError,
};
pub use knobs::{Defence, KnobError, Knobs, MaglevSize, ReuseMode};
pub use match_rule::{MatchRule, MatchRuleError};
pub use method::{Method, UnknownMethod};
pub use options::{MAX_RULES, ServiceOptions};
pub use persistence::{
    Engine, Netmask, NetmaskError, Persistence, PersistenceTimeout, PersistenceTimeoutError,
    PrefixLength, UnknownEngine,
};
pub use scheduler::{Scheduler, SchedulerFlagError, SchedulerFlags, UnknownScheduler};
pub use server::{
    AddressError, Server, ServerError, ThresholdError, Thresholds, Weight, WeightError,
};
pub use service::{MAX_SERVERS, Service, ServiceError};
pub use service_key::{
    Family, Mark, Protocol, ServiceKey, ServiceKeyError, UnknownProtocol, VirtualAddress,
};
pub use services::{MAX_RULES_IN_ALL, MAX_SERVERS_IN_ALL, MAX_SERVICES, Services, ServicesError};
pub use timeouts::{OwnTimeouts, TimeoutError, Timeouts, Timer, parse_timeout, timeout_text};
pub use tunnel::{GreChecksum, GueChecksum, Tunnel, TunnelError};
