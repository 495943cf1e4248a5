//! What ipvsadm prints, byte for byte.

mod connections;
mod save;
mod services;

use std::net::SocketAddr;

use rvs_config::{Netmask, Protocol, Scheduler, ServiceOptions};

use super::names::{Names, socket_number};

pub(super) use connections::{connection, connections_title};
pub(super) use save::save;
pub(super) use services::{header, services};

/// How numbers, names and order are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) columns: Columns,
    pub(super) names: NameStyle,
    pub(super) numbers: NumberStyle,
    pub(super) order: Order,
}

/// Which quantities are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Columns {
    #[default]
    Connections,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
}

/// How addresses and ports are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NameStyle {
    #[default]
    Names,
    Numeric,
}

/// How large numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NumberStyle {
    #[default]
    Short,
    Exact,
}

/// The order of services and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Sorted,
    Tables,
}

/// A mask as `-M` has it: for IPv4 an address, for IPv6 a number of bits.
fn mask(netmask: Netmask) -> String {
    match netmask {
        Netmask::Mask(mask) => mask.to_string(),
        Netmask::Prefix(length) => length.bits().to_string(),
    }
}

/// The scheduler's flags as `-b` has them. sh and mh have names for two, and the third is not shown.
fn scheduler_flags(options: &ServiceOptions) -> String {
    let names = options.scheduler_flags.names(options.scheduler);
    let shown = |name: &&str| {
        !matches!(options.scheduler, Scheduler::Sh | Scheduler::Mh) || *name != "flag-3"
    };
    names
        .into_iter()
        .filter(shown)
        .collect::<Vec<_>>()
        .join(",")
}

/// A socket address in the wanted style, cut to the width of a listing's column if it is an IPv4 host's name.
fn column(
    address: SocketAddr,
    protocol: Option<Protocol>,
    style: NameStyle,
    names: &Names,
) -> String {
    let text = socket(address, protocol, style, names);
    if address.is_ipv4() {
        text.chars().take(28).collect()
    } else {
        text
    }
}

/// A socket address in the wanted style.
fn socket(
    socket: SocketAddr,
    protocol: Option<Protocol>,
    style: NameStyle,
    names: &Names,
) -> String {
    match style {
        NameStyle::Numeric => socket_number(socket),
        NameStyle::Names => names.socket(socket, protocol),
    }
}
