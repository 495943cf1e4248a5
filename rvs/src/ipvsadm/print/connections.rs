//! `ipvsadm -Lc`: the connection entries.

use std::io::{self, Write};

use super::{Columns, Format, socket};
use crate::ipvsadm::names::Names;
use crate::ipvsadm::table::ConnectionEntry;

/// The list's title.
pub(in crate::ipvsadm) fn connections_title(format: Format) -> String {
    let engines = match format.columns {
        Columns::PersistentConn => "        pe name          pe_data",
        Columns::Connections
        | Columns::Stats
        | Columns::Rate
        | Columns::Thresholds
        | Columns::TunInfo => "",
    };
    format!(
        "IPVS connection entries\npro expire state       source             virtual            destination{engines}\n"
    )
}

/// One line. Connections are never sorted.
pub(in crate::ipvsadm) fn connection(
    entry: &ConnectionEntry,
    format: Format,
    names: &Names,
    out: &mut impl Write,
) -> io::Result<()> {
    let name = |address| socket(address, entry.protocol, format.names, names);
    let seconds = entry.expires.as_secs();
    let expires = format!("{:02}:{:02}", seconds / 60, seconds % 60);
    let protocol = entry
        .protocol
        .map_or("IP".to_owned(), |protocol| protocol.name().to_uppercase());
    write!(
        out,
        "{protocol:<3} {expires:<6} {:<11} {:<18} {:<18} ",
        entry.state,
        name(entry.client),
        name(entry.virtual_address),
    )?;
    let destination = name(entry.destination);
    match &entry.engine {
        Some((engine, data)) if format.columns == Columns::PersistentConn => {
            writeln!(out, "{destination:<16} {engine:<18} {data}")
        }
        Some(_) | None => writeln!(out, "{destination}"),
    }
}
