//! The defence `drop_entry`: connections that say little for themselves end before their time (IPVS:
//! `ip_vs_random_dropentry`). The daemon asks for it, in runs of slots that it draws by lot.

use rvs_abi::{
    SctpState, Service, Settings, Slot, TcpState, protocol,
    slot::{Link, State},
};
use rvs_table::{Store, elapsed, pair_of, tag};

use crate::{Tables, room, state, state::counts};

/// Seconds without a packet after which a connection takes part in the lottery.
const QUIET_SECONDS: u32 = 60;
/// Who has sent more packets than this does not take part.
const FEW_PACKETS: u32 = 8;

/// Ends the connection whose request slot is `slot`, if it is to go, and with it the template that it
/// alone kept. How many ended.
#[inline(always)]
pub(crate) fn defend<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &Slot<N, PAD>,
    seen: u32,
) -> u32 {
    let now = tables.now();
    let control = counts::control(
        slot.head.control.load(),
        slot.head.control_generation.load(),
    );
    let controlled = State(slot.head.state.load()).has(State::CONTROLLED);
    if !goes(tables, store, slot, now) || !state::end(tables, store, slot, seen, now) {
        return 0;
    }
    if !controlled || !is_spent::<T>(tables, control, N as u32) {
        return 1;
    }
    let Some(template) = store.slot(control as u32) else {
        return 1;
    };
    let seen = template.head.tag.load();
    1 + u32::from(
        u64::from(tag::generation(seen)) == control >> 32
            && state::end(tables, store, template, seen, now),
    )
}

/// Whether the slot that controlled a connection which was dropped controls no other and is worth nothing by itself.
#[inline(always)]
fn is_spent<T: Tables>(tables: &T, control: u64, words: u32) -> bool {
    counts::controlling(tables, control, words).is_some_and(|head| {
        let state = State(head.state.load());
        head.controlled.load() == 0 && (!state.has(State::TEMPLATE) || !state.has(State::ASSURED))
    })
}

/// What lies under a protocol number of its own as long as its client's port is not known has TCP's states too.
const EXPECTED: u8 = protocol::of_expected(protocol::TCP);

/// Whether the connection is to go: a half-open one after a second without a word from its client (IPVS: at once), since
/// nothing else tells one of a flood from one whose handshake goes on, and whose client would wait for ever.
#[inline(always)]
fn goes<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &Slot<N, PAD>,
    now: u32,
) -> bool {
    if slot.head.controlled.load() != 0 {
        return false;
    }
    let state = State(slot.head.state.load());
    let number = state.number();
    if state.has(State::TEMPLATE) {
        // Those of one-packet scheduling take part by their datagrams.
        return if is_once(tables, slot) {
            loses(tables, store, slot, now)
        } else {
            !state.has(State::ASSURED)
        };
    }
    let protocol = Link(slot.head.link.load()).protocol();
    if is_half_open(protocol, state) {
        return room::is_silent(tables, slot, now);
    }
    let lottery = match protocol {
        protocol::TCP | EXPECTED => number == TcpState::Established as u32,
        protocol::SCTP => number == SctpState::Established as u32,
        _ => true,
    };
    lottery && loses(tables, store, slot, now)
}

/// Whether a connection has nothing but its first word.
#[inline(always)]
fn is_half_open(protocol: u8, state: State) -> bool {
    let number = state.number();
    match protocol {
        protocol::TCP => number == TcpState::SynRecv as u32 || number == TcpState::SynAck as u32,
        protocol::SCTP => number == SctpState::Init1 as u32 || number == SctpState::Init as u32,
        _ => false,
    }
}

/// Whether a half-open connection makes way for a new one: unless the defence is off, after a second without a
/// word from its client. A client whose handshake goes on is not hurt by the next one's. That there is no room
/// just here calls for it, whatever there is elsewhere in the table.
#[inline(always)]
pub(crate) fn makes_way<const N: usize, const PAD: usize, T: Tables>(
    tables: &T,
    slot: &Slot<N, PAD>,
    now: u32,
) -> bool {
    let state = State(slot.head.state.load());
    !state.has(State::TEMPLATE)
        && slot.head.controlled.load() == 0
        && is_half_open(Link(slot.head.link.load()).protocol(), state)
        && tables
            .settings()
            .is_some_and(|settings| settings.flags.load() & Settings::DROP_ENTRY != 0)
        && room::is_silent(tables, slot, now)
}

/// Whether a template is one of one-packet scheduling, which controls nothing.
#[inline(always)]
fn is_once<const N: usize, const PAD: usize, T: Tables>(tables: &T, slot: &Slot<N, PAD>) -> bool {
    tables
        .server(slot.head.server.load())
        .and_then(|server| tables.service(server.service.load()))
        .is_some_and(|service| service.flags.load() & Service::ONE_PACKET != 0)
}

/// The lottery: of the quiet ones with n packets, one in n goes.
#[inline(always)]
fn loses<const N: usize, const PAD: usize, T: Tables, S: Store<N, PAD>>(
    tables: &T,
    store: &S,
    slot: &Slot<N, PAD>,
    now: u32,
) -> bool {
    let quiet = tables.settings().map_or(u32::MAX, |settings: &Settings| {
        settings
            .ticks_per_second
            .load()
            .saturating_mul(QUIET_SECONDS)
    });
    let packets = slot.head.packets.load();
    (1..=FEW_PACKETS).contains(&packets)
        && elapsed(now, slot.head.stamp.load(), quiet)
        && pair_of(store, slot)
            .is_none_or(|(_, reply, _)| elapsed(now, reply.head.stamp.load(), quiet))
        && tables.random().checked_rem(packets) == Some(0)
}
