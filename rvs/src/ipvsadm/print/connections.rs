//! `ipvsadm -Lc`: the connection entries.

use std::fmt::Write;

use super::{Columns, Format, socket};
use crate::ipvsadm::names::Names;
use crate::ipvsadm::table::ConnectionEntry;

/// The list with its title. Connections are never sorted.
pub(in crate::ipvsadm) fn connections(
    entries: &[ConnectionEntry],
    format: Format,
    names: &Names,
) -> String {
    let mut out = String::from(
        "IPVS connection entries\npro expire state       source             virtual            destination",
    );
    if format.columns == Columns::PersistentConn {
        out.push_str("        pe name          pe_data");
    }
    out.push('\n');
    for entry in entries {
        let name = |address| socket(address, entry.protocol, format.names, names);
        let seconds = entry.expires.as_secs();
        let expires = format!("{:02}:{:02}", seconds / 60, seconds % 60);
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "{:<3} {expires:<6} {:<11} {:<18} {:<18} {}",
            entry.protocol.name().to_uppercase(),
            entry.state,
            name(entry.client),
            name(entry.virtual_address),
            name(entry.destination),
        );
    }
    out
}
