//! Sending a packet of a known connection on. One file a forwarding method.

mod direct;
pub(crate) mod nat;
mod tunnel;

use rvs_abi::{Counter, Method, Server, slot::Link};
use rvs_table::elapsed;

pub(crate) use nat::Side;

use crate::{
    Action, Flow, Hop, Path, Tables,
    director::{drop, pass},
    icmp,
    tables::Traffic,
};

/// What a NAT slot writes into a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// The new address of one side.
    pub(crate) address: [u32; 4],
    /// Both ports.
    pub(crate) ports: u32,
    /// Index of the server.
    pub(crate) server: u32,
    /// The slot's link word.
    pub(crate) link: u32,
}

/// Reads the slot at `index`.
#[inline(always)]
pub(crate) fn rewrite_of<T: Tables>(tables: &T, flow: &Flow, index: u32) -> Option<Rewrite> {
    let mut address = [0; 4];
    let head = if flow.is_v6() {
        let slot = tables.slot6(index)?;
        address = core::array::from_fn(|i| slot.rewrite[i].load());
        &slot.head
    } else {
        let slot = tables.slot4(index)?;
        address[0] = slot.rewrite[0].load();
        &slot.head
    };
    Some(Rewrite {
        address,
        ports: head.rewrite_ports.load(),
        server: head.server.load(),
        link: head.link.load(),
    })
}

/// The way to a server, as the daemon last knew it.
#[inline(always)]
pub(crate) fn hop_to<T: Tables>(server: &Server, now: u32, _tables: &T) -> Hop {
    let flags = server.flags.load();
    let fresh = !elapsed(now, server.hop_valid_until.load(), 1);
    Hop {
        address: core::array::from_fn(|i| server.hop_address[i].load()),
        ifindex: server.hop_ifindex.load(),
        mtu: server.hop_mtu.load(),
        family: flags >> 16 & 0xff,
        macs_known: u32::from(fresh && flags & Server::HOP_KNOWN != 0),
        macs: core::array::from_fn(|i| server.hop_macs[i].load()),
    }
}

/// Forwards a client's packet by the connection whose request slot is `index`. The result is an
/// [`Action`] as a number.
#[inline(always)]
pub fn request<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(rewrite) = rewrite_of(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    let now = path.now();
    let Some(server) = path.server(rewrite.server) else {
        return drop(path, Counter::DropNoRoute);
    };
    let Some(method) = Method::from_number(Link(rewrite.link).method()) else {
        return drop(path, Counter::DropNoRoute);
    };
    let mut hop = hop_to(server, now, path);
    let own: [u32; 4] = core::array::from_fn(|i| server.own_address[i].load());
    let address: [u32; 4] = core::array::from_fn(|i| server.address[i].load());
    if method == Method::Local {
        path.account(rewrite.server, Traffic::In(flow.packets, flow.bytes));
        return pass(path, Counter::PassLocal);
    }
    if hop.ifindex == 0 && !path.route(u32::from(flow.family), &address, &own, &mut hop) {
        return drop(path, Counter::DropNoRoute);
    }
    if flow.ttl <= 1 {
        return path.answer(flow, icmp::TTL);
    }
    let overhead = if method == Method::Tunnel {
        tunnel::overhead(flow)
    } else {
        0
    };
    let room = hop.mtu.saturating_sub(overhead);
    if flow.largest > room {
        return path.answer(flow, icmp::too_big(room));
    }
    let done = match method {
        Method::Nat => nat::rewrite(path, flow, &rewrite, Side::Destination),
        Method::Direct => direct::age(path, flow),
        Method::Tunnel => tunnel::wrap(path, flow, &own, &address),
        Method::Local => true,
    };
    if !done {
        return drop(path, Counter::DropNoRoom);
    }
    path.account(rewrite.server, Traffic::In(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Forwards a NAT server's packet by the connection whose reply slot is `index`. The result is an
/// [`Action`] as a number.
#[inline(always)]
pub fn reply<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(rewrite) = rewrite_of(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    let mut hop = Hop::default();
    if !path.route(
        u32::from(flow.family),
        &flow.destination,
        &rewrite.address,
        &mut hop,
    ) {
        return drop(path, Counter::DropNoRoute);
    }
    if flow.ttl <= 1 {
        return answer_server(path, flow, rewrite.server, icmp::TTL);
    }
    if flow.largest > hop.mtu {
        return answer_server(path, flow, rewrite.server, icmp::too_big(hop.mtu));
    }
    if !nat::rewrite(path, flow, &rewrite, Side::Source) {
        return drop(path, Counter::DropNoRoom);
    }
    path.account(rewrite.server, Traffic::Out(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Forwards a direct-routing or tunnel server's packet, which already has the virtual address as
/// its source, to the client. The kernel would take it for a martian. `index` is the request slot.
/// The result is an [`Action`] as a number.
#[inline(always)]
pub fn returning<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(rewrite) = rewrite_of(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    if Link(rewrite.link).method() == Method::Local as u32 {
        return pass(path, Counter::PassLocal);
    }
    let mut hop = Hop::default();
    if !path.route(
        u32::from(flow.family),
        &flow.destination,
        &flow.source,
        &mut hop,
    ) {
        return drop(path, Counter::DropNoRoute);
    }
    if flow.ttl <= 1 {
        return answer_server(path, flow, rewrite.server, icmp::TTL);
    }
    if flow.largest > hop.mtu {
        return answer_server(path, flow, rewrite.server, icmp::too_big(hop.mtu));
    }
    if !direct::age(path, flow) {
        return drop(path, Counter::DropNoRoom);
    }
    path.count(Counter::DirectReply);
    path.account(rewrite.server, Traffic::Out(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Answers a server: from the director's own address on its side, since the packet's destination is
/// the client.
#[inline(always)]
fn answer_server<P: Path>(path: &mut P, flow: &Flow, server: u32, what: u32) -> u32 {
    let mut about = *flow;
    if let Some(server) = path.server(server) {
        about.destination = core::array::from_fn(|i| server.own_address[i].load());
    }
    path.answer(&about, what)
}

/// The steps that XDP takes for a packet that the express way has found to be simple.
#[inline(always)]
pub(crate) fn express<P: Path>(
    path: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    nat: Option<Side>,
    hop: &Hop,
) -> Action {
    let (done, traffic) = match nat {
        Some(Side::Source) => (
            nat::rewrite(path, flow, rewrite, Side::Source),
            Traffic::Out(flow.packets, flow.bytes),
        ),
        Some(Side::Destination) => (
            nat::rewrite(path, flow, rewrite, Side::Destination),
            Traffic::In(flow.packets, flow.bytes),
        ),
        None => (
            direct::age(path, flow),
            Traffic::In(flow.packets, flow.bytes),
        ),
    };
    if !done {
        path.count(Counter::DropNoRoom);
        return Action::Drop;
    }
    path.account(rewrite.server, traffic);
    path.transmit(hop)
}
