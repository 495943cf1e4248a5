//! Every cell of SCTP's state tables against the table as it is printed for people.

use rvs_abi::SctpState;
use rvs_core::state::{
    sctp::{Event, event, is_active, next},
    tcp::Table,
};

/// Columns: the state before. IPVS, `ip_vs_proto_sctp.c`.
const PRINTED: &str = "
                   NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
    in data        ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
    in init        I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
    in init-ack    CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
    in echo        CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
    in ack         ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
    in shutdown    SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
    in sd-ack      CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
    in complete    CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
    in error       CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
    in abort       CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
    out data       ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
    out init       CW CW CW CW CW CW CW CW ES CW CW CW CW CW
    out init-ack   CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
    out echo       CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
    out ack        ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
    out shutdown   SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
    out sd-ack     SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
    out complete   CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
    out error      CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
    out abort      CL RJ CL CL CL CL CL CL CL CL CL CL CL CL
    io data        ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
    io init        I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
    io init-ack    CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
    io echo        ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
    io ack         ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
    io shutdown    SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
    io sd-ack      CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
    io complete    CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
    io error       CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
    io abort       CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
";

const LETTERS: [&str; 14] = [
    "NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
];

fn state(letters: &str) -> SctpState {
    let number = LETTERS.iter().position(|known| *known == letters);
    SctpState::ALL[number.unwrap_or_else(|| panic!("no state {letters}"))]
}

#[test]
fn every_cell_is_as_printed() {
    let mut lines = PRINTED.trim().lines().map(str::split_whitespace);
    let before: Vec<SctpState> = lines.next().expect("the head").map(state).collect();
    assert_eq!(before, SctpState::ALL);
    let mut cells = 0;
    for mut words in lines {
        let table = match words.next() {
            Some("in") => Table::Input,
            Some("out") => Table::Output,
            Some("io") => Table::InputOnly,
            other => panic!("no table {other:?}"),
        };
        let event = match words.next() {
            Some("data") => Event::Data,
            Some("init") => Event::Init,
            Some("init-ack") => Event::InitAck,
            Some("echo") => Event::CookieEcho,
            Some("ack") => Event::CookieAck,
            Some("shutdown") => Event::Shutdown,
            Some("sd-ack") => Event::ShutdownAck,
            Some("complete") => Event::ShutdownComplete,
            Some("error") => Event::Error,
            Some("abort") => Event::Abort,
            other => panic!("no event {other:?}"),
        };
        for (before, after) in before.iter().zip(words) {
            assert_eq!(
                next(table, event as u8, *before as u32),
                state(after) as u32,
                "{table:?} {event:?} in {before:?}"
            );
            cells += 1;
        }
    }
    assert_eq!(cells, 30 * 14);
}

#[test]
fn chunks_that_carry_no_event_are_data() {
    let named = [
        (1, Event::Init),
        (2, Event::InitAck),
        (6, Event::Abort),
        (7, Event::Shutdown),
        (8, Event::ShutdownAck),
        (9, Event::Error),
        (10, Event::CookieEcho),
        (11, Event::CookieAck),
        (14, Event::ShutdownComplete),
    ];
    for chunk in 0..=255 {
        let expected = named.iter().find(|(kind, _)| *kind == chunk);
        let expected = expected.map_or(Event::Data, |(_, event)| *event);
        assert_eq!(event(chunk), expected, "chunk {chunk}");
    }
}

#[test]
fn only_established_associations_are_active() {
    for state in SctpState::ALL {
        assert_eq!(is_active(state as u32), state == SctpState::Established);
    }
}
