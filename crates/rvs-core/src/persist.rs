//! Persistence: the connections of one client, or of one network of clients, go to one server.
//!
//! What is remembered is a *template*: a slot of the connection table that no packet matches, found by the part of
//! the client's address that counts, the virtual address and, where the service is one of a port, that port. It
//! lives on for the service's time after the last new connection that used it, and as long as a connection
//! that it controls is there (IPVS: `ip_vs_sched_persist`).
//!
//! | service | protocol | virtual address | virtual port |
//! | --- | --- | --- | --- |
//! | of a port | its own | its own | the port |
//! | FTP's (TCP port 21) | TCP | its own | 0 (the client's is 21) |
//! | of any port | its own | its own | 0 |
//! | of a firewall mark | 0 | the mark | 0 |
//!
//! In IPVS, and in a service with [`Service::EXACT`], FTP's template is the same as that of a service of any port at its
//! address, and either takes the other's server; and FTP is what has port 21, whatever the protocol.
//!
//! A template counts only while its server is there; with `expire_quiescent_template` only while that takes new
//! connections. One that does not count any more ends, and the client is scheduled anew. That a server is overloaded does not
//! matter: who has been there goes there again.

use rvs_abi::{
    Counter, Method, Server, Service, Settings, protocol,
    slot::{Link, State},
};
use rvs_table::tag;

use crate::{
    Flow, Intent, NONE, Path, Tables,
    connection::{self, FULL, OPENED, RACE, REPLY_TAKEN},
    director::{self, drop},
    service::FTP,
    state,
    tables::{Connections4, Connections6},
};

/// Makes a connection with the server that the client's template names, and goes on to forward the packet. `key` is
/// a cleared flow, in memory of the caller's choice. The result is an [`crate::Action`] as a number.
#[inline(always)]
pub fn persist<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent, key: &mut Flow) -> u32 {
    path.template_key(flow, intent.service, key);
    by_template(path, flow, intent, key, |_, _, _| ())
}

/// [`persist`] with the template that `key` finds; `keep` is shown those that are made.
#[inline(always)]
pub(crate) fn by_template<P: Path>(
    path: &mut P,
    flow: &Flow,
    intent: &mut Intent,
    key: &Flow,
    keep: impl Fn(&mut P, &Flow, u32),
) -> u32 {
    let mut template = path.find(key);
    if template != NONE && path.use_template(key, template, intent.service) != USABLE {
        template = NONE;
    }
    if template == NONE {
        // The client may have been at another server by the other table.
        if director::is_takeover(path) {
            return drop(path, Counter::DropTakeover);
        }
        intent.server = path.choose(flow, intent.service, NONE);
        if intent.server == NONE {
            return director::nobody(path, flow, intent.service);
        }
        template = match make(path, intent, key, keep) {
            Ok(made) => made,
            Err(action) => return action,
        };
    }
    if path.obey(flow, template, intent) == 0 {
        return drop(path, Counter::DropInsertRace);
    }
    if director::is_once(path, flow, intent.service) {
        count_datagram(path, key, template);
        return path.opened(flow, intent);
    }
    // Another server would be another session.
    match director::make_with(path, flow, intent) {
        Ok(slot) => {
            intent.slot = slot;
            path.opened(flow, intent)
        }
        Err(action) => action,
    }
}

/// Counts a datagram that leaves no connection at its template, by which `drop_entry` knows how much that is used (IPVS:
/// `ip_vs_in_hook`, the controlling connection's `in_pkts`).
#[inline(always)]
fn count_datagram<T: Tables>(tables: &T, key: &Flow, template: u32) {
    if let Some(head) = connection::head(tables, key, template) {
        head.packets.store(head.packets.load().saturating_add(1));
    }
}

/// Makes a template for the server that was chosen; or what becomes of the packet.
#[inline(always)]
pub(crate) fn make<P: Path>(
    path: &mut P,
    intent: &mut Intent,
    key: &Flow,
    keep: impl Fn(&mut P, &Flow, u32),
) -> Result<u32, u32> {
    let flags = intent.state;
    intent.state = State::TEMPLATE;
    let outcome = path.insert(key, intent);
    intent.state = flags;
    match (outcome >> 32) as u32 {
        OPENED => {
            keep(path, key, outcome as u32);
            Ok(outcome as u32)
        }
        FULL => {
            path.make_room(key, intent.server, 0);
            Err(drop(path, Counter::DropTableFull))
        }
        REPLY_TAKEN | RACE.. => Err(drop(path, Counter::DropInsertRace)),
    }
}

