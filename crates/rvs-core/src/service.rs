//! Which virtual service a packet is for.

use rvs_abi::{ServiceKey, Settings, protocol};

use crate::{Flow, NONE, Packet, Tables};

/// FTP's control port, and the port of its active data connections, as they lie in a packet.
pub(crate) const FTP: u16 = 21_u16.to_be();
pub(crate) const FTP_DATA: u16 = 20_u16.to_be();
/// The first port that needs no privilege.
const UNPRIVILEGED: u16 = 1024;

/// The index of the packet's service, or [`NONE`]: by firewall mark, by address and port, by FTP's data ports,
/// by address alone, in this order (`ip_vs_service_find`).
#[inline(always)]
pub fn find<P: Packet + Tables>(packet: &P, flow: &Flow) -> u32 {
    let Some(settings) = packet.settings() else {
        return NONE;
    };
    let flags = settings.flags.load();
    if flags & Settings::HAS_MARKS != 0 {
        let mark = mark_of(packet, flow);
        if mark != 0
            && let Some(service) = packet.find_service(&mark_key(mark, flow.family))
        {
            return service;
        }
    }
    let port = (flow.ports >> 16) as u16;
    let mut key = ServiceKey {
        address: flow.destination,
        port,
        protocol: flow.protocol,
        family: flow.family,
    };
    if let Some(service) = packet.find_service(&key) {
        return service;
    }
    if flags & Settings::HAS_FTP != 0
        && flow.protocol == protocol::TCP
        && (port == FTP_DATA || u16::from_be(port) >= UNPRIVILEGED)
    {
        key.port = FTP;
        if let Some(service) = packet.find_service(&key) {
            return service;
        }
    }
    if flags & Settings::HAS_ANY_PORT != 0 {
        key.port = 0;
        if let Some(service) = packet.find_service(&key) {
            return service;
        }
    }
    NONE
}

/// The packet's firewall mark.
#[inline(always)]
pub fn mark_of<P: Packet + Tables>(packet: &P, _flow: &Flow) -> u32 {
    packet.mark()
}

/// The key of the service of a firewall mark.
#[inline(always)]
pub fn mark_key(mark: u32, family: u8) -> ServiceKey {
    ServiceKey {
        address: [mark, 0, 0, 0],
        port: 0,
        protocol: 0,
        family,
    }
}
