//! The way of one packet through the director.

use rvs_abi::{
    AddressKey, Counter, Method, Role, Service, ServiceKey, Settings, family,
    fragment::way,
    protocol,
    service::address,
    slot::{Link, State},
};

use rvs_table::is_ahead;

use crate::{
    Action, Direction, Flow, Intent, NONE, Path, Tables,
    connection::{self, FULL, OPENED, RACE, REPLY_TAKEN},
    flow::tcp,
    forward::Outcome,
    ftp, icmp, parse, service, sip,
    state::{CONTROL, HELD, SERVE, sctp::Event},
};

/// How many servers are tried where each already has a connection with the client's address and port.
const ATTEMPTS: u32 = 4;

/// Decides on one packet that came in, and does what was decided. `flow` is a cleared one for the
/// packet, in memory of the caller's choice. The result is an [`Action`] as a number.
#[inline(always)]
pub fn direct<P: Path>(path: &mut P, flow: &mut Flow) -> u32 {
    match path.parse(flow) {
        parse::TRANSPORT => {}
        parse::ICMP_ERROR => return path.icmp_error(flow),
        parse::ICMP_OTHER => return pass(path, Counter::PassIcmp),
        parse::FRAGMENT => return path.fragment(flow),
        parse::IPSEC => return path.ipsec(flow),
        parse::MALFORMED => return drop(path, Counter::DropMalformed),
        parse::MALFORMED_TRANSPORT => return pass(path, Counter::PassMalformed),
        _ => return unknown(path),
    }

    let index = path.find(flow);
    if index != NONE {
        let fate = if connection::role_of(path, flow, index) == Role::Reply {
            let fate = path.advance(flow, index, Direction::Output);
            if fate == SERVE {
                let outcome = path.reply(flow, index);
                return finish(path, flow, index, outcome);
            }
            fate
        } else {
            let fate = path.advance(flow, index, Direction::Input);
            if fate == SERVE {
                let outcome = path.request(flow, index);
                return finish(path, flow, index, outcome);
            }
            fate
        };
        if fate == HELD {
            return drop(path, Counter::DropServerGone);
        }
        if fate == CONTROL {
            return path.ftp(flow);
        }
    }

    path.newcomer(flow)
}

/// A packet of a protocol that is not switched: the host's. What is in it may come to the director again when the host
/// has unwrapped it, and is not to be scheduled then (`ignore_tunneled`).
#[inline(always)]
fn unknown<P: Path>(path: &mut P) -> u32 {
    if ignores_tunneled(path) {
        path.mark_tunneled();
    }
    pass(path, Counter::PassOther)
}

#[inline(always)]
fn ignores_tunneled<T: Tables>(tables: &T) -> bool {
    tables
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::IGNORE_TUNNELED != 0)
}

/// A packet of no known connection: the first of one, or none of ours. The result is an [`Action`] as a number.
#[inline(always)]
pub fn newcomer<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent) -> u32 {
    let action = welcome(path, flow, intent);
    // Its other fragments are the host's too.
    if action == Action::Pass as u32 && flow.flags & Flow::FIRST_FRAGMENT != 0 {
        path.note(flow, NONE, way::PASS);
    }
    action
}

#[inline(always)]
fn welcome<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent) -> u32 {
    if flow.is_local() {
        intent.state |= State::LOCAL_CLIENT;
    }
    let may_be_expected = ftp::any_expected(path) && !flow.is_quoted() && flow.begins();
    if may_be_expected {
        match path.expected(flow, intent) {
            ftp::EXPECTED => return join(path, flow, intent),
            ftp::SERVER_GONE => return drop(path, Counter::DropServerGone),
            _ => {}
        }
    }
    intent.service = path.service_of(flow);
    if intent.service == NONE {
        if flow.is_quoted() {
            return pass(path, Counter::PassIcmp);
        }
        // Another CPU has just made an expected connection of the same SYN, which is not the host's to refuse.
        if may_be_expected && path.find(flow) != NONE {
            return drop(path, Counter::DropInsertRace);
        }
        return returning_or_pass(path, flow, intent);
    }
    if !flow.is_quoted() && is_answer(path, flow, intent.service) {
        return returning_or_pass(path, flow, intent);
    }
    if !flow.is_quoted() && !begins(path, flow, intent.service) {
        return stray(path, Counter::PassNoConnection);
    }
    open(path, flow, intent)
}

