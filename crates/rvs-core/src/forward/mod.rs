//! Sending a packet of a known connection on. One file a forwarding method.

pub(crate) mod direct;
mod nat;
mod sctp;
mod tunnel;

use rvs_abi::{
    Counter, Method, Server, Settings,
    device::LOOPBACK,
    family,
    slot::{Link, State},
};
use rvs_table::is_ahead;

pub(crate) use nat::Side;

use crate::{
    Action, Flow, Hop, Intent, Path, Tables, connection,
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
    /// What the packet loses of its time to live: nothing where it comes from the director, or goes to it, which is no hop.
    pub(crate) hops: u8,
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
        hops: 1,
    })
}

/// The way to a server, as the daemon last knew it.
#[inline(always)]
pub(crate) fn hop_to(server: &Server, now: u32) -> Hop {
    let flags = server.flags.load();
    let fresh = is_ahead(now, server.hop_valid_until.load());
    Hop {
        address: core::array::from_fn(|i| server.hop_address[i].load()),
        ifindex: server.hop_ifindex.load(),
        mtu: server.hop_mtu.load(),
        family: flags >> 16 & 0xff,
        macs_known: u32::from(fresh && flags & Server::HOP_KNOWN != 0),
        macs: core::array::from_fn(|i| server.hop_macs[i].load()),
    }
}

/// [`hop_to`] for who sends to link addresses only: the neighbour's own address is left out. `flags`
/// are the server's.
#[inline(always)]
pub(crate) fn link_hop_to(server: &Server, flags: u32, now: u32) -> Hop {
    let fresh = is_ahead(now, server.hop_valid_until.load());
    Hop {
        ifindex: server.hop_ifindex.load(),
        mtu: server.hop_mtu.load(),
        macs_known: u32::from(fresh && flags & Server::HOP_KNOWN != 0),
        macs: core::array::from_fn(|i| server.hop_macs[i].load()),
        ..Hop::default()
    }
}

/// Forwards a client's packet by the connection whose request slot is `index`. The result is an
/// [`Outcome`] as a number.
#[inline(always)]
pub fn request<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(head) = connection::head(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    let (number, link) = (head.server.load(), Link(head.link.load()));
    carry(path, flow, number, link.method(), |path| {
        path.translate(flow, index, 0)
    })
}

/// Forwards a datagram that makes no connection, as `intent` says. The result is an [`Outcome`] as a number.
#[inline(always)]
pub fn once<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    let Some(server) = path.server(intent.server) else {
        return drop(path, Counter::DropNoRoute);
    };
    let method = server.flags.load() >> 8 & 15;
    path.account(intent.server, Traffic::Connection);
    carry(path, flow, intent.server, method, |path| {
        path.translate_once(flow, intent)
    })
}

