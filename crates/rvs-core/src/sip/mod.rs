//! Persistence by SIP's Call-ID (IPVS: `ip_vs_pe_sip.c`): the messages of one call go to one server, whatever their
//! client's port, and as much of its address as the netmask leaves out.
//!
//! Such a template's slot cannot hold the Call-ID. It is found by a *digest* instead: 64 bits of the table's keyed hash over
//! the Call-ID, what counts of the client's address, and the virtual port, in the place of source address and ports, under a
//! protocol number of its own. Two calls with one digest would meet on one server, which harms neither; nobody who
//! does not know the key can bring that about. The text itself lies beside, for listings ([`rvs_abi::Call`]).
//!
//! What a real server of such a service begins by itself, behind NAT, is understood too, and so are
//! the answers to what one-packet scheduling left no connection for: the message goes out from the virtual address, and its
//! call stays with that server (IPVS: `ip_vs_new_conn_out`).

pub mod text;

use rvs_abi::{AddressKey, Call, Counter, Role, Service, Settings, protocol, service::address};
use rvs_table::{HashKey, digest};

use crate::{
    Direction, Flow, Intent, NONE, Packet, Path, Tables,
    connection::{self, FULL, OPENED, RACE, REPLY_TAKEN},
    director::{self, drop, finish},
    icmp::OF_SERVER,
    persist::{self, USABLE},
    state::SERVE,
    tables::hash_key_of,
};
use text::{Letters, MESSAGE_MAX, scan};

/// Bytes of UDP's header.
const UDP: u32 = 8;
/// No protocol number; see [`digest`].
const KIND: u8 = 0xff;

/// Forwards the first message of a call, or another one of it that belongs to no connection; a real server's where
/// [`Intent::server`] names one. `key` and `turned` are cleared flows, in memory of the caller's choice. The result is
/// an [`crate::Action`] as a number.
#[inline(always)]
pub fn sip<P: Path>(
    path: &mut P,
    flow: &Flow,
    intent: &mut Intent,
    key: &mut Flow,
    turned: &mut Flow,
) -> u32 {
    let found = path.find_call(flow, intent.service);
    if intent.server != NONE {
        if found == 0 || turn(path, flow, intent.service, turned) == 0 {
            return director::unclaimed(path, flow);
        }
        path.call_key(turned, intent.service, found, key);
        return start(path, flow, intent, key, turned);
    }
    if found == 0 {
        return drop(path, Counter::DropNoCall);
    }
    path.call_key(flow, intent.service, found, key);
    persist::by_template(path, flow, intent, key, keep)
}

/// Whether the service tells its clients apart by their calls.
#[inline(always)]
pub(crate) fn is_of(service: &Service) -> bool {
    service.engine.load() == Service::SIP
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

/// Where the message lies, and how much of it is looked at.
#[inline(always)]
pub fn extent<P: Packet>(packet: &P, flow: &Flow) -> (u32, u32) {
    let from = flow.transport.wrapping_add(UDP);
    // A frame may be padded.
    let end = flow.network.wrapping_add(flow.largest).min(packet.length());
    (from, end.saturating_sub(from).min(MESSAGE_MAX))
}

/// The letters of a packet from `from` on.
struct Read<'a, P> {
    packet: &'a P,
    from: u32,
}

impl<P: Packet> Letters for Read<'_, P> {
    fn letter(&self, place: u32) -> u8 {
        let letter = self.packet.read::<1>(self.from.wrapping_add(place));
        letter.map_or(0, |[letter]| letter)
    }
}

/// Where in the frame the Call-ID is, above bit 32, and its length; or 0.
#[inline(always)]
pub fn find_call<P: Path>(path: &P, flow: &Flow, service: u32) -> u64 {
    let (from, length) = extent(path, flow);
    let letters = Read { packet: path, from };
    find_in(path, letters, flow, service, length)
}

/// [`find_call`] where the message's letters are those.
#[inline(always)]
pub fn find_in<T: Tables, L: Letters>(
    tables: &T,
    letters: L,
    flow: &Flow,
    service: u32,
    length: u32,
) -> u64 {
    if flow.protocol != protocol::UDP {
        return 0;
    }
    let from = flow.transport.wrapping_add(UDP);
    let exact = tables
        .service(service)
        .map_or(0, |service| service.flags.load() & Service::EXACT);
    match scan(tables, letters, length, exact) {
        0 => 0,
        found => found + (u64::from(from) << 32),
    }
}

/// Fills in what the call's template is found by; the result says nothing.
#[inline(always)]
pub fn call_key<P: Path>(path: &P, flow: &Flow, service: u32, found: u64, key: &mut Flow) -> u32 {
    let mut call = Call::NONE;
    call.length = found as u32;
    for place in 0..call.length {
        let letter = path.read::<1>(((found >> 32) as u32).wrapping_add(place));
        if let (Some([letter]), Some(word)) = (letter, call.text.get_mut(place as usize / 8)) {
            *word |= u64::from(letter) << (place % 8 * 8);
        }
    }
    key_of(path, flow, service, &mut call, key)
}

/// [`call_key`] where the text is in `call`, of which the rest is filled in.
#[inline(always)]
pub fn key_of<T: Tables>(
    tables: &T,
    flow: &Flow,
    service: u32,
    call: &mut Call,
    key: &mut Flow,
) -> u32 {
    persist::template_key(tables, flow, service, key);
    let (Some(settings), Some(service)) = (tables.settings(), tables.service(service)) else {
        return 0;
    };
    // A netmask that leaves nothing out is what there is where nobody asked for one.
    let all = if flow.is_v6() { 128 } else { u32::MAX };
    let alone = service.netmask.load() == all && service.flags.load() & Service::EXACT == 0;
    call.client = if alone { [0; 4] } else { key.source };
    call.ports = key.ports;
    put_digest(call, hash_key_of(settings), key);
    1
}

/// Puts the digest into the key.
#[inline(always)]
pub fn put_digest(call: &Call, with: HashKey, key: &mut Flow) {
    let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let [a, b, c, d] = call.client;
    let first = [two(a, b), two(c, d), two(call.ports, call.length)];
    let digest = digest(KIND, first, &call.text, with);
    key.protocol = protocol::of_call(protocol::of_template(key.protocol));
    key.source = [digest as u32, 0, 0, 0];
    key.ports = (digest >> 32) as u32;
}

/// Keeps the call of a new template.
#[inline(always)]
fn keep<P: Path>(path: &mut P, key: &Flow, template: u32) {
    if path.keep_call(key, template) == 0 {
        path.count(Counter::CallUnnamed);
    }
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

/// Sends a real server's message out by its call.
#[inline(always)]
fn start<P: Path>(
    path: &mut P,
    flow: &Flow,
    intent: &mut Intent,
    key: &Flow,
    turned: &Flow,
) -> u32 {
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
            path.make_room(turned, server);
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

/// Sends a real server's message out without a connection.
#[inline(always)]
fn go_once<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    path.count(Counter::CallStarted);
    let outcome = path.reply_once(flow, intent);
    finish(path, flow, intent.server | OF_SERVER, outcome)
}
