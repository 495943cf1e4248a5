//! ICMP errors about the director's own tunnel packets, which routers on the way to real servers send.

use std::net::IpAddr;

use anyhow::Result;

use super::{at, service};
use crate::describe::GUE_PORT;
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Detail, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "icmp-tunnel",
            "errors about tunnels, told to clients",
            errors,
        )
        .in_guest_too(),
        Scenario::new(
            "icmp-tunnel-mtu",
            "a tunnel's narrow path, told and kept",
            narrow,
        )
        .explained(&[Explained {
            step: "the path takes",
            heading: "The first word of a narrow tunnel",
        }]),
        Scenario::new(
            "icmp-tunnel-gue-gre",
            "errors about GUE and GRE tunnels",
            wrapped,
        ),
        Scenario::new(
            "icmp-tunnel-strays",
            "errors about no tunnel packet of ours",
            strays,
        ),
    ]
}

/// The director's end of the tunnel, and the router that complains, a neighbour of the servers.
fn ends() -> (IpAddr, IpAddr) {
    ([10, 1, 0, 1].into(), [10, 1, 0, 28].into())
}

fn server() -> IpAddr {
    [10, 1, 0, 21].into()
}

/// The first bytes of what the director sent to `server` with this packet in it.
fn sent(packet: &Packet, server: IpAddr) -> Vec<u8> {
    let inside = packet.clone().ttl(63).ip();
    let mut bytes = Packet::other(ends().0, server, 4, &inside).ip();
    bytes.truncate(20 + 20 + 8 + 40);
    bytes
}

fn error(kind: (u8, u8), word: u32, quote: &[u8]) -> Packet {
    let (own, router) = ends();
    Packet::icmp(router, own, kind, word, quote)
}

fn setup(stage: &mut Stage<'_>) -> Result<Packet> {
    stage.detail(Detail::Brief);
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-i", &[1]))?;
    let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53));
    stage.client("UDP", &packet)?;
    Ok(packet)
}

fn errors(stage: &mut Stage<'_>) -> Result<()> {
    let packet = setup(stage)?.sized(200);
    for (step, kind) in [
        ("net unreachable", (3, 0)),
        ("host unreachable", (3, 1)),
        ("protocol unreachable", (3, 2)),
        ("port unreachable", (3, 3)),
        ("prohibited", (3, 13)),
        ("time exceeded", (11, 0)),
        ("reassembly", (11, 1)),
        ("source quench", (4, 0)),
    ] {
        stage.server(step, &error(kind, 0, &sent(&packet, server())))?;
    }
    stage.client("UDP again", &packet)?;
    stage.connections("at the end")?;
    Ok(())
}

fn narrow(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    // What is learnt of its path stays with this server, so no other scenario has a tunnel to it.
    stage.setup("-A -u 10.0.0.100:53 -s rr\n-a -u 10.0.0.100:53 -r 10.1.0.27:53 -i\n")?;
    let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53));
    let large = packet.clone().sized(1400);
    stage.client("1400 bytes", &large)?;
    let says = |mtu| error((3, 4), mtu, &sent(&large, [10, 1, 0, 27].into()));
    stage.server("the path takes 1400", &says(1400))?;
    stage.client("1400 bytes, again", &large)?;
    stage.client("1381 bytes", &packet.clone().sized(1381))?;
    stage.client("1380 bytes", &packet.clone().sized(1380))?;
    stage.server("said again", &says(1400))?;
    stage.server("the path takes 1000", &says(1000))?;
    stage.client("981 bytes", &packet.clone().sized(981))?;
    stage.client("980 bytes", &packet.sized(980))?;
    Ok(())
}

fn wrapped(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(
        "-A -u 10.0.0.100:53 -s rr
-a -u 10.0.0.100:53 -r 10.1.0.21:53 -i --tun-type gue --tun-port 6080
-A -u 10.0.0.101:53 -s rr
-a -u 10.0.0.101:53 -r 10.1.0.21:53 -i --tun-type gre
",
    )?;
    for (n, name) in [(100, "GUE"), (101, "GRE")] {
        let packet = Packet::udp(at(client(2), 4001), at(vip(n), 53)).sized(200);
        stage.client(name, &packet)?;
        let inside = packet.clone().ttl(63).ip();
        let whole = if name == "GUE" {
            // Version 0, no options, IPv4 inside.
            let payload = [&[0, 4, 0, 0][..], &inside].concat();
            let ends = (at(ends().0, 40000), at(server(), GUE_PORT));
            Packet::udp(ends.0, ends.1).payload(&payload).ip()
        } else {
            let payload = [&[0, 0, 8, 0][..], &inside].concat();
            Packet::other(ends().0, server(), 47, &payload).ip()
        };
        for (step, kind, quote) in [
            ("host unreachable", (3, 1), &whole[..100]),
            ("time exceeded", (11, 0), &whole[..100]),
            ("port unreachable", (3, 3), &whole[..100]),
            ("cut in the packet's header", (3, 1), &whole[..44]),
        ] {
            stage.server(&format!("{name}, {step}"), &error(kind, 0, quote))?;
        }
        stage.client(&format!("{name} again"), &packet)?;
    }
    stage.connections("at the end")?;
    Ok(())
}

fn strays(stage: &mut Stage<'_>) -> Result<()> {
    let packet = setup(stage)?;
    let whole = sent(&packet, server());
    let other = Packet::udp(at(client(2), 4999), at(vip(100), 53));
    for (step, quote) in [
        ("another connection", sent(&other, server())),
        ("no server", sent(&packet, [10, 1, 0, 22].into())),
        ("cut in the tunnel's header", whole[..20].to_vec()),
        ("cut in the packet's header", whole[..36].to_vec()),
        ("cut before the ports", whole[..40].to_vec()),
    ] {
        stage.server(step, &error((3, 1), 0, &quote))?;
        stage.server(
            &format!("{step}, frag needed"),
            &error((3, 4), 1300, &quote),
        )?;
    }
    stage.client("1480 bytes", &packet.sized(1480))?;
    stage.connections("at the end")?;
    Ok(())
}
