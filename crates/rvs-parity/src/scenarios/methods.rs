//! Forwarding methods: what a packet looks like behind the director, and what comes back.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, client6, vip, vip6};
use crate::scenario::{Explained, Scenario};
use crate::stage::{Detail, Stage};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("nat-tcp", "NAT, TCP: four connections, both ways", nat_tcp).in_guest_too(),
        Scenario::new(
            "nat-udp",
            "NAT, UDP: sums, TOS, TTL, identification",
            nat_udp,
        ),
        Scenario::new("nat-udp-no-sum", "NAT, UDP without checksum", no_sum).explained(&[
            Explained {
                step: "",
                heading: "UDP without a checksum",
            },
        ]),
        Scenario::new("nat-ipv6", "NAT, TCP and UDP over IPv6", nat6),
        Scenario::new(
            "local",
            "servers on the director, NAT and direct: it answers itself",
            local,
        ),
        Scenario::new("direct", "direct routing", direct),
        Scenario::new("direct-ipv6", "direct routing, IPv6", direct6),
        Scenario::new("tunnel", "IP in IP: headers, TOS, DF", tunnel).in_guest_too(),
        Scenario::new("tunnel-ipv6", "IPv6 in IPv6", tunnel6),
        Scenario::new("tunnel-mixed", "IPv4 in IPv6 and IPv6 in IPv4", mixed).explained(&[
            Explained {
                step: "IPv6",
                heading: "IPv6 in IPv4",
            },
        ]),
        Scenario::new("gue", "GUE tunnels, with and without checksum", gue),
        Scenario::new("gre", "GRE tunnels, with and without checksum", gre),
        Scenario::new("not-ours", "packets that are for no service", not_ours),
        Scenario::new(
            "strays",
            "TCP without SYN, replies without connection",
            strays,
        ),
        Scenario::new("syn-ack", "a SYN that also acknowledges", syn_ack),
        Scenario::new(
            "two-services",
            "one client port, two services, one server",
            two_services,
        )
        .explained(&[
            Explained {
                step: "the second",
                heading: "Two connections in one reply",
            },
            Explained {
                step: "connections at the end",
                heading: "Two connections in one reply",
            },
        ]),
        Scenario::new("removed-server", "a server goes and comes back", removed),
        Scenario::new(
            "removed-nat",
            "a NAT server goes: its words, its clients', and new ones",
            removed_nat,
        ),
        Scenario::new(
            "removed-method",
            "a server comes back with another method",
            removed_method,
        ),
        Scenario::new(
            "removed-service",
            "a service goes and comes back",
            removed_service,
        ),
        Scenario::new(
            "fragments",
            "fragments in both directions, NAT and direct",
            fragments,
        ),
        Scenario::new("fragments-ipv6", "the same over IPv6", fragments6),
    ]
}

pub(super) fn nat_tcp(stage: &mut Stage<'_>) -> Result<()> {
    let to = at(vip(100), 80);
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:8080 -m
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m
",
    )?;
    for port in 4001..4005 {
        let from = at(client(2), port);
        let seen = stage.client("SYN", &Packet::tcp(from, to, "S"))?;
        if let Some(seen) = seen.first() {
            stage.server("SYN-ACK", &Packet::tcp(seen.destination, seen.source, "SA"))?;
        }
        stage.client("request", &Packet::tcp(from, to, "PA").payload(b"hello"))?;
    }
    stage.admin("-L -n")?;
    stage.connections("at the end")?;
    Ok(())
}

fn nat_udp(stage: &mut Stage<'_>) -> Result<()> {
    let to = at(vip(100), 53);
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1, 1]))?;
    let from = |port| at(client(2), port);
    let first = Packet::udp(from(4001), to).tos(0xb9).ttl(9).id(0xbeef);
    for (step, packet) in [
        ("TOS, TTL, id", first.clone()),
        ("no DF", Packet::udp(from(4003), to).may_fragment()),
        ("empty", Packet::udp(from(4004), to).payload(b"")),
        ("odd", Packet::udp(from(4005), to).payload(b"odd")),
        ("large", Packet::udp(from(4006), to).sized(1500)),
        (
            "far client",
            Packet::udp(at([172, 16, 1, 2].into(), 4001), to),
        ),
        ("again", first),
    ] {
        let seen = stage.client(step, &packet)?;
        if let Some(seen) = seen.first() {
            let answer = Packet::udp(seen.destination, seen.source)
                .payload(b"answer")
                .tos(4)
                .ttl(33);
            stage.server(&format!("answer to {step}"), &answer)?;
        }
    }
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    Ok(())
}