/// Forwards a client's packet to server `number` by the method of this number; `translate` is what NAT does.
#[inline(always)]
fn carry<P: Path>(
    path: &mut P,
    flow: &Flow,
    number: u32,
    method: u32,
    translate: impl FnOnce(&mut P) -> u32,
) -> u32 {
    let now = path.now();
    let Some(server) = path.server(number) else {
        return drop(path, Counter::DropNoRoute);
    };
    let Some(method) = Method::from_number(method) else {
        return drop(path, Counter::DropNoRoute);
    };
    if method == Method::Local {
        path.account(number, Traffic::In(flow.packets, flow.bytes));
        return pass(path, Counter::PassLocal);
    }
    let mut hop = hop_to(server, now);
    if hop.ifindex == 0 && path.ask(flow, number, &mut hop) != WRITTEN {
        return drop(path, Counter::DropNoRoute);
    }
    if hop.ifindex == LOOPBACK {
        if method == Method::Nat && translate(path) != WRITTEN {
            return drop(path, Counter::DropNoRoom);
        }
        return to_local_server(path, flow, number);
    }
    if flow.ttl <= 1 {
        return answer_client(icmp::TTL);
    }
    let room = hop.mtu.saturating_sub(overhead(server, Some(method)));
    if flow.largest > room && !(method == Method::Tunnel && tunnel::may_be_cut(path, flow, server))
    {
        return too_long(path, flow, room, method, Outcome::ANSWER_CLIENT);
    }
    let done = match method {
        Method::Nat => translate(path) == WRITTEN,
        Method::Direct => direct::age(path, flow),
        Method::Tunnel => path.wrap(flow, number) == WRITTEN,
        Method::Local | Method::Bypass => false,
    };
    if !done {
        return drop(path, Counter::DropNoRoom);
    }
    path.account(number, Traffic::In(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Hands a request to a server on the director itself. That is no hop, so the time to live may be used up.
#[inline(always)]
fn to_local_server<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    path.account(server, Traffic::In(flow.packets, flow.bytes));
    path.count(Counter::PassLocal);
    if flow.is_local() {
        path.deliver() as u32
    } else {
        Action::Pass as u32
    }
}

/// Whether the reply of slot `index` comes from, or goes to, the director itself.
#[inline(always)]
fn is_local_reply<P: Path>(path: &P, flow: &Flow, index: u32) -> bool {
    flow.is_local()
        || connection::head(path, flow, index)
            .is_some_and(|head| State(head.state.load()).has(State::LOCAL_CLIENT))
}

/// Sends a reply on that comes from, or goes to, the director itself, in the form that it has now.
#[inline(always)]
fn finish_local<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    path.account(server, Traffic::Out(flow.packets, flow.bytes));
    path.count(Counter::LocalReply);
    if flow.is_local() {
        path.let_go() as u32
    } else {
        path.deliver() as u32
    }
}

/// Forwards a NAT server's packet by the connection whose reply slot is `index`. The result is an
/// [`Outcome`] as a number.
#[inline(always)]
pub fn reply<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    let Some(rewrite) = rewrite_of(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    if is_local_reply(path, flow, index) {
        if path.translate(flow, index, 1) != WRITTEN {
            return drop(path, Counter::DropNoRoom);
        }
        return finish_local(path, flow, rewrite.server);
    }
    let source = if reroutes(path) {
        &rewrite.address
    } else {
        &flow.source
    };
    match way_to_client(path, flow, source, &mut hop) {
        Ok(()) => {}
        Err(outcome) => return outcome,
    }
    if path.translate(flow, index, 1) != WRITTEN {
        return drop(path, Counter::DropNoRoom);
    }
    path.account(rewrite.server, Traffic::Out(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Forwards a NAT server's datagram that makes no connection, as one of its service. The result is an [`Outcome`] as a
/// number.
#[inline(always)]
pub fn reply_once<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    path.account(intent.server, Traffic::Connection);
    if flow.is_local() {
        if path.translate_back(flow, intent) != WRITTEN {
            return drop(path, Counter::DropNoRoom);
        }
        return finish_local(path, flow, intent.server);
    }
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    let mut source = flow.source;
    if reroutes(path)
        && let Some(service) = path.service(intent.service)
    {
        source = core::array::from_fn(|i| service.address[i].load());
    }
    match way_to_client(path, flow, &source, &mut hop) {
        Ok(()) => {}
        Err(outcome) => return outcome,
    }
    if path.translate_back(flow, intent) != WRITTEN {
        return drop(path, Counter::DropNoRoom);
    }
    path.account(intent.server, Traffic::Out(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// Forwards a direct-routing or tunnel server's packet, which already has the virtual address as
/// its source, to the client. The kernel would take it for a martian. `index` is the request slot.
/// The result is an [`Outcome`] as a number.
#[inline(always)]
pub fn returning<P: Path>(path: &mut P, flow: &Flow, index: u32) -> u32 {
    let Some(head) = connection::head(path, flow, index) else {
        return drop(path, Counter::DropNoRoom);
    };
    let (number, link) = (head.server.load(), Link(head.link.load()));
    if link.method() == Method::Local as u32 {
        return pass(path, Counter::PassLocal);
    }
    if is_local_reply(path, flow, index) {
        return finish_local(path, flow, number);
    }
    let mut hop = Hop {
        mtu: flow.largest,
        ..Hop::default()
    };
    match way_to_client(path, flow, &flow.source, &mut hop) {
        Ok(()) => {}
        Err(outcome) => return outcome,
    }
    if !direct::age(path, flow) {
        return drop(path, Counter::DropNoRoom);
    }
    path.count(Counter::DirectReply);
    path.account(number, Traffic::Out(flow.packets, flow.bytes));
    path.transmit(&hop) as u32
}

/// What a forwarding step asks of [`crate::director`]: an [`Action`], or that an ICMP error be sent.
/// In a number: the action, [`Outcome::ANSWER_CLIENT`] or [`Outcome::ANSWER_SERVER`] in the low four
/// bits, and what [`icmp::answer`] is told above; or [`Outcome::CUT`], and above it the bytes that the way takes.
pub struct Outcome;

impl Outcome {
    /// Tell the client.
    pub const ANSWER_CLIENT: u32 = 3;
    /// Tell the server.
    pub const ANSWER_SERVER: u32 = 4;
    /// Send it in fragments.
    pub const CUT: u32 = 5;
}

/// What becomes of a packet that is longer than the `room` bytes of its way: it is cut where that is allowed, else
/// its sender, `whom`, is told. A tunnel allows it for all of IPv4 where path MTU discovery is off (IPVS:
/// `ensure_mtu_is_adequate`).
#[inline(always)]
fn too_long<P: Path>(path: &P, flow: &Flow, room: u32, method: Method, whom: u32) -> u32 {
    let may_cut = flow.flags & Flow::DONT_FRAGMENT == 0
        || method == Method::Tunnel
            && path
                .settings()
                .is_some_and(|settings| settings.flags.load() & Settings::PMTU_DISC == 0);
    if may_cut && !flow.is_v6() {
        Outcome::CUT | room << 4
    } else {
        whom | icmp::too_big(room) << 4
    }
}

#[inline(always)]
fn answer_client(what: u32) -> u32 {
    Outcome::ANSWER_CLIENT | what << 4
}

#[inline(always)]
fn answer_server(what: u32) -> u32 {
    Outcome::ANSWER_SERVER | what << 4
}

/// Whether a NAT reply's way is found by the packet that leaves (`snat_reroute`), not by the one that came.
#[inline(always)]
pub(crate) fn reroutes<T: Tables>(tables: &T) -> bool {
    tables
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::SNAT_REROUTE != 0)
}

/// Finds the way back to the client, and whether the packet may take it.
#[inline(always)]
fn way_to_client<P: Path>(
    path: &mut P,
    flow: &Flow,
    source: &[u32; 4],
    hop: &mut Hop,
) -> Result<(), u32> {
    if !path.route(u32::from(flow.family), &flow.destination, source, hop) {
        return Err(drop(path, Counter::DropNoRoute));
    }
    if flow.ttl <= 1 {
        return Err(answer_server(icmp::TTL));
    }
    if flow.largest > hop.mtu {
        return Err(too_long(
            path,
            flow,
            hop.mtu,
            Method::Nat,
            Outcome::ANSWER_SERVER,
        ));
    }
    Ok(())
}

/// The packet was changed.
pub const WRITTEN: u32 = 1;

/// Puts the packet into a tunnel to server number `server`; [`WRITTEN`] or 0.
#[inline(always)]
pub fn wrap<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    let is_plain = path
        .server(server)
        .is_some_and(|server| tunnel::is_plain(flow, server));
    if is_plain {
        path.wrap_plain(flow, server)
    } else {
        tunnel::wrap(path, flow, server)
    }
}

/// [`wrap`] for a tunnel of which is known that it is IP in IP, both of one family.
#[inline(always)]
pub fn wrap_plain<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    u32::from(tunnel::wrap_plain(path, flow, server))
}

/// Puts IP in IP with an outer IPv4 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn bare_v4<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    u32::from(tunnel::bare_v4(path, flow, server))
}

/// Puts IP in IP with an outer IPv6 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn bare_v6<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    u32::from(tunnel::bare_v6(path, flow, server))
}

/// Puts GUE with an outer IPv4 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gue_v4<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> u32 {
    u32::from(tunnel::gue_v4(path, flow, server, sum))
}

