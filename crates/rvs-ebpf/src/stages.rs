//! The steps of the packet's way as global BPF functions, each verified once, on its own.
//!
//! `no_mangle`, `inline(never)` and `extern "C"` give a function global linkage in BTF. Its pointers
//! may be null, says the verifier, so each is asked.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup as Fib},
    helpers::generated::{bpf_fib_lookup, bpf_skb_load_bytes},
};
use rvs_core::{
    Action, Direction, Flow, Hop, Intent, NONE, Path, bypass, connection, crc32c, detour, director,
    forward, fragments, ftp, icmp, parse, persist, room, schedule, service, sip, state,
};

use rvs_abi::{CallKey, Counter, call::TEXT_WORDS, tail};
use rvs_table::tag;

use crate::{
    insertion,
    maps::{self, Maps},
    skb::Skb,
};

impl Path for Skb {
    #[inline(always)]
    fn parse(&mut self, flow: &mut Flow) -> u32 {
        rvs_parse(self.context, flow)
    }
    #[inline(always)]
    fn find(&self, flow: &Flow) -> u32 {
        rvs_find(flow, connection::OWN)
    }
    #[inline(always)]
    fn advance(&self, flow: &Flow, index: u32, direction: Direction) -> u32 {
        rvs_advance(flow, index, direction as u32)
    }
    #[inline(always)]
    fn newcomer(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::NEWCOMER);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn persist(&mut self, _flow: &Flow, _intent: &mut Intent) -> u32 {
        maps::go_on(self.context, tail::PERSIST);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn sip(&mut self, _flow: &Flow, _intent: &mut Intent) -> u32 {
        maps::go_on(self.context, tail::SIP);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn started(&mut self, _flow: &Flow, _intent: &mut Intent) -> u32 {
        maps::go_on(self.context, tail::STARTED);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn find_call(&self, flow: &Flow, service: u32) -> u64 {
        rvs_find_call(self.context, flow, service)
    }
    #[inline(always)]
    fn call_key(&self, flow: &Flow, service: u32, found: u64, key: &mut Flow) -> u32 {
        rvs_call_key(self.context, flow, service, found, key)
    }
    #[inline(always)]
    fn keep_call(&self, key: &Flow, index: u32) -> u32 {
        rvs_keep_call(key, index)
    }
    #[inline(always)]
    fn reply_once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        rvs_reply_once(self.context, flow, intent)
    }
    #[inline(always)]
    fn translate_back(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        rvs_translate_back(self.context, flow, intent)
    }
    #[inline(always)]
    fn opened(&mut self, _flow: &Flow, _intent: &Intent) -> u32 {
        maps::go_on(self.context, tail::OPENED);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn template_key(&self, flow: &Flow, service: u32, key: &mut Flow) -> u32 {
        rvs_template_key(flow, service, key)
    }
    #[inline(always)]
    fn use_template(&self, key: &Flow, index: u32, service: u32) -> u32 {
        rvs_use_template(key, index, service)
    }
    #[inline(always)]
    fn obey(&self, flow: &Flow, index: u32, intent: &mut Intent) -> u32 {
        rvs_obey(flow, index, intent)
    }
    #[inline(always)]
    fn once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        rvs_once(self.context, flow, intent)
    }
    #[inline(always)]
    fn translate_once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        rvs_translate_once(self.context, flow, intent)
    }
    #[inline(always)]
    fn icmp_error(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::ICMP_ERROR);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn mark_by_rule(&self, flow: &Flow) -> u32 {
        rvs_mark_by_rule(flow)
    }
    #[inline(always)]
    fn service_of(&self, flow: &Flow) -> u32 {
        rvs_service(self.context, flow)
    }
    #[inline(always)]
    fn choose(&self, flow: &Flow, service: u32, avoid: u32) -> u32 {
        rvs_choose(flow, service, avoid)
    }
    #[inline(always)]
    fn insert(&self, flow: &Flow, intent: &Intent) -> u64 {
        if flow.is_v6() {
            insertion::rvs_open6(flow, intent)
        } else {
            insertion::rvs_open4(flow, intent)
        }
    }
    #[inline(always)]
    fn find_returning(&self, flow: &Flow) -> u32 {
        rvs_find(flow, connection::REVERSED)
    }
    #[inline(always)]
    fn request(&mut self, flow: &Flow, index: u32) -> u32 {
        rvs_request(self.context, flow, index)
    }
    #[inline(always)]
    fn reply(&mut self, flow: &Flow, index: u32) -> u32 {
        rvs_reply(self.context, flow, index)
    }
    #[inline(always)]
    fn returning(&mut self, flow: &Flow, index: u32) -> u32 {
        rvs_returning(self.context, flow, index)
    }
    #[inline(always)]
    fn wrap(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_wrap(self.context, flow, server)
    }
    #[inline(always)]
    fn wrap_plain(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_wrap_plain(self.context, flow, server)
    }
    #[inline(always)]
    fn bare_v4(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_bare_v4(self.context, flow, server)
    }
    #[inline(always)]
    fn bare_v6(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_bare_v6(self.context, flow, server)
    }
    #[inline(always)]
    fn gue_v4(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        rvs_gue_v4(self.context, flow, server, sum)
    }
    #[inline(always)]
    fn gue_v6(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        rvs_gue_v6(self.context, flow, server, sum)
    }
    #[inline(always)]
    fn gre_v4(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_gre_v4(self.context, flow, server)
    }
    #[inline(always)]
    fn gre_v6(&mut self, flow: &Flow, server: u32) -> u32 {
        rvs_gre_v6(self.context, flow, server)
    }
    #[inline(always)]
    fn gre_checked_v4(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        rvs_gre_checked_v4(self.context, flow, server, sum)
    }
    #[inline(always)]
    fn gre_checked_v6(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        rvs_gre_checked_v6(self.context, flow, server, sum)
    }
    #[inline(always)]
    fn inner_sum(&self, flow: &Flow, server: u32) -> u32 {
        rvs_inner_sum(self.context, flow, server)
    }
    #[inline(always)]
    fn translate(&mut self, flow: &Flow, index: u32, is_reply: u32) -> u32 {
        rvs_translate(self.context, flow, index, is_reply)
    }
    #[inline(always)]
    fn crc_difference(&self, change: u32, length: u32) -> u32 {
        rvs_crc_difference(change, length)
    }
    #[inline(always)]
    fn follow(&self, flow: &Flow) -> u32 {
        rvs_follow(self.context, flow)
    }
    #[inline(always)]
    fn read_quoted(&self, flow: &Flow, quoted: &mut Flow) -> u32 {
        rvs_read_quoted(self.context, flow, quoted)
    }
    #[inline(always)]
    fn relay(&mut self, flow: &Flow, index: u32) -> u32 {
        rvs_relay(self.context, flow, index)
    }
    #[inline(always)]
    fn mend(&mut self, flow: &Flow, index: u32) -> u32 {
        rvs_mend(self.context, flow, index)
    }
    #[inline(always)]
    fn unfollowed(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::UNFOLLOWED);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn read_tunneled(&self, flow: &Flow, inner: &mut Flow) -> u32 {
        rvs_read_tunneled(self.context, flow, inner)
    }
    #[inline(always)]
    fn learn(&self, flow: &Flow, inner: &Flow, index: u32) -> u32 {
        rvs_learn(self.context, flow, inner, index)
    }
    #[inline(always)]
    fn lead(&mut self, inner: &Flow, index: u32) -> u32 {
        rvs_lead(self.context, inner, index)
    }
    #[inline(always)]
    fn ask(&self, flow: &Flow, server: u32, hop: &mut Hop) -> u32 {
        rvs_ask(self.context, flow, server, hop)
    }
    #[inline(always)]
    fn make_room(&self, flow: &Flow, server: u32, port: u32) -> u32 {
        rvs_make_room(flow, server, port)
    }
    #[inline(always)]
    fn make_way(&self, flow: &Flow, server: u32, port: u32) -> u32 {
        rvs_make_way(flow, server, port)
    }
    #[inline(always)]
    fn answer(&mut self, flow: &Flow, what: u32, index: u32) -> u32 {
        rvs_answer(self.context, flow, what, index)
    }
    #[inline(always)]
    fn cut(&mut self, flow: &Flow, room: u32) -> u32 {
        rvs_cut(self.context, flow, room)
    }
    #[inline(always)]
    fn sum(&self, flow: &Flow, from: u32, end: u32) -> u32 {
        rvs_sum(self.context, flow, from, end)
    }
    #[inline(always)]
    fn fragment(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::FRAGMENT);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn bypasses(&self, flow: &Flow, service: u32) -> u32 {
        rvs_bypasses(self.context, flow, service)
    }
    #[inline(always)]
    fn ipsec(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::IPSEC);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn ftp(&mut self, _flow: &Flow) -> u32 {
        maps::go_on(self.context, tail::FTP);
        director::drop(self, Counter::DropProgram)
    }
    #[inline(always)]
    fn prepare_ftp(&mut self, flow: &Flow) -> u32 {
        rvs_prepare_ftp(self.context, flow)
    }
    #[inline(always)]
    fn names_address(&self, flow: &Flow, is_reply: u32) -> u32 {
        rvs_names_address(self.context, flow, is_reply)
    }
    #[inline(always)]
    fn adjust(&mut self, flow: &Flow, index: u32, what: u32) -> u32 {
        rvs_adjust(self.context, flow, index, what)
    }
    #[inline(always)]
    fn forbid_sack(&mut self, flow: &Flow) -> u32 {
        rvs_forbid_sack(self.context, flow)
    }
    #[inline(always)]
    fn expected(&self, flow: &Flow, intent: &mut Intent) -> u32 {
        rvs_expected(flow, intent)
    }
    #[inline(always)]
    fn fulfil(&self, flow: &Flow) -> u32 {
        rvs_fulfil(flow)
    }
    #[inline(always)]
    fn is_ours(&self, flow: &Flow) -> u32 {
        rvs_is_ours(flow)
    }
    #[inline(always)]
    fn note(&self, flow: &Flow, index: u32, way: u32) -> u32 {
        rvs_note(self.context, flow, index, way)
    }
    #[inline(always)]
    fn recall(&self, flow: &Flow) -> u32 {
        rvs_recall(self.context, flow)
    }
}

/// A global function over a flow that only the tables concern.
macro_rules! table_stage {
    ($name:ident, $call:path $(, $argument:ident: $type:ty)* => $result:ty, $otherwise:expr) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(flow: *const Flow $(, $argument: $type)*) -> $result {
            // SAFETY: the verifier knows that the pointer is null or points to a whole flow.
            match unsafe { flow.as_ref() } {
                Some(flow) => $call(&Maps, flow $(, $argument)*),
                None => $otherwise,
            }
        }
    };
}

