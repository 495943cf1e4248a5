//! Schedulers: which server each connection goes to.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::Scenario;
use crate::stage::{Detail, Stage, many};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("rr", "round robin, weights, changes", |stage| {
            turns(stage, "rr")
        }),
        Scenario::new("rr-ipv6", "round robin, IPv6", rr6),
        Scenario::new("wrr", "weighted round robin, weights, changes", |stage| {
            turns(stage, "wrr")
        }),
        Scenario::new(
            "wrr-weights",
            "weighted round robin, many sets of weights",
            wrr_weights,
        ),
        Scenario::new(
            "wrr-edited",
            "weighted round robin, and other options of the service",
            wrr_edited,
        ),
        Scenario::new(
            "wrr-full",
            "weighted round robin, after all were full",
            wrr_full,
        ),
        Scenario::new("lc", "least connections", |stage| loaded(stage, "lc")),
        Scenario::new("wlc", "weighted least connections", |stage| {
            loaded(stage, "wlc")
        }),
        Scenario::new("wlc-udp", "weighted least connections, UDP", wlc_udp),
        Scenario::new("sed", "shortest expected delay", |stage| {
            loaded(stage, "sed")
        }),
        Scenario::new("nq", "never queue", |stage| loaded(stage, "nq")),
        Scenario::new("fo", "failover", |stage| loaded(stage, "fo")),
        Scenario::new("ovf", "overflow", |stage| loaded(stage, "ovf")),
        Scenario::new("sh", "source hashing", |stage| hashed(stage, "sh")),
        Scenario::new(
            "sh-fallback",
            "source hashing, another server if need be",
            |stage| hashed(stage, "sh -b sh-fallback"),
        ),
        Scenario::new("sh-port", "source hashing with ports", |stage| {
            hashed(stage, "sh -b sh-port")
        }),
        Scenario::new("sh-fallback-port", "source hashing with both", |stage| {
            hashed(stage, "sh -b sh-fallback,sh-port")
        }),
        Scenario::new("mh", "Maglev", |stage| hashed(stage, "mh")),
        Scenario::new(
            "mh-fallback",
            "Maglev, another server if need be",
            |stage| hashed(stage, "mh -b mh-fallback"),
        ),
        Scenario::new("mh-port", "Maglev with ports", |stage| {
            hashed(stage, "mh -b mh-port")
        }),
        Scenario::new("mh-fallback-port", "Maglev with both", |stage| {
            hashed(stage, "mh -b mh-fallback,mh-port")
        }),
        Scenario::new(
            "mh-returned",
            "Maglev, a server comes back quiesced",
            mh_returned,
        ),
        Scenario::new("mh-mixed", "Maglev, IPv6 servers of IPv4", mh_mixed),
        Scenario::new("hash-ipv6", "sh, mh and dh, IPv6", hash6),
        Scenario::new("dh", "destination hashing, by a firewall mark", |stage| {
            by_destination(stage, "dh")
        })
        .marks(NET),
        Scenario::new("lblc", "locality-based least connections", |stage| {
            by_destination(stage, "lblc")
        })
        .marks(NET),
        Scenario::new("lblcr", "locality-based, with sets", |stage| {
            by_destination(stage, "lblcr")
        })
        .marks(NET),
        Scenario::new(
            "lblc-replaced",
            "a cache goes, and another one comes",
            |stage| replaced(stage, "lblc"),
        )
        .marks(NET),
        Scenario::new("lblcr-replaced", "the same, with sets", |stage| {
            replaced(stage, "lblcr")
        })
        .marks(NET),
        Scenario::new(
            "locality-ipv6",
            "lblc and lblcr, by firewall marks, IPv6",
            locality6,
        )
        .marks(&[("2001:db8::100/125", 9), ("2001:db8::108/127", 10)]),
        Scenario::new("scheduler-change", "a service's scheduler changes", change),
        Scenario::new("no-server", "no server, or all of weight 0", no_server).in_guest_too(),
    ]
}