fn nat6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:80", "rr", "-m", &[1, 1]))?;
    stage.setup(&service("-u [2001:db8::100]:53", "rr", "-m", &[1]))?;
    for port in 4001..4003 {
        let (from, to) = (at(client6(2), port), at(vip6(100), 80));
        let seen = stage.client("SYN", &Packet::tcp(from, to, "S").tos(0x2e))?;
        if let Some(seen) = seen.first() {
            stage.server("SYN-ACK", &Packet::tcp(seen.destination, seen.source, "SA"))?;
        }
        stage.client("request", &Packet::tcp(from, to, "PA").payload(b"hello"))?;
    }
    let seen = stage.client("UDP", &Packet::udp(at(client6(2), 4001), at(vip6(100), 53)))?;
    if let Some(seen) = seen.first() {
        stage.server("UDP answer", &Packet::udp(seen.destination, seen.source))?;
    }
    let far = "2001:db8:77::1".parse()?;
    stage.client("far client", &Packet::udp(at(far, 4001), at(vip6(100), 53)))?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    Ok(())
}

/// Nobody listens there: what comes back are the host's own refusals.
fn local(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.0.0.1:8080 -m
-A -t 10.0.0.101:80 -s rr
-a -t 10.0.0.101:80 -r 10.0.0.1:80 -g
-A -t 10.0.0.102:80 -s rr
-a -t 10.0.0.102:80 -r 10.0.0.1:80 -i
-A -u 10.0.0.100:53 -s rr
-a -u 10.0.0.100:53 -r 10.0.0.1:5353 -m
-A -t [2001:db8::100]:80 -s rr
-a -t [2001:db8::100]:80 -r [2001:db8::1]:8080 -m
",
    )?;
    // The director may look at addresses of its own once a second.
    stage.sleep(std::time::Duration::from_millis(2500));
    for (step, service) in [("NAT", 100), ("direct", 101), ("tunnel", 102)] {
        let packet = Packet::tcp(at(client(2), 4001), at(vip(service), 80), "S");
        stage.client(step, &packet.ttl(9))?;
    }
    stage.client("UDP", &Packet::udp(at(client(2), 4001), at(vip(100), 53)))?;
    stage.client(
        "IPv6",
        &Packet::tcp(at(client6(2), 4001), at(vip6(100), 80), "S"),
    )?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-L -n --tun-info")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn direct(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1, 1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-g", &[1, 1]))?;
    let to = at(vip(100), 80);
    for port in 4001..4003 {
        let from = at(client(2), port);
        for (step, flags) in [("SYN", "S"), ("ACK", "A"), ("data", "PA"), ("FIN", "FA")] {
            stage.client(step, &Packet::tcp(from, to, flags).tos(0x10).ttl(7))?;
        }
    }
    stage.client(
        "UDP",
        &Packet::udp(at(client(3), 1), at(vip(100), 53)).sized(1500),
    )?;
    stage.client(
        "UDP, no sum",
        &Packet::udp(at(client(3), 2), at(vip(100), 53)).without_checksum(),
    )?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    Ok(())
}

fn direct6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:80", "rr", "-g", &[1, 1]))?;
    for port in 4001..4003 {
        let (from, to) = (at(client6(2), port), at(vip6(100), 80));
        for (step, flags) in [("SYN", "S"), ("ACK", "A"), ("data", "PA"), ("FIN", "FA")] {
            stage.client(step, &Packet::tcp(from, to, flags).tos(0x10).ttl(7))?;
        }
    }
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    Ok(())
}

