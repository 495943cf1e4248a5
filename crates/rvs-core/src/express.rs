//! The express way, for XDP: a packet of a connection in steady state, with plain headers, a known
//! next hop and no surprise, is finished in one go. Everything else goes the whole way, at tc; so
//! the express way either does exactly what [`crate::director`] would, or passes.

use rvs_abi::{
    Counter, Method, Role, Server, protocol,
    slot::{Link, State},
};
use rvs_table::{Hash, Store, tag};

use crate::{
    Action, Direction, Flow, Hop, Path,
    forward::{self, Rewrite, Way},
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, half, ipv4, ipv6},
    state,
    tables::{Connections4, Connections6},
};

/// Forwards the packet, or leaves it untouched and uncounted.
#[inline(always)]
pub fn express<P: Path>(path: &mut P) -> Action {
    match path.ethertype() {
        ETHERTYPE_IPV4 => express_v4(path),
        ETHERTYPE_IPV6 => path.express_v6(),
        _ => Action::Pass,
    }
}

/// [`express`] for IPv4. Each family has a way of its own, so that neither carries the other's words.
#[inline(always)]
fn express_v4<P: Path>(path: &mut P) -> Action {
    let mut flow = Flow::default();
    if !read_v4(path, &mut flow) {
        return Action::Pass;
    }
    match plan(path, &Connections4(path), &flow) {
        Some(plan) => forward::express(path, &flow, &plan.rewrite, plan.way, &plan.hop),
        None => Action::Pass,
    }
}

/// [`express`] for IPv6.
#[inline(always)]
pub fn express_v6<P: Path>(path: &mut P) -> Action {
    let mut flow = Flow::default();
    if !read_v6(path, &mut flow) {
        return Action::Pass;
    }
    match plan(path, &Connections6(path), &flow) {
        Some(plan) => forward::express(path, &flow, &plan.rewrite, plan.way, &plan.hop),
        None => Action::Pass,
    }
}

/// What is to be done with a packet.
struct Plan {
    rewrite: Rewrite,
    way: Way,
    hop: Hop,
}

/// Finds the packet's connection and way; `None` leaves the packet to tc.
#[inline(always)]
fn plan<const N: usize, const PAD: usize, P: Path, S: Store<N, PAD>>(
    path: &P,
    store: &S,
    flow: &Flow,
) -> Option<Plan> {
    if flow.ttl <= 1 {
        return None;
    }
    let key = flow.key();
    let (_, slot) = rvs_table::find_slot(store, &key, Hash::of(&key, store.hash_key()))?;
    let head = &slot.head;
    let now = path.now();
    let (link, state) = (Link(head.link.load()), head.state.load());
    let direction = match link.role() {
        Role::Request => Direction::Input,
        Role::Reply => Direction::Output,
    };
    if tag::state(head.tag.load()) != tag::LIVE
        || !state::settled(flow, state, direction)
        || state & State::WHOLE_WAY != 0
        || (flow.is_tcp() && State(state).number() != 1)
    {
        return None;
    }
    let way = match (Method::from_number(link.method()), link.role()) {
        (Some(Method::Nat), Role::Request) => Way::Request,
        (Some(Method::Nat), Role::Reply) => Way::Reply,
        (Some(Method::Direct), Role::Request) => Way::Direct,
        (Some(Method::Tunnel), Role::Request) => Way::Tunnel,
        _ => return None,
    };
    let number = head.server.load();
    let server = path.server(number)?;
    let flags = server.flags.load();
    if !Server::is_there(flags) {
        return None;
    }
    let mut rewrite = Rewrite {
        server: number,
        hops: 1,
        ..Rewrite::default()
    };
    if matches!(way, Way::Request | Way::Reply) {
        rewrite.ports = head.rewrite_ports.load();
        for (word, cell) in rewrite.address.iter_mut().zip(&slot.rewrite) {
            *word = cell.load();
        }
    }
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    if way == Way::Reply {
        if is_due_at_kernel(path, head.stamp.load(), now) {
            return None;
        }
        let family = u32::from(flow.family);
        if !forward::reroutes(path)
            || !path.route(family, &flow.destination, &rewrite.address, &mut hop)
        {
            return None;
        }
    } else {
        hop = forward::link_hop_to(server, flags, now);
    }
    let mut room = hop.mtu;
    if way == Way::Tunnel {
        // Only the plain tunnel of the packet's own family.
        let is_plain = server.tunnel.load() == 0 && (flags & Server::V6 != 0) == flow.is_v6();
        if !is_plain {
            return None;
        }
        room = room.saturating_sub(forward::plain_overhead(flow));
    }
    if hop.ifindex == 0 || flow.largest > room || !path.can_transmit(&hop) {
        return None;
    }
    if hop.macs_known == 0 {
        path.count(Counter::NeighbourUnknown);
        return None;
    }
    if head.stamp.load() != now {
        head.stamp.store(now);
    }
    head.packets.store(head.packets.load().saturating_add(1));
    Some(Plan { rewrite, way, hop })
}