/// Whether the packet answers a connection's, though a service takes what is sent there: one that is not known by address
/// and port, or, where the server is on this host, any (IPVS: `ip_vs_schedule`, "replies from local real server").
#[inline(always)]
fn is_answer<P: Path>(path: &P, flow: &Flow, service: u32) -> bool {
    let is_broad = path.service(service).is_some_and(|service| {
        service.flags.load() & Service::BY_MARK != 0 || service.key.load() as u16 == 0
    });
    (is_broad || flow.is_local()) && path.find_returning(flow) != NONE
}

/// Whether the packet may begin a connection of the service.
#[inline(always)]
fn begins<T: Tables>(tables: &T, flow: &Flow, service: u32) -> bool {
    if flow.begins() {
        return true;
    }
    let is_allowed = |flag| {
        tables
            .settings()
            .is_some_and(|settings| settings.flags.load() & flag != 0)
    };
    if flow.is_sctp() {
        return flow.tcp_flags != Event::Abort as u8 && is_allowed(Settings::SLOPPY_SCTP);
    }
    if !flow.is_tcp() || flow.tcp_flags & tcp::RST != 0 {
        return false;
    }
    let sloppy = is_allowed(Settings::SLOPPY_TCP);
    // IPVS takes SYN and ACK together, which is how the client answers a server's active FTP data connection.
    let answers = flow.tcp_flags & tcp::SYN != 0
        && (flow.ports >> 16 == u32::from(service::FTP_DATA)
            || tables
                .service(service)
                .is_some_and(|service| service.flags.load() & Service::EXACT != 0));
    sloppy || answers
}

/// Sends the ICMP error that a forwarding step asked for, has the packet cut, or takes its action.
#[inline(always)]
pub(crate) fn finish<P: Path>(path: &mut P, flow: &Flow, index: u32, outcome: u32) -> u32 {
    match outcome & 15 {
        Outcome::ANSWER_CLIENT => path.answer(flow, outcome >> 4, NONE),
        Outcome::ANSWER_SERVER => path.answer(flow, outcome >> 4, index),
        Outcome::CUT => path.cut(flow, outcome >> 4),
        _ => outcome,
    }
}

/// Follows an ICMP error to its connection, or leaves it to the host. The result is an [`Action`] as a number.
#[inline(always)]
pub fn icmp_error<P: Path>(path: &mut P, flow: &mut Flow) -> u32 {
    if flow.is_quoted() {
        // The connection is there; now for the error itself, which is not scheduled a second time.
        *flow = Flow {
            network: flow.network,
            flags: flow.flags & (Flow::LOCAL | Flow::QUOTED),
            ..Flow::default()
        };
        if path.parse(flow) != parse::ICMP_ERROR {
            return pass(path, Counter::PassIcmp);
        }
    }
    let index = path.follow(flow);
    if index == NONE {
        return path.unfollowed(flow);
    }
    let Some(head) = connection::head(path, flow, index) else {
        return pass(path, Counter::PassIcmp);
    };
    let method = Method::from_number(Link(head.link.load()).method());
    if flow.ttl <= 1 && method != Some(Method::Local) && icmp::hops(path, head) != 0 {
        return drop(path, Counter::DropTtl);
    }
    let outcome = match method {
        // Two steps, since no stack holds both. What cannot be sent is dropped, rewritten or not.
        Some(Method::Nat) if path.mend(flow, index) != icmp::READ => {
            return drop(path, Counter::DropNoRoom);
        }
        Some(Method::Nat) => path.relay(flow, index),
        Some(Method::Direct | Method::Tunnel | Method::Bypass) => path.request(flow, index),
        Some(Method::Local) | None => return pass(path, Counter::PassLocal),
    };
    if outcome == Action::Transmit as u32 || outcome == Action::Pass as u32 {
        path.count(Counter::IcmpForward);
        return outcome;
    }
    // No error is sent about an error (RFC 1122 section 3.2.2), and errors are too short to be cut.
    if matches!(outcome & 15, Outcome::ANSWER_CLIENT | Outcome::CUT) {
        drop(path, Counter::DropTooBig)
    } else {
        outcome
    }
}

