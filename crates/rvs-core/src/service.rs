//! Which virtual service a packet is for.

use rvs_abi::{ServiceKey, Settings, Word32, protocol, rule};

use crate::{Flow, NONE, Path, Tables, tables::Step};

/// FTP's control port, and the port of its active data connections, as they lie in a packet.
pub(crate) const FTP: u16 = 21_u16.to_be();
pub(crate) const FTP_DATA: u16 = 20_u16.to_be();
/// The first port that needs no privilege.
const UNPRIVILEGED: u16 = 1024;

/// The index of the packet's service, or [`NONE`]: by firewall mark, by address and port, by FTP's data ports,
/// by address alone, in this order (`ip_vs_service_find`).
#[inline(always)]
pub fn find<P: Path>(packet: &P, flow: &Flow) -> u32 {
    let Some(settings) = packet.settings() else {
        return NONE;
    };
    let flags = settings.flags.load();
    if flags & Settings::HAS_MARKS != 0 {
        let mark = mark_of(packet, flow, flags);
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
            // One that does not remember its clients waits for its data connections to be announced.
            let remembers = packet
                .service(service)
                .is_some_and(|service| service.persistence.load() != 0);
            return if remembers { service } else { NONE };
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

/// The packet's firewall mark: that of the first match rule that fits, else its own.
#[inline(always)]
pub fn mark_of<P: Path>(path: &P, flow: &Flow, flags: u32) -> u32 {
    if flags & Settings::HAS_RULES != 0 {
        let mark = path.mark_by_rule(flow);
        if mark != 0 {
            return mark;
        }
    }
    path.mark()
}

/// The mark of the first match rule that fits; 0 is none.
#[inline(always)]
pub fn mark_by_rule<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    let Some(settings) = tables.settings() else {
        return 0;
    };
    let (offset, count) = rule::of_list(settings.rules.load());
    let [a, b, c, d] = flow.destination;
    let mut search = Search {
        address: [
            u32::from_be(a),
            u32::from_be(b),
            u32::from_be(c),
            u32::from_be(d),
        ],
        port: u32::from(u16::from_be((flow.ports >> 16) as u16)),
        protocol: u32::from(flow.protocol),
        family: u32::from(flow.family),
        offset,
        mark: tables.veiled(0),
    };
    tables.repeat(count.min(rule::RULES), &mut search);
    search.mark
}

/// The search for a rule.
struct Search {
    address: [u32; 4],
    port: u32,
    protocol: u32,
    family: u32,
    offset: u32,
    mark: u32,
}

impl<T: Tables> Step<T> for Search {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(rule) = tables.rule(self.offset.wrapping_add(round)) else {
            return false;
        };
        let (what, ports) = (rule.what.load(), rule.ports.load());
        let protocol = what & 0xff;
        if what >> 8 != self.family
            || protocol != 0 && protocol != self.protocol
            || self.port < ports & 0xffff
            || self.port > ports >> 16
            || is_before(&self.address, &rule.first, 1)
            || is_before(&self.address, &rule.last, 0)
        {
            return true;
        }
        self.mark = rule.mark.load();
        false
    }
}

/// Whether `address` lies before `bound` (`before` 1), or behind it (0).
#[inline(always)]
fn is_before(address: &[u32; 4], bound: &[Word32; 4], before: u32) -> bool {
    let mut i = 0;
    while i < 4 {
        let bound = bound[i].load();
        if address[i] != bound {
            return (address[i] < bound) == (before != 0);
        }
        i += 1;
    }
    false
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