/// A global function over a packet and its flow.
macro_rules! packet_stage {
    ($name:ident, $call:path $(, $argument:ident: $type:ty)*) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(skb: *mut __sk_buff, flow: *const Flow $(, $argument: $type)*) -> u32 {
            // SAFETY: as above.
            match unsafe { flow.as_ref() } {
                Some(flow) => $call(&mut Skb::of(skb, flow), flow $(, $argument)*),
                None => Action::Drop as u32,
            }
        }
    };
}

table_stage!(rvs_find, connection::lookup, way: u32 => u32, NONE);
table_stage!(rvs_advance, advance, index: u32, direction: u32 => u32, state::GONE);
table_stage!(rvs_make_room, room::make_room, server: u32, port: u32 => u32, 0);
table_stage!(rvs_make_way, make_way, server: u32, port: u32 => u32, 0);
table_stage!(rvs_fulfil, fulfil => u32, 0);
table_stage!(rvs_use_template, persist::use_template, index: u32, service: u32 => u32, 0);
table_stage!(rvs_choose, schedule::choose, service: u32, avoid: u32 => u32, NONE);
table_stage!(rvs_by_load, schedule::by_load, service: u32, avoid: u32 => u32, NONE);
table_stage!(rvs_by_hash, schedule::by_hash, service: u32, avoid: u32 => u32, NONE);
table_stage!(rvs_by_locality, schedule::by_locality, service: u32, avoid: u32 => u32, NONE);
table_stage!(rvs_is_overburdened, schedule::is_overburdened, service: u32, index: u32 => u32, 1);
table_stage!(rvs_remember, maps::remember, service: u32, server: u32 => u32, 0);
table_stage!(rvs_look_at_set, schedule::look, service: u32, argument: u32, question: u32 => u64, 0);
packet_stage!(rvs_service, service_of);
table_stage!(rvs_mark_by_rule, service::mark_by_rule => u32, 0);
packet_stage!(rvs_request, forward::request, index: u32);
packet_stage!(rvs_reply, forward::reply, index: u32);
packet_stage!(rvs_returning, forward::returning, index: u32);
packet_stage!(rvs_wrap, forward::wrap, server: u32);
packet_stage!(rvs_wrap_plain, forward::wrap_plain, server: u32);
packet_stage!(rvs_bare_v4, forward::bare_v4, server: u32);
packet_stage!(rvs_bare_v6, forward::bare_v6, server: u32);
packet_stage!(rvs_gue_v4, forward::gue_v4, server: u32, sum: u32);
packet_stage!(rvs_gue_v6, forward::gue_v6, server: u32, sum: u32);
packet_stage!(rvs_gre_v4, forward::gre_v4, server: u32);
packet_stage!(rvs_gre_v6, forward::gre_v6, server: u32);
packet_stage!(rvs_gre_checked_v4, forward::gre_checked_v4, server: u32, sum: u32);
packet_stage!(rvs_gre_checked_v6, forward::gre_checked_v6, server: u32, sum: u32);
packet_stage!(rvs_inner_sum, inner_sum, server: u32);
packet_stage!(rvs_translate, forward::translate, index: u32, is_reply: u32);
packet_stage!(rvs_follow, icmp::follow);
packet_stage!(rvs_relay, icmp::relay, index: u32);
packet_stage!(rvs_mend, icmp::mend, index: u32);
packet_stage!(rvs_cut, detour::cut, room: u32);
packet_stage!(rvs_sum, sum, from: u32, end: u32);
packet_stage!(rvs_bypasses, bypasses, service: u32);
packet_stage!(rvs_lead, icmp::lead, index: u32);
packet_stage!(rvs_answer, icmp::answer, what: u32, index: u32);
table_stage!(rvs_is_ours, fragments::is_ours => u32, 0);
packet_stage!(rvs_recall, recall);
packet_stage!(rvs_prepare_ftp, ftp::prepare);
packet_stage!(rvs_names_address, names_address, is_reply: u32);
packet_stage!(rvs_adjust, ftp::adjust, index: u32, what: u32);
packet_stage!(rvs_forbid_sack, ftp::forbid_sack);
packet_stage!(rvs_note, note, index: u32, way: u32);

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_template_key(flow: *const Flow, service: u32, key: *mut Flow) -> u32 {
    // SAFETY: as above; the two are different maps' values.
    match unsafe { (flow.as_ref(), key.as_mut()) } {
        (Some(flow), Some(key)) => persist::template_key(&Maps, flow, service, key),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_obey(flow: *const Flow, index: u32, intent: *mut Intent) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_mut()) } {
        (Some(flow), Some(intent)) => persist::obey(&Maps, flow, index, intent),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_once(skb: *mut __sk_buff, flow: *const Flow, intent: *const Intent) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_ref()) } {
        (Some(flow), Some(intent)) => forward::once(&mut Skb::of(skb, flow), flow, intent),
        _ => Action::Drop as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_translate_once(
    skb: *mut __sk_buff,
    flow: *const Flow,
    intent: *const Intent,
) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_ref()) } {
        (Some(flow), Some(intent)) => {
            forward::translate_once(&mut Skb::of(skb, flow), flow, intent)
        }
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_reply_once(skb: *mut __sk_buff, flow: *const Flow, intent: *const Intent) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_ref()) } {
        (Some(flow), Some(intent)) => forward::reply_once(&mut Skb::of(skb, flow), flow, intent),
        _ => Action::Drop as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_translate_back(
    skb: *mut __sk_buff,
    flow: *const Flow,
    intent: *const Intent,
) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_ref()) } {
        (Some(flow), Some(intent)) => {
            forward::translate_back(&mut Skb::of(skb, flow), flow, intent)
        }
        _ => 0,
    }
}

