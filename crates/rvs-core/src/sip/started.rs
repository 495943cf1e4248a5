//! What real servers of such services begin by themselves, behind NAT, and their answers to what one-packet scheduling
//! left no connection for: the message goes out from the virtual address, and its call stays with that server (IPVS:
//! `ip_vs_new_conn_out`).

use rvs_abi::{AddressKey, Counter, Role, Service, Settings, protocol, service::address};

use super::{is_of, keep};
use crate::{
    Direction, Flow, Intent, NONE, Path, Tables,
    connection::{self, FULL, OPENED, RACE, REPLY_TAKEN},
    director::{self, drop, finish},
    icmp::OF_SERVER,
    persist::{self, USABLE},
    state::{SERVE, counts},
};

/// Sends a message of the real server [`Intent::server`] out by its call, or leaves it to the host where it has none.
/// `key` and `turned` are cleared flows, in memory of the caller's choice. The result is an [`crate::Action`] as a
/// number.
#[inline(always)]
pub fn started<P: Path>(
    path: &mut P,
    flow: &Flow,
    intent: &mut Intent,
    key: &mut Flow,
    turned: &mut Flow,
) -> u32 {
    let found = path.find_call(flow, intent.service);
    if found == 0 || turn(path, flow, intent.service, turned) == 0 {
        return director::unclaimed(path, flow);
    }
    path.call_key(turned, intent.service, found, key);
    let server = intent.server;
    // Of a packet of the director's own host: that is the server here, not the client.
    intent.state = 0;
    let mut template = path.find(key);
    if template != NONE && path.use_template(key, template, intent.service) != USABLE {
        template = NONE;
    }
    if template == NONE {
        template = match persist::make(path, intent, key, keep) {
            Ok(made) => made,
            Err(action) => return action,
        };
    }
    if path.obey(turned, template, intent) == 0 {
        return drop(path, Counter::DropInsertRace);
    }
    if let Some(head) = connection::head(path, key, template) {
        counts::assure_template(head);
    }
    // Whom the call belongs to, it is this one that speaks.
    intent.server = server;
    intent.server_port = flow.ports & 0xffff;
    if director::is_once(path, turned, intent.service) {
        return go_once(path, flow, intent);
    }
    let outcome = path.insert(turned, intent);
    match (outcome >> 32) as u32 {
        OPENED => {}
        REPLY_TAKEN => return drop(path, Counter::DropReplyTaken),
        FULL => {
            path.make_room(turned, server, intent.server_port);
            return drop(path, Counter::DropTableFull);
        }
        RACE.. => return drop(path, Counter::DropInsertRace),
    }
    let reply = path.find(flow);
    if reply == NONE || connection::role_of(path, flow, reply) != Role::Reply {
        // The client's port has a connection with another server, which its answers go to.
        return go_once(path, flow, intent);
    }
    path.count(Counter::CallStarted);
    if flow.flags & Flow::FIRST_FRAGMENT != 0 {
        return path.fragment(flow);
    }
    if path.advance(flow, reply, Direction::Output) != SERVE {
        return drop(path, Counter::DropInsertRace);
    }
    let outcome = path.reply(flow, reply);
    finish(path, flow, reply, outcome)
}

/// The real server that sent the packet, if it is one of such a service behind NAT; or [`NONE`].
#[inline(always)]
pub(crate) fn sender<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    let needed = Settings::HAS_SIP | Settings::SCHEDULE;
    let may_be = tables
        .settings()
        .is_some_and(|settings| settings.flags.load() & needed == needed);
    if !may_be || flow.protocol != protocol::UDP {
        return NONE;
    }
    let meaning = tables.find_address(&AddressKey {
        address: flow.source,
        protocol: flow.protocol,
        family: flow.family,
        port: flow.ports as u16,
    });
    if meaning & address::NAT_SERVER == 0 {
        return NONE;
    }
    let number = meaning >> address::SERVER_SHIFT;
    let is_its = tables
        .server(number)
        .and_then(|server| tables.service(server.service.load()))
        .is_some_and(|service| is_of(service) && service.persistence.load() != 0);
    if is_its { number } else { NONE }
}

/// Fills in the message that a client would have sent to get the server's `flow` for an answer; 0 where there is none.
#[inline(always)]
fn turn<T: Tables>(tables: &T, flow: &Flow, service: u32, turned: &mut Flow) -> u32 {
    let Some(service) = tables.service(service) else {
        return 0;
    };
    let port = service.key.load() & 0xffff;
    // What it would leave by is not known of a firewall mark, nor of every port.
    if service.flags.load() & Service::BY_MARK != 0 || port == 0 {
        return 0;
    }
    turned.family = flow.family;
    turned.protocol = flow.protocol;
    turned.flags = flow.flags;
    turned.source = flow.destination;
    turned.destination = core::array::from_fn(|i| service.address[i].load());
    turned.ports = flow.ports >> 16 | port << 16;
    1
}

/// Sends a real server's message out without a connection.
#[inline(always)]
fn go_once<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    path.count(Counter::CallStarted);
    let outcome = path.reply_once(flow, intent);
    finish(path, flow, intent.server | OF_SERVER, outcome)
}