/// Makes a connection for the first packet of one, and forwards the packet.
#[inline(always)]
fn open<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent) -> u32 {
    if is_martian(flow) || is_virtual(path, flow) {
        return drop(path, Counter::DropMartian);
    }
    // Active FTP data of a real server: made ahead behind NAT, not the director's business otherwise.
    if flow.ports & 0xffff == u32::from(service::FTP_DATA) {
        return pass(path, Counter::PassNoConnection);
    }
    if ignores_tunneled(path) && path.is_tunneled() {
        return pass(path, Counter::PassTunneled);
    }
    let active = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::SCHEDULE != 0);
    if !active {
        return drop(path, Counter::DropInactive);
    }
    if is_refused(path) {
        return drop(path, Counter::DropDefence);
    }
    let (persistent, by_call) = path
        .service(intent.service)
        .map_or((false, false), |service| {
            (service.persistence.load() != 0, sip::is_of(service))
        });
    if persistent && by_call {
        return path.sip(flow, intent);
    }
    if persistent {
        return path.persist(flow, intent);
    }
    let once = is_once(path, flow, intent.service);
    // Its connection may have begun in the other table, and with another server.
    if is_takeover(path) && !once && !(flow.is_stateful() && flow.begins()) {
        return drop(path, Counter::DropTakeover);
    }
    let mut avoid = NONE;
    for _ in 0..ATTEMPTS {
        let server = path.choose(flow, intent.service, avoid);
        if server == NONE {
            if avoid != NONE {
                break;
            }
            return nobody(path, flow, intent.service);
        }
        intent.server = server;
        if once {
            return path.opened(flow, intent);
        }
        let outcome = path.insert(flow, intent);
        match (outcome >> 32) as u32 {
            OPENED => {
                intent.slot = outcome as u32;
                return path.opened(flow, intent);
            }
            REPLY_TAKEN => {
                if path.make_way(flow, server, intent.server_port) != 0 {
                    continue;
                }
                path.count(Counter::Rescheduled);
            }
            FULL => {
                path.make_room(flow, server, intent.server_port);
                return drop(path, Counter::DropTableFull);
            }
            RACE.. => return drop(path, Counter::DropInsertRace),
        }
        avoid = server;
    }
    drop(path, Counter::DropReplyTaken)
}

/// Forwards the first packet of a connection that was made, or a datagram that makes none. The result is an
/// [`Action`] as a number.
#[inline(always)]
pub fn opened<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> u32 {
    if flow.is_quoted() {
        return path.icmp_error(flow);
    }
    if intent.slot == NONE {
        let outcome = path.once(flow, intent);
        return finish(path, flow, NONE, outcome);
    }
    if flow.flags & Flow::FIRST_FRAGMENT != 0 {
        path.note(flow, intent.slot, way::REQUEST);
    }
    let outcome = path.request(flow, intent.slot);
    let action = finish(path, flow, intent.slot, outcome);
    // Its other fragments are the host's too.
    if action == Action::Pass as u32 && flow.flags & Flow::FIRST_FRAGMENT != 0 {
        path.note(flow, NONE, way::PASS);
    }
    action
}

/// No server of the service takes the packet.
#[inline(always)]
pub(crate) fn nobody<P: Path>(path: &mut P, flow: &Flow, service: u32) -> u32 {
    if path.bypasses(flow, service) != 0 {
        return pass(path, Counter::PassBypass);
    }
    // A virtual FTP service is found by its clients' data ports too, which may as well be the host's own
    // (IPVS: `ip_vs_leave`).
    let is_ftp_data = flow.is_tcp()
        && flow.ports >> 16 != u32::from(service::FTP)
        && path
            .service(service)
            .is_some_and(|service| service.key.load() as u16 == service::FTP);
    if is_ftp_data {
        return pass(path, Counter::PassNoConnection);
    }
    path.count(Counter::DropNoDestination);
    if flow.is_quoted() {
        return Action::Drop as u32;
    }
    path.answer(flow, icmp::UNREACHABLE, NONE)
}

