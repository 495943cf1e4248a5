//! `cache_bypass`: services of a firewall mark without servers.

use anyhow::Result;

use super::at;
use crate::director::Mark;
use crate::packet::Packet;
use crate::place::client;
use crate::scenario::{Explained, Scenario};
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "cache_bypass",
            "caches that are gone are gone around",
            bypass,
        )
        .in_guest_too()
        .knobs(&[("cache_bypass", "1")])
        .marks(WORLD)
        .explained(&[
            Explained {
                step: "TTL 1",
                heading: "What goes around caches",
            },
            Explained {
                step: "connections",
                heading: "What goes around caches",
            },
            Explained {
                step: "UDP, a cache is back",
                heading: "What goes around caches",
            },
        ]),
    ]
}

/// A part of the world behind the director.
const WORLD: &[Mark] = &[("10.1.0.24/30", 7)];

fn bypass(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup("-A -f 7 -s rr\n-a -f 7 -r 10.1.0.21 -g -w 0\n")?;
    let far = [10, 1, 0, 25].into();
    let tcp = |flags| Packet::tcp(at(client(2), 4001), at(far, 80), flags);
    let udp = Packet::udp(at(client(2), 4001), at(far, 53));
    stage.client("SYN", &tcp("S").tos(8))?;
    stage.server(
        "SYN-ACK",
        &Packet::tcp(at(far, 80), at(client(2), 4001), "SA"),
    )?;
    stage.client("ACK", &tcp("A"))?;
    stage.client("UDP", &udp)?;
    stage.client("TTL 1", &udp.clone().ttl(1))?;
    stage.client("large", &udp.clone().sized(1500))?;
    stage.connections("around")?;
    stage.admin("-L -n")?;
    stage.setup("-e -f 7 -r 10.1.0.21 -g -w 1\n")?;
    stage.client("TCP, a cache is back", &tcp("PA"))?;
    stage.client("UDP, a cache is back", &udp)?;
    let new = Packet::tcp(at(client(2), 4002), at(far, 80), "S");
    stage.client("new, a cache is back", &new)?;
    Ok(())
}
