//! What the data plane says of itself, gathered from rows and maps.

use std::net::{IpAddr, SocketAddr};

use rvs_abi::Counter;
use rvs_config::{ServiceKey, ServiceOptions};

use crate::{
    InterfaceState, ServerState, ServiceState, Stats, TableState,
    dataplane::Dataplane,
    hops::Hop,
    kernel, links,
    rows::{ServerRow, ServiceRow},
    stats,
};

impl Dataplane {
    /// All services in the order in which they were added.
    pub fn services(&self) -> Vec<ServiceState> {
        let services = self.rows.in_order();
        services
            .into_iter()
            .map(|row| self.service_state(row))
            .collect()
    }

    /// One service.
    pub fn service(&self, key: &ServiceKey) -> Option<ServiceState> {
        self.rows.service(key).map(|row| self.service_state(row))
    }

    /// One server that was not removed.
    pub fn server(&self, key: &ServiceKey, server: SocketAddr) -> Option<ServerState> {
        let index = self.server_index(key, server).ok()?;
        Some(self.server_state(index, self.rows.servers.get(&index)?))
    }

    /// How a service treats its clients.
    pub fn options(&self, key: &ServiceKey) -> Option<&ServiceOptions> {
        self.rows.service(key).map(|row| &row.options)
    }

    /// The service that has this name.
    pub fn named(&self, name: &str) -> Option<ServiceKey> {
        self.rows.named(name)
    }

    /// Every counter.
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        stats::counters(&self.maps)
    }

    /// How full the tables are.
    pub fn table(&self) -> TableState {
        let refused = self
            .counters()
            .iter()
            .find(|(counter, _)| *counter == Counter::DropTableFull)
            .map_or(0, |(_, n)| *n);
        TableState {
            slots4: self.sizes.slots4.into(),
            used4: self.sweep.found[0],
            slots6: self.sizes.slots6.into(),
            used6: self.sweep.found[1],
            refused,
        }
    }

    /// Where the traffic is taken from.
    pub fn interfaces(&self) -> Vec<InterfaceState> {
        let tc = if kernel::has_tcx() { "tcx" } else { "clsact" };
        self.interfaces
            .iter()
            .map(|(interface, xdp)| InterfaceState {
                name: interface.name.clone(),
                ifindex: interface.ifindex,
                tc,
                xdp: *xdp,
            })
            .collect()
    }

    fn service_state(&self, row: &ServiceRow) -> ServiceState {
        let removed = self
            .rows
            .servers_of(&row.key)
            .filter(|(_, server)| server.removed.is_some())
            .map(|(index, _)| index);
        let mut servers: Vec<ServerState> = row
            .servers
            .iter()
            .copied()
            .chain(removed)
            .filter_map(|index| Some(self.server_state(index, self.rows.servers.get(&index)?)))
            .collect();
        let counted = servers.iter().fold(
            stats::base(&self.maps.service_base, row.index),
            |sum, server| sum.plus(server.counted),
        );
        // A removed server without connections is nobody's concern.
        servers.retain(|server| !server.draining_removed || server.active + server.inactive > 0);
        ServiceState {
            key: row.key,
            name: row.name.clone(),
            options: row.options.clone(),
            origin: row.origin,
            servers,
            stats: counted.since(stats::zeroed(&self.maps.service_base, row.index)),
            counted,
        }
    }

    fn server_state(&self, index: u32, row: &ServerRow) -> ServerState {
        let entry = self.maps.servers.get(index);
        // A count that is being moved may be below zero for a moment.
        let counted = self.counted_by_server(index);
        let count = |word: Option<u32>| word.filter(|count| count >> 31 == 0).unwrap_or(0);
        ServerState {
            server: row.server,
            origin: row.origin,
            active: count(entry.map(|entry| entry.active.load())),
            inactive: count(entry.map(|entry| entry.inactive.load())),
            persistent: count(entry.map(|entry| entry.persistent.load())),
            stats: counted.since(stats::zeroed(&self.maps.server_base, index)),
            counted,
            local: row.hop.as_ref().is_some_and(|hop| hop.local),
            draining_removed: row.removed.is_some(),
            next_hop: row
                .hop
                .as_ref()
                .map(|hop| describe_hop(hop, row.server.address())),
        }
    }
}

fn describe_hop(hop: &Hop, server: IpAddr) -> String {
    if hop.local {
        return "local".to_owned();
    }
    let via = hop
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    let device = links::name(hop.ifindex).unwrap_or_else(|| format!("interface {}", hop.ifindex));
    format!("{server}{via} dev {device} mtu {}", hop.mtu)
}

/// Statistics as users count them.
impl From<rvs_abi::ServerStats> for Stats {
    fn from(stats: rvs_abi::ServerStats) -> Self {
        Self {
            connections: stats.connections,
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        }
    }
}
