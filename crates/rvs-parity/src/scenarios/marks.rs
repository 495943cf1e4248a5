//! Services by firewall mark.

use anyhow::Result;

use super::at;
use crate::director::Mark;
use crate::packet::Packet;
use crate::place::{client, vip6};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("mark", "a service by firewall mark, TCP and UDP, NAT", mark)
            .in_guest_too()
            .marks(MARKS),
        Scenario::new("mark-persist", "the same, persistent", persistent).marks(MARKS),
        Scenario::new(
            "mark-ipv6",
            "a service by firewall mark, IPv6, persistent",
            ipv6,
        )
        .marks(&[("2001:db8::103/128", 7), ("2001:db8::104/128", 7)]),
        Scenario::new("mark-listings", "-f in every listing", listings),
    ]
}

const MARKS: &[Mark] = &[("10.9.0.0/25", 7), ("10.9.0.128/25", 8)];

fn packets(round: u16) -> Vec<Packet> {
    (0..16_u16)
        .map(|n| {
            let from = at([172, 16, 0, (n % 3) as u8].into(), 5000 + round * 100 + n);
            let to = [10, 9, 0, (n % 4 * 50) as u8].into();
            match n % 2 {
                0 => Packet::tcp(from, at(to, 80 + n), "S"),
                _ => Packet::udp(from, at(to, 53)),
            }
        })
        .collect()
}

fn mark(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -f 7 -s rr
-a -f 7 -r 10.1.0.21 -m
-a -f 7 -r 10.1.0.22:8080 -m
-A -f 8 -s wlc
-a -f 8 -r 10.1.0.23 -g
",
    )?;
    stage.choices("by mark", &packets(0))?;
    let from = at(client(2), 4001);
    for n in [1, 2, 200] {
        let seen = stage.client("SYN", &Packet::tcp(from, at([10, 9, 0, n].into(), 80), "S"))?;
        if let Some(seen) = seen.first().filter(|_| n < 128) {
            stage.server("SYN-ACK", &Packet::tcp(seen.destination, seen.source, "SA"))?;
        }
    }
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-S -n")?;
    stage.stats("-L -n --stats -f 7")?;
    Ok(())
}

fn persistent(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -f 7 -s rr -p 300
-a -f 7 -r 10.1.0.21 -m
-a -f 7 -r 10.1.0.22 -m
-A -f 8 -s rr -p 300 -M 255.255.255.0
-a -f 8 -r 10.1.0.23 -g
-a -f 8 -r 10.1.0.24 -g
",
    )?;
    stage.choices("by mark", &packets(0))?;
    stage.choices("again", &packets(1))?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-L -n --persistent-conn")?;
    Ok(())
}

fn ipv6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -f 7 -6 -s rr -p 300 -M 120
-a -f 7 -6 -r [2001:db8:1::21]:0 -m
-a -f 7 -6 -r [2001:db8:1::22]:0 -m
",
    )?;
    let packets: Vec<_> = (0..12_u16)
        .map(|n| {
            let from = at(
                [0x2001, 0xdb8, 5, 0, 0, 0, 0, n % 4 * 0x80].into(),
                4001 + n,
            );
            let to = vip6(103 + (n % 2) as u8);
            match n % 3 {
                0 => Packet::udp(from, at(to, 53)),
                _ => Packet::tcp(from, at(to, 80 + n), "S"),
            }
        })
        .collect();
    stage.choices("by mark", &packets)?;
    stage.client(
        "another address",
        &Packet::udp(at("2001:db8:5::1".parse()?, 9), at(vip6(105), 53)),
    )?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn listings(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup("-A -f 7 -s rr\n-a -f 7 -r 10.1.0.21 -m\n-a -f 7 -r 10.1.0.22:81 -g -w 3\n-A -f 9 -6 -s wlc\n-a -f 9 -6 -r [2001:db8:1::21]:0 -g\n")?;
    for words in [
        "-L -n",
        "-L -n -f 7",
        "-L -n -f 8",
        "-L -n --stats",
        "-L -n --thresholds",
        "-S -n",
        "-A -f 7",
        "-A -f 0",
        "-A -f x",
        "-d -f 7 -r 10.1.0.21",
        "-D -f 7",
        "-L -n",
    ] {
        stage.admin(words)?;
    }
    Ok(())
}
