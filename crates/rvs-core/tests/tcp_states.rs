//! Every cell of TCP's state tables against the table as it is printed for people.

use rvs_abi::TcpState;
use rvs_core::state::tcp::{Event, Table, event, is_active, next, next_secured};

/// Columns: the state before. IPVS, `ip_vs_proto_tcp.c`.
const PRINTED: &str = "
               NO ES SS SR FW TW CL CW LA LI SA
    in syn     SR ES ES SR SR SR SR SR SR SR SR
    in fin     CL CW SS TW TW TW CL CW LA LI TW
    in ack     ES ES SS ES FW TW CL CW CL LI ES
    in rst     CL CL CL SR CL CL CL CL LA LI SR
    out syn    SS ES SS SR SS SS SS SS SS LI SR
    out fin    TW FW SS TW FW TW CL TW LA LI TW
    out ack    ES ES SS ES FW TW CL CW LA ES ES
    out rst    CL CL SS CL CL TW CL CL CL CL CL
    io syn     SR ES ES SR SR SR SR SR SR SR SR
    io fin     CL FW SS TW FW TW CL CW LA LI TW
    io ack     ES ES SS ES FW TW CL CW CL LI ES
    io rst     CL CL CL SR CL CL CL CL LA LI CL
";

/// What `secure_tcp` changes: the other cells stay (IPVS: `tcp_states_dos`).
const SECURED: &str = "
               NO ES SS SR FW TW CL CW LA LI SA
    in syn     SR ES ES SR SR SR SR SR SR SR SA
    in fin     CL CW SS TW TW TW CL CW LA LI SA
    in ack     ES ES SS SR FW TW CL CW CL LI SA
    in rst     CL CL CL SR CL CL CL CL LA LI CL
    out syn    SS ES SS SA SS SS SS SS SS LI SA
    out fin    TW FW SS TW FW TW CL TW LA LI TW
    out ack    ES ES SS ES FW TW CL CW LA ES ES
    out rst    CL CL SS CL CL TW CL CL CL CL CL
    io syn     SA ES ES SR SA SA SA SA SA SA SA
    io fin     CL FW SS TW FW TW CL CW LA LI TW
    io ack     ES ES SS ES FW TW CL CW CL LI ES
    io rst     CL CL CL SR CL CL CL CL LA LI CL
";

fn state(letters: &str) -> TcpState {
    match letters {
        "NO" => TcpState::None,
        "ES" => TcpState::Established,
        "SS" => TcpState::SynSent,
        "SR" => TcpState::SynRecv,
        "FW" => TcpState::FinWait,
        "TW" => TcpState::TimeWait,
        "CL" => TcpState::Close,
        "CW" => TcpState::CloseWait,
        "LA" => TcpState::LastAck,
        "LI" => TcpState::Listen,
        "SA" => TcpState::SynAck,
        other => panic!("no state {other}"),
    }
}

#[test]
fn every_cell_is_as_printed() {
    compare(PRINTED, next);
}

#[test]
fn every_cell_of_secure_tcp_is_as_printed() {
    compare(SECURED, next_secured);
}

fn compare(printed: &str, next: impl Fn(Table, Event, u32) -> u32) {
    let mut lines = printed.trim().lines().map(str::split_whitespace);
    let before: Vec<TcpState> = lines.next().expect("the head").map(state).collect();
    assert_eq!(before, TcpState::ALL);
    let mut cells = 0;
    for mut words in lines {
        let table = match words.next() {
            Some("in") => Table::Input,
            Some("out") => Table::Output,
            Some("io") => Table::InputOnly,
            other => panic!("no table {other:?}"),
        };
        let event = match words.next() {
            Some("syn") => Event::Syn,
            Some("fin") => Event::Fin,
            Some("ack") => Event::Ack,
            Some("rst") => Event::Rst,
            other => panic!("no event {other:?}"),
        };
        for (before, after) in before.iter().zip(words) {
            let found = next(table, event, *before as u32);
            assert_eq!(
                found,
                state(after) as u32,
                "{table:?} {event:?} in {before:?}"
            );
            cells += 1;
        }
    }
    assert_eq!(cells, 12 * 11);
}

#[test]
fn a_segment_without_flags_closes() {
    for table in [Table::Input, Table::Output, Table::InputOnly] {
        for before in TcpState::ALL {
            assert_eq!(
                next(table, Event::Nothing, before as u32),
                TcpState::Close as u32
            );
        }
    }
}

#[test]
fn the_most_telling_flag_is_the_event() {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    for flags in 0..=u8::MAX {
        let expected = if flags & RST != 0 {
            Event::Rst
        } else if flags & SYN != 0 {
            Event::Syn
        } else if flags & FIN != 0 {
            Event::Fin
        } else if flags & ACK != 0 {
            Event::Ack
        } else {
            Event::Nothing
        };
        assert_eq!(event(flags), expected, "{flags:#04x}");
    }
}

#[test]
fn four_states_are_active() {
    let active: Vec<TcpState> = TcpState::ALL
        .into_iter()
        .filter(|state| is_active(*state as u32))
        .collect();
    let expected = [
        TcpState::Established,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::SynAck,
    ];
    assert_eq!(active, expected);
}

#[test]
fn no_number_leads_out_of_the_tables() {
    for number in 0..=255 {
        for table in [Table::Input, Table::Output, Table::InputOnly] {
            for event in [
                Event::Syn,
                Event::Fin,
                Event::Ack,
                Event::Rst,
                Event::Nothing,
            ] {
                for next in [next, next_secured] {
                    assert!(next(table, event, number) < TcpState::ALL.len() as u32);
                }
            }
        }
    }
}
