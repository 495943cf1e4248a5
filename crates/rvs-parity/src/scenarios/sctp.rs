//! SCTP: states by chunks, and NAT with its checksum.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("sctp-nat", "SCTP by NAT, its states and checksum", nat),
        Scenario::new("sctp-direct", "SCTP by direct routing, its states", direct).in_guest_too(),
        Scenario::new("sctp-ipv6", "SCTP by NAT, IPv6", ipv6),
        Scenario::new("sctp-strays", "SCTP that does not begin with INIT", strays),
        Scenario::new(
            "sctp-fragments",
            "SCTP in fragments, NAT and direct",
            fragments,
        ),
        Scenario::new("sctp-sloppy", "sloppy_sctp", strays).knobs(&[("sloppy_sctp", "1")]),
    ]
}

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Chunks of one association each; negative ones come from the server.
#[derive(Clone, Copy)]
enum End {
    Client(u8),
    Server(u8),
}
use End::{Client as C, Server as S};

const WAYS: &[&[End]] = &[
    &[
        C(INIT),
        S(INIT_ACK),
        C(COOKIE_ECHO),
        S(COOKIE_ACK),
        C(DATA),
        S(SACK),
        C(SHUTDOWN),
        S(SHUTDOWN_ACK),
        C(SHUTDOWN_COMPLETE),
    ],
    &[
        C(INIT),
        S(INIT_ACK),
        C(COOKIE_ECHO),
        S(COOKIE_ACK),
        S(DATA),
        C(SACK),
        S(SHUTDOWN),
        C(SHUTDOWN_ACK),
        S(SHUTDOWN_COMPLETE),
    ],
    &[C(INIT), S(ABORT)],
    &[
        C(INIT),
        S(INIT_ACK),
        C(COOKIE_ECHO),
        S(COOKIE_ACK),
        C(ABORT),
    ],
    &[C(INIT), S(INIT_ACK), C(COOKIE_ECHO), S(ERROR), C(INIT)],
    &[C(INIT), C(INIT), C(COOKIE_ECHO)],
    &[
        C(INIT),
        S(INIT_ACK),
        C(COOKIE_ECHO),
        S(COOKIE_ACK),
        C(HEARTBEAT),
        S(ABORT),
        C(INIT),
    ],
    // Both ends begin.
    &[C(INIT), S(INIT), C(INIT_ACK), S(COOKIE_ECHO), C(COOKIE_ACK)],
];

fn chunk(kind: u8) -> (u8, &'static [u8]) {
    match kind {
        INIT | INIT_ACK => (kind, &[0; 16]),
        DATA => (kind, b"............data"),
        SACK => (kind, &[0; 12]),
        _ => (kind, b"cook"),
    }
}

fn steps(stage: &mut Stage<'_>) -> Result<()> {
    let service = at(vip(100), 9);
    let server = at("10.1.0.21".parse()?, 9);
    for step in 0..9 {
        for (port, way) in (4001..).zip(WAYS) {
            let own = at(client(2), port);
            let label = format!("{port}, step {step}");
            let seen = match way.get(step) {
                Some(C(kind)) => stage.client(&label, &Packet::sctp(own, service, &[chunk(*kind)])),
                Some(S(kind)) => stage.server(&label, &Packet::sctp(server, own, &[chunk(*kind)])),
                None => continue,
            };
            seen?;
        }
        stage.connections(&format!("after step {step}"))?;
    }
    stage.admin("-L -n")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn nat(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A --sctp-service 10.0.0.100:9 -s rr\n-a --sctp-service 10.0.0.100:9 -r 10.1.0.21:9 -m\n",
    )?;
    steps(stage)?;
    stage.admin("-S -n")?;
    // The checksum, when ports change.
    stage.setup("-A --sctp-service 10.0.0.101:9 -s rr\n-a --sctp-service 10.0.0.101:9 -r 10.1.0.22:7777 -m\n")?;
    let from = at(client(3), 4001);
    let seen = stage.client(
        "INIT, other port",
        &Packet::sctp(from, at(vip(101), 9), &[chunk(INIT)]),
    )?;
    if let Some(seen) = seen.first() {
        let answer = Packet::sctp(
            seen.destination,
            seen.source,
            &[chunk(INIT_ACK), chunk(DATA)],
        );
        stage.server("answer, other port", &answer)?;
    }
    Ok(())
}

