//! What ipvsadm prints, byte for byte.

mod connections;
mod save;
mod services;

use std::net::SocketAddr;

use rvs_config::Protocol;

use super::names::{Names, socket_number};

pub(super) use connections::connections;
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

/// A socket address in the wanted style, cut to the width of a listing's column if it is an IPv4 host's name.
fn column(address: SocketAddr, protocol: Protocol, style: NameStyle, names: &Names) -> String {
    let text = socket(address, protocol, style, names);
    if address.is_ipv4() {
        text.chars().take(28).collect()
    } else {
        text
    }
}

/// A socket address in the wanted style.
fn socket(socket: SocketAddr, protocol: Protocol, style: NameStyle, names: &Names) -> String {
    match style {
        NameStyle::Numeric => socket_number(socket),
        NameStyle::Names => names.socket(socket, protocol),
    }
}