/// 10.9.0.0/24, all of which is local to the director.
const NET: &[crate::director::Mark] = &[("10.9.0.0/24", 9)];

/// Eleven connections from one client, beginning at another port each time.
fn some(round: u16) -> Vec<Packet> {
    (0..11)
        .map(|n| Packet::tcp(at(client(2), 4000 + round * 20 + n), at(vip(100), 80), "S"))
        .collect()
}

/// What depends on the order of servers and on weights alone.
fn turns(stage: &mut Stage<'_>, scheduler: &str) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", scheduler, "-g", &[1, 3, 2, 5]))?;
    stage.choices("at first", &some(0))?;
    stage.setup("-e -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 0")?;
    stage.choices("without 22", &some(1))?;
    stage.setup("-e -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 4")?;
    stage.choices("with 22 again", &some(2))?;
    stage.setup("-a -t 10.0.0.100:80 -r 10.1.0.25:80 -g -w 2")?;
    stage.choices("with 25", &some(3))?;
    stage.setup("-d -t 10.0.0.100:80 -r 10.1.0.24:80")?;
    stage.choices("24 removed", &some(4))?;
    stage.admin("-Ln")?;
    Ok(())
}

/// What depends on the connections that there are. They stay open half the time.
fn loaded(stage: &mut Stage<'_>, scheduler: &str) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", scheduler, "-m", &[1, 3, 2]))?;
    stage.choices("at first", &some(0))?;
    stage.admin("-Ln")?;
    // One connection of two ends.
    let ends: Vec<_> = (0..11)
        .step_by(2)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "R"))
        .collect();
    stage.choices("some end", &ends)?;
    stage.choices("after some ended", &some(1))?;
    stage.setup(
        "-e -t 10.0.0.100:80 -r 10.1.0.21:80 -m -w 7\n-e -t 10.0.0.100:80 -r 10.1.0.22:80 -m -w 0",
    )?;
    stage.choices("other weights", &some(2))?;
    stage.setup("-a -t 10.0.0.100:80 -r 10.1.0.24:80 -m -w 2")?;
    stage.choices("one more", &some(3))?;
    stage.admin("-Ln")?;
    Ok(())
}

fn rr6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:80", "rr", "-g", &[1, 1, 1]))?;
    let packets = many(7, client6(2), |from| {
        Packet::tcp(from, at(vip6(100), 80), "S")
    });
    stage.choices("connections", &packets)?;
    stage.admin("-Ln")?;
    Ok(())
}

fn wrr_weights(stage: &mut Stage<'_>) -> Result<()> {
    let sets: [&[u32]; 6] = [
        &[4, 3, 2],
        &[10, 20, 30],
        &[1, 1, 1],
        &[7, 0, 7],
        &[1, 100],
        &[5, 1, 1],
    ];
    for (n, weights) in (0..).zip(sets) {
        stage.setup(&service(
            &format!("-u 10.0.0.10{n}:53"),
            "wrr",
            "-g",
            weights,
        ))?;
        let packets = many(24, client(2), |from| {
            Packet::udp(from, at(vip(100 + n), 53))
        });
        stage.choices(&format!("{weights:?}"), &packets)?;
    }
    Ok(())
}

/// The same scheduler goes on with its turn.
fn wrr_edited(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "wrr", "-g", &[1, 3, 2, 5]))?;
    stage.choices("at first", &some(0)[..4])?;
    stage.admin("-E -t 10.0.0.100:80 -s wrr")?;
    stage.choices("nothing else", &some(1)[..3])?;
    stage.admin("-E -t 10.0.0.100:80 -s wrr -p 60")?;
    stage.admin("-E -t 10.0.0.100:80 -s wrr")?;
    stage.choices("persistent for a while", &some(2))?;
    Ok(())
}

