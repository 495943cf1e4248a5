//! What becomes of a connection whose server was removed, or whose ports a new connection uses again.
//! Asked where either is so; no other packet comes here.

use rvs_abi::{
    Counter, Head, Server, Service, Settings, TcpState, protocol,
    slot::{Link, State},
};

use super::is_closed;
use crate::{Direction, Flow, Tables};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The packet is one of its own.
    Stays,
    /// The packet is dropped: the server may come back.
    Waits,
    /// It ends, for this reason.
    Ends(Counter),
}

/// The fate of the connection of `head`, a slot of it. `removed` says that `server` was.
///
/// A client that opens a connection anew comes first, whatever became of the server (IPVS: `ip_vs_in_hook`,
/// `is_new_conn_expected`, to which any SYN does). What servers say goes on to the client as long as the connection is there:
/// only requests wait (IPVS: `handle_response` does not ask for the server).
#[inline(always)]
pub(super) fn of<T: Tables>(
    tables: &T,
    server: &Server,
    removed: bool,
    flow: &Flow,
    direction: Direction,
    head: &Head,
) -> Fate {
    let Some(settings) = tables.settings() else {
        return Fate::Stays;
    };
    let flags = settings.flags.load();
    let is_request = direction == Direction::Input;
    if is_request && flow.opens() && (flow.begins() || is_exact(tables, server)) {
        let quiesced = flags & Settings::EXPIRE_NODEST != 0 && server.weight.load() == 0;
        let protocol = Link(head.link.load()).protocol();
        if quiesced || is_over(flags, protocol, State(head.state.load())) {
            return Fate::Ends(Counter::Reused);
        }
    }
    if !removed {
        return Fate::Stays;
    }
    if expires(tables, flags, server, Link(head.link.load()).protocol()) {
        Fate::Ends(Counter::ServerGone)
    } else if is_request {
        Fate::Waits
    } else {
        Fate::Stays
    }
}

#[inline(always)]
fn is_exact<T: Tables>(tables: &T, server: &Server) -> bool {
    tables
        .service(server.service.load())
        .is_some_and(|service| service.flags.load() & Service::EXACT != 0)
}

/// Whether a connection of this protocol ends with its server, `flags` being the director's.
#[inline(always)]
pub(crate) fn expires<T: Tables>(tables: &T, flags: u32, server: &Server, of: u8) -> bool {
    flags & Settings::EXPIRE_NODEST != 0
        || of == protocol::UDP
            && tables
                .service(server.service.load())
                .is_none_or(|service| service.flags.load() & Service::MOVE_UDP != 0)
}

/// Whether the connection is closed, its ports may be used again (`conn_reuse_mode`), and nobody but its time-out keeps it. One that is controlled would go to the
/// same server again.
#[inline(always)]
fn is_over(flags: u32, protocol: u8, state: State) -> bool {
    // Where the server's FIN goes another way, FIN_WAIT is the last state that is seen.
    let half_closed = protocol == protocol::TCP && state.number() == TcpState::FinWait as u32;
    let modes = if half_closed {
        Settings::REUSE_FIN_WAIT
    } else {
        Settings::REUSE | Settings::REUSE_FIN_WAIT
    };
    flags & modes != 0 && is_closed(protocol, state) && !state.has(State::CONTROLLED)
}
