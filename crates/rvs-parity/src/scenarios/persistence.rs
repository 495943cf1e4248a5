//! Persistence: one client, one server.

use std::time::Duration;

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "persist",
            "one client, one server; templates in listings",
            plain,
        )
        .in_guest_too(),
        Scenario::new("persist-udp", "the same for UDP", udp),
        Scenario::new("persist-netmask", "one network, one server", netmask),
        Scenario::new("persist-ipv6", "one IPv6 prefix, one server", ipv6),
        Scenario::new(
            "persist-any-port",
            "port 0: every port of an address",
            any_port,
        ),
        Scenario::new(
            "persist-any-port-udp",
            "the same, UDP and IPv6",
            any_port_udp,
        ),
        Scenario::new("persist-sctp", "the same for SCTP", sctp),
        Scenario::new("persist-sloppy", "connections begin as established", sloppy)
            .knobs(&[("sloppy_tcp", "1"), ("sloppy_sctp", "1")]),
        Scenario::new("persist-udp-21", "UDP's port 21 beside port 0", udp_21),
        Scenario::new("persist-ftp", "port 21: every high port goes along", ftp),
        Scenario::new("persist-quiesced", "weight 0 keeps its clients", quiesced),
        Scenario::new(
            "persist-quiesced-off",
            "expire_quiescent_template",
            quiesced,
        )
        .knobs(&[("expire_quiescent_template", "1")])
        .explained(GONE),
        Scenario::new("persist-removed", "a server goes and comes back", removed).explained(GONE),
        Scenario::new("persist-timeout", "templates end by time", timeout),
        Scenario::new("persist-edits", "-E with and without -p", edits),
    ]
}

/// Templates that do not count any more.
const GONE: &[Explained] = &[
    Explained {
        step: "connections at the end",
        heading: "Templates of servers that are gone",
    },
    Explained {
        step: "ipvsadm -L -n --persistent-conn",
        heading: "Templates of servers that are gone",
    },
];

/// Connections of several clients of two networks, several ports each.
fn clients(port: u16, round: u16) -> Vec<Packet> {
    (0..15_u16)
        .map(|n| {
            let address = [172, 16, (n % 2) as u8, (n % 5 + 1) as u8];
            let from = at(address.into(), 5000 + round * 100 + n);
            Packet::tcp(from, at(vip(100), port), "S")
        })
        .collect()
}

fn shown(stage: &mut Stage<'_>, step: &str) -> Result<()> {
    stage.connections(step)?;
    stage.admin("-L -n")?;
    stage.admin("-L -n --persistent-conn")?;
    Ok(())
}

fn plain(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 360", "rr", "-g", &[1, 1, 1]))?;
    stage.choices("at first", &clients(80, 0))?;
    shown(stage, "at first")?;
    stage.choices("again", &clients(80, 1))?;
    stage.stats("-L -n --stats")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn udp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53 -p", "wlc", "-m", &[1, 2]))?;
    let packets: Vec<_> = (0..8_u16)
        .map(|n| {
            let from = at([172, 16, 0, (n % 3) as u8].into(), 4001 + n);
            Packet::udp(from, at(vip(100), 53))
        })
        .collect();
    stage.choices("datagrams", &packets)?;
    shown(stage, "at first")?;
    stage.server(
        "answer",
        &Packet::udp(
            at("10.1.0.22".parse()?, 53),
            at([172, 16, 0, 0].into(), 4001),
        ),
    )?;
    stage.connections("after an answer")?;
    Ok(())
}

fn netmask(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-t 10.0.0.100:80 -p 360 -M 255.255.255.0",
        "rr",
        "-g",
        &[1, 1, 1],
    ))?;
    stage.choices("at first", &clients(80, 0))?;
    shown(stage, "at first")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn ipv6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-t [2001:db8::100]:80 -p 360 -M 64",
        "rr",
        "-g",
        &[1, 1, 1],
    ))?;
    let packets: Vec<_> = (0..12_u16)
        .map(|n| {
            let address = [0x2001, 0xdb8, 5, n % 4, 0, 0, 0, n];
            Packet::tcp(at(address.into(), 4001 + n), at(vip6(100), 80), "S")
        })
        .collect();
    stage.choices("connections", &packets)?;
    shown(stage, "at first")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn any_port(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup("-A -t 10.0.0.100:0 -s rr -p 360\n-a -t 10.0.0.100:0 -r 10.1.0.21:0 -m\n-a -t 10.0.0.100:0 -r 10.1.0.22:0 -m")?;
    for (round, port) in [(0, 80), (1, 443), (2, 8080)] {
        stage.choices(&format!("port {port}"), &clients(port, round))?;
    }
    // A service of its own comes first.
    stage.setup(&service("-t 10.0.0.100:81", "rr", "-m", &[0, 0, 1]))?;
    stage.choices("port 81", &clients(81, 3))?;
    stage.client(
        "UDP is not of it",
        &Packet::udp(at(client(2), 4001), at(vip(100), 80)),
    )?;
    shown(stage, "at the end")?;
    Ok(())
}

