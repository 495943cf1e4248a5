//! SCTP: associations by every method, their states as servers' counts show them, and the checksum that NAT mends.

use rvs_abi::{Counter, Method, Settings};

use super::forwarding::{forwarded, one, request, translated};
use crate::{Case, Edit, Recipe, Step, place::Family};

const SCTP: u8 = 132;
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn from_client(family: Family, chunk: u8) -> Recipe {
    Recipe::sctp((family.client(), 40000), (family.vip(0), 80), chunk).payload(b"client")
}

fn from_server(family: Family, chunk: u8) -> Recipe {
    Recipe::sctp((family.server(0), 8080), (family.client(), 40000), chunk)
        .payload(b"a server's words")
        .from_server(0)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        let name = |text: &str| format!("{}, SCTP: {text}", family.name());
        let to = |chunk, method| request(&from_client(family, chunk), method);
        let from = |chunk| {
            let packet = from_server(family, chunk);
            Step::reply(&packet, 0, &translated(&packet, family))
        };
        let nat = one(family, SCTP, Method::Nat);
        let direct = one(family, SCTP, Method::Direct);

        cases.push(Case::new(
            name("a NAT association from INIT to SHUTDOWN COMPLETE, and its ports used again"),
            &nat,
            vec![
                to(INIT, Method::Nat).opens(0, 0, 1),
                from(INIT_ACK),
                to(COOKIE_ECHO, Method::Nat),
                from(COOKIE_ACK).census(0, 1, 0),
                to(DATA, Method::Nat),
                from(DATA),
                to(HEARTBEAT, Method::Nat),
                from(SHUTDOWN).census(0, 0, 1),
                to(SHUTDOWN_ACK, Method::Nat),
                from(SHUTDOWN_COMPLETE),
                to(INIT, Method::Nat)
                    .opens(0, 0, 1)
                    .counts(&[Counter::Reused]),
                from(INIT_ACK),
            ],
        ));
        for method in [Method::Direct, Method::Tunnel, Method::Local] {
            cases.push(Case::new(
                name(&format!(
                    "{method:?}: an association's states follow the client alone"
                )),
                &one(family, SCTP, method),
                vec![
                    to(INIT, method).opens(0, 0, 1),
                    to(COOKIE_ECHO, method).census(0, 1, 0),
                    to(DATA, method),
                    to(SHUTDOWN, method).census(0, 0, 1),
                    to(SHUTDOWN_COMPLETE, method),
                    to(INIT, method).opens(0, 0, 1).counts(&[Counter::Reused]),
                ],
            ));
        }
        cases.push(Case::new(
            name("the client's ABORT closes the association"),
            &nat,
            vec![
                to(INIT, Method::Nat).opens(0, 0, 1),
                from(INIT_ACK),
                to(COOKIE_ECHO, Method::Nat),
                from(COOKIE_ACK).census(0, 1, 0),
                to(ABORT, Method::Nat).census(0, 0, 1),
                to(INIT, Method::Nat)
                    .opens(0, 0, 1)
                    .counts(&[Counter::Reused]),
            ],
        ));
        let echo_abort = from_client(family, COOKIE_ECHO).chunks(&[COOKIE_ECHO, ABORT]);
        cases.push(Case::new(
            name("an ABORT behind COOKIE ECHO is what counts"),
            &direct,
            vec![
                to(INIT, Method::Direct).opens(0, 0, 1),
                request(&echo_abort, Method::Direct),
                to(DATA, Method::Direct),
                to(INIT, Method::Direct)
                    .opens(0, 0, 1)
                    .counts(&[Counter::Reused]),
            ],
        ));
        cases.push(Case::new(
            name("nat_icmp_send: an ABORT of a server is not answered"),
            &nat.clone().with(Settings::NAT_ICMP_SEND),
            vec![Step::passes(
                &from_server(family, ABORT),
                Counter::PassNoService,
            )],
        ));
        cases.push(Case::new(
            name("an INIT repeated is the same association"),
            &nat,
            vec![
                to(INIT, Method::Nat).opens(0, 0, 1),
                to(INIT, Method::Nat),
                from(INIT_ACK),
                to(INIT, Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("only INIT begins an association"),
            &direct,
            [
                DATA,
                INIT_ACK,
                HEARTBEAT,
                ABORT,
                SHUTDOWN,
                COOKIE_ECHO,
                COOKIE_ACK,
            ]
            .map(|chunk| Step::passes(&from_client(family, chunk), Counter::PassNoConnection))
            .to_vec(),
        ));
        cases.push(Case::new(
            name("sloppy: any packet but ABORT begins an association"),
            &direct,
            vec![
                Step::Edit(Edit::Flags(Settings::SCHEDULE | Settings::SLOPPY_SCTP)),
                Step::passes(&from_client(family, ABORT), Counter::PassNoConnection),
                to(DATA, Method::Direct).opens(0, 1, 0),
                request(&from_client(family, SHUTDOWN).port(40001), Method::Direct).opens(0, 1, 1),
            ],
        ));
        cases.push(
            Case::new(
                name("a checksum still to be filled in stays so"),
                &nat,
                vec![
                    to(INIT, Method::Nat).opens(0, 0, 1).partial(),
                    from(INIT_ACK).partial(),
                    to(COOKIE_ECHO, Method::Nat).partial(),
                ],
            )
            .native_only(
                "a test run makes packets whose checksums are whole; ip_summed cannot be set",
            ),
        );
        cases.push(lengths(family));
        cases.push(wrong(family));
        cases.push(super_packet(family));
        cases.push(short(family));
    }
    cases
}

/// The checksum of packets of many lengths.
fn lengths(family: Family) -> Case {
    let mut steps = vec![request(&from_client(family, INIT), Method::Nat).opens(0, 0, 1)];
    for length in (0..40).chain([255, 256, 257, 1000, 1300]) {
        let packet = from_client(family, DATA).payload(&vec![0xa5; length]);
        steps.push(request(&packet, Method::Nat));
        let reply = from_server(family, DATA).payload(&vec![0x5a; length]);
        steps.push(Step::reply(&reply, 0, &translated(&reply, family)));
    }
    let name = format!("{}, SCTP: checksums of many lengths", family.name());
    Case::new(name, &one(family, SCTP, Method::Nat), steps)
}

/// A packet that was damaged on its way stays so: its receiver is to see that.
fn wrong(family: Family) -> Case {
    let damage = |packet: &Recipe| {
        let mut frame = packet.frame();
        let last = frame.len() - 1;
        frame[last] ^= 0x40;
        frame
    };
    let opening = from_client(family, INIT);
    let packet = from_client(family, DATA).payload(b"damaged.");
    let sent = forwarded(&packet, Method::Nat, 0);
    Case::new(
        format!("{}, SCTP: a wrong checksum stays wrong", family.name()),
        &one(family, SCTP, Method::Nat),
        vec![
            request(&opening, Method::Nat).opens(0, 0, 1),
            Step::framed(damage(&packet), damage(&sent)).received(0),
        ],
    )
}

/// A super-packet: pieces of sizes that cannot be seen, each with a checksum that hardware fills in.
fn super_packet(family: Family) -> Case {
    let opening = from_client(family, INIT);
    let packet = from_client(family, DATA).payload(&vec![7; 4000]);
    let sent = forwarded(&packet, Method::Direct, 0);
    let headers = match family {
        Family::V4 => 20 + 12,
        Family::V6 => 40 + 12,
    };
    Case::new(
        format!(
            "{}, SCTP: a super-packet is counted by its pieces",
            family.name()
        ),
        &one(family, SCTP, Method::Direct),
        vec![
            request(&opening, Method::Direct).opens(0, 0, 1),
            Step::sends(&packet, &sent)
                .segmented(3, 0xffff)
                .moves(0, |stats, bytes| {
                    stats.packets_in += 3;
                    stats.bytes_in += bytes + 2 * headers;
                }),
        ],
    )
    .native_only(
        "a test run's super-packets have no gso_type; room is only made in those that have",
    )
}

/// Too short for a chunk.
fn short(family: Family) -> Case {
    let mut frame = from_client(family, INIT).payload(b"").frame();
    let cut = frame.len() - 4;
    frame.truncate(cut);
    match family {
        Family::V4 => {
            let length = (cut - 14) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame[24..26].fill(0);
            let sum: u32 = frame[14..34]
                .chunks_exact(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => frame[18..20].copy_from_slice(&((cut - 54) as u16).to_be_bytes()),
    }
    // A frame that ends behind a header it does not count.
    let mut padded = frame.clone();
    padded.extend([1, 0, 0, 4]);
    Case::new(
        format!("{}, SCTP: a packet without a chunk", family.name()),
        &one(family, SCTP, Method::Direct),
        vec![
            Step::frame_passes(frame, Counter::PassMalformed),
            Step::frame_passes(padded, Counter::PassMalformed),
        ],
    )
}