/// Whether the datagram is scheduled for itself (IPVS: `IP_VS_SVC_F_ONEPACKET`). One in fragments makes a connection
/// all the same, by which they stay together, and so does one that an ICMP error is about.
#[inline(always)]
pub(crate) fn is_once<T: Tables>(tables: &T, flow: &Flow, service: u32) -> bool {
    flow.protocol == protocol::UDP
        && flow.flags & (Flow::FIRST_FRAGMENT | Flow::QUOTED) == 0
        && tables
            .service(service)
            .is_some_and(|service| service.flags.load() & Service::ONE_PACKET != 0)
}

/// Whether the defence `drop_packet` refuses this attempt: one in so many (IPVS: `ip_vs_todrop`).
#[inline(always)]
fn is_refused<T: Tables>(tables: &T) -> bool {
    let Some(settings) = tables.settings() else {
        return false;
    };
    let (rate, until) = (settings.drop_rate.load(), settings.drop_until.load());
    if rate == 0 || until != 0 && !is_ahead(tables.now(), until) {
        return false;
    }
    let attempts = settings.drop_counter.add(1).wrapping_add(1);
    attempts.checked_rem(rate) == Some(0)
}

/// Makes the connection that was expected, with the server that is known. Until it is there it stays expected, since the
/// client will try again.
#[inline(always)]
fn join<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent) -> u32 {
    match make_with(path, flow, intent) {
        Ok(slot) => {
            path.fulfil(flow);
            path.count(Counter::FtpData);
            intent.slot = slot;
            path.opened(flow, intent)
        }
        Err(action) => action,
    }
}

/// Makes a connection with the server of `intent` and no other: its slot, or what becomes of the packet. Where the server has a
/// connection with the client's address and port already, a closed one makes way.
#[inline(always)]
pub(crate) fn make_with<P: Path>(path: &mut P, flow: &Flow, intent: &Intent) -> Result<u32, u32> {
    // Once more after it made way.
    for _ in 0..2 {
        let outcome = path.insert(flow, intent);
        match (outcome >> 32) as u32 {
            OPENED => return Ok(outcome as u32),
            REPLY_TAKEN => {
                if path.make_way(flow, intent.server, intent.server_port) == 0 {
                    break;
                }
            }
            FULL => {
                path.make_room(flow, intent.server, intent.server_port);
                return Err(drop(path, Counter::DropTableFull));
            }
            RACE.. => return Err(drop(path, Counter::DropInsertRace)),
        }
    }
    Err(drop(path, Counter::DropReplyTaken))
}

/// A packet for no virtual service: perhaps a server's direct reply that came through here.
#[inline(always)]
fn returning_or_pass<P: Path>(path: &mut P, flow: &Flow, intent: &mut Intent) -> u32 {
    // Services that are not known by one address and port may be those of any.
    let others = Settings::HAS_MARKS | Settings::HAS_ANY_PORT | Settings::HAS_FTP;
    let may_be = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & others != 0)
        || path
            .find_service(&service_key(&flow.source, flow.ports, flow))
            .is_some();
    if may_be {
        let index = path.find_returning(flow);
        if index != NONE {
            let fate = path.advance(flow, index, Direction::Output);
            if fate == SERVE {
                if flow.flags & Flow::FIRST_FRAGMENT != 0 {
                    path.note(flow, index, way::RETURNING);
                }
                let outcome = path.returning(flow, index);
                return finish(path, flow, index, outcome);
            }
            if fate == HELD {
                return drop(path, Counter::DropServerGone);
            }
        }
    }
    let sender = sip::sender(path, flow);
    // Whether its flow is another server's may be known in the other table.
    if sender != NONE && !is_takeover(path) {
        intent.server = sender;
        intent.service = path
            .server(sender)
            .map_or(NONE, |server| server.service.load());
        return path.started(flow, intent);
    }
    unclaimed(path, flow)
}

