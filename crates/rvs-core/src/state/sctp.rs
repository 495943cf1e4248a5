//! SCTP's state tables (Linux `net/netfilter/ipvs/ip_vs_proto_sctp.c`, `sctp_states`).

use rvs_abi::SctpState::{
    self, Closed as CL, Cookie as CO, CookieEchoed as CE, CookieReplied as CR, CookieSent as CS,
    CookieWait as CW, Established as ES, Init as IN, Init1 as I1, None as NO, Rejected as RJ,
    ShutdownAckSent as SA, ShutdownReceived as SR, ShutdownSent as SS,
};

use super::tcp::Table;

/// What a packet says, by its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// DATA, SACK, HEARTBEAT and all others.
    Data = 0,
    /// INIT.
    Init = 1,
    /// INIT ACK.
    InitAck = 2,
    /// COOKIE ECHO.
    CookieEcho = 3,
    /// COOKIE ACK.
    CookieAck = 4,
    /// SHUTDOWN.
    Shutdown = 5,
    /// SHUTDOWN ACK.
    ShutdownAck = 6,
    /// SHUTDOWN COMPLETE.
    ShutdownComplete = 7,
    /// ERROR.
    Error = 8,
    /// ABORT.
    Abort = 9,
}

/// The event of a chunk type (RFC 9260 section 3.2).
#[inline(always)]
pub fn event(chunk: u8) -> Event {
    match chunk {
        1 => Event::Init,
        2 => Event::InitAck,
        6 => Event::Abort,
        7 => Event::Shutdown,
        8 => Event::ShutdownAck,
        9 => Event::Error,
        10 => Event::CookieEcho,
        11 => Event::CookieAck,
        14 => Event::ShutdownComplete,
        _ => Event::Data,
    }
}

/// The state that follows `state`, by number, when [`crate::Flow::tcp_flags`] holds `event`.
#[inline(always)]
pub fn next(table: Table, event: u8, state: u32) -> u32 {
    let row = match table {
        Table::Input => INPUT.row(event),
        Table::Output => OUTPUT.row(event),
        Table::InputOnly => INPUT_ONLY.row(event),
    };
    (row >> ((state & 15) * 4)) as u32 & 15
}

/// Whether associations in this state count as active.
#[inline(always)]
pub fn is_active(state: u32) -> bool {
    state == ES as u32
}

/// One direction's rows, in order of [`Event`].
struct Rows([u64; 10]);

impl Rows {
    #[inline(always)]
    fn row(&self, event: u8) -> u64 {
        // A chain of constants, not a load: the kernel side has no constant memory.
        let Self(
            [
                data,
                init,
                init_ack,
                echo,
                ack,
                down,
                down_ack,
                complete,
                error,
                abort,
            ],
        ) = *self;
        match event {
            1 => init,
            2 => init_ack,
            3 => echo,
            4 => ack,
            5 => down,
            6 => down_ack,
            7 => complete,
            8 => error,
            9 => abort,
            _ => data,
        }
    }
}

/// A row of a table in one word, four bits a state.
const fn row(states: [SctpState; 14]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < states.len() {
        word |= (states[i] as u64) << (i * 4);
        i += 1;
    }
    word
}

// The state before: NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
const INPUT: Rows = Rows([
    row([ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN]),
    row([CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL]),
    row([SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL]),
    row([CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL]),
    row([CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL]),
    row([CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL]),
    row([CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL]),
]);
const OUTPUT: Rows = Rows([
    row([ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW]),
    row([CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL]),
    row([ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL]),
    row([SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL]),
    row([SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL]),
    row([CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL]),
]);
const INPUT_ONLY: Rows = Rows([
    row([ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN]),
    row([CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL]),
    row([SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL]),
    row([CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL]),
    row([CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL]),
    row([CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL]),
    row([CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL]),
]);

const _: () = assert!(NO as u32 == 0 && CL as u32 == 13);
