//! SIP: persistence by Call-ID.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::vip;
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("sip", "persistence by SIP's Call-ID", sip).short(),
        Scenario::new(
            "sip-one-packet",
            "the same, one-packet scheduling",
            sip_one_packet,
        ),
    ]
}

fn message(port: u16, call: &str) -> Packet {
    let text = format!(
        "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c\r\nFrom: a\r\nTo: b\r\n{call}CSeq: 1 INVITE\r\n\r\n"
    );
    let from = at([172, 16, 0, 1].into(), port);
    Packet::udp(from, at(vip(100), 5060)).payload(text.as_bytes())
}

fn calls(stage: &mut Stage<'_>) -> Result<()> {
    let calls = ["one@x", "two@x", "three@x", "one@x", "two@x", "one@x"];
    let packets: Vec<_> = (5001..)
        .zip(calls)
        .map(|(port, call)| message(port, &format!("Call-ID: {call}\r\n")))
        .collect();
    stage.choices("calls", &packets)?;
    stage.choices("none", &[message(6001, "")])?;
    stage.choices("small letters", &[message(6002, "call-id: one@x\r\n")])?;
    stage.choices("short form", &[message(6003, "i: one@x\r\n")])?;
    let cut =
        Packet::udp(at([172, 16, 0, 1].into(), 6004), at(vip(100), 5060)).payload(b"Call-ID: on");
    stage.choices("cut off", &[cut])?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-L -n --persistent-conn")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn sip(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-u 10.0.0.100:5060 -p 60 --pe sip",
        "rr",
        "-m",
        &[1, 1, 1],
    ))?;
    calls(stage)
}

fn sip_one_packet(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-u 10.0.0.100:5060 -p 60 --pe sip -o",
        "rr",
        "-m",
        &[1, 1, 1],
    ))?;
    calls(stage)
}
