//! FTP through NAT: addresses in its words, and the connections they announce.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Flow, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("ftp-active", "FTP through NAT, PORT", active)
            .in_guest_too()
            .knobs(CONNTRACK),
        Scenario::new(
            "ftp-passive",
            "FTP through NAT, PASV; sequence numbers",
            passive,
        )
        .knobs(CONNTRACK)
        .explained(&[
            Explained {
                step: "227 again",
                heading: "FTP's words said again",
            },
            Explained {
                step: "ipvsadm -L -n --stats",
                heading: "FTP's words said again",
            },
        ]),
        Scenario::new("ftp-extended", "FTP through NAT, EPRT and EPSV", extended).knobs(CONNTRACK),
        Scenario::new(
            "ftp-ipv6",
            "FTP through NAT over IPv6, EPRT and EPSV",
            extended6,
        )
        .knobs(CONNTRACK),
    ]
}

/// The kernel's helper rewrites by conntrack's means.
const CONNTRACK: &[crate::director::Knob] = &[("conntrack", "1")];
/// What is rewritten goes through the daemon, on an emulated processor that others use.
const PATIENCE: Duration = Duration::from_secs(2);

/// A handshake whose numbers are right, since conntrack looks at them.
fn open(stage: &mut Stage<'_>) -> Result<Flow> {
    open_by(stage, client(2), vip(100))
}

fn open_by(stage: &mut Stage<'_>, client: IpAddr, service: IpAddr) -> Result<Flow> {
    let Some(flow) = stage.syn(at(client, 4001), at(service, 21))? else {
        bail!("no server got the SYN");
    };
    stage.server("SYN-ACK", &flow.reply("SA").numbers(2000, 1001))?;
    stage.client("ACK", &flow.request("A").numbers(1001, 2001))?;
    Ok(flow)
}

fn active(stage: &mut Stage<'_>) -> Result<()> {
    stage.patience(PATIENCE);
    stage.setup(&service("-t 10.0.0.100:21", "rr", "-m", &[1]))?;
    let flow = open(stage)?;
    stage.client(
        "PORT",
        &flow
            .request("PA")
            .numbers(1001, 2001)
            .payload(b"PORT 10,0,0,2,19,137\r\n"),
    )?;
    stage.connections("announced")?;
    let data = (at("10.1.0.21".parse()?, 20), at(client(2), 5001));
    stage.server("the data's SYN", &Packet::tcp(data.0, data.1, "S"))?;
    let answer = Packet::tcp(data.1, at(vip(100), 20), "SA").numbers(2000, 1001);
    stage.client("its SYN-ACK", &answer)?;
    let ack = Packet::tcp(data.0, data.1, "A").numbers(1001, 2001);
    stage.server("its ACK", &ack)?;
    stage.connections("opened")?;
    Ok(())
}

fn passive(stage: &mut Stage<'_>) -> Result<()> {
    stage.patience(PATIENCE);
    stage.setup(&service("-t 10.0.0.100:21", "rr", "-m", &[1]))?;
    let flow = open(stage)?;
    stage.client(
        "PASV",
        &flow.request("PA").numbers(1001, 2001).payload(b"PASV\r\n"),
    )?;
    let words = b"227 Entering Passive Mode (10,1,0,21,200,10).\r\n";
    stage.server("227", &flow.reply("PA").numbers(2001, 1007).payload(words))?;
    stage.connections("announced")?;
    // The text is longer by a byte than the server believes.
    let next = 2001 + words.len() as u32;
    stage.client("its ACK", &flow.request("A").numbers(1007, next + 1))?;
    stage.server(
        "more words",
        &flow.reply("PA").numbers(next, 1007).payload(b"150 ok\r\n"),
    )?;
    stage.client("their ACK", &flow.request("A").numbers(1007, next + 9))?;
    stage.server(
        "227 again",
        &flow.reply("PA").numbers(2001, 1007).payload(words),
    )?;
    let data = (at(client(2), 4500), at(vip(100), 200 * 256 + 10));
    let seen = stage.client("the data's SYN", &Packet::tcp(data.0, data.1, "S"))?;
    if let Some(seen) = seen.first() {
        stage.server(
            "its SYN-ACK",
            &Packet::tcp(seen.destination, seen.source, "SA").numbers(2000, 1001),
        )?;
    }
    let ack = Packet::tcp(data.0, data.1, "A").numbers(1001, 2001);
    stage.client("its ACK", &ack)?;
    stage.connections("opened")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn extended(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:21", "rr", "-m", &[1]))?;
    let flow = open(stage)?;
    let server = "10.1.0.21".parse()?;
    both_ways(stage, flow, server, "EPRT |1|10.0.0.2|5001|\r\n")
}

fn extended6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:21", "rr", "-m", &[1]))?;
    let flow = open_by(stage, client6(2), vip6(100))?;
    let server = "2001:db8:1::21".parse()?;
    both_ways(stage, flow, server, "EPRT |2|2001:db8::2|5001|\r\n")
}

/// Data that the client is called for, and data that it calls for.
fn both_ways(stage: &mut Stage<'_>, flow: Flow, server: IpAddr, eprt: &str) -> Result<()> {
    stage.patience(PATIENCE);
    let (client, service) = (flow.client.ip(), flow.service.ip());
    let request = |number| flow.request("PA").numbers(number, 2001);
    let next = 1001 + eprt.len() as u32;
    stage.client("EPRT", &request(1001).payload(eprt.as_bytes()))?;
    stage.server(
        "the data's SYN",
        &Packet::tcp(at(server, 20), at(client, 5001), "S"),
    )?;
    stage.client("EPSV", &request(next).payload(b"EPSV\r\n"))?;
    let words = b"229 Extended Passive Mode OK (|||51210|)\r\n";
    stage.server(
        "229",
        &flow.reply("PA").numbers(2001, next + 6).payload(words),
    )?;
    stage.client(
        "the passive data's SYN",
        &Packet::tcp(at(client, 4500), at(service, 51210), "S"),
    )?;
    stage.connections("opened")?;
    Ok(())
}
