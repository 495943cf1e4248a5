//! ICMP: the director's own answers, and errors that are led to their connections.

use std::net::IpAddr;

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Detail, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("icmp-ttl", "time exceeded, every method", ttl),
        Scenario::new(
            "icmp-too-large",
            "fragmentation needed, every method",
            too_large,
        )
        .in_guest_too(),
        Scenario::new(
            "icmp-narrow",
            "a narrow link to servers, NAT and direct routing",
            narrow,
        ),
        Scenario::new(
            "icmp-too-large-ipv6",
            "packet too big, every method",
            too_large6,
        ),
        Scenario::new(
            "icmp-from-clients",
            "errors about replies, to their servers",
            from_clients,
        ),
        Scenario::new(
            "icmp-from-servers",
            "errors about requests, to their clients",
            from_servers,
        ),
        Scenario::new("icmp-ipv6", "ICMPv6 errors, both ways", errors6),
        Scenario::new(
            "icmp-quotes",
            "how much the director's own errors quote",
            quotes,
        )
        .explained(&[Explained {
            step: "",
            heading: "ICMP errors of the director",
        }]),
        Scenario::new("icmp-strays", "errors that belong to no connection", strays),
    ]
}

const METHODS: [(u8, &str); 3] = [(100, "-m"), (101, "-g"), (102, "-i")];

fn all_methods(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    for (n, method) in METHODS {
        stage.setup(&service(&format!("-t 10.0.0.{n}:80"), "rr", method, &[1]))?;
        stage.setup(&service(&format!("-u 10.0.0.{n}:53"), "rr", method, &[1]))?;
    }
    Ok(())
}

fn ttl(stage: &mut Stage<'_>) -> Result<()> {
    all_methods(stage)?;
    for (n, method) in METHODS {
        let udp = Packet::udp(at(client(2), 4001), at(vip(n), 53));
        stage.client(&format!("{method} new, TTL 1"), &udp.clone().ttl(1))?;
        stage.client(&format!("{method} new, TTL 2"), &udp.clone().ttl(2))?;
        stage.client(&format!("{method} known, TTL 1"), &udp.ttl(1))?;
        let syn = Packet::tcp(at(client(2), 4001), at(vip(n), 80), "S");
        stage.client(&format!("{method} SYN, TTL 1"), &syn.ttl(1))?;
    }
    let reply = Packet::udp(at("10.1.0.21".parse()?, 53), at(client(2), 4001));
    stage.server("reply, TTL 1", &reply.ttl(1))?;
    stage.connections("at the end")?;
    Ok(())
}

fn too_large(stage: &mut Stage<'_>) -> Result<()> {
    all_methods(stage)?;
    for (n, method) in METHODS {
        let udp = Packet::udp(at(client(2), 4001), at(vip(n), 53));
        stage.client(&format!("{method} small"), &udp)?;
        stage.client(&format!("{method} 1500 with DF"), &udp.clone().sized(1500))?;
        stage.client(&format!("{method} 1481 with DF"), &udp.clone().sized(1481))?;
        stage.client(&format!("{method} 1480 with DF"), &udp.clone().sized(1480))?;
        let other = Packet::udp(at(client(2), 4002), at(vip(n), 53));
        stage.client(&format!("{method} new, 1500 with DF"), &other.sized(1500))?;
    }
    Ok(())
}

/// NAT and direct routing over a link that takes less than the clients' does.
fn narrow(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.patience(std::time::Duration::from_secs(1));
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.101:53", "rr", "-g", &[1]))?;
    stage.setup(&service("-u [2001:db8::100]:53", "rr", "-m", &[1]))?;
    stage.setup(&service("-u [2001:db8::101]:53", "rr", "-g", &[1]))?;
    stage.narrow(1400)?;
    let flow = stage.open(at(client(2), 4000), at(vip(100), 80))?;
    stage.client("TCP", &flow.request("PA").sized(1401))?;
    for (step, n) in [("NAT", 100), ("direct", 101)] {
        let packet = Packet::udp(at(client(2), 4001), at(vip(n), 53));
        stage.client(&format!("{step}: fits"), &packet.clone().sized(1400))?;
        stage.client(&format!("{step}: too large"), &packet.sized(1401))?;
        let packet = Packet::udp(at(client6(2), 4001), at(vip6(n), 53));
        stage.client(&format!("IPv6, {step}: fits"), &packet.clone().sized(1400))?;
        stage.client(&format!("IPv6, {step}: too large"), &packet.sized(1401))?;
    }
    stage.narrow(1500)?;
    stage.client(
        "wide again",
        &Packet::udp(at(client(2), 4001), at(vip(100), 53)).sized(1500),
    )?;
    Ok(())
}

fn too_large6(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    for (n, method) in METHODS {
        stage.setup(&service(
            &format!("-u [2001:db8::{n}]:53"),
            "rr",
            method,
            &[1],
        ))?;
        let udp = Packet::udp(at(client6(2), 4001), at(vip6(n), 53));
        stage.client(&format!("{method} small"), &udp)?;
        stage.client(&format!("{method} 1500"), &udp.clone().sized(1500))?;
        stage.client(&format!("{method} 1461"), &udp.clone().sized(1461))?;
        stage.client(&format!("{method} 1460"), &udp.clone().sized(1460))?;
        stage.client(&format!("{method} hop limit 1"), &udp.clone().ttl(1))?;
    }
    Ok(())
}

