//! What connections are counted in: their server's active and inactive ones with its thresholds, its templates, and
//! how many connections a slot controls. Who makes or ends a connection's slot counts it, once.

use rvs_abi::{
    Head, SctpState, Server, TcpState,
    slot::{NO_CONTROL, State},
};
use rvs_table::tag;

use super::RELEASED;
use crate::Tables;

/// A controlling slot and its generation as one number.
#[inline(always)]
pub fn control(index: u32, generation: u32) -> u64 {
    u64::from(index) | u64::from(generation) << 32
}

/// Counts a new connection of server number `server`, which may fill it up to its upper threshold (IPVS:
/// `ip_vs_bind_dest`). `control` is [`control`]'s, `words` the words of an address. 1 if it was counted, else 0.
#[inline(always)]
pub fn enter<T: Tables>(tables: &T, server: u32, state: u32, control: u64, words: u32) -> u32 {
    if state & State::CONTROLLED != 0
        && let Some(controlling) = controlling(tables, control, words)
    {
        controlling.controlled.add(1);
        // Its first packet may have said it all (`sloppy_tcp`, `sloppy_sctp`).
        if is_established(state) {
            assure_template(controlling);
        }
    }
    let Some(server) = tables.server(server) else {
        return 0;
    };
    if state & State::TEMPLATE != 0 {
        server.persistent.add(1);
        return 1;
    }
    if state & State::INACTIVE != 0 {
        &server.inactive
    } else {
        &server.active
    }
    .add(1);
    if server.flags.load() & Server::CAPPED != 0 && is_full(server) && server.overloaded.load() == 0
    {
        server.overloaded.store(1);
    }
    1
}

/// Takes a connection that ended out of what [`enter`] counted it in. The server takes new ones again where fewer than
/// the lower threshold are left, or without one fewer than three quarters of the upper (IPVS: `ip_vs_unbind_dest`).
#[inline(always)]
pub fn leave<T: Tables>(tables: &T, server: u32, state: u32, control: u64, words: u32) -> u32 {
    if state & State::CONTROLLED != 0
        && let Some(controlling) = controlling(tables, control, words)
        && controlling.controlled.load() != 0
    {
        controlling.controlled.add(u32::MAX);
    }
    let Some(server) = tables.server(server) else {
        return 0;
    };
    if state & State::TEMPLATE != 0 {
        server.persistent.add(u32::MAX);
        return 1;
    }
    if state & State::INACTIVE != 0 {
        &server.inactive
    } else {
        &server.active
    }
    .add(u32::MAX);
    if server.flags.load() & Server::CAPPED == 0 || server.overloaded.load() == 0 {
        return 1;
    }
    if has_few(server) {
        server.overloaded.store(0);
    }
    1
}

/// Whether the server has as many connections as its upper threshold says.
#[inline(always)]
pub fn is_full(server: &Server) -> bool {
    total(server) >= u64::from(server.upper.load())
}

/// Whether the server has so few connections that it is not overloaded any more: fewer than its lower threshold, or
/// without one than three quarters of the upper.
#[inline(always)]
pub fn has_few(server: &Server) -> bool {
    let lower = u64::from(server.lower.load());
    if lower != 0 {
        total(server) < lower
    } else {
        total(server) * 4 < u64::from(server.upper.load()) * 3
    }
}

/// What the slot begins with that `control` names, if it is still the same.
#[inline(always)]
pub(crate) fn controlling<T: Tables>(tables: &T, control: u64, words: u32) -> Option<&Head> {
    let (index, generation) = (control as u32, (control >> 32) as u32);
    if generation == NO_CONTROL {
        return None;
    }
    let head = if words == 1 {
        tables.slot4(index).map(|slot| &slot.head)
    } else {
        tables.slot6(index).map(|slot| &slot.head)
    }?;
    let seen = head.tag.load();
    (tag::readable(seen) && tag::generation(seen) == generation).then_some(head)
}

/// Notes at the template that controls the connection of `head` that it was worth making (IPVS:
/// `ip_vs_control_assure_ct`).
#[inline(always)]
pub(super) fn assure<T: Tables>(tables: &T, head: &Head, words: u32) {
    let control = control(head.control.load(), head.control_generation.load());
    let Some(template) = controlling(tables, control, words) else {
        return;
    };
    assure_template(template);
}

/// The same where the template itself is known.
#[inline(always)]
pub(crate) fn assure_template(template: &Head) {
    let state = template.state.load();
    if state & (State::TEMPLATE | State::ASSURED) == State::TEMPLATE && state != RELEASED {
        // Where this fails, the template was assured or ended by another.
        template.state.cas(state, state | State::ASSURED);
    }
}

/// Whether a connection in this state is established, TCP's or SCTP's: in the other's states each of the two numbers is
/// that of an inactive one.
#[inline(always)]
pub(super) fn is_established(state: u32) -> bool {
    let number = State(state).number();
    state & State::INACTIVE == 0
        && (number == TcpState::Established as u32 || number == SctpState::Established as u32)
}

/// How many connections the server has, in any state.
#[inline(always)]
fn total(server: &Server) -> u64 {
    u64::from(server.active.load()) + u64::from(server.inactive.load())
}