/// Whether the reply goes to tc, so that the kernel uses the neighbour's entry and confirms it when it is stale: the first of
/// each connection in a period of one to two seconds. `stamp` is the tick of the packet before. Servers' entries are used by
/// the daemon, so requests need no such packet.
#[inline(always)]
fn is_due_at_kernel<P: Path>(path: &P, stamp: u32, now: u32) -> bool {
    let second = path
        .settings()
        .map_or(0, |settings| settings.ticks_per_second.load());
    is_another_period(second, stamp, now)
}

/// Whether two ticks lie in different periods, which last the power of two next above `second` ticks.
#[inline(always)]
fn is_another_period(second: u32, stamp: u32, now: u32) -> bool {
    let offsets = u32::MAX.checked_shr(second.leading_zeros()).unwrap_or(0);
    (stamp ^ now) & !offsets != 0
}

const NETWORK: u32 = 14;

#[inline(always)]
fn read_v4<P: Path>(path: &P, flow: &mut Flow) -> bool {
    let Some(header) = path.read_words::<5>(NETWORK) else {
        return false;
    };
    let fragment = half(header[1], 1);
    if header[0] & 0xff != 0x45 || fragment & 0x3fff != 0 {
        return false;
    }
    if fragment & 0x4000 != 0 {
        flow.flags = Flow::DONT_FRAGMENT;
    }
    ipv4::fill(flow, &header);
    flow.network = NETWORK;
    flow.transport = NETWORK + 20;
    read_transport(path, flow, u32::from(half(header[0], 1)), 20)
}

#[inline(always)]
fn read_v6<P: Path>(path: &P, flow: &mut Flow) -> bool {
    let Some(header) = path.read_words::<10>(NETWORK) else {
        return false;
    };
    if header[0] >> 4 & 0xf != 6 {
        return false;
    }
    ipv6::fill(flow, &header);
    flow.protocol = (header[1] >> 16) as u8;
    flow.network = NETWORK;
    flow.transport = NETWORK + 40;
    read_transport(path, flow, 40 + u32::from(half(header[1], 0)), 40)
}

#[inline(always)]
fn read_transport<P: Path>(path: &P, flow: &mut Flow, length: u32, header: u32) -> bool {
    flow.packets = 1;
    flow.bytes = length;
    flow.largest = length;
    if length > path.length().saturating_sub(NETWORK) {
        return false;
    }
    let payload = length.saturating_sub(header);
    match flow.protocol {
        protocol::TCP => {
            let Some(tcp) = path.read_words::<5>(NETWORK + header) else {
                return false;
            };
            flow.ports = tcp[0];
            flow.tcp_flags = (tcp[3] >> 8) as u8;
            let own = (tcp[3] >> 4 & 0xf) * 4;
            own >= 20 && own <= payload
        }
        protocol::UDP => {
            let Some(udp) = path.read_words::<2>(NETWORK + header) else {
                return false;
            };
            flow.ports = udp[0];
            let own = u32::from(half(udp[1], 0));
            own >= 8 && own <= payload
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_one_to_two_seconds() {
        for second in [100, 250, 256, 300, 1000] {
            let first = (1..4 * second).find(|now| is_another_period(second, 0, *now));
            let period = first.unwrap_or(0);
            assert!(
                (second..=2 * second).contains(&period),
                "{second}: {period}"
            );
            for stamp in [0, period, u32::MAX - period + 1] {
                let last = stamp + (period - 1);
                assert!(!is_another_period(second, stamp, last), "{stamp}");
                assert!(
                    is_another_period(second, stamp, last.wrapping_add(1)),
                    "{stamp}"
                );
            }
        }
    }
}
