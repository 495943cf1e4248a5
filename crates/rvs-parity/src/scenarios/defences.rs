//! The three defences, always on (mode 3).

use std::time::Duration;

use anyhow::Result;

use super::{at, service, states};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("drop_packet", "one newcomer in ten is dropped", drop_packet)
            .in_guest_too()
            .knobs(&[("am_droprate", "10"), ("drop_packet", "3")]),
        Scenario::new(
            "drop_packet-auto",
            "no newcomers while memory is short",
            short_of_memory,
        )
        .knobs(&[("amemthresh", "1000000000"), ("drop_packet", "1")]),
        Scenario::new(
            "drop_packet-ample",
            "all newcomers while it is not",
            short_of_memory,
        )
        .knobs(&[("amemthresh", "1"), ("drop_packet", "1")]),
        Scenario::new(
            "drop_entry",
            "half-open connections are dropped",
            drop_entry,
        )
        .knobs(&[("drop_entry", "3")]),
        Scenario::new(
            "drop_entry-auto",
            "the same while memory is short",
            drop_entry,
        )
        .knobs(&[("amemthresh", "1000000000"), ("drop_entry", "1")]),
        Scenario::new("drop_entry-ample", "and none while it is not", drop_none)
            .knobs(&[("amemthresh", "1"), ("drop_entry", "1")]),
        Scenario::new("secure_tcp-nat", "TCP's cautious states, NAT", states::nat)
            .knobs(&[("secure_tcp", "3")]),
        Scenario::new(
            "secure_tcp-direct",
            "TCP's cautious states, direct routing",
            states::direct,
        )
        .knobs(&[("secure_tcp", "3")]),
        Scenario::new(
            "secure_tcp-auto",
            "TCP's cautious states while memory is short",
            cautious_direct,
        )
        .knobs(&[("amemthresh", "1000000000"), ("secure_tcp", "1")]),
        Scenario::new(
            "secure_tcp-ample",
            "TCP's usual states while it is not",
            cautious_direct,
        )
        .knobs(&[("amemthresh", "1"), ("secure_tcp", "1")]),
    ]
}

fn drop_packet(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    let packets: Vec<_> = (0..200)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "S"))
        .collect();
    stage.shares("newcomers", &packets, 2)?;
    let known = packets.iter().skip(10).take(9).cloned().collect::<Vec<_>>();
    stage.shares("those that have a connection", &known, 2)?;
    Ok(())
}

/// Whether memory is short is asked once a second.
fn short_of_memory(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    stage.sleep(Duration::from_secs(3));
    let packets: Vec<_> = (0..50)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "S"))
        .collect();
    stage.shares("newcomers", &packets, 0)?;
    Ok(())
}

/// Whether memory is short is asked once a second.
fn cautious_direct(stage: &mut Stage<'_>) -> Result<()> {
    stage.sleep(Duration::from_secs(3));
    states::direct(stage)
}

fn drop_none(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    stage.sleep(Duration::from_secs(3));
    let packets: Vec<_> = (0..250)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "S"))
        .collect();
    stage.shares("half-open", &packets, 0)?;
    stage.sleep(Duration::from_secs(5));
    stage.count("left after five seconds", 0)?;
    Ok(())
}

/// Each second one bucket in 32 is looked at.
fn drop_entry(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    let packets: Vec<_> = (0..250)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "S"))
        .collect();
    stage.shares("half-open", &packets, 0)?;
    let open: Vec<_> = packets
        .iter()
        .take(50)
        .map(|packet| Packet::tcp(packet.source(), packet.destination(), "A"))
        .collect();
    // Some of them were dropped meanwhile.
    stage.shares("open", &open, 8)?;
    stage.sleep(Duration::from_secs(12));
    // 200 * (1 - (31/32)^12) = 63 are gone, give or take three times sqrt(200 * 0.32 * 0.68) in either.
    stage.count("left after twelve seconds", 40)?;
    Ok(())
}
