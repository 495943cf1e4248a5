//! AH and ESP (RFC 4302, RFC 4303): packets without ports, which go with the key exchange of the same two addresses.
//!
//! Who wants to speak IPsec agrees on keys first, by IKE, between UDP ports 500 on both sides (RFC 7296). A service at
//! that port spreads these; AH and ESP have no service of their own but follow the connection that is there, both ways
//! (IPVS: `net/netfilter/ipvs/ip_vs_proto_ah_esp.c`). NAT changes addresses alone, which ESP survives in tunnel mode and AH
//! never. A fragment of such a packet is as good as a whole one.

use rvs_abi::{Counter, Role, protocol};

use crate::{
    Direction, Flow, NONE, Path,
    connection::{self, OWN, REVERSED},
    director::{drop, finish, pass},
    state::{HELD, SERVE},
};

/// IKE's port on both sides, as ports lie in a packet.
pub(crate) const IKE: u32 = (500_u16.to_be() as u32) << 16 | 500_u16.to_be() as u32;

/// Whether the protocol is AH or ESP.
#[inline(always)]
pub(crate) fn is_ipsec(protocol: u8) -> bool {
    protocol == protocol::AH || protocol == protocol::ESP
}

/// Makes of a flow, whose addresses and protocol are known, one of IKE's connection. There are no ports to be
/// rewritten, as in a later fragment.
#[inline(always)]
pub(crate) fn mark(flow: &mut Flow) {
    flow.ports = IKE;
    flow.flags |= Flow::LATER_FRAGMENT;
}

/// The slot of the flow's connection, [`OWN`] or [`REVERSED`]; IKE's where the flow is AH or ESP.
#[inline(always)]
pub(crate) fn find<P: Path>(path: &P, flow: &mut Flow, way: u32) -> u32 {
    let protocol = flow.protocol;
    if is_ipsec(protocol) {
        flow.protocol = protocol::UDP;
    }
    let index = if way == OWN {
        path.find(flow)
    } else {
        path.find_returning(flow)
    };
    flow.protocol = protocol;
    index
}

/// Forwards an AH or ESP packet by IKE's connection, or leaves it to the host. The result is an [`crate::Action`] as a
/// number.
#[inline(always)]
pub fn ipsec<P: Path>(path: &mut P, flow: &mut Flow) -> u32 {
    let index = find(path, flow, OWN);
    let (index, is_returning) = if index == NONE {
        (find(path, flow, REVERSED), true)
    } else {
        (index, false)
    };
    if index == NONE {
        return pass(path, Counter::PassOther);
    }
    let is_reply = is_returning || connection::role_of(path, flow, index) == Role::Reply;
    let direction = if is_reply {
        Direction::Output
    } else {
        Direction::Input
    };
    match path.advance(flow, index, direction) {
        SERVE => {}
        HELD => return drop(path, Counter::DropServerGone),
        _ => return pass(path, Counter::PassOther),
    }
    path.count(Counter::IpsecForward);
    let outcome = if is_returning {
        path.returning(flow, index)
    } else if is_reply {
        path.reply(flow, index)
    } else {
        path.request(flow, index)
    };
    finish(path, flow, index, outcome)
}