fn tunnel(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-i", &[1, 1]))?;
    let (from, to) = (at(client(2), 4001), at(vip(100), 80));
    for (step, packet) in [
        ("SYN", Packet::tcp(from, to, "S")),
        ("ACK, TTL 9", Packet::tcp(from, to, "A").ttl(9)),
        (
            "no DF",
            Packet::tcp(from, to, "PA").may_fragment().payload(b"x"),
        ),
        (
            "TOS 0xb8",
            Packet::tcp(from, to, "PA").tos(0xb8).payload(b"x"),
        ),
        ("ECT(0)", Packet::tcp(from, to, "PA").tos(2).payload(b"x")),
        ("ECT(1)", Packet::tcp(from, to, "PA").tos(1).payload(b"x")),
        ("CE", Packet::tcp(from, to, "PA").tos(3).payload(b"x")),
        ("the largest", Packet::tcp(from, to, "PA").sized(1480)),
        ("another", Packet::tcp(at(client(3), 4001), to, "S")),
    ] {
        stage.client(step, &packet)?;
    }
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-L -n --tun-info")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn tunnel6(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t [2001:db8::100]:80", "rr", "-i", &[1, 1]))?;
    let (from, to) = (at(client6(2), 4001), at(vip6(100), 80));
    for (step, packet) in [
        ("SYN", Packet::tcp(from, to, "S")),
        ("ACK, TTL 9", Packet::tcp(from, to, "A").ttl(9)),
        (
            "TOS 0xb8",
            Packet::tcp(from, to, "PA").tos(0xb8).payload(b"x"),
        ),
        ("CE", Packet::tcp(from, to, "PA").tos(3).payload(b"x")),
        ("the largest", Packet::tcp(from, to, "PA").sized(1460)),
        ("another", Packet::tcp(at(client6(3), 4001), to, "S")),
    ] {
        stage.client(step, &packet)?;
    }
    stage.admin("-L -n")?;
    stage.admin("-L -n --tun-info")?;
    Ok(())
}

fn mixed(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r [2001:db8:1::21]:80 -i
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -i
-A -u [2001:db8::100]:53 -s rr
-a -u [2001:db8::100]:53 -r 10.1.0.21:53 -i
",
    )?;
    let to = at(vip(100), 80);
    for port in 4001..4003 {
        stage.client(
            "IPv4",
            &Packet::tcp(at(client(2), port), to, "S").tos(0xb8).ttl(20),
        )?;
        stage.client(
            "IPv4, no DF",
            &Packet::tcp(at(client(2), port), to, "A").may_fragment(),
        )?;
    }
    stage.client(
        "too large",
        &Packet::tcp(at(client(2), 4001), to, "PA").sized(1500),
    )?;
    stage.client(
        "too large",
        &Packet::tcp(at(client(2), 4002), to, "PA").sized(1500),
    )?;
    let packet = Packet::udp(at(client6(2), 4001), at(vip6(100), 53));
    stage.client("IPv6", &packet.clone().tos(0xb8).ttl(20))?;
    stage.client("IPv6, too large", &packet.sized(1500))?;
    stage.connections("at the end")?;
    stage.admin("-L -n")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn gue(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -i --tun-type gue --tun-port 6080
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -i --tun-type gue --tun-port 6080 --tun-csum
-a -t 10.0.0.100:80 -r 10.1.0.23:80 -i --tun-type gue --tun-port 6080 --tun-remcsum
-A -u [2001:db8::100]:53 -s rr
-a -u [2001:db8::100]:53 -r [2001:db8:1::21]:53 -i --tun-type gue --tun-port 6080
-a -u [2001:db8::100]:53 -r [2001:db8:1::22]:53 -i --tun-type gue --tun-port 6080 --tun-csum
-a -u [2001:db8::100]:53 -r [2001:db8:1::23]:53 -i --tun-type gue --tun-port 6080 --tun-remcsum
",
    )?;
    tunnelled(stage)
}

fn gre(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(
        "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -i --tun-type gre
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -i --tun-type gre --tun-csum
-A -u [2001:db8::100]:53 -s rr
-a -u [2001:db8::100]:53 -r [2001:db8:1::21]:53 -i --tun-type gre
-a -u [2001:db8::100]:53 -r [2001:db8:1::22]:53 -i --tun-type gre --tun-csum
",
    )?;
    tunnelled(stage)
}

fn tunnelled(stage: &mut Stage<'_>) -> Result<()> {
    stage.detail(Detail::Brief);
    for port in 4001..4004 {
        let (from, to) = (at(client(2), port), at(vip(100), 80));
        stage.client("SYN", &Packet::tcp(from, to, "S").tos(0xb8).ttl(20))?;
        stage.client(
            "no DF",
            &Packet::tcp(from, to, "PA").may_fragment().payload(b"x"),
        )?;
        stage.client("too large", &Packet::tcp(from, to, "PA").sized(1500))?;
    }
    for port in 4001..4004 {
        stage.client(
            "IPv6",
            &Packet::udp(at(client6(2), port), at(vip6(100), 53)),
        )?;
    }
    stage.admin("-L -n --tun-info")?;
    stage.admin("-S -n")?;
    Ok(())
}