/// Who is refused comes in the middle of a turn.
fn wrr_full(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s wrr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 5 -x 4 -y 4
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 3 -x 3 -y 3
-a -t 10.0.0.100:80 -r 10.1.0.23:80 -g -w 1 -x 1 -y 1
",
    )?;
    stage.choices("until all are full", &some(0))?;
    let ends: Vec<_> = (0..8)
        .map(|n| Packet::tcp(at(client(2), 4000 + n), at(vip(100), 80), "R"))
        .collect();
    stage.choices("all end", &ends)?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.choices("there is room again", &some(1)[..5])?;
    Ok(())
}

fn wlc_udp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "wlc", "-g", &[1, 3, 2]))?;
    let packets = many(24, client(2), |from| Packet::udp(from, at(vip(100), 53)));
    stage.choices("datagrams", &packets)?;
    stage.admin("-Ln")?;
    Ok(())
}

/// Near and far clients, with several ports each.
fn clients(round: u16) -> Vec<Packet> {
    (0..60_u16)
        .map(|n| {
            let address = [172, 16, (n % 7) as u8, (n % 20 * 11) as u8];
            Packet::tcp(
                at(address.into(), 5000 + round * 100 + n),
                at(vip(100), 80),
                "S",
            )
        })
        .collect()
}

fn hashed(stage: &mut Stage<'_>, scheduler: &str) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", scheduler, "-g", &[1, 3, 2, 1]))?;
    stage.choices("at first", &clients(0))?;
    stage.setup("-e -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 0")?;
    stage.choices("without 22", &clients(1))?;
    stage.setup("-d -t 10.0.0.100:80 -r 10.1.0.23:80")?;
    stage.choices("23 removed", &clients(2))?;
    stage.setup("-e -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 300\n-a -t 10.0.0.100:80 -r 10.1.0.25:80 -g -w 17")?;
    stage.choices("22 again, and one more", &clients(3))?;
    stage.admin("-Ln")?;
    stage.admin("-S -n")?;
    Ok(())
}

/// Whose weight was not known before has no part of the table; connections keep what is known of a server that goes.
fn mh_returned(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "mh", "-g", &[1, 1, 1]))?;
    stage.choices("at first", &clients(0))?;
    stage.admin("-d -t 10.0.0.100:80 -r 10.1.0.22:80")?;
    stage.admin("-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 0")?;
    stage.choices("22 is back", &clients(1))?;
    Ok(())
}

fn mh_mixed(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s mh
-a -t 10.0.0.100:80 -r [2001:db8:1::21]:80 -i
-a -t 10.0.0.100:80 -r [2001:db8:1::22]:80 -i -w 2
-a -t 10.0.0.100:80 -r 10.1.0.23:80 -i
",
    )?;
    stage.choices("connections", &clients(0))?;
    Ok(())
}

fn hash6(stage: &mut Stage<'_>) -> Result<()> {
    for (n, scheduler) in (100..).zip(["sh", "mh", "dh", "sh -b sh-port", "mh -b mh-port"]) {
        stage.setup(&service(
            &format!("-t [2001:db8::{n}]:80"),
            scheduler,
            "-g",
            &[1, 2, 1],
        ))?;
        let packets: Vec<_> = (0..30_u16)
            .map(|client| {
                let address = [0x2001, 0xdb8, 5, client * 31, client, 7, 0, client * 513];
                Packet::tcp(at(address.into(), 5000 + client), at(vip6(n), 80), "S")
            })
            .collect();
        stage.choices(scheduler, &packets)?;
    }
    Ok(())
}

/// Many destinations by one service.
fn by_destination(stage: &mut Stage<'_>, scheduler: &str) -> Result<()> {
    stage.setup(&service("-f 9", scheduler, "-g", &[2, 3, 1]))?;
    let round = |round: u16| -> Vec<Packet> {
        (0..40_u16)
            .map(|n| {
                let address = [10, 9, 0, (n % 13 * 5 + 1) as u8];
                Packet::tcp(
                    at(client(2), 5000 + round * 100 + n),
                    at(address.into(), 80),
                    "S",
                )
            })
            .collect()
    };
    stage.choices("at first", &round(0))?;
    stage.setup("-e -f 9 -r 10.1.0.22 -g -w 0")?;
    stage.choices("without 22", &round(1))?;
    stage.setup("-a -f 9 -r 10.1.0.24 -g -w 9")?;
    stage.choices("one more", &round(2))?;
    stage.admin("-Ln")?;
    Ok(())
}

