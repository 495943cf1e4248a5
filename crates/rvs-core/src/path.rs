//! The steps of a packet's way, as methods that the kernel side overrides one by one.

use crate::{
    Action, Direction, Flow, Hop, Intent, Packet, Tables, bypass, connection, crc32c, detour,
    director, express, forward, fragments, ftp, icmp, ipsec, parse, persist, room, schedule,
    service, sip, state,
};

/// A packet on its way through a director's tables. Results are plain numbers, since that is what
/// one BPF function can give another; each is explained at the function that computes it.
pub trait Path: Packet + Tables + Sized {
    /// See [`parse::parse`].
    fn parse(&mut self, flow: &mut Flow) -> u32 {
        parse::parse(self, flow)
    }

    /// See [`connection::find`].
    fn find(&self, flow: &Flow) -> u32 {
        connection::find(self, flow)
    }

    /// See [`service::find`].
    fn service_of(&self, flow: &Flow) -> u32 {
        service::find(self, flow)
    }

    /// See [`service::mark_by_rule`].
    fn mark_by_rule(&self, flow: &Flow) -> u32 {
        service::mark_by_rule(self, flow)
    }

    /// See [`director::newcomer`]. In the kernel this is another program, which does not come back.
    fn newcomer(&mut self, flow: &Flow) -> u32 {
        director::newcomer(self, flow, &mut Intent::NEW.clone())
    }

    /// See [`express::express_v6`]. In the kernel this is another program, which does not come back.
    fn express_v6(&mut self) -> Action {
        express::express_v6(self)
    }

    /// See [`persist::persist`]. In the kernel this is another program, which does not come back.
    fn persist(&mut self, flow: &Flow, intent: &mut Intent) -> u32 {
        persist::persist(self, flow, intent, &mut Flow::default())
    }

    /// See [`sip::sip`]. In the kernel this is another program, which does not come back.
    fn sip(&mut self, flow: &Flow, intent: &mut Intent) -> u32 {
        sip::sip(self, flow, intent, &mut Flow::default())
    }

    /// See [`sip::started`]. In the kernel this is another program, which does not come back.
    fn started(&mut self, flow: &Flow, intent: &mut Intent) -> u32 {
        let (mut key, mut turned) = (Flow::default(), Flow::default());
        sip::started(self, flow, intent, &mut key, &mut turned)
    }

    /// See [`sip::find_call`].
    fn find_call(&self, flow: &Flow, service: u32) -> u64 {
        sip::find_call(self, flow, service)
    }

    /// See [`sip::call_key`].
    fn call_key(&self, flow: &Flow, service: u32, found: u64, key: &mut Flow) -> u32 {
        sip::call_key(self, flow, service, found, key)
    }

    /// Keeps the call of which [`Path::call_key`] was asked last, as that of the template in slot `index`; 1, or 0 where
    /// there is no room.
    fn keep_call(&self, _key: &Flow, _index: u32) -> u32 {
        1
    }

