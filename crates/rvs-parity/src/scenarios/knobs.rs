//! IPVS's sysctls, one by one.

use anyhow::Result;

use super::{at, methods, service, states};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Detail, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("sloppy_tcp", "TCP begins anywhere", methods::strays)
            .in_guest_too()
            .knobs(&[("sloppy_tcp", "1")]),
        Scenario::new("conn_reuse_mode-0", "SYNs never begin anew", states::reuse)
            .knobs(&[("conn_reuse_mode", "0")]),
        Scenario::new(
            "conn_reuse_mode-3",
            "SYNs begin anew in FIN_WAIT too",
            states::reuse,
        )
        .knobs(&[("conn_reuse_mode", "3")]),
        Scenario::new(
            "expire_nodest_conn",
            "connections of removed servers end",
            methods::removed,
        )
        .knobs(&[("expire_nodest_conn", "1")]),
        Scenario::new(
            "nat_icmp_send",
            "servers that answer nobody are told",
            nat_icmp_send,
        )
        .knobs(&[("nat_icmp_send", "1")]),
        Scenario::new("schedule_icmp", "errors make connections", schedule_icmp)
            .knobs(&[("schedule_icmp", "1")])
            .explained(&[Explained {
                step: "connections UDP",
                heading: "UDP that an ICMP error began",
            }]),
        Scenario::new(
            "ignore_tunneled",
            "what another tunnel brought is the host's",
            unwrapped,
        )
        .knobs(&[("ignore_tunneled", "1")])
        .in_guest()
        .explained(&[
            Explained {
                step: "TCP, ",
                heading: "What another tunnel brought",
            },
            Explained {
                step: "UDP, ",
                heading: "What another tunnel brought",
            },
            Explained {
                step: "connections",
                heading: "What another tunnel brought",
            },
        ]),
        Scenario::new("ignore_tunneled-0", "it is switched", unwrapped)
            .knobs(&[("ignore_tunneled", "0")])
            .in_guest(),
        Scenario::new("pmtu_disc", "tunnels that ignore DF", pmtu_disc)
            .knobs(&[("pmtu_disc", "0")])
            .explained(&[Explained {
                step: "too large",
                heading: "Tunnels that may fragment",
            }]),
        Scenario::new(
            "snat_reroute",
            "replies routed as forwarded ones",
            methods::nat_tcp,
        )
        .knobs(&[("snat_reroute", "0")]),
        Scenario::new(
            "backup_only",
            "nothing changes without a backup",
            methods::nat_tcp,
        )
        .knobs(&[("backup_only", "1")]),
        Scenario::new("run_estimation", "no rates", run_estimation)
            .knobs(&[("run_estimation", "0")])
            .explained(&[Explained {
                step: "ipvsadm -L -n --stats",
                heading: "Statistics without rates",
            }]),
    ]
}

fn nat_icmp_send(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    let (to, server) = (at(client(2), 4001), "10.1.0.21".parse()?);
    for flags in ["SA", "PA", "R"] {
        stage.server(flags, &Packet::tcp(at(server, 80), to, flags))?;
    }
    stage.server("UDP", &Packet::udp(at(server, 53), to))?;
    stage.server("another port", &Packet::udp(at(server, 54), to))?;
    stage.server(
        "another server",
        &Packet::udp(at("10.1.0.22".parse()?, 53), to),
    )?;
    Ok(())
}

fn schedule_icmp(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1, 1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1, 1]))?;
    let about = [
        (
            "TCP",
            Packet::tcp(at(vip(100), 80), at(client(2), 4001), "PA"),
        ),
        (
            "TCP SYN",
            Packet::tcp(at(vip(100), 80), at(client(2), 4002), "S"),
        ),
        ("UDP", Packet::udp(at(vip(100), 53), at(client(2), 4001))),
    ];
    for (step, packet) in about {
        let quote = packet.ip();
        let quote = quote.get(..28).unwrap_or_default();
        stage.client(
            step,
            &Packet::icmp([172, 16, 9, 9].into(), vip(100), (3, 4), 1400, quote),
        )?;
        stage.connections(step)?;
    }
    stage.client(
        "then UDP",
        &Packet::udp(at(client(2), 4001), at(vip(100), 53)),
    )?;
    Ok(())
}

fn unwrapped(stage: &mut Stage<'_>) -> Result<()> {
    // The host puts off what it unwraps.
    stage.patience(std::time::Duration::from_secs(1));
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-g", &[1]))?;
    let tcp = |port, flags| Packet::tcp(at(client(2), port), at(vip(100), 80), flags);
    let udp = |port| Packet::udp(at(client(2), port), at(vip(100), 53));
    for (step, packet) in [
        ("TCP", tcp(4001, "S")),
        ("TCP, more", tcp(4001, "A")),
        ("UDP", udp(4001)),
        (
            "no service",
            Packet::udp(at(client(2), 4001), at(vip(100), 7)),
        ),
    ] {
        stage.server(&format!("{step}, by the tunnel"), &packet.in_tunnel())?;
    }
    stage.client("TCP", &tcp(4002, "S"))?;
    stage.client("UDP", &udp(4002))?;
    stage.connections("at the end")?;
    Ok(())
}

fn pmtu_disc(stage: &mut Stage<'_>) -> Result<()> {
    stage.patience(std::time::Duration::from_secs(1));
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-i", &[1]))?;
    let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53));
    stage.client("small", &packet)?;
    stage.client("as large as fits", &packet.clone().sized(1480))?;
    stage.client("too large", &packet.clone().sized(1500))?;
    stage.client("too large, no DF", &packet.sized(1500).may_fragment())?;
    Ok(())
}

fn run_estimation(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-g", &[1]))?;
    stage.client("UDP", &Packet::udp(at(client(2), 4001), at(vip(100), 53)))?;
    stage.sleep(std::time::Duration::from_secs(5));
    stage.admin("-L -n --rate")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}