fn any_port_udp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -u [2001:db8::100]:0 -s rr -p 300 -M 112
-a -u [2001:db8::100]:0 -r [2001:db8:1::21]:0 -m
-a -u [2001:db8::100]:0 -r [2001:db8:1::22]:0 -m
",
    )?;
    let packets: Vec<_> = (0..12_u16)
        .map(|n| {
            let address = [0x2001, 0xdb8, 5, 0, 0, 0, n % 3, n];
            Packet::udp(at(address.into(), 4001 + n), at(vip6(100), 50 + n))
        })
        .collect();
    stage.choices("datagrams", &packets)?;
    shown(stage, "at the end")
}

const SCTP: &str = "--sctp-service 10.0.0.100:9 -p 60";

fn sctp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(SCTP, "rr", "-g", &[1, 1]))?;
    let (init, cookie_echo) = (1, 10);
    let packets = |kind: u8, clients: u16| -> Vec<Packet> {
        (0..8_u16)
            .filter(|n| n % 3 < clients)
            .map(|n| {
                let from = at([172, 16, 0, (n % 3) as u8].into(), 4001 + n);
                Packet::sctp(from, at(vip(100), 9), &[(kind, &[0; 16])])
            })
            .collect()
    };
    stage.choices("associations", &packets(init, 3))?;
    stage.connections("nobody is established")?;
    stage.choices("some are established", &packets(cookie_echo, 2))?;
    shown(stage, "at the end")
}

/// What begins as established proves its template at once.
fn sloppy(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 60", "rr", "-g", &[1, 1]))?;
    stage.setup(&service(SCTP, "rr", "-g", &[1, 1]))?;
    let from = |n: u8| at([172, 16, 0, n].into(), 4001);
    stage.client("ACK", &Packet::tcp(from(1), at(vip(100), 80), "A"))?;
    stage.client("SYN", &Packet::tcp(from(2), at(vip(100), 80), "S"))?;
    let data = Packet::sctp(from(3), at(vip(100), 9), &[(0, &[0; 16])]);
    stage.client("DATA", &data)?;
    stage.connections("at the end")?;
    Ok(())
}

/// Port 21 is FTP's whatever the protocol.
fn udp_21(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:21 -p 60", "rr", "-g", &[1]))?;
    stage.setup(
        "-A -u 10.0.0.100:0 -s rr -p 60
-a -u 10.0.0.100:0 -r 10.1.0.22:0 -g
",
    )?;
    let packet = |n: u8, port| Packet::udp(at([172, 16, 0, n].into(), 4001), at(vip(100), port));
    stage.choices("21 first", &[packet(1, 21), packet(1, 80)])?;
    stage.choices("80 first", &[packet(2, 80), packet(2, 21)])?;
    stage.connections("at the end")?;
    Ok(())
}

fn ftp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:21 -p 360", "rr", "-g", &[1, 1, 1]))?;
    stage.choices("control", &clients(21, 0))?;
    stage.choices("high ports", &clients(40000, 1))?;
    stage.choices("port 20", &clients(20, 2))?;
    stage.choices("a low port", &clients(80, 3)[..1])?;
    shown(stage, "at the end")?;
    Ok(())
}

fn quiesced(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 360", "rr", "-g", &[1, 1]))?;
    stage.choices("at first", &clients(80, 0))?;
    stage.setup("-e -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 0")?;
    stage.choices("21 takes none", &clients(80, 1))?;
    shown(stage, "at the end")?;
    Ok(())
}

fn removed(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 360", "rr", "-g", &[1, 1]))?;
    stage.choices("at first", &clients(80, 0))?;
    stage.setup("-d -t 10.0.0.100:80 -r 10.1.0.21:80")?;
    stage.choices("21 removed", &clients(80, 1))?;
    stage.setup("-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g")?;
    stage.choices("21 back", &clients(80, 2))?;
    shown(stage, "at the end")?;
    Ok(())
}

fn timeout(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 4", "rr", "-g", &[1, 1]))?;
    let packet = |port, flags| Packet::tcp(at(client(2), port), at(vip(100), 80), flags);
    stage.client("SYN", &packet(4001, "S"))?;
    stage.client("RST", &packet(4001, "R"))?;
    stage.connections("at first")?;
    stage.until_empty("all end", Duration::from_secs(90), Duration::from_secs(6))?;
    stage.client("SYN of another", &packet(4002, "S"))?;
    stage.admin("-L -n --persistent-conn")?;
    Ok(())
}

fn edits(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80 -p 360", "rr", "-g", &[1, 1]))?;
    for words in [
        "-E -t 10.0.0.100:80 -s wlc",
        "-L -n",
        "-E -t 10.0.0.100:80 -s wlc -p 100 -M 255.255.0.0",
        "-L -n",
        "-S -n",
        "-E -t 10.0.0.100:80 -s rr -p",
        "-L -n",
        "-A -t 10.0.0.101:80 -M 255.0.255.0 -p",
        "-A -t 10.0.0.101:80 -M 255.255.255.0",
        "-A -t 10.0.0.101:80 -p 0",
        "-A -t 10.0.0.101:80 -p 99999999",
        "-A -t 10.0.0.102:0",
        "-L -n",
    ] {
        stage.admin(words)?;
    }
    Ok(())
}