/// [`sip::find_call`], in a copy of the message's beginning: a helper call for each letter would cost more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_find_call(skb: *mut __sk_buff, flow: *const Flow, service: u32) -> u64 {
    // SAFETY: as above.
    let (Some(flow), Some(message)) = (unsafe { flow.as_ref() }, maps::message()) else {
        return 0;
    };
    let (from, length) = sip::extent(&Skb::of(skb, flow), flow);
    if !load(skb, from, message.0, length, 4095) {
        return 0;
    }
    sip::find_in(&Maps, message, flow, service, length)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_call_key(
    skb: *mut __sk_buff,
    flow: *const Flow,
    service: u32,
    found: u64,
    key: *mut Flow,
) -> u32 {
    // SAFETY: as above.
    let (Some(flow), Some(key)) = (unsafe { (flow.as_ref(), key.as_mut()) }) else {
        return 0;
    };
    let Some(call) = maps::call() else {
        return 0;
    };
    call.length = found as u32;
    call.text = [0; TEXT_WORDS];
    let text = call.text.as_mut_ptr().cast();
    if !load(skb, (found >> 32) as u32, text, call.length, 255) {
        return 0;
    }
    sip::key_of(&Maps, flow, service, call, key)
}

/// Keeps the call of [`rvs_call_key`] for the template in slot `index`; 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_keep_call(key: *const Flow, index: u32) -> u32 {
    // SAFETY: as above.
    let Some(key) = (unsafe { key.as_ref() }) else {
        return 0;
    };
    let slot = if key.is_v6() {
        maps::slot6(index).map(|slot| &slot.head)
    } else {
        maps::slot4(index).map(|slot| &slot.head)
    };
    let Some(head) = slot else {
        return 0;
    };
    let generation = tag::generation(head.tag.load());
    u32::from(maps::keep_call(&CallKey::new(
        index, generation, key.family,
    )))
}