/// The first bytes of a packet, as an error quotes it.
fn quote(packet: &Packet, payload: usize) -> Vec<u8> {
    let bytes = packet.ip();
    let header = if packet.source().is_ipv4() { 20 } else { 40 };
    bytes
        .get(..(header + payload).min(bytes.len()))
        .unwrap_or_default()
        .to_vec()
}

/// A router near the clients.
fn router() -> IpAddr {
    [172, 16, 9, 9].into()
}

const ERRORS: [(&str, (u8, u8), u32); 6] = [
    ("frag needed", (3, 4), 1400),
    ("host unreachable", (3, 1), 0),
    ("port unreachable", (3, 3), 0),
    ("time exceeded", (11, 0), 0),
    ("source quench", (4, 0), 0),
    ("parameter problem", (12, 0), 0),
];

fn from_clients(stage: &mut Stage<'_>) -> Result<()> {
    all_methods(stage)?;
    stage.detail(Detail::Whole);
    for (n, method) in METHODS {
        let flow = stage.open(at(client(2), 4001), at(vip(n), 80))?;
        stage.client(
            &format!("{method} UDP"),
            &Packet::udp(flow.client, at(vip(n), 53)),
        )?;
        // What the client got, and complains about.
        let tcp = Packet::tcp(flow.service, flow.client, "PA").sized(1500);
        let udp = Packet::udp(at(vip(n), 53), flow.client).sized(200);
        for (step, kind, word) in ERRORS {
            let error = Packet::icmp(router(), vip(n), kind, word, &quote(&tcp, 8));
            stage.client(&format!("{method} {step}"), &error)?;
        }
        let error = Packet::icmp(client(2), vip(n), (3, 3), 0, &quote(&udp, 180));
        stage.client(&format!("{method} UDP, port unreachable"), &error)?;
    }
    stage.connections("at the end")?;
    Ok(())
}

fn from_servers(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    let flow = stage.open(at(client(2), 4001), at(vip(100), 80))?;
    stage.client("UDP", &Packet::udp(flow.client, at(vip(100), 53)))?;
    let server = flow.server.ip();
    let tcp = Packet::tcp(flow.client, flow.server, "PA")
        .sized(600)
        .ttl(63);
    let udp = Packet::udp(flow.client, at(server, 53)).ttl(63);
    for (step, kind, word) in ERRORS {
        stage.server(
            step,
            &Packet::icmp(server, client(2), kind, word, &quote(&tcp, 8)),
        )?;
    }
    stage.server(
        "UDP, port unreachable",
        &Packet::icmp(server, client(2), (3, 3), 0, &quote(&udp, 16)),
    )?;
    let router = [10, 1, 0, 22].into();
    stage.server(
        "by a router",
        &Packet::icmp(router, client(2), (3, 4), 1300, &quote(&tcp, 100)),
    )?;
    stage.connections("at the end")?;
    Ok(())
}

fn errors6(stage: &mut Stage<'_>) -> Result<()> {
    for (n, method) in METHODS {
        stage.setup(&service(
            &format!("-u [2001:db8::{n}]:53"),
            "rr",
            method,
            &[1],
        ))?;
        let (from, to) = (at(client6(2), 4001), at(vip6(n), 53));
        let seen = stage.client(&format!("{method} UDP"), &Packet::udp(from, to))?;
        let reply = Packet::udp(to, from).sized(1200);
        for (step, kind, word) in [
            ("too big", (2, 0), 1300),
            ("port unreachable", (1, 4), 0),
            ("time exceeded", (3, 0), 0),
            ("parameter problem", (4, 1), 6),
        ] {
            let error = Packet::icmp(
                "2001:db8:99::9".parse()?,
                vip6(n),
                kind,
                word,
                &quote(&reply, 100),
            );
            stage.client(&format!("{method} {step}"), &error)?;
            if let Some(seen) = seen.first().filter(|_| method == "-m") {
                let request = Packet::udp(seen.source, seen.destination);
                let error = Packet::icmp(
                    seen.destination.ip(),
                    client6(2),
                    kind,
                    word,
                    &quote(&request, 16),
                );
                stage.server(&format!("{method} {step}, by the server"), &error)?;
            }
        }
    }
    Ok(())
}

fn strays(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.101:53", "rr", "-g", &[1]))?;
    let tcp = Packet::tcp(at(vip(100), 80), at(client(2), 4001), "PA");
    let udp = Packet::udp(at(vip(101), 53), at(client(2), 4001));
    stage.client(
        "TCP",
        &Packet::icmp(client(2), vip(100), (3, 3), 0, &quote(&tcp, 8)),
    )?;
    stage.client(
        "UDP",
        &Packet::icmp(client(2), vip(101), (3, 3), 0, &quote(&udp, 8)),
    )?;
    stage.client(
        "cut short",
        &Packet::icmp(client(2), vip(100), (3, 3), 0, &quote(&tcp, 3)),
    )?;
    stage.connections("none")?;
    Ok(())
}

fn quotes(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.101:53", "rr", "-i", &[1]))?;
    let from = at(client(2), 4001);
    stage.client(
        "TTL 1",
        &Packet::udp(from, at(vip(100), 53)).sized(700).ttl(1),
    )?;
    stage.client(
        "too large",
        &Packet::udp(from, at(vip(101), 53)).sized(1500),
    )?;
    Ok(())
}
