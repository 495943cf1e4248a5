//! TCP's states and their time-outs, packet by packet.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::Scenario;
use crate::stage::Stage;
use std::time::Duration;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("states-nat", "TCP states with both directions seen", nat),
        Scenario::new("states-direct", "TCP states with requests alone", direct).in_guest_too(),
        Scenario::new(
            "states-tunnel",
            "TCP states with requests alone, tunnelled",
            tunnelled,
        ),
        Scenario::new("port-reuse", "SYNs on connections that are closing", reuse),
        Scenario::new(
            "timeouts",
            "--set, and connections that end by time",
            timeouts,
        ),
        Scenario::new("udp-timeout", "UDP's time-out is refreshed", udp),
    ]
}

/// Segments of one connection each: `>` from the client, `<` from the server.
const NAT_WAYS: &[&[&str]] = &[
    // Handshake; the client closes, then the server.
    &[">S", "<SA", ">A", ">FA", "<A", "<FA", ">A"],
    // The server closes, then the client.
    &[">S", "<SA", ">A", "<FA", ">A", ">FA", "<A"],
    // Resets by either side, early and late.
    &[">S", "<RA"],
    &[">S", "<SA", ">R"],
    &[">S", "<SA", ">A", ">R", "<A"],
    &[">S", "<SA", ">A", "<R", ">A"],
    // Without the server's word; repeated SYNs; both open.
    &[">S", ">S", ">A", ">PA"],
    &[">S", "<S", ">A", "<A"],
    &[">S", "<SA", "<SA", ">S"],
    // Both close at once; data after a FIN.
    &[">S", "<SA", ">A", ">FA", "<FA", ">A", "<A"],
    &[">S", "<SA", ">A", "<FA", ">PA", "<A", ">R"],
    // A SYN on top of each closing state.
    &[">S", "<SA", ">A", ">FA", "<A", ">S"],
    // A FIN before the connection stands; no flags at all.
    &[">S", ">FA", "<FA"],
    &[">S", "<SA", ">A", ">", "<"],
];

const ONE_WAY: &[&[&str]] = &[
    &[">S", ">A", ">PA", ">FA", ">A"],
    &[">S", ">R"],
    &[">S", ">A", ">R", ">A"],
    &[">S", ">S", ">FA"],
    &[">S", ">FA", ">A", ">A"],
    &[">S", ">A", ">"],
    &[">S", ">A", ">RA", ">S"],
];

pub(super) fn nat(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    step_by_step(stage, NAT_WAYS)
}

pub(super) fn direct(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    step_by_step(stage, ONE_WAY)
}

fn tunnelled(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-i", &[1]))?;
    step_by_step(stage, ONE_WAY)
}

/// All connections take a step, then they are listed. They end together, since what is reset is soon gone.
pub(super) fn step_by_step(stage: &mut Stage<'_>, ways: &[&[&str]]) -> Result<()> {
    let service = at(vip(100), 80);
    let server = at("10.1.0.21".parse()?, 80);
    let longest = ways.iter().map(|way| way.len()).max().unwrap_or(0);
    for step in 0..longest {
        for (port, way) in (4001..).zip(ways) {
            let Some(step) = step.checked_sub(longest - way.len()) else {
                continue;
            };
            let Some(segment) = way.get(step) else {
                continue;
            };
            let (from, flags) = segment.split_at(1);
            let label = way.get(..=step).unwrap_or_default().join(" ");
            let client = at(client(2), port);
            if from == ">" {
                stage.client(&label, &Packet::tcp(client, service, flags))?;
            } else {
                stage.server(&label, &Packet::tcp(server, client, flags))?;
            }
        }
        stage.connections(&format!("after step {}", step + 1))?;
        if step % 3 == 2 {
            stage.admin("-L -n")?;
        }
    }
    stage.stats("-L -n --stats")?;
    Ok(())
}

pub(super) fn reuse(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1, 1]))?;
    stage.setup(&service("-t 10.0.0.101:80", "rr", "-g", &[1, 1, 1]))?;
    // Closed by RST, in TIME_WAIT, established, in FIN_WAIT.
    let to = at(vip(100), 80);
    for (port, flags) in [
        (4001, &["R"][..]),
        (4002, &[]),
        (4003, &["FA"]),
        (4004, &["FA", "A"]),
    ] {
        let flow = stage.open(at(client(2), port), to)?;
        for flags in flags {
            stage.client("closing", &flow.request(flags))?;
        }
        if port == 4004 {
            stage.server("closing too", &flow.reply("FA"))?;
        }
    }
    let to_direct = at(vip(101), 80);
    for (port, flags) in [
        (4001, &["S", "A", "R"][..]),
        (4002, &["S", "A"]),
        (4003, &["S", "A", "FA"]),
    ] {
        for flags in flags {
            stage.client(
                "direct",
                &Packet::tcp(at(client(2), port), to_direct, flags),
            )?;
        }
    }
    stage.connections("before")?;
    for port in 4001..4005 {
        stage.client(
            &format!("SYN again, {port}"),
            &Packet::tcp(at(client(2), port), to, "S"),
        )?;
    }
    for port in 4001..4004 {
        let packet = Packet::tcp(at(client(2), port), to_direct, "S");
        stage.client(&format!("SYN again, direct {port}"), &packet)?;
    }
    stage.connections("after")?;
    stage.admin("-L -n")?;
    Ok(())
}

fn timeouts(stage: &mut Stage<'_>) -> Result<()> {
    stage.admin("-L --timeout")?;
    stage.admin("--set 5 4 3")?;
    stage.admin("-L --timeout")?;
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-g", &[1]))?;
    let tcp = |flags| Packet::tcp(at(client(2), 4001), at(vip(100), 80), flags);
    stage.client("SYN", &tcp("S"))?;
    stage.client("ACK", &tcp("A"))?;
    stage.client("UDP", &Packet::udp(at(client(2), 4001), at(vip(100), 53)))?;
    for flags in ["S", "A", "FA"] {
        let packet = Packet::tcp(at(client(2), 4002), at(vip(100), 80), flags);
        stage.client(&format!("another's {flags}"), &packet)?;
    }
    stage.connections("at first")?;
    stage.admin("-L -n")?;
    stage.until_empty("all end", Duration::from_secs(20), Duration::from_secs(3))?;
    stage.admin("-L -n")?;
    stage.admin("--set 0 0 7")?;
    stage.admin("-L --timeout")?;
    stage.admin("--set 900 120 300")?;
    Ok(())
}

fn udp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53));
    stage.client("first", &packet)?;
    stage.sleep(Duration::from_secs(4));
    stage.connections("four seconds later")?;
    stage.client("second", &packet)?;
    stage.connections("refreshed by the client")?;
    stage.sleep(Duration::from_secs(4));
    stage.server(
        "answer",
        &Packet::udp(at("10.1.0.21".parse()?, 53), at(client(2), 4001)),
    )?;
    stage.connections("refreshed by the server")?;
    Ok(())
}
