//! The express way, for XDP: a packet of a connection in steady state, with plain headers, a known
//! next hop and no surprise, is finished in one go. Everything else goes the whole way, at tc; so
//! the express way either does exactly what [`crate::director`] would, or passes.

use rvs_abi::{
    Counter, Method, Role, Server, protocol,
    slot::{Link, State},
};
use rvs_table::tag;

use crate::{
    Action, Direction, Flow, Hop, NONE, Path, connection,
    forward::{self, Side},
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, half, ipv4, ipv6},
    state,
};

/// Forwards the packet, or leaves it untouched and uncounted. The result is an [`Action`].
#[inline(always)]
pub fn express<P: Path>(path: &mut P) -> Action {
    let mut flow = Flow::default();
    let simple = match path.ethertype() {
        ETHERTYPE_IPV4 => read_v4(path, &mut flow),
        ETHERTYPE_IPV6 => read_v6(path, &mut flow),
        _ => false,
    };
    if !simple || flow.ttl <= 1 {
        return Action::Pass;
    }
    let index = connection::find(path, &flow);
    if index == NONE {
        return Action::Pass;
    }
    let now = path.now();
    let head = if flow.is_v6() {
        path.slot6(index).map(|slot| &slot.head)
    } else {
        path.slot4(index).map(|slot| &slot.head)
    };
    let Some(head) = head else {
        return Action::Pass;
    };
    let link = Link(head.link.load());
    let direction = match link.role() {
        Role::Request => Direction::Input,
        Role::Reply => Direction::Output,
    };
    if tag::state(head.tag.load()) != tag::LIVE
        || !state::settled(&flow, head.state.load(), direction)
    {
        return Action::Pass;
    }
    if head.state.load() == state::RELEASED
        || (flow.is_tcp() && State(head.state.load()).number() != 1)
    {
        return Action::Pass;
    }
    let nat = match (Method::from_number(link.method()), link.role()) {
        (Some(Method::Nat), Role::Request) => Some(Side::Destination),
        (Some(Method::Nat), Role::Reply) => Some(Side::Source),
        (Some(Method::Direct), Role::Request) => None,
        _ => return Action::Pass,
    };
    let Some(server) = path.server(head.server.load()) else {
        return Action::Pass;
    };
    if server.flags.load() & (Server::IN_USE | Server::REMOVED) != Server::IN_USE {
        return Action::Pass;
    }
    let Some(rewrite) = forward::rewrite_of(path, &flow, index) else {
        return Action::Pass;
    };
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    if nat == Some(Side::Source) {
        if !path.route(
            u32::from(flow.family),
            &flow.destination,
            &rewrite.address,
            &mut hop,
        ) {
            return Action::Pass;
        }
    } else {
        hop = forward::hop_to(server, now);
    }
    if hop.ifindex == 0 || flow.largest > hop.mtu || !path.can_transmit(&hop) {
        return Action::Pass;
    }
    if hop.macs_known == 0 {
        path.count(Counter::NeighbourUnknown);
        return Action::Pass;
    }
    if head.stamp.load() != now {
        head.stamp.store(now);
    }
    head.packets.store(head.packets.load().saturating_add(1));
    forward::express(path, &flow, &rewrite, nat, &hop)
}

const NETWORK: u32 = 14;

#[inline(always)]
fn read_v4<P: Path>(path: &P, flow: &mut Flow) -> bool {
    let Some(header) = path.read_words::<5>(NETWORK) else {
        return false;
    };
    if header[0] & 0xff != 0x45 || half(header[1], 1) & 0x3fff != 0 {
        return false;
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
