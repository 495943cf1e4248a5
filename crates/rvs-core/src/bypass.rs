//! Cache bypass (`cache_bypass`): where a service of a firewall mark has no server for a new connection, the packet goes
//! on to where it was going (IPVS: `ip_vs_leave`).
//!
//! Such a service stands between clients and the world: its servers are caches that answer for whatever address is
//! asked for. Without them the address itself is asked. The packet is left to the host, whose routes lead there; nothing
//! is remembered of it, so that a datagram's flow is a cache's again as soon as there is one. What follows a SYN
//! begins no connection, and stays with the host.

use rvs_abi::{Service, Settings};

use crate::{Flow, Hop, Path};

/// Whether the packet, for which `service` has no server, goes on by the host: 1, else 0. Only what a route leads to
/// does, and not what is the host's own.
#[inline(always)]
pub fn bypasses<P: Path>(path: &P, flow: &Flow, service: u32) -> u32 {
    let bypass = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::CACHE_BYPASS != 0);
    let by_mark = path
        .service(service)
        .is_some_and(|service| service.flags.load() & Service::BY_MARK != 0);
    if !bypass || !by_mark || flow.is_quoted() {
        return 0;
    }
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    let family = u32::from(flow.family);
    u32::from(path.route(family, &flow.destination, &flow.source, &mut hop))
}
