//! Persistence by SIP's Call-ID (IPVS: `ip_vs_pe_sip.c`): the messages of one call go to one server, whatever their
//! client's port, and as much of its address as the netmask leaves out.
//!
//! Such a template's slot cannot hold the Call-ID. It is found by a *digest* instead: 64 bits of the table's keyed hash over
//! the Call-ID, what counts of the client's address, and the virtual port, in the place of source address and ports, under a
//! protocol number of its own. Two calls with one digest would meet on one server, which harms neither; nobody who
//! does not know the key can bring that about. The text itself lies beside, for listings ([`rvs_abi::Call`]).

mod started;
pub mod text;

pub(crate) use started::sender;
pub use started::started;

use rvs_abi::{Call, Counter, Service, protocol};
use rvs_table::{HashKey, digest};

use crate::{Flow, Intent, Packet, Path, Tables, director::drop, persist, tables::hash_key_of};
use text::{Letters, MESSAGE_MAX, scan};

/// Bytes of UDP's header.
const UDP: u32 = 8;
/// No protocol number; see [`digest`].
const KIND: u8 = 0xff;

/// Forwards a client's message that belongs to no connection by its call. `key` is a cleared flow, in memory of the
/// caller's choice. The result is an [`crate::Action`] as a number.
#[inline(always)]
pub fn sip<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent, key: &mut Flow) -> u32 {
    let found = path.find_call(flow, intent.service);
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
