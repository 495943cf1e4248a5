//! TCP's state tables (Linux `net/netfilter/ipvs/ip_vs_proto_tcp.c`, `tcp_states`).

use rvs_abi::TcpState::{
    self, Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA,
    Listen as LI, None as NO, SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

use crate::flow::tcp as flags;

/// Which table applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// From the client, when the server's packets are seen too.
    Input,
    /// From the server.
    Output,
    /// From the client, when the server's packets are not seen (direct routing, tunnelling).
    InputOnly,
}

/// What a segment says, by its most telling flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SYN.
    Syn,
    /// FIN.
    Fin,
    /// ACK.
    Ack,
    /// RST.
    Rst,
    /// None of them: not a segment that TCP sends.
    Nothing,
}

/// The event of a flag byte: RST before SYN before FIN before ACK.
#[inline(always)]
pub fn event(tcp_flags: u8) -> Event {
    if tcp_flags & flags::RST != 0 {
        Event::Rst
    } else if tcp_flags & flags::SYN != 0 {
        Event::Syn
    } else if tcp_flags & flags::FIN != 0 {
        Event::Fin
    } else if tcp_flags & flags::ACK != 0 {
        Event::Ack
    } else {
        Event::Nothing
    }
}

/// The state that follows `state`; both by number.
#[inline(always)]
pub fn next(table: Table, event: Event, state: u32) -> u32 {
    let row = match (table, event) {
        (Table::Input, Event::Syn) => INPUT_SYN,
        (Table::Input, Event::Fin) => INPUT_FIN,
        (Table::Input, Event::Ack) => INPUT_ACK,
        (Table::Input, Event::Rst) => INPUT_RST,
        (Table::Output, Event::Syn) => OUTPUT_SYN,
        (Table::Output, Event::Fin) => OUTPUT_FIN,
        (Table::Output, Event::Ack) => OUTPUT_ACK,
        (Table::Output, Event::Rst) => OUTPUT_RST,
        (Table::InputOnly, Event::Syn) => INPUT_ONLY_SYN,
        (Table::InputOnly, Event::Fin) => INPUT_ONLY_FIN,
        (Table::InputOnly, Event::Ack) => INPUT_ONLY_ACK,
        (Table::InputOnly, Event::Rst) => INPUT_ONLY_RST,
        (Table::Input | Table::Output | Table::InputOnly, Event::Nothing) => return CL as u32,
    };
    (row >> ((state & 15) * 4)) as u32 & 15
}

/// [`next`] while `secure_tcp` is in force: a client's word alone establishes nothing.
#[inline(always)]
pub fn next_secured(table: Table, event: Event, state: u32) -> u32 {
    let row = match (table, event) {
        (Table::Input, Event::Syn) => SECURED_INPUT_SYN,
        (Table::Input, Event::Fin) => SECURED_INPUT_FIN,
        (Table::Input, Event::Ack) => SECURED_INPUT_ACK,
        (Table::Input, Event::Rst) => SECURED_INPUT_RST,
        (Table::Output, Event::Syn) => SECURED_OUTPUT_SYN,
        (Table::InputOnly, Event::Syn) => SECURED_INPUT_ONLY_SYN,
        (Table::Output, Event::Fin | Event::Ack | Event::Rst)
        | (Table::InputOnly, Event::Fin | Event::Ack | Event::Rst)
        | (Table::Input | Table::Output | Table::InputOnly, Event::Nothing) => {
            return next(table, event, state);
        }
    };
    (row >> ((state & 15) * 4)) as u32 & 15
}

/// Whether connections in this state count as active.
#[inline(always)]
pub fn is_active(state: u32) -> bool {
    const ACTIVE: u32 = 1 << ES as u32 | 1 << SS as u32 | 1 << SR as u32 | 1 << SA as u32;
    ACTIVE >> (state & 31) & 1 != 0
}

/// A row of a table in one word, four bits a state: a shift instead of a load.
const fn row(states: [TcpState; 11]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < states.len() {
        word |= (states[i] as u64) << (i * 4);
        i += 1;
    }
    word
}

// The state before:                      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
const INPUT_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
const INPUT_FIN: u64 = row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW]);
const INPUT_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
const INPUT_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR]);
const OUTPUT_SYN: u64 = row([SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR]);
const OUTPUT_FIN: u64 = row([TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW]);
const OUTPUT_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES]);
const OUTPUT_RST: u64 = row([CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL]);
const INPUT_ONLY_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
const INPUT_ONLY_FIN: u64 = row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]);
const INPUT_ONLY_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
const INPUT_ONLY_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);

// What secure_tcp changes (IPVS: `tcp_states_dos`).
const SECURED_INPUT_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA]);
const SECURED_INPUT_FIN: u64 = row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA]);
const SECURED_INPUT_ACK: u64 = row([ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA]);
const SECURED_INPUT_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);
const SECURED_OUTPUT_SYN: u64 = row([SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA]);
const SECURED_INPUT_ONLY_SYN: u64 = row([SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA]);

// NO is a state that nothing leads to.
const _: () = assert!(NO as u32 == 0);