fn not_ours(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    let server = "10.1.0.21".parse()?;
    for (step, packet) in [
        (
            "another port",
            Packet::tcp(at(client(2), 4001), at(vip(100), 81), "S"),
        ),
        (
            "another protocol",
            Packet::udp(at(client(2), 4001), at(vip(100), 80)),
        ),
        (
            "another address",
            Packet::tcp(at(client(2), 4001), at(server, 80), "S"),
        ),
        (
            "echo request",
            Packet::icmp(client(2), vip(100), (8, 0), 7, b"ping"),
        ),
        (
            "protocol 99",
            Packet::other(client(2), server, 99, b"something else"),
        ),
    ] {
        stage.client(step, &packet)?;
    }
    stage.server(
        "a server's own",
        &Packet::udp(at(server, 80), at(client(2), 4001)),
    )?;
    stage.connections("none")?;
    Ok(())
}

pub(super) fn strays(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    stage.setup(&service("-t 10.0.0.101:80", "rr", "-g", &[1]))?;
    for n in [100, 101] {
        for flags in ["A", "PA", "FA", "R", "RA", "SR", ""] {
            let packet = Packet::tcp(at(client(2), 4001), at(vip(n), 80), flags);
            stage.client(&format!("{n} {flags}"), &packet)?;
            // What ends at once in the kernel ends with its next timer tick.
            stage.sleep(std::time::Duration::from_millis(50));
        }
    }
    let server = at("10.1.0.21".parse()?, 80);
    stage.server(
        "a server's",
        &Packet::tcp(server, at(client(2), 5000), "SA"),
    )?;
    stage.connections("at the end")?;
    stage.stats("-L -n --stats")?;
    Ok(())
}

fn two_services(stage: &mut Stage<'_>) -> Result<()> {
    for vip in ["100", "101"] {
        stage.setup(&format!(
            "-A -t 10.0.0.{vip}:80 -s rr\n-a -t 10.0.0.{vip}:80 -r 10.1.0.21:80 -m\n-a -t 10.0.0.{vip}:80 -r 10.1.0.22:80 -m\n"
        ))?;
    }
    let from = at(client(2), 4001);
    stage.client("the first", &Packet::tcp(from, at(vip(100), 80), "S"))?;
    stage.client("the second", &Packet::tcp(from, at(vip(101), 80), "S"))?;
    stage.connections("at the end")?;
    Ok(())
}

pub(super) fn removed(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-g", &[1]))?;
    let tcp = |flags| Packet::tcp(at(client(2), 4001), at(vip(100), 80), flags);
    let udp = Packet::udp(at(client(2), 4001), at(vip(100), 53));
    stage.client("SYN", &tcp("S"))?;
    stage.client("ACK", &tcp("A"))?;
    stage.client("UDP", &udp)?;
    stage.setup(
        "-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g
-a -u 10.0.0.100:53 -r 10.1.0.22:53 -g
-d -t 10.0.0.100:80 -r 10.1.0.21:80
-d -u 10.0.0.100:53 -r 10.1.0.21:53
",
    )?;
    stage.client("TCP, removed", &tcp("PA"))?;
    stage.client("UDP, removed", &udp)?;
    stage.connections("removed")?;
    stage.admin("-L -n")?;
    stage.setup(
        "-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g
-a -u 10.0.0.100:53 -r 10.1.0.21:53 -g
",
    )?;
    stage.client("TCP, back", &tcp("PA"))?;
    stage.client("UDP, back", &udp)?;
    stage.admin("-L -n")?;
    Ok(())
}

/// Requests wait, replies do not, and whose connection is closed goes elsewhere.
fn removed_nat(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    let to = at(vip(100), 80);
    let flow = stage.open(at(client(2), 4001), to)?;
    let closed = stage.open(at(client(2), 4002), to)?;
    stage.client("its RST", &closed.request("R"))?;
    stage.admin("-d -t 10.0.0.100:80 -r 10.1.0.21:80")?;
    stage.admin("-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m")?;
    stage.server("reply", &flow.reply("PA").payload(b"more"))?;
    stage.client("request", &flow.request("PA").payload(b"more"))?;
    stage.client("closed, SYN", &closed.request("S"))?;
    stage.client("new", &Packet::tcp(at(client(2), 4003), to, "S"))?;
    stage.admin("-L -n")?;
    Ok(())
}