/// Fills in what the template is found by; the result says nothing.
#[inline(always)]
pub fn template_key<T: Tables>(tables: &T, flow: &Flow, service: u32, key: &mut Flow) -> u32 {
    let Some(service) = tables.service(service) else {
        return 0;
    };
    let of = service.key.load() as u16;
    let port = (flow.ports >> 16) as u16;
    let by_mark = service.flags.load() & Service::BY_MARK != 0;
    key.family = flow.family;
    key.protocol = protocol::of_template(if by_mark { 0 } else { flow.protocol });
    key.destination = flow.destination;
    if by_mark {
        // As the last word of an address, which is how listings show it.
        let mark = service.address[0].load().to_be();
        key.destination = if flow.is_v6() {
            [0, 0, 0, mark]
        } else {
            [mark, 0, 0, 0]
        };
    }
    // IPVS looks at the port alone.
    let is_exact = service.flags.load() & Service::EXACT != 0;
    let is_ftp = of == FTP && (is_exact || flow.protocol == protocol::TCP);
    key.ports = if is_ftp && !is_exact {
        // Apart from the template of a service of any port at the same address.
        u32::from(FTP)
    } else if port == of && !is_ftp {
        u32::from(port) << 16
    } else {
        0
    };
    let netmask = service.netmask.load();
    if flow.is_v6() {
        for (i, word) in key.source.iter_mut().enumerate() {
            *word = flow.source[i & 3] & prefix_mask(netmask, i as u32);
        }
    } else {
        key.source[0] = flow.source[0] & netmask;
    }
    1
}

/// The mask, as it lies in a packet, of word number `word` of an address of which `bits` count.
#[inline(always)]
fn prefix_mask(bits: u32, word: u32) -> u32 {
    let here = bits.saturating_sub(word * 32);
    if here >= 32 {
        u32::MAX
    } else {
        !(u32::MAX >> here).to_be()
    }
}

/// The template may be used.
pub const USABLE: u32 = 1;

/// Uses the template in the slot at `index` once more, or ends it where its server does not count any more; [`USABLE`]
/// or 0.
#[inline(always)]
pub fn use_template<T: Tables>(tables: &T, key: &Flow, index: u32, service: u32) -> u32 {
    let Some(head) = connection::head(tables, key, index) else {
        return 0;
    };
    let seen = head.tag.load();
    if tag::state(seen) != tag::LIVE {
        return 0;
    }
    let now = tables.now();
    if counts(tables, head.server.load(), service) {
        head.stamp.store(now);
        return USABLE;
    }
    let ended = if key.is_v6() {
        tables
            .slot6(index)
            .is_some_and(|slot| state::end(tables, &Connections6(tables), slot, seen, now))
    } else {
        tables
            .slot4(index)
            .is_some_and(|slot| state::end(tables, &Connections4(tables), slot, seen, now))
    };
    if ended {
        tables.count(Counter::TemplateInvalid);
    }
    0
}

/// Whether a template of this server counts (IPVS: `ip_vs_check_template`).
#[inline(always)]
fn counts<T: Tables>(tables: &T, server: u32, service: u32) -> bool {
    let (Some(server), Some(settings)) = (tables.server(server), tables.settings()) else {
        return false;
    };
    let exact = tables
        .service(service)
        .is_some_and(|service| service.flags.load() & Service::EXACT != 0);
    Server::is_there(server.flags.load())
        && (server.service.load() == service || exact)
        && (settings.flags.load() & Settings::EXPIRE_QUIESCENT == 0 || server.weight.load() != 0)
}

/// Lets the template in the slot at `index` decide where the connection goes; 0 if it is gone.
#[inline(always)]
pub fn obey<T: Tables>(tables: &T, flow: &Flow, index: u32, intent: &mut Intent) -> u32 {
    let Some(head) = connection::head(tables, flow, index) else {
        return 0;
    };
    let seen = head.tag.load();
    if !tag::readable(seen) || State(head.state.load()).0 & State::TEMPLATE == 0 {
        return 0;
    }
    intent.server = head.server.load();
    intent.control = index;
    intent.control_generation = tag::generation(seen);
    intent.state |= State::CONTROLLED;
    // The server's own port only for the port that the service is known by.
    let port = flow.ports >> 16;
    let of = tables
        .service(intent.service)
        .map_or(0, |service| service.key.load() & 0xffff);
    if port != of {
        intent.server_port = port;
    }
    1
}

/// A template has one slot, whatever its server's method.
#[inline(always)]
pub(crate) fn method_of(method: Method, state: u32) -> u32 {
    if state & State::TEMPLATE != 0 {
        method as u32 | Link::SINGLE
    } else {
        method as u32
    }
}