/// Copies `length` bytes of the packet, from `offset` on, to `place`, where there is room for `mask` bytes and one;
/// `mask` is a number of ones. Whether it could: not none, and not more.
#[inline(always)]
fn load(skb: *mut __sk_buff, offset: u32, place: *mut u8, length: u32, mask: u64) -> bool {
    let last = length.wrapping_sub(1);
    if u64::from(last) > mask {
        return false;
    }
    let mut length = u64::from(last);
    // The compiler knows that the mask changes nothing; the verifier has to see it, and that at least one is left.
    // SAFETY: arithmetic on registers; the helper checks the packet's bounds, and writes no more than there is room for.
    unsafe {
        asm!("{0} &= {1}", "{0} += 1", inout(reg) length, in(reg) mask);
        bpf_skb_load_bytes(skb.cast(), offset, place.cast(), length as u32) == 0
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_crc_difference(change: u32, length: u32) -> u32 {
    crc32c::difference(&Maps, change, length)
}

/// As [`rvs_deliver`], of the link header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_add_link(skb: *mut __sk_buff) -> u32 {
    u32::from(Skb::at(skb, 0).add_link_header())
}

/// The link addresses that it writes need no room on the stack of who calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_deliver(skb: *mut __sk_buff, network: u32) -> u32 {
    Skb::at(skb, network).come_in_again() as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_by_turns(service: u32, avoid: u32) -> u64 {
    schedule::by_turns(&Maps, service, avoid)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_by_chance(service: u32, avoid: u32) -> u32 {
    schedule::by_chance(&Maps, service, avoid)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_parse(skb: *mut __sk_buff, flow: *mut Flow) -> u32 {
    // SAFETY: as above; the caller's flow is nobody else's.
    match unsafe { flow.as_mut() } {
        Some(flow) => parse::parse(&Skb::of(skb, flow), flow),
        None => parse::MALFORMED,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_read_quoted(skb: *mut __sk_buff, flow: *const Flow, quoted: *mut Flow) -> u32 {
    // SAFETY: as above; the verifier also knows that the two are different.
    match unsafe { (flow.as_ref(), quoted.as_mut()) } {
        (Some(flow), Some(quoted)) => icmp::read_quoted(&Skb::of(skb, flow), flow, quoted),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_read_tunneled(skb: *mut __sk_buff, flow: *const Flow, inner: *mut Flow) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), inner.as_mut()) } {
        (Some(flow), Some(inner)) => icmp::read_tunneled(&Skb::of(skb, flow), flow, inner),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_learn(
    skb: *mut __sk_buff,
    flow: *const Flow,
    inner: *const Flow,
    index: u32,
) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), inner.as_ref()) } {
        (Some(flow), Some(inner)) => icmp::learn(&Skb::of(skb, flow), flow, inner, index),
        _ => NONE,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_ask(skb: *mut __sk_buff, flow: *const Flow, server: u32, hop: *mut Hop) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), hop.as_mut()) } {
        (Some(flow), Some(hop)) => forward::ask(&Skb::of(skb, flow), flow, server, hop),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rvs_expected(flow: *const Flow, intent: *mut Intent) -> u32 {
    // SAFETY: as above.
    match unsafe { (flow.as_ref(), intent.as_mut()) } {
        (Some(flow), Some(intent)) => {
            ftp::expected(&Maps, flow, intent, |flow| rvs_find(flow, connection::OWN))
        }
        _ => 0,
    }
}

#[inline(always)]
fn sum(skb: &mut Skb, flow: &Flow, from: u32, end: u32) -> u32 {
    icmp::sum(skb, flow, from, end)
}

#[inline(always)]
fn bypasses(skb: &mut Skb, flow: &Flow, service: u32) -> u32 {
    bypass::bypasses(skb, flow, service)
}

#[inline(always)]
fn recall(skb: &mut Skb, flow: &Flow) -> u32 {
    fragments::recall(skb, flow)
}

#[inline(always)]
fn names_address(skb: &mut Skb, flow: &Flow, is_reply: u32) -> u32 {
    ftp::names_address(skb, flow, is_reply)
}

#[inline(always)]
fn note(skb: &mut Skb, flow: &Flow, index: u32, way: u32) -> u32 {
    fragments::note(skb, flow, index, way)
}

#[inline(always)]
fn inner_sum(skb: &mut Skb, flow: &Flow, server: u32) -> u32 {
    forward::inner_sum(skb, flow, server)
}

#[inline(always)]
fn service_of(skb: &mut Skb, flow: &Flow) -> u32 {
    service::find(skb, flow)
}

#[inline(always)]
fn advance(maps: &Maps, flow: &Flow, index: u32, direction: u32) -> u32 {
    let direction = if direction == Direction::Input as u32 {
        Direction::Input
    } else {
        Direction::Output
    };
    state::advance(maps, flow, index, direction)
}

#[inline(always)]
fn make_way(maps: &Maps, flow: &Flow, server: u32, port: u32) -> u32 {
    connection::make_way(maps, flow, server, port, |flow| {
        rvs_find(flow, connection::OWN)
    })
}

#[inline(always)]
fn fulfil(maps: &Maps, flow: &Flow) -> u32 {
    ftp::fulfil(maps, flow, |flow| rvs_find(flow, connection::OWN))
}

/// [`fib_lookup`] for tc. The link addresses that it found are left to `bpf_redirect_neigh`: it uses the neighbour's entry as
/// the kernel's own forwarding does, so a stale one is confirmed or replaced (RFC 4861 section 7.3). `bpf_redirect` would send
/// to a stale address for ever, since the helper takes every entry that is valid (`NUD_VALID`) and starts no probe.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_route(
    skb: *mut __sk_buff,
    family: u32,
    destination: *const [u32; 4],
    source: *const [u32; 4],
    hop: *mut Hop,
) -> u32 {
    // SAFETY: as above.
    match unsafe { (destination.as_ref(), source.as_ref(), hop.as_mut()) } {
        (Some(destination), Some(source), Some(hop)) => {
            // SAFETY: the context is valid while the program runs.
            let ifindex = unsafe { (*skb).ifindex };
            let found = fib_lookup(skb.cast(), ifindex, family, destination, source, hop);
            hop.macs_known = 0;
            u32::from(found)
        }
        _ => 0,
    }
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const SUCCESS: i64 = 0;
const NO_NEIGHBOUR: i64 = 7;
const TOO_BIG: i64 = 8;

/// Asks the kernel's routes, as for a forwarded packet. `hop.mtu` is the packet's size when called,
/// and what the route takes afterwards.
#[inline(always)]
pub fn fib_lookup(
    context: *mut c_void,
    ifindex: u32,
    family: u32,
    destination: &[u32; 4],
    source: &[u32; 4],
    hop: &mut Hop,
) -> bool {
    // SAFETY: zeros are a valid value of this structure of numbers.
    let mut fib: Fib = unsafe { core::mem::zeroed() };
    let is_v6 = family == 6;
    fib.family = if is_v6 { AF_INET6 } else { AF_INET };
    fib.ifindex = ifindex;
    fib.__bindgen_anon_1.tot_len = hop.mtu.min(65535) as u16;
    fib.__bindgen_anon_3.ipv6_src = *source;
    fib.__bindgen_anon_4.ipv6_dst = *destination;
    // SAFETY: the helper reads and writes the structure whose size it is told.
    let outcome = unsafe { bpf_fib_lookup(context, &mut fib, size_of::<Fib>() as i32, 0) };
    // SAFETY: every member of these unions is made of plain numbers.
    unsafe {
        hop.ifindex = fib.ifindex;
        hop.family = if fib.family == AF_INET6 { 6 } else { 4 };
        hop.address = fib.__bindgen_anon_4.ipv6_dst;
        if outcome == NO_NEIGHBOUR {
            hop.macs_known = 0;
            return true;
        }
        if outcome == TOO_BIG {
            hop.mtu = u32::from(fib.__bindgen_anon_1.mtu_result);
            hop.macs_known = 0;
            return true;
        }
        if outcome != SUCCESS {
            return false;
        }
        hop.mtu = u32::from(fib.__bindgen_anon_1.mtu_result);
    }
    let (d, s) = (fib.dmac, fib.smac);
    hop.macs = [
        u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
        u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
        u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
    ];
    hop.macs_known = 1;
    true
}
