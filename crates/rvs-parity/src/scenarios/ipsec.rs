//! AH and ESP, which go with the IKE connection of the same addresses.

use std::net::IpAddr;

use anyhow::Result;

use super::{at, service};
use crate::describe::Side;
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("ipsec", "AH and ESP with IKE's connection", ipv4)
            .in_guest_too()
            .explained(&[Explained {
                step: "ipvsadm -L -n --stats",
                heading: "What counts as a packet",
            }]),
        Scenario::new("ipsec-ipv6", "AH and ESP, IPv6", ipv6).explained(&[
            Explained {
                step: "-m AH",
                heading: "AH over IPv6",
            },
            Explained {
                step: "-g AH",
                heading: "AH over IPv6",
            },
            Explained {
                step: "-i AH",
                heading: "AH over IPv6",
            },
        ]),
        Scenario::new("ipsec-icmp", "errors about AH and ESP, both ways", errors),
    ]
}

const PROTOCOLS: [(&str, u8); 2] = [("ESP", 50), ("AH", 51)];
/// IKE's.
const PORT: u16 = 500;

fn ipsec(from: IpAddr, to: IpAddr, protocol: u8) -> Packet {
    Packet::other(from, to, protocol, &[7; 40])
}

/// Through one service: before the key exchange, after it, and back where answers pass the director.
fn follow(
    stage: &mut Stage<'_>,
    step: &str,
    (from, to): (IpAddr, IpAddr),
    stranger: IpAddr,
) -> Result<()> {
    for (name, protocol) in PROTOCOLS {
        stage.client(
            &format!("{step} {name}, no key yet"),
            &ipsec(from, to, protocol),
        )?;
    }
    let ike = Packet::udp(at(from, PORT), at(to, PORT));
    let seen = stage.client(&format!("{step} IKE"), &ike)?;
    // Longer than time-outs may differ: what follows keeps the connection.
    stage.sleep(std::time::Duration::from_secs(4));
    for (name, protocol) in PROTOCOLS {
        let packet = ipsec(from, to, protocol).ttl(9).tos(0x28);
        stage.client(&format!("{step} {name}"), &packet)?;
        stage.client(
            &format!("{step} {name} of a stranger"),
            &ipsec(stranger, to, protocol),
        )?;
        if let Some(seen) = seen.first().filter(|_| step == "-m") {
            let server = seen.destination.ip();
            let answer = ipsec(server, from, protocol);
            stage.server(&format!("{step} {name}, answer"), &answer)?;
            let stray = ipsec(server, stranger, protocol);
            stage.server(&format!("{step} {name}, to a stranger"), &stray)?;
        }
    }
    stage.connections(step)?;
    Ok(())
}

fn ipv4(stage: &mut Stage<'_>) -> Result<()> {
    for (n, method) in [(100, "-m"), (101, "-g"), (102, "-i")] {
        stage.setup(&service(
            &format!("-u 10.0.0.{n}:{PORT}"),
            "rr",
            method,
            &[1],
        ))?;
        follow(stage, method, (client(2), vip(n)), client(3))?;
    }
    let whole = ipsec(client(2), vip(100), 50).sized(1400).may_fragment();
    let pieces = whole.client_fragments(&[0, 600, 1000]);
    stage.frames("ESP in fragments", Side::Clients, &pieces)?;
    stage.admin("-L -n")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn ipv6(stage: &mut Stage<'_>) -> Result<()> {
    for (n, method) in [(100, "-m"), (101, "-g"), (102, "-i")] {
        let name = format!("-u [2001:db8::{n}]:{PORT}");
        stage.setup(&service(&name, "rr", method, &[1]))?;
        follow(stage, method, (client6(2), vip6(n)), client6(3))?;
    }
    Ok(())
}

fn errors(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(&format!("-u 10.0.0.100:{PORT}"), "rr", "-m", &[1]))?;
    let (from, to) = (client(2), vip(100));
    let seen = stage.client("IKE", &Packet::udp(at(from, PORT), at(to, PORT)))?;
    let Some(server) = seen.first().map(|seen| seen.destination.ip()) else {
        return Ok(());
    };
    let quote = |packet: Packet| packet.ttl(63).ip()[..28].to_vec();
    for (name, protocol) in PROTOCOLS {
        for (what, kind, word) in [("frag needed", (3, 4), 1400), ("unreachable", (3, 1), 0)] {
            let about = quote(ipsec(to, from, protocol));
            let error = Packet::icmp([172, 16, 9, 9].into(), to, kind, word, &about);
            stage.client(&format!("{name} {what}, from a client's router"), &error)?;
            let about = quote(ipsec(from, server, protocol));
            let error = Packet::icmp(server, from, kind, word, &about);
            stage.server(&format!("{name} {what}, from the server"), &error)?;
        }
    }
    stage.connections("at the end")?;
    Ok(())
}