/// Puts GUE with an outer IPv6 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gue_v6<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> u32 {
    u32::from(tunnel::gue_v6(path, flow, server, sum))
}

/// Puts GRE with an outer IPv4 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gre_v4<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    u32::from(tunnel::gre_v4(path, flow, server))
}

/// Puts GRE with an outer IPv6 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gre_v6<P: Path>(path: &mut P, flow: &Flow, server: u32) -> u32 {
    u32::from(tunnel::gre_v6(path, flow, server))
}

/// Puts GRE with its checksum with an outer IPv4 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gre_checked_v4<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> u32 {
    u32::from(tunnel::gre_checked_v4(path, flow, server, sum))
}

/// Puts GRE with its checksum with an outer IPv6 header before the packet; [`WRITTEN`] or 0.
#[inline(always)]
pub fn gre_checked_v6<P: Path>(path: &mut P, flow: &Flow, server: u32, sum: u32) -> u32 {
    u32::from(tunnel::gre_checked_v6(path, flow, server, sum))
}

pub use tunnel::inner_sum;

/// Rewrites the packet by the NAT slot at `index`, as a reply or as a request; [`WRITTEN`] or 0.
#[inline(always)]
pub fn translate<P: Path>(path: &mut P, flow: &Flow, index: u32, is_reply: u32) -> u32 {
    let Some(mut rewrite) = rewrite_of(path, flow, index) else {
        return 0;
    };
    let side = if is_reply != 0 {
        rewrite.hops = u8::from(!is_local_reply(path, flow, index));
        Side::Source
    } else {
        rewrite.hops = hops_to(path, rewrite.server);
        Side::Destination
    };
    let mended = if flow.is_sctp() {
        sctp::mend_crc(path, flow, rewrite.ports)
    } else {
        nat::mend_checksum(path, flow, &rewrite, side)
    };
    u32::from(mended && nat::write(path, flow, &rewrite, side))
}