/// What it had goes on by the method that it had.
fn removed_method(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    let to = at(vip(100), 80);
    let flow = stage.open(at(client(2), 4001), to)?;
    stage.admin("-d -t 10.0.0.100:80 -r 10.1.0.21:80")?;
    stage.admin("-a -t 10.0.0.100:80 -r 10.1.0.21:80 -g")?;
    // First of all: the kernel keeps one route for a server, and one that NAT asked for does not do for direct routing.
    let new = at(client(2), 4002);
    stage.client("new", &Packet::tcp(new, to, "S"))?;
    stage.client("request", &flow.request("PA").payload(b"more"))?;
    stage.server("reply", &flow.reply("PA").payload(b"more"))?;
    stage.connections("both")?;
    stage.admin("-L -n")?;
    stage.admin("-d -t 10.0.0.100:80 -r 10.1.0.21:80")?;
    stage.admin("-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m")?;
    stage.client("new, ACK", &Packet::tcp(new, to, "A"))?;
    stage.client("its RST", &flow.request("R"))?;
    stage.admin("-L -n")?;
    Ok(())
}

fn removed_service(stage: &mut Stage<'_>) -> Result<()> {
    let lines = service("-t 10.0.0.100:80", "rr", "-g", &[1]);
    let tcp = |flags| Packet::tcp(at(client(2), 4001), at(vip(100), 80), flags);
    // While there is no service at all, the kernel's IPVS sees no packets.
    stage.setup("-A -t 10.0.0.109:9 -s rr")?;
    stage.setup(&lines)?;
    stage.client("SYN", &tcp("S"))?;
    stage.client("ACK", &tcp("A"))?;
    stage.setup("-D -t 10.0.0.100:80")?;
    stage.client("removed", &tcp("PA"))?;
    stage.connections("removed")?;
    stage.setup(&lines)?;
    stage.client("back", &tcp("PA"))?;
    stage.admin("-L -n")?;
    Ok(())
}

fn fragments(stage: &mut Stage<'_>) -> Result<()> {
    use crate::describe::Side;
    stage.patience(std::time::Duration::from_secs(3));
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    stage.setup(&service("-u 10.0.0.101:53", "rr", "-g", &[1]))?;
    for n in [100, 101] {
        let whole = Packet::udp(at(client(2), 4001), at(vip(n), 53))
            .sized(1400)
            .may_fragment();
        let pieces = whole.client_fragments(&[0, 600, 1000]);
        stage.frames(&format!("{n} in order"), Side::Clients, &pieces)?;
        let pieces = whole.clone().id(7).client_fragments(&[600, 1000, 0]);
        stage.frames(&format!("{n} first comes last"), Side::Clients, &pieces)?;
    }
    let answer = Packet::udp(at("10.1.0.21".parse()?, 53), at(client(2), 4001))
        .sized(1400)
        .may_fragment();
    stage.frames(
        "answer",
        Side::Servers,
        &answer.server_fragments(&[0, 600, 1000]),
    )?;
    stage.connections("at the end")?;
    Ok(())
}

fn fragments6(stage: &mut Stage<'_>) -> Result<()> {
    use crate::describe::Side;
    stage.patience(std::time::Duration::from_secs(3));
    stage.setup(&service("-u [2001:db8::100]:53", "rr", "-m", &[1]))?;
    stage.setup(&service("-u [2001:db8::101]:53", "rr", "-g", &[1]))?;
    for n in [100, 101] {
        let whole = Packet::udp(at(client6(2), 4001), at(vip6(n), 53)).sized(1400);
        let pieces = whole.client_fragments(&[0, 600, 1000]);
        stage.frames(&format!("{n} in order"), Side::Clients, &pieces)?;
        let pieces = whole.clone().id(7).client_fragments(&[600, 1000, 0]);
        stage.frames(&format!("{n} first comes last"), Side::Clients, &pieces)?;
    }
    let answer = Packet::udp(at("2001:db8:1::21".parse()?, 53), at(client6(2), 4001)).sized(1400);
    stage.frames(
        "answer",
        Side::Servers,
        &answer.server_fragments(&[0, 600, 1000]),
    )?;
    stage.connections("at the end")?;
    Ok(())
}

fn no_sum(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-u 10.0.0.100:53", "rr", "-m", &[1]))?;
    let packet = Packet::udp(at(client(2), 4001), at(vip(100), 53)).without_checksum();
    let seen = stage.client("request", &packet)?;
    if let Some(seen) = seen.first() {
        let answer = Packet::udp(seen.destination, seen.source).without_checksum();
        stage.server("answer", &answer)?;
    }
    Ok(())
}

fn syn_ack(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-g", &[1]))?;
    let packet = Packet::tcp(at(client(2), 4001), at(vip(100), 80), "SA");
    stage.client("SYN-ACK", &packet)?;
    stage.connections("at the end")?;
    Ok(())
}