fn direct(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A --sctp-service 10.0.0.100:9 -s rr\n-a --sctp-service 10.0.0.100:9 -r 10.1.0.21:9 -g\n",
    )?;
    for (port, chunks) in [
        (
            4001,
            &[INIT, COOKIE_ECHO, DATA, SHUTDOWN, SHUTDOWN_COMPLETE][..],
        ),
        (4002, &[INIT, COOKIE_ECHO, ABORT, INIT]),
        (4003, &[INIT, SACK, SHUTDOWN_ACK]),
    ] {
        for kind in chunks {
            let packet = Packet::sctp(at(client(2), port), at(vip(100), 9), &[chunk(*kind)]);
            stage.client(&format!("{port}, chunk {kind}"), &packet)?;
            stage.connections(&format!("after {port}, chunk {kind}"))?;
        }
    }
    let both = [chunk(COOKIE_ECHO), chunk(ABORT)];
    stage.client(
        "an ABORT behind",
        &Packet::sctp(at(client(2), 4001), at(vip(100), 9), &both),
    )?;
    stage.connections("at the end")?;
    Ok(())
}

fn ipv6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "--sctp-service [2001:db8::100]:9",
        "rr",
        "-m",
        &[1],
    ))?;
    let seen = stage.client(
        "INIT",
        &Packet::sctp(at(client6(2), 4001), at(vip6(100), 9), &[chunk(INIT)]),
    )?;
    if let Some(seen) = seen.first() {
        stage.server(
            "INIT-ACK",
            &Packet::sctp(seen.destination, seen.source, &[chunk(INIT_ACK)]),
        )?;
    }
    stage.connections("at the end")?;
    Ok(())
}

fn strays(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("--sctp-service 10.0.0.100:9", "rr", "-g", &[1]))?;
    for (port, kind) in (4001..).zip([DATA, COOKIE_ECHO, ABORT, SHUTDOWN, SHUTDOWN_ACK, INIT_ACK]) {
        let packet = Packet::sctp(at(client(2), port), at(vip(100), 9), &[chunk(kind)]);
        stage.client(&format!("chunk {kind}"), &packet)?;
    }
    stage.connections("at the end")?;
    Ok(())
}

fn fragments(stage: &mut Stage<'_>) -> Result<()> {
    use crate::describe::Side;
    stage.patience(std::time::Duration::from_secs(3));
    for (n, method) in [(100, "-m"), (101, "-g")] {
        let name = format!("--sctp-service 10.0.0.{n}:9");
        stage.setup(&service(&name, "rr", method, &[1]))?;
        let (from, to) = (at(client(2), 4001), at(vip(n), 9));
        stage.client(
            &format!("{method} INIT"),
            &Packet::sctp(from, to, &[chunk(INIT)]),
        )?;
        let data = [(DATA, &[5; 1300][..])];
        let whole = Packet::sctp(from, to, &data).may_fragment();
        let pieces = whole.client_fragments(&[0, 600, 1000]);
        stage.frames(&format!("{method} in order"), Side::Clients, &pieces)?;
        let pieces = whole.id(7).client_fragments(&[600, 1000, 0]);
        stage.frames(
            &format!("{method} first comes last"),
            Side::Clients,
            &pieces,
        )?;
    }
    let server = at([10, 1, 0, 21].into(), 9);
    let answer =
        Packet::sctp(server, at(client(2), 4001), &[(DATA, &[6; 1300][..])]).may_fragment();
    let pieces = answer.server_fragments(&[0, 600, 1000]);
    stage.frames("answer", Side::Servers, &pieces)?;
    stage.connections("at the end")?;
    Ok(())
}
