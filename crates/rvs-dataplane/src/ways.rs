//! The ways to real servers, as they were found, written where packets look.

use std::net::IpAddr;

use rvs_abi::{Server as Entry, Word32, device::LOOPBACK};
use rvs_table::elapsed;

use crate::{
    change::write_method, dataplane::Dataplane, hops::Hop, local::is_translated, programs,
    rows::ServerRow, wire,
};

/// How long next hops are good without being confirmed, in seconds.
const HOP_SECONDS: u32 = 5;

impl Dataplane {
    /// The distinct addresses of all servers, whose next hops are wanted.
    pub fn server_addresses(&self) -> Vec<IpAddr> {
        self.rows.addresses().collect()
    }

    /// Writes next hops that were found or confirmed just now; `None` where there is no route.
    pub fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        let Ok(now) = programs::clock(&self.object) else {
            return;
        };
        let until = now.tick.wrapping_add(HOP_SECONDS * self.ticks);
        for (address, hop) in hops {
            let indexes: Vec<u32> = self.rows.at_address(*address).collect();
            for index in indexes {
                let (Some(row), Some(entry)) = (
                    self.rows.servers.get_mut(&index),
                    self.maps.servers.get(index),
                ) else {
                    continue;
                };
                // A way that an older process found may be there without a row's that says so.
                if row.hop != *hop || hop.is_none() || entry.hop_ifindex.load() == 0 {
                    write_hop(entry, row, hop.as_ref());
                    row.hop.clone_from(hop);
                }
                forget_path(entry, now.tick);
                entry.hop_valid_until.store(until);
            }
        }
        self.follow_local();
    }
}

/// Forgets what a router said of the path's MTU, when that is long enough ago: the path may have become wider.
fn forget_path(entry: &Entry, now: u32) {
    if entry.path_mtu.load() != 0 && elapsed(now, entry.path_mtu_until.load(), 1) {
        entry.path_mtu.store(0);
        entry.hop_mtu.store(entry.route_mtu.load());
    }
}

/// Writes the way to the same server that an older director knew, so that packets have it from the first one on: a
/// tunnel would be closed until the daemon has found the director's own address towards the server.
pub(crate) fn copy_way(entry: &Entry, known: &Entry) {
    const WAY: u32 = 0xff << 16 | 0xf << 8 | Entry::HOP_KNOWN;
    let copy = |to: &[Word32], from: &[Word32]| {
        for (to, from) in to.iter().zip(from) {
            to.store(from.load());
        }
    };
    copy(&entry.hop_address, &known.hop_address);
    copy(&entry.own_address, &known.own_address);
    copy(&entry.hop_macs, &known.hop_macs);
    for (to, from) in [
        (&entry.hop_mtu, &known.hop_mtu),
        (&entry.route_mtu, &known.route_mtu),
        (&entry.path_mtu, &known.path_mtu),
        (&entry.path_mtu_until, &known.path_mtu_until),
        (&entry.hop_valid_until, &known.hop_valid_until),
    ] {
        to.store(from.load());
    }
    let others = entry.flags.load() & !WAY;
    entry.flags.store(others | known.flags.load() & WAY);
    entry.hop_ifindex.store(known.hop_ifindex.load());
}

/// Writes a next hop. The link addresses are unknown while the rest changes.
pub(crate) fn write_hop(entry: &Entry, row: &ServerRow, hop: Option<&Hop>) {
    entry.flags.store(entry.flags.load() & !Entry::HOP_KNOWN);
    let Some(hop) = hop else {
        entry.hop_ifindex.store(0);
        return;
    };
    let neighbour = hop.gateway.unwrap_or(row.server.address());
    wire::store(&entry.hop_address, wire::words(neighbour));
    if let Some(own) = hop.source {
        wire::store(&entry.own_address, wire::words(own));
    }
    // Another way has another MTU, of which nothing is known yet.
    let is_other = |known: &Hop| (known.ifindex, known.gateway) != (hop.ifindex, hop.gateway);
    if row.hop.as_ref().is_some_and(is_other) {
        entry.path_mtu.store(0);
    }
    let path_mtu = match entry.path_mtu.load() {
        0 => hop.mtu,
        mtu => mtu.min(hop.mtu),
    };
    entry.route_mtu.store(hop.mtu);
    entry.hop_mtu.store(path_mtu);
    let family = u32::from(wire::family_of(neighbour)) << 16;
    entry
        .flags
        .store(entry.flags.load() & !(0xff << 16) | family);
    write_method(
        entry,
        row.server.method(),
        hop.local && !is_translated(row, true),
    );
    entry
        .hop_ifindex
        .store(if hop.local { LOOPBACK } else { hop.ifindex });
    if let Some(macs) = hop.macs {
        for (word, bytes) in entry.hop_macs.iter().zip(macs.chunks_exact(4)) {
            word.store(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        entry.flags.store(entry.flags.load() | Entry::HOP_KNOWN);
    }
}
