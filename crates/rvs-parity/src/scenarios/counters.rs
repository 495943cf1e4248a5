//! Statistics, as `ipvsadm` shows them.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Detail, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("stats", "--stats and --exact, for each method; -Z", stats),
        Scenario::new("stats-errors", "which packets count", errors).explained(&[Explained {
            step: "ipvsadm -L -n --stats",
            heading: "What counts as a packet",
        }]),
        Scenario::new("stats-ipv6", "--stats, IPv6", stats6).in_guest_too(),
        Scenario::new("rates", "--rate: rising, and falling", rates),
    ]
}

fn stats(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1, 1]))?;
    stage.setup(&service("-t 10.0.0.101:80", "rr", "-g", &[1]))?;
    stage.setup(&service("-t 10.0.0.102:80", "rr", "-i", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    for port in 4001..4004 {
        let flow = stage.open(at(client(2), port), at(vip(100), 80))?;
        stage.client("request", &flow.request("PA").sized(333))?;
        stage.server("answer", &flow.reply("PA").sized(1500))?;
    }
    for n in [101, 102] {
        let flow = stage.open(at(client(2), 4001), at(vip(n), 80))?;
        stage.client("request", &flow.request("PA").sized(444))?;
    }
    let seen = stage.client("UDP", &Packet::udp(at(client(2), 4001), at(vip(100), 53)))?;
    if let Some(seen) = seen.first() {
        stage.server(
            "UDP answer",
            &Packet::udp(seen.destination, seen.source).sized(99),
        )?;
    }
    stage.stats("-L -n --stats")?;
    stage.stats("-L -n --stats --exact")?;
    stage.stats("-L -n --stats -t 10.0.0.100:80")?;
    stage.admin("-Z -t 10.0.0.100:80")?;
    stage.stats("-L -n --stats")?;
    stage.admin("-Z")?;
    stage.stats("-L -n --stats")?;
    stage.client(
        "after",
        &Packet::tcp(at(client(2), 4001), at(vip(100), 80), "A"),
    )?;
    stage.stats("-L -n --stats")?;
    stage.admin("-L -n")?;
    Ok(())
}

/// Five datagrams and answers a second, each of a new client, for eleven seconds.
fn rates(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    let (start, pace) = (Instant::now(), Duration::from_millis(200));
    let server = at("10.1.0.21".parse()?, 53);
    for n in 0..55 {
        let from = at(client(2), 4001 + n);
        let packet = Packet::udp(from, at(vip(100), 53)).sized(200);
        stage.choices("a datagram", &[packet])?;
        stage.server("an answer", &Packet::udp(server, from).sized(400))?;
        stage.sleep_until(start, pace * u32::from(n + 1));
    }
    stage.rates("at the end", "-L -n --rate", 600)?;
    stage.sleep(Duration::from_secs(8));
    stage.rates("eight seconds later", "-L -n --rate", 600)?;
    stage.sleep(Duration::from_secs(30));
    stage.rates("half a minute later", "-L -n --rate", 20)
}

fn stats6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-t [2001:db8::101]:80", "rr", "-i", &[1]))?;
    let flow = stage.open(at(client6(2), 4001), at(vip6(100), 80))?;
    stage.client("request", &flow.request("PA").sized(333))?;
    stage.server("answer", &flow.reply("PA").sized(1500))?;
    stage.client(
        "SYN",
        &Packet::tcp(at(client6(2), 4001), at(vip6(101), 80), "S"),
    )?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn errors(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-t 10.0.0.102:80", "rr", "-i", &[1]))?;
    let packet = |n, flags| Packet::tcp(at(client(2), 4001), at(vip(n), 80), flags);
    for n in [100, 102] {
        stage.client("SYN", &packet(n, "S"))?;
        stage.client("TTL 1", &packet(n, "PA").ttl(1))?;
    }
    stage.client("too large for a tunnel", &packet(102, "PA").sized(1500))?;
    let quote = Packet::tcp(at(vip(100), 80), at(client(2), 4001), "PA").ip();
    let quote = quote.get(..28).unwrap_or_default();
    stage.client(
        "an error",
        &Packet::icmp(client(2), vip(100), (3, 3), 0, quote),
    )?;
    stage.client(
        "no connection",
        &Packet::tcp(at(client(3), 9), at(vip(100), 80), "A"),
    )?;
    stage.stats("-L -n --stats")?;
    Ok(())
}