/// What was at one cache is not at another that comes when nothing of the first is left.
fn replaced(stage: &mut Stage<'_>, scheduler: &str) -> Result<()> {
    stage.setup(&service("-f 9", scheduler, "-g", &[100, 100]))?;
    let round = |round: u16, flags: &str| -> Vec<Packet> {
        (0..8_u16)
            .map(|n| {
                let to = at([10, 9, 0, n as u8 + 1].into(), 80);
                Packet::tcp(at(client(2), 5000 + round * 100 + n), to, flags)
            })
            .collect()
    };
    stage.choices("at first", &round(0, "S"))?;
    stage.choices("all end", &round(0, "R"))?;
    stage.sleep(std::time::Duration::from_secs(12));
    stage.setup("-d -f 9 -r 10.1.0.22")?;
    stage.sleep(std::time::Duration::from_secs(4));
    stage.setup("-a -f 9 -r 10.1.0.24 -g -w 1")?;
    stage.choices("24 instead of 22", &round(1, "S"))?;
    Ok(())
}

fn locality6(stage: &mut Stage<'_>) -> Result<()> {
    for (mark, scheduler, vips) in [(9, "lblc", 100..108), (10, "lblcr", 108..110)] {
        let servers = (21..24).zip([2, 3, 1]);
        let servers: String = servers
            .map(|(n, weight)| format!("-a -f {mark} -6 -r [2001:db8:1::{n}]:0 -g -w {weight}\n"))
            .collect();
        stage.setup(&format!("-A -f {mark} -6 -s {scheduler}\n{servers}"))?;
        let round = |round: u16| -> Vec<Packet> {
            (0..40_u16)
                .zip(vips.clone().cycle())
                .map(|(n, vip)| {
                    let from = at(client6(2), 5000 + round * 100 + n);
                    Packet::tcp(from, at(vip6(vip), 80), "S")
                })
                .collect()
        };
        stage.choices(&format!("{scheduler}, at first"), &round(0))?;
        stage.setup(&format!("-e -f {mark} -6 -r [2001:db8:1::22]:0 -g -w 0"))?;
        stage.choices(&format!("{scheduler}, without 22"), &round(1))?;
        stage.setup(&format!("-a -f {mark} -6 -r [2001:db8:1::24]:0 -g -w 9"))?;
        stage.choices(&format!("{scheduler}, one more"), &round(2))?;
    }
    stage.admin("-Ln")?;
    Ok(())
}

fn change(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1, 3, 2]))?;
    for (round, scheduler) in ["rr", "wrr", "lc", "wlc", "rr"].iter().enumerate() {
        stage.admin(&format!("-E -t 10.0.0.100:80 -s {scheduler}"))?;
        stage.choices(scheduler, &some(round as u16))?;
    }
    stage.admin("-Ln")?;
    Ok(())
}

fn no_server(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr\n-A -u 10.0.0.100:53 -s wlc\n-A -u [2001:db8::100]:53 -s wrr",
    )?;
    let to = at(vip(100), 80);
    stage.client("TCP, none", &Packet::tcp(at(client(2), 4001), to, "S"))?;
    stage.client(
        "UDP, none",
        &Packet::udp(at(client(2), 4001), at(vip(100), 53)),
    )?;
    stage.client(
        "UDP6, none",
        &Packet::udp(at(client6(2), 4001), at(vip6(100), 53)),
    )?;
    stage.setup(
        "-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 0\n-a -u 10.0.0.100:53 -r 10.1.0.21:53 -m -w 0",
    )?;
    stage.client("TCP, quiesced", &Packet::tcp(at(client(2), 4002), to, "S"))?;
    stage.client(
        "UDP, quiesced",
        &Packet::udp(at(client(2), 4002), at(vip(100), 53)),
    )?;
    stage.connections("none")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}
