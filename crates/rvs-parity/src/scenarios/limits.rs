//! Thresholds of servers, and datagrams that are scheduled one by one.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Stage, many};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("thresholds", "upper and lower thresholds", thresholds),
        Scenario::new(
            "thresholds-lower",
            "a lower threshold ends the overload",
            lower,
        ),
        Scenario::new(
            "thresholds-edited",
            "other thresholds begin and end an overload",
            edited,
        ),
        Scenario::new("thresholds-saved", "thresholds in -S", saved).explained(&[Explained {
            step: "ipvsadm -S -n",
            heading: "Saved thresholds",
        }]),
        Scenario::new(
            "thresholds-restored",
            "-x and -y in what is restored",
            restored,
        ),
        Scenario::new(
            "thresholds-default",
            "without a lower threshold: three quarters",
            three_quarters,
        ),
        Scenario::new(
            "thresholds-persist",
            "a full server keeps its persistent clients",
            persistent,
        ),
        Scenario::new(
            "one-packet",
            "UDP scheduled datagram by datagram",
            one_packet,
        )
        .in_guest_too(),
        Scenario::new(
            "one-packet-persist",
            "the same, persistent",
            one_packet_persistent,
        ),
    ]
}

fn syns(round: u16, count: u16) -> Vec<Packet> {
    (0..count)
        .map(|n| Packet::tcp(at(client(2), 4000 + round * 50 + n), at(vip(100), 80), "S"))
        .collect()
}

/// The first connections that a round began.
fn flagged(round: u16, count: u16, flags: &str) -> Vec<Packet> {
    (0..count)
        .map(|n| {
            Packet::tcp(
                at(client(2), 4000 + round * 50 + n),
                at(vip(100), 80),
                flags,
            )
        })
        .collect()
}

fn thresholds(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 3 -y 1
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g -x 5 -y 4
",
    )?;
    stage.admin("-a -t 10.0.0.100:80 -r 10.1.0.23:80 -g -x 5 -y 9")?;
    stage.choices("more than fit", &syns(0, 12))?;
    stage.admin("-L -n --thresholds")?;
    stage.admin("-L -n")?;
    stage.admin("-e -t 10.0.0.100:80 -r 10.1.0.22:80 -g -x 7")?;
    stage.choices("room for two", &syns(1, 4))?;
    stage.admin("-e -t 10.0.0.100:80 -r 10.1.0.21:80 -g")?;
    stage.choices("room without end", &syns(2, 6))?;
    stage.admin("-L -n --thresholds")?;
    Ok(())
}

/// Below two, and not at two, the server takes connections again.
fn lower(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 4 -y 2
",
    )?;
    stage.choices("four fit", &syns(0, 5))?;
    stage.choices("they stand", &flagged(0, 4, "A"))?;
    stage.choices("two end", &flagged(0, 2, "R"))?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.admin("-L -n --thresholds")?;
    stage.choices("two are too many still", &syns(1, 1))?;
    stage.choices("one more ends", &flagged(0, 3, "R"))?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.choices("there is room for three", &syns(2, 5))?;
    stage.admin("-L -n --thresholds")?;
    Ok(())
}

/// Six connections stand all the time.
fn edited(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 20
",
    )?;
    stage.choices("six fit", &syns(0, 6))?;
    for (round, thresholds) in (1..).zip(["-x 5", "-x 7", "-x 8", "-x 9", "-x 7 -y 6", "-x 9 -y 8"])
    {
        stage.admin(&format!(
            "-e -t 10.0.0.100:80 -r 10.1.0.21:80 -g {thresholds}"
        ))?;
        stage.choices(thresholds, &syns(round, 1))?;
    }
    Ok(())
}

fn saved(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup("-A -t 10.0.0.100:80 -s rr\n-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 7 -y 3")?;
    stage.admin("-L -n --thresholds")?;
    stage.admin("-S -n")?;
    Ok(())
}

/// What `rvs ipvsadm -S` writes, the original reads.
fn restored(stage: &mut Stage<'_>) -> Result<()> {
    stage.restore(
        "-R",
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 1 -x 7 -y 3
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-csum -x 9 -y 0
-A -u 10.0.0.100:53 -s mh -p 60 -M 255.255.255.0 -b mh-fallback,mh-port -o
-A -f 7 -6 -s sh -p 60 -M 64 -b sh-port
",
    )?;
    stage.admin("-L -n --thresholds")?;
    stage.admin("-L -n --tun-info")?;
    stage.admin("-L -n")?;
    Ok(())
}

/// Connections in CLOSE last ten seconds and count until then.
fn three_quarters(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 8
",
    )?;
    stage.choices("eight fit", &syns(0, 10))?;
    stage.choices("four stand", &flagged(0, 4, "A"))?;
    stage.choices("one ends", &flagged(0, 1, "R"))?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.admin("-L -n --thresholds")?;
    stage.choices("seven are too many still", &syns(1, 2))?;
    stage.choices("three more end", &flagged(0, 4, "R"))?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.admin("-L -n --thresholds")?;
    stage.choices("there is room again", &syns(2, 6))?;
    Ok(())
}

fn persistent(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr -p 300
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -x 2
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g
",
    )?;
    stage.choices("one client", &syns(0, 5))?;
    let others: Vec<_> = (0..6_u16)
        .map(|n| {
            Packet::tcp(
                at([172, 16, 0, n as u8].into(), 4001),
                at(vip(100), 80),
                "S",
            )
        })
        .collect();
    stage.choices("other clients", &others)?;
    stage.admin("-L -n --thresholds")?;
    stage.admin("-L -n --persistent-conn")?;
    Ok(())
}

fn one_packet(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53 -o", "rr", "-g", &[1, 1, 1]))?;
    stage.setup(&service("-u 10.0.0.101:53 -o", "wrr", "-m", &[3, 1]))?;
    for round in 0..4 {
        let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53));
        stage.client(&format!("direct, {round}"), &packet)?;
        let packet = Packet::udp(at(client(2), 4001), at(vip(101), 53));
        let seen = stage.client(&format!("NAT, {round}"), &packet)?;
        if let Some(seen) = seen.first() {
            stage.server("answer", &Packet::udp(seen.destination, seen.source))?;
        }
    }
    stage.connections("none")?;
    stage.admin("-L -n")?;
    stage.admin("-S -n")?;
    stage.stats("-L -n --stats")?;
    stage.admin("-A -t 10.0.0.103:80 -o")?;
    Ok(())
}

fn one_packet_persistent(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service(
        "-u 10.0.0.100:53 -o -p 300",
        "rr",
        "-g",
        &[1, 1, 1],
    ))?;
    let packets = many(6, client(2), |from| Packet::udp(from, at(vip(100), 53)));
    stage.choices("one client", &packets)?;
    let packets = many(6, client(3), |from| Packet::udp(from, at(vip(100), 53)));
    stage.choices("another", &packets)?;
    stage.connections("templates alone")?;
    stage.admin("-L -n --persistent-conn")?;
    Ok(())
}
