//! SIP: persistence by Call-ID.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("sip", "persistence by SIP's Call-ID", sip).in_guest_too(),
        Scenario::new(
            "sip-one-packet",
            "the same, one-packet scheduling",
            sip_one_packet,
        ),
        Scenario::new(
            "sip-forms",
            "how a Call-ID may be written, and how not",
            forms,
        ),
        Scenario::new("sip-servers", "what NAT servers say by themselves", servers),
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

/// One packet each, so that every form is read; the calls are told apart by nothing else.
fn forms(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-u 10.0.0.100:5060 -p 60 -M 0.0.0.0 --pe sip -o",
        "rr",
        "-g",
        &[1, 1, 1],
    ))?;
    stage.choices("a call", &[message(5001, "Call-ID: one@x\r\n")])?;
    let other = |line: &str| {
        let text = format!("BYE sip:a@b SIP/2.0\r\n{line}CSeq: 2 BYE\r\n\r\n");
        Packet::udp(at(client(9), 5001), at(vip(100), 5060)).payload(text.as_bytes())
    };
    stage.choices("from another address", &[other("Call-ID: one@x\r\n")])?;
    let long = |length: usize| format!("Call-ID: {}\r\n", "y".repeat(length));
    for line in [
        "I:one@x\r\n",
        "Call-ID\t:  one@x\r\n",
        "Call-ID:\r\n one@x\r\n",
        "Call-ID: one@x\n",
        "Call-ID: one@x\r",
        "Subject: x\r\n Call-ID: two@x\r\nCall-ID: one@x\r\n",
        "Call-ID: one@x \r\n",
        "Call-ID: one@x;a\r\n",
        "Call-ID: one@x@y\r\n",
        "Call-ID: one@\r\n",
        "ii: one@x\r\n",
        "X-Call-ID: one@x\r\n",
        "Call-ID: two\r\n",
        "Call-ID: ~!%*(<\"two\">)_+`'{}[]?\\/.:-\r\n",
    ] {
        stage.choices(&format!("{line:?}"), &[other(line)])?;
    }
    stage.connections("so far")?;
    // The longest has no room in the buffer of ipvsadm, which dies of listing it.
    for length in [255, 256] {
        stage.choices(&format!("{length} letters"), &[other(&long(length))])?;
    }
    Ok(())
}

fn servers(stage: &mut Stage<'_>) -> Result<()> {
    for (port, once) in [(5060, ""), (5061, " -o")] {
        stage.setup(&service(
            &format!("-u 10.0.0.100:{port} -p 60 --pe sip{once}"),
            "rr",
            "-m",
            &[1, 1],
        ))?;
        let said = |server: u8, to: u16, text: &str| {
            let from = at([10, 1, 0, server].into(), port);
            Packet::udp(from, at(client(9), to)).payload(text.as_bytes())
        };
        let text = "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: own@x\r\n\r\n";
        let step = |what: &str| format!("{port}: {what}");
        stage.server(&step("a server begins a call"), &said(22, 6001, text))?;
        stage.server(&step("and goes on"), &said(22, 6002, text))?;
        let to = |from, call: &str| {
            let text = format!("BYE sip:a@b SIP/2.0\r\nCall-ID: {call}\r\n\r\n");
            Packet::udp(at(client(9), from), at(vip(100), port)).payload(text.as_bytes())
        };
        stage.choices(&step("the client in that call"), &[to(6004, "own@x")])?;
        stage.choices(&step("another call"), &[to(6005, "new@x")])?;
    }
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    Ok(())
}