/// A packet that concerns no virtual service, though it may come from a server of one.
#[inline(always)]
pub(crate) fn unclaimed<P: Path>(path: &mut P, flow: &Flow) -> u32 {
    let mut key = AddressKey {
        address: flow.source,
        protocol: flow.protocol,
        family: flow.family,
        port: 0,
    };
    if is_takeover(path) {
        let is_of_server = path.find_address(&key) & address::NAT_SERVER != 0;
        // FTP data may be known or expected there. One key for both: there is no stack for two.
        key.address = flow.destination;
        let may_be_data = flow.is_tcp()
            && path
                .settings()
                .is_some_and(|settings| settings.flags.load() & Settings::HAS_FTP != 0)
            && path.find_address(&key) & address::VIRTUAL != 0;
        if is_of_server || may_be_data {
            return drop(path, Counter::DropTakeover);
        }
        key.address = flow.source;
    }
    let tells = path
        .settings()
        .is_some_and(|settings| settings.flags.load() & Settings::NAT_ICMP_SEND != 0);
    // Who says that it is over needs no answer.
    let is_last = flow.is_tcp() && flow.tcp_flags & tcp::RST != 0
        || flow.is_sctp() && flow.tcp_flags == Event::Abort as u8;
    if tells && !is_last {
        key.port = flow.ports as u16;
        let meaning = path.find_address(&key);
        if meaning & address::NAT_SERVER != 0 {
            path.count(Counter::DropNoConnection);
            return path.answer(
                flow,
                icmp::UNREACHABLE,
                meaning >> address::SERVER_SHIFT | icmp::OF_SERVER,
            );
        }
    }
    pass(path, Counter::PassNoService)
}

/// A packet of a virtual service that belongs to no connection: the host answers it, except while
/// its connection may be on the way from another director's table.
#[inline(always)]
fn stray<P: Path>(path: &P, reason: Counter) -> u32 {
    if is_takeover(path) {
        drop(path, Counter::DropTakeover)
    } else {
        pass(path, reason)
    }
}

/// Whether what is not known here may be so in a moment.
#[inline(always)]
pub(crate) fn is_takeover<T: Tables>(tables: &T) -> bool {
    tables.settings().is_some_and(|settings| {
        let until = settings.takeover_until.load();
        until != 0 && is_ahead(tables.now(), until)
    })
}

/// Counts the reason and leaves the packet to the host.
#[inline(always)]
pub(crate) fn pass<T: Tables>(tables: &T, reason: Counter) -> u32 {
    tables.count(reason);
    Action::Pass as u32
}

/// Counts the reason and ends the packet.
#[inline(always)]
pub fn drop<T: Tables>(tables: &T, reason: Counter) -> u32 {
    tables.count(reason);
    Action::Drop as u32
}

#[inline(always)]
fn service_key(address: &[u32; 4], port: u32, flow: &Flow) -> ServiceKey {
    ServiceKey {
        address: *address,
        port: port as u16,
        protocol: flow.protocol,
        family: flow.family,
    }
}

/// A packet from elsewhere with a virtual address as its source: two services would answer each other's answers.
#[inline(always)]
fn is_virtual<P: Path>(path: &P, flow: &Flow) -> bool {
    let key = AddressKey {
        address: flow.source,
        protocol: flow.protocol,
        family: flow.family,
        port: 0,
    };
    !flow.is_local() && path.find_address(&key) & address::VIRTUAL != 0
}

/// Sources that no client has: the kernel refuses them on input, and so does the director, which
/// comes first (RFC 1122 section 3.2.1.3, RFC 4291 section 2).
#[inline(always)]
fn is_martian(flow: &Flow) -> bool {
    let first = flow.source[0].to_ne_bytes()[0];
    if flow.family == family::V6 {
        let zeros = flow.source[0] | flow.source[1] | flow.source[2];
        return first == 0xff || zeros == 0 && u32::from_be(flow.source[3]) <= 1;
    }
    first == 0 || first == 127 || first >= 224
}