    /// See [`forward::reply_once`].
    fn reply_once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        forward::reply_once(self, flow, intent)
    }

    /// See [`forward::translate_back`].
    fn translate_back(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        forward::translate_back(self, flow, intent)
    }

    /// See [`director::opened`]. In the kernel this is another program, which does not come back.
    fn opened(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        director::opened(self, flow, intent)
    }

    /// See [`persist::template_key`].
    fn template_key(&self, flow: &Flow, service: u32, key: &mut Flow) -> u32 {
        persist::template_key(self, flow, service, key)
    }

    /// See [`persist::use_template`].
    fn use_template(&self, key: &Flow, index: u32, service: u32) -> u32 {
        persist::use_template(self, key, index, service)
    }

    /// See [`persist::obey`].
    fn obey(&self, flow: &Flow, index: u32, intent: &mut Intent) -> u32 {
        persist::obey(self, flow, index, intent)
    }

    /// See [`forward::once`].
    fn once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        forward::once(self, flow, intent)
    }

    /// See [`forward::translate_once`].
    fn translate_once(&mut self, flow: &Flow, intent: &Intent) -> u32 {
        forward::translate_once(self, flow, intent)
    }

    /// See [`director::icmp_error`]. In the kernel this is another program, which does not come back.
    fn icmp_error(&mut self, flow: &Flow) -> u32 {
        director::icmp_error(self, &mut flow.clone())
    }

    /// See [`state::advance`].
    fn advance(&self, flow: &Flow, index: u32, direction: Direction) -> u32 {
        state::advance(self, flow, index, direction)
    }

    /// See [`schedule::choose`].
    fn choose(&self, flow: &Flow, service: u32, avoid: u32) -> u32 {
        schedule::choose(self, flow, service, avoid)
    }

    /// See [`connection::insert`].
    fn insert(&self, flow: &Flow, intent: &Intent) -> u64 {
        connection::insert(self, flow, intent)
    }

    /// See [`connection::make_way`].
    fn make_way(&self, flow: &Flow, server: u32, port: u32) -> u32 {
        connection::make_way(self, flow, server, port, |flow| self.find(flow))
    }

    /// See [`room::make_room`].
    fn make_room(&self, flow: &Flow, server: u32, port: u32) -> u32 {
        room::make_room(self, flow, server, port)
    }

    /// See [`connection::find_returning`].
    fn find_returning(&self, flow: &Flow) -> u32 {
        connection::find_returning(self, flow)
    }

    /// See [`forward::request`].
    fn request(&mut self, flow: &Flow, index: u32) -> u32 {
        forward::request(self, flow, index)
    }

    /// See [`forward::reply`].
    fn reply(&mut self, flow: &Flow, index: u32) -> u32 {
        forward::reply(self, flow, index)
    }

    /// See [`forward::returning`].
    fn returning(&mut self, flow: &Flow, index: u32) -> u32 {
        forward::returning(self, flow, index)
    }

    /// See [`forward::wrap`].
    fn wrap(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::wrap(self, flow, server)
    }

    /// See [`forward::wrap_plain`].
    fn wrap_plain(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::wrap_plain(self, flow, server)
    }

    /// See [`forward::bare_v4`].
    fn bare_v4(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::bare_v4(self, flow, server)
    }

    /// See [`forward::bare_v6`].
    fn bare_v6(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::bare_v6(self, flow, server)
    }

    /// See [`forward::gue_v4`].
    fn gue_v4(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        forward::gue_v4(self, flow, server, sum)
    }

    /// See [`forward::gue_v6`].
    fn gue_v6(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        forward::gue_v6(self, flow, server, sum)
    }

    /// See [`forward::gre_v4`].
    fn gre_v4(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::gre_v4(self, flow, server)
    }

    /// See [`forward::gre_v6`].
    fn gre_v6(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::gre_v6(self, flow, server)
    }

    /// See [`forward::gre_checked_v4`].
    fn gre_checked_v4(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        forward::gre_checked_v4(self, flow, server, sum)
    }

    /// See [`forward::gre_checked_v6`].
    fn gre_checked_v6(&mut self, flow: &Flow, server: u32, sum: u32) -> u32 {
        forward::gre_checked_v6(self, flow, server, sum)
    }

    /// See [`forward::inner_sum`].
    fn inner_sum(&self, flow: &Flow, server: u32) -> u32 {
        forward::inner_sum(self, flow, server)
    }

    /// See [`forward::translate`].
    fn translate(&mut self, flow: &Flow, index: u32, is_reply: u32) -> u32 {
        forward::translate(self, flow, index, is_reply)
    }

    /// See [`crc32c::difference`].
    fn crc_difference(&self, change: u32, length: u32) -> u32 {
        crc32c::difference(self, change, length)
    }

    /// See [`icmp::follow`].
    fn follow(&self, flow: &Flow) -> u32 {
        icmp::follow(self, flow)
    }

    /// See [`icmp::read_quoted`].
    fn read_quoted(&self, flow: &Flow, quoted: &mut Flow) -> u32 {
        icmp::read_quoted(self, flow, quoted)
    }

    /// See [`icmp::relay`].
    fn relay(&mut self, flow: &Flow, index: u32) -> u32 {
        icmp::relay(self, flow, index)
    }

    /// See [`icmp::mend`].
    fn mend(&mut self, flow: &Flow, index: u32) -> u32 {
        icmp::mend(self, flow, index)
    }

    /// See [`icmp::unfollowed`]. In the kernel this is another program, which does not come back.
    fn unfollowed(&mut self, flow: &Flow) -> u32 {
        icmp::unfollowed(self, &mut flow.clone(), &mut Flow::default())
    }

    /// See [`icmp::read_tunneled`].
    fn read_tunneled(&self, flow: &Flow, inner: &mut Flow) -> u32 {
        icmp::read_tunneled(self, flow, inner)
    }

    /// See [`icmp::learn`].
    fn learn(&self, flow: &Flow, inner: &Flow, index: u32) -> u32 {
        icmp::learn(self, flow, inner, index)
    }

    /// See [`icmp::lead`].
    fn lead(&mut self, inner: &Flow, index: u32) -> u32 {
        icmp::lead(self, inner, index)
    }

    /// See [`forward::ask`].
    fn ask(&self, flow: &Flow, server: u32, hop: &mut Hop) -> u32 {
        forward::ask(self, flow, server, hop)
    }

    /// See [`icmp::answer`].
    fn answer(&mut self, flow: &Flow, what: u32, index: u32) -> u32 {
        icmp::answer(self, flow, what, index)
    }

    /// See [`detour::cut`].
    fn cut(&mut self, flow: &Flow, room: u32) -> u32 {
        detour::cut(self, flow, room)
    }

    /// See [`icmp::sum`].
    fn sum(&self, flow: &Flow, from: u32, end: u32) -> u32 {
        icmp::sum(self, flow, from, end)
    }

    /// See [`fragments::fragment`]. In the kernel this is another program, which does not come back.
    fn fragment(&mut self, flow: &Flow) -> u32 {
        fragments::fragment(self, flow)
    }

    /// See [`bypass::bypasses`].
    fn bypasses(&self, flow: &Flow, service: u32) -> u32 {
        bypass::bypasses(self, flow, service)
    }

    /// See [`ipsec::ipsec`]. In the kernel this is another program, which does not come back.
    fn ipsec(&mut self, flow: &Flow) -> u32 {
        ipsec::ipsec(self, &mut flow.clone())
    }

    /// See [`ftp::control`]. In the kernel this is another program, which does not come back.
    fn ftp(&mut self, flow: &Flow) -> u32 {
        ftp::control(self, flow)
    }

    /// See [`ftp::prepare`].
    fn prepare_ftp(&mut self, flow: &Flow) -> u32 {
        ftp::prepare(self, flow)
    }

    /// See [`ftp::names_address`].
    fn names_address(&self, flow: &Flow, is_reply: u32) -> u32 {
        ftp::names_address(self, flow, is_reply)
    }

    /// See [`ftp::adjust`].
    fn adjust(&mut self, flow: &Flow, index: u32, what: u32) -> u32 {
        ftp::adjust(self, flow, index, what)
    }

    /// See [`ftp::forbid_sack`].
    fn forbid_sack(&mut self, flow: &Flow) -> u32 {
        ftp::forbid_sack(self, flow)
    }

    /// See [`ftp::expected`].
    fn expected(&self, flow: &Flow, intent: &mut Intent) -> u32 {
        ftp::expected(self, flow, intent, |flow| self.find(flow))
    }

    /// See [`ftp::fulfil`].
    fn fulfil(&self, flow: &Flow) -> u32 {
        ftp::fulfil(self, flow, |flow| self.find(flow))
    }

    /// See [`fragments::is_ours`].
    fn is_ours(&self, flow: &Flow) -> u32 {
        fragments::is_ours(self, flow)
    }

    /// See [`fragments::note`].
    fn note(&self, flow: &Flow, index: u32, way: u32) -> u32 {
        fragments::note(self, flow, index, way)
    }

    /// See [`fragments::recall`].
    fn recall(&self, flow: &Flow) -> u32 {
        fragments::recall(self, flow)
    }
}