/// Rewrites a datagram that makes no connection; [`WRITTEN`] or 0.
#[inline(always)]
pub fn translate_once<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    let Some(server) = path.server(intent.server) else {
        return 0;
    };
    let port = connection::server_port(flow, server, intent);
    let rewrite = Rewrite {
        address: core::array::from_fn(|i| server.address[i].load()),
        ports: flow.ports & 0xffff | port << 16,
        server: intent.server,
        hops: hops_to(path, intent.server),
    };
    u32::from(nat::rewrite(path, flow, &rewrite, Side::Destination))
}

/// Rewrites a NAT server's datagram that belongs to no connection as one of its service; [`WRITTEN`] or 0.
#[inline(always)]
pub fn translate_back<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    let Some(service) = path.service(intent.service) else {
        return 0;
    };
    let rewrite = Rewrite {
        address: core::array::from_fn(|i| service.address[i].load()),
        ports: service.key.load() & 0xffff | flow.ports & !0xffff,
        server: intent.server,
        hops: u8::from(!flow.is_local()),
    };
    u32::from(nat::rewrite(path, flow, &rewrite, Side::Source))
}

/// What a packet to the server loses of its time to live.
#[inline(always)]
pub(crate) fn hops_to<T: Tables>(tables: &T, server: u32) -> u8 {
    u8::from(
        tables
            .server(server)
            .is_none_or(|server| server.hop_ifindex.load() != LOOPBACK),
    )
}

/// Bytes that a method puts before the packet.
#[inline(always)]
fn overhead(server: &Server, method: Option<Method>) -> u32 {
    if method == Some(Method::Tunnel) {
        tunnel::overhead(server)
    } else {
        0
    }
}

/// Asks the kernel for the way to a server of which the daemon knows none; [`WRITTEN`] or 0.
#[inline(always)]
pub fn ask<P: Path>(path: &P, flow: &Flow, server: u32, hop: &mut Hop) -> u32 {
    let Some(server) = path.server(server) else {
        return 0;
    };
    let address: [u32; 4] = core::array::from_fn(|i| server.address[i].load());
    let own: [u32; 4] = core::array::from_fn(|i| server.own_address[i].load());
    // The packet as it will leave: a route without a known neighbour only says whether that fits.
    let flags = server.flags.load();
    let overhead = overhead(server, Server::method_of(flags));
    // A tunnel needs an address of its own, which only the daemon learns.
    if overhead != 0 && own == [0; 4] {
        return 0;
    }
    hop.mtu = flow.largest.wrapping_add(overhead);
    // A tunnel's outer family may be another than the packet's.
    let family = if flags & Server::V6 != 0 {
        family::V6
    } else {
        family::V4
    };
    let found = path.route(u32::from(family), &address, &own, hop);
    let path_mtu = server.path_mtu.load();
    if path_mtu != 0 {
        hop.mtu = hop.mtu.min(path_mtu);
    }
    u32::from(found)
}

/// Bytes that go before a packet in the tunnel to `server`.
#[inline(always)]
pub(crate) fn tunnel_overhead(server: &Server) -> u32 {
    tunnel::overhead(server)
}

/// How the express way sends a packet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A request, by NAT.
    Request,
    /// A reply, by NAT.
    Reply,
    /// Direct routing.
    Direct,
    /// IP in IP, both of one family.
    Tunnel,
}

/// Bytes that the plain tunnel of the packet's own family puts before it.
#[inline(always)]
pub(crate) fn plain_overhead(flow: &Flow) -> u32 {
    if flow.is_v6() { 40 } else { 20 }
}

/// The steps that XDP takes for a packet that the express way has found to be simple.
#[inline(always)]
pub(crate) fn express<P: Path>(
    path: &mut P,
    flow: &Flow,
    rewrite: &Rewrite,
    way: Way,
    hop: &Hop,
) -> Action {
    let done = match way {
        Way::Reply => nat::rewrite(path, flow, rewrite, Side::Source),
        Way::Request => nat::rewrite(path, flow, rewrite, Side::Destination),
        Way::Direct => direct::age(path, flow),
        Way::Tunnel => path.wrap(flow, rewrite.server) == WRITTEN,
    };
    let traffic = if way == Way::Reply {
        Traffic::Out(flow.packets, flow.bytes)
    } else {
        Traffic::In(flow.packets, flow.bytes)
    };
    if !done {
        path.count(Counter::DropNoRoom);
        return Action::Drop;
    }
    path.account(rewrite.server, traffic);
    path.transmit(hop)
}
