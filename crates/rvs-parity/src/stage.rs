//! Where a script plays: what it does goes to a director, what it sees is noted down.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::describe::{Seen, Side};
use crate::director::{Director, ipvsadm};
use crate::identity::Identity;
use crate::network;
use crate::packet::Packet;
use crate::place::{Mac, host_mac, mac_text};
use crate::scenario::{Connection, Note, Value};

/// A script's way to a director.
pub(crate) struct Stage<'a> {
    director: &'a mut dyn Director,
    notes: Vec<Note>,
    identity: Identity,
    patience: Duration,
    detail: Detail,
    /// When the last packet of a client was sent, or one to it.
    last: BTreeMap<SocketAddr, Instant>,
}

/// How closely packets are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything.
    Whole,
    /// Of ICMP errors not how much they quote, nor whether they may be fragmented.
    Brief,
}

/// A TCP connection that a script holds, seen from both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) client: SocketAddr,
    pub(crate) service: SocketAddr,
    /// Where the director sent it, as the server sees its own end.
    pub(crate) server: SocketAddr,
    /// The client's end, as the server sees it.
    pub(crate) peer: SocketAddr,
}

impl<'a> Stage<'a> {
    /// A stage for a script whose director was started with what `identity` says.
    pub(crate) fn new(director: &'a mut dyn Director, identity: Identity) -> Self {
        Self {
            director,
            notes: Vec::new(),
            identity,
            patience: Duration::ZERO,
            detail: Detail::Whole,
            last: BTreeMap::new(),
        }
    }

    /// Compares packets so closely from now on.
    pub(crate) fn detail(&mut self, detail: Detail) {
        self.detail = detail;
        self.identity.step("detail", &format!("{detail:?}"));
    }

    /// The notes, and the identity of what was done.
    pub(crate) fn finish(self) -> (Vec<Note>, Identity) {
        (self.notes, self.identity)
    }

    /// Packets may take the long way from now on: they have so much time beyond the marker.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.identity.time("patience", patience);
    }

    fn note(&mut self, step: &str, value: Value) {
        self.notes.push(Note {
            step: step.to_owned(),
            value,
        });
    }

    // ---- commands

    /// Lines for `ipvsadm -R`, which must succeed in silence.
    pub(crate) fn setup(&mut self, lines: &str) -> Result<()> {
        self.identity.command("-R", lines);
        let said = ipvsadm(self.director, "-R", lines)?;
        if said.status != Some(0) || !said.stdout.is_empty() || !said.stderr.is_empty() {
            let words = format!("{}{}", said.stdout, said.stderr);
            bail!("refused: {}", words.trim());
        }
        Ok(())
    }

    /// A command of ipvsadm: its status and everything it says are noted.
    pub(crate) fn admin(&mut self, words: &str) -> Result<String> {
        self.restore(words, "")
    }

    /// The same with standard input.
    pub(crate) fn restore(&mut self, words: &str, input: &str) -> Result<String> {
        self.identity.command(words, input);
        let said = ipvsadm(self.director, words, input)?;
        let mut lines: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
        lines.extend(said.stderr.lines().map(|line| format!("stderr: {line}")));
        if said.status != Some(0) {
            lines.push(format!("status {:?}", said.status));
        }
        let step = match input {
            "" => format!("ipvsadm {words}"),
            _ => format!("ipvsadm {words} < {input:?}"),
        };
        self.note(&step, Value::Lines(lines));
        Ok(said.stdout)
    }

    /// The connections, by `ipvsadm -Lnc`, sorted.
    pub(crate) fn connections(&mut self, step: &str) -> Result<Vec<Connection>> {
        self.identity.step("connections", step);
        let connections = self.entries()?;
        let step = format!("connections {step}");
        self.note(&step, Value::Connections(connections.clone()));
        Ok(connections)
    }

    fn entries(&mut self) -> Result<Vec<Connection>> {
        let start = Instant::now();
        let said = ipvsadm(self.director, "-Lnc --persistent-conn", "")?;
        let took = start.elapsed().as_secs();
        let mut connections: Vec<_> = said.stdout.lines().skip(2).filter_map(entry).collect();
        for connection in &mut connections {
            connection.timeout += self.idle(&connection.what);
            connection.unsure = took;
        }
        connections.sort();
        Ok(connections)
    }

    /// Seconds since the last packet of a connection, or of all that a template stands for.
    fn idle(&self, what: &str) -> u64 {
        let source: Option<SocketAddr> = what.split(' ').nth(2).and_then(|word| word.parse().ok());
        let own = source.and_then(|source| self.last.get(&source));
        let last = own.or_else(|| self.last.values().max());
        last.map_or(0, |last| last.elapsed().as_millis().div_ceil(1000) as u64)
    }

    /// A listing with statistics. The kernel sums them up every two seconds only.
    pub(crate) fn stats(&mut self, words: &str) -> Result<String> {
        self.sleep(Duration::from_millis(2200));
        self.admin(words)
    }

    /// The numbers of a listing with rates, column by column: packets give or take one, bytes within `bytes`.
    pub(crate) fn rates(&mut self, step: &str, words: &str, bytes: u64) -> Result<()> {
        self.identity.command(words, "");
        let said = ipvsadm(self.director, words, "")?;
        for (columns, slack) in [
            (&["CPS", "InPPS", "OutPPS"][..], 1),
            (&["InBPS", "OutBPS"], bytes),
        ] {
            let counts = rated(&said.stdout, columns);
            self.note(
                &format!("{step}, {}", columns.join(" ")),
                Value::Shares { counts, slack },
            );
        }
        Ok(())
    }

    // ---- packets

    /// A client sends a packet; what comes out is noted.
    pub(crate) fn client(&mut self, step: &str, packet: &Packet) -> Result<Vec<Seen>> {
        self.last.insert(packet.source(), Instant::now());
        self.frames(step, Side::Clients, &[packet.client_frame()])
    }

    /// A server sends a packet; what comes out is noted.
    pub(crate) fn server(&mut self, step: &str, packet: &Packet) -> Result<Vec<Seen>> {
        self.last.insert(packet.destination(), Instant::now());
        self.frames(step, Side::Servers, &[packet.server_frame()])
    }

    /// Frames of one's own making.
    pub(crate) fn frames(
        &mut self,
        step: &str,
        from: Side,
        frames: &[Vec<u8>],
    ) -> Result<Vec<Seen>> {
        let seen = self.send(from, frames)?;
        let text = |seen: &Seen| match self.detail {
            Detail::Whole => seen.text.clone(),
            Detail::Brief => seen.brief.clone(),
        };
        let texts = seen.iter().map(text).collect();
        self.note(step, Value::Packets(texts));
        Ok(seen)
    }

    fn send(&mut self, from: Side, frames: &[Vec<u8>]) -> Result<Vec<Seen>> {
        let patience = self.patience;
        for frame in frames {
            self.identity.frame(from, frame);
        }
        self.director.wire()?.send(from, frames, patience)
    }

    /// Which server each of these packets goes to, exactly.
    pub(crate) fn choices(&mut self, step: &str, packets: &[Packet]) -> Result<()> {
        let servers = self.chosen(packets)?;
        let lines = packets
            .iter()
            .zip(servers)
            .map(|(packet, server)| {
                format!("{} > {}: {server}", packet.source(), packet.destination())
            })
            .collect();
        self.note(step, Value::Lines(lines));
        Ok(())
    }

    /// How many of these packets go to each server, give or take `slack`.
    pub(crate) fn shares(&mut self, step: &str, packets: &[Packet], slack: u64) -> Result<()> {
        let mut counts = BTreeMap::new();
        for server in self.chosen(packets)? {
            *counts.entry(server).or_insert(0) += 1;
        }
        self.note(step, Value::Shares { counts, slack });
        Ok(())
    }

    /// Packets must come from different clients or ports.
    fn chosen(&mut self, packets: &[Packet]) -> Result<Vec<String>> {
        let now = Instant::now();
        self.last
            .extend(packets.iter().map(|packet| (packet.source(), now)));
        let frames: Vec<_> = packets.iter().map(Packet::client_frame).collect();
        let mut seen = Vec::new();
        // Not more than the sockets hold.
        for frames in frames.chunks(256) {
            seen.extend(self.send(Side::Clients, frames)?);
        }
        let server = |packet: &Packet| {
            let own =
                |seen: &&Seen| seen.side == Side::Servers && innermost(seen) == packet.source();
            match (
                seen.iter().find(own),
                seen.iter().any(|seen| is_refusal(seen, packet)),
            ) {
                (Some(seen), _) => server_name(seen.to),
                (None, true) => "refused".to_owned(),
                (None, false) => "nobody".to_owned(),
            }
        };
        Ok(packets.iter().map(server).collect())
    }

    /// A client's SYN, not noted; nothing if it goes nowhere.
    pub(crate) fn syn(&mut self, client: SocketAddr, service: SocketAddr) -> Result<Option<Flow>> {
        self.last.insert(client, Instant::now());
        let seen = self.send(
            Side::Clients,
            &[Packet::tcp(client, service, "S").client_frame()],
        )?;
        let at_server = seen.into_iter().find(|seen| seen.side == Side::Servers);
        Ok(at_server.map(|seen| Flow {
            client,
            service,
            server: seen.destination,
            peer: seen.source,
        }))
    }

    /// A whole handshake, not noted. The server's part is played only where its packets pass the director, with NAT.
    pub(crate) fn open(&mut self, client: SocketAddr, service: SocketAddr) -> Result<Flow> {
        let Some(flow) = self.syn(client, service)? else {
            bail!("{client} > {service}: no server got it");
        };
        if flow.server != service {
            self.send(Side::Servers, &[flow.reply("SA").server_frame()])?;
        }
        self.send(Side::Clients, &[flow.request("A").client_frame()])?;
        Ok(flow)
    }

    /// Lets the servers' side take packets of this size and no larger, for the director to learn.
    pub(crate) fn narrow(&mut self, mtu: u32) -> Result<()> {
        self.identity
            .step("MTU of the servers' side", &mtu.to_string());
        network::narrow("eth1", mtu)?;
        // RVS asks for its servers' ways once a second.
        self.sleep(Duration::from_millis(2500));
        Ok(())
    }

    // ---- time

    /// Lets time pass.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.identity.time("sleep", time);
        std::thread::sleep(time);
    }

    /// Lets time pass until so long after `start`.
    pub(crate) fn sleep_until(&mut self, start: Instant, after: Duration) {
        self.identity.time("sleep until", after);
        std::thread::sleep((start + after).saturating_duration_since(Instant::now()));
    }

    /// How many connections there are, give or take `slack`.
    pub(crate) fn count(&mut self, step: &str, slack: u64) -> Result<()> {
        self.identity.step("count", step);
        let counts = [("connections".to_owned(), self.entries()?.len() as u64)].into();
        self.note(step, Value::Shares { counts, slack });
        Ok(())
    }

    /// Waits until no connections are left; how long that takes is noted, and may differ by `slack`.
    pub(crate) fn until_empty(
        &mut self,
        step: &str,
        limit: Duration,
        slack: Duration,
    ) -> Result<()> {
        self.identity.time(step, limit);
        let start = Instant::now();
        while !self.entries()?.is_empty() {
            if start.elapsed() > limit {
                bail!("{step}: connections are left after {limit:?}");
            }
        }
        let milliseconds = start.elapsed().as_millis() as u64;
        let slack = slack.as_millis() as u64;
        self.note(
            step,
            Value::Time {
                milliseconds,
                slack,
            },
        );
        Ok(())
    }
}

impl Flow {
    /// A segment from the client.
    pub(crate) fn request(&self, flags: &str) -> Packet {
        Packet::tcp(self.client, self.service, flags)
    }

    /// A segment from the server.
    pub(crate) fn reply(&self, flags: &str) -> Packet {
        Packet::tcp(self.server, self.peer, flags)
    }
}

/// `server 21`, or the address of whoever else got it.
pub(crate) fn server_name(mac: Mac) -> String {
    let number = mac[5];
    if mac == host_mac(1, number) {
        format!("server {number}")
    } else {
        mac_text(mac)
    }
}

/// Where the packet inside all tunnels comes from. Scenarios know their clients by address and port.
fn innermost(seen: &Seen) -> SocketAddr {
    // The words have it already: `[10.0.0.2:4000 > ...`, innermost last.
    let inside = seen.text.rsplit('[').next().unwrap_or_default();
    inside
        .split(" > ")
        .next()
        .and_then(|source| source.parse().ok())
        .unwrap_or(seen.source)
}

/// An ICMP error for the client of this packet.
fn is_refusal(seen: &Seen, packet: &Packet) -> bool {
    seen.side == Side::Clients
        && seen.destination.ip() == packet.source().ip()
        && seen
            .text
            .contains(&format!("[{} > {}", packet.source(), packet.destination()))
}

/// A line like `TCP 01:47  TIME_WAIT   10.0.0.2:54640     10.0.0.100:80      10.1.0.22:80`.
fn entry(line: &str) -> Option<Connection> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (minutes, seconds) = words.get(1)?.split_once(':')?;
    let timeout = minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?;
    let (protocol, rest) = (words.first()?, words.get(2..)?);
    Some(Connection {
        what: format!("{protocol} {}", rest.join(" ")),
        timeout,
        unsure: 0,
    })
}

/// The numbers in these columns of `ipvsadm -L -n --rate`, by row and column.
fn rated(text: &str, columns: &[&str]) -> BTreeMap<String, u64> {
    const COLUMNS: [&str; 5] = ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"];
    let mut numbers = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what @ .., a, b, c, d, e] = words.as_slice() else {
            continue;
        };
        for (name, number) in COLUMNS.iter().zip([a, b, c, d, e]) {
            if let Ok(number) = number.parse()
                && columns.contains(name)
            {
                numbers.insert(format!("{} {name}", what.join(" ")), number);
            }
        }
    }
    numbers
}

/// Many clients' first packets to a service, from ports that begin at 4001.
pub(crate) fn many(
    count: u16,
    address: IpAddr,
    make: impl Fn(SocketAddr) -> Packet,
) -> Vec<Packet> {
    (0..count)
        .map(|n| make(SocketAddr::new(address, 4001 + n)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
UDP  10.0.0.100:53                       4        5        6     1000     2000
  -> 10.1.0.21:53                        4        5        6     1000     2000
";
        let numbers = rated(text, &["InPPS", "OutBPS"]);
        let expected = [
            ("-> 10.1.0.21:53 InPPS", 5),
            ("-> 10.1.0.21:53 OutBPS", 2000),
            ("UDP 10.0.0.100:53 InPPS", 5),
            ("UDP 10.0.0.100:53 OutBPS", 2000),
        ];
        assert_eq!(
            numbers,
            expected
                .map(|(name, number)| (name.to_owned(), number))
                .into()
        );
    }

    #[test]
    fn entries_are_read() {
        let line = "TCP 01:47  TIME_WAIT   10.0.0.2:54640     10.0.0.100:80      10.1.0.22:80";
        let connection = entry(line).expect("an entry");
        assert_eq!(connection.timeout, 107);
        assert_eq!(
            connection.what,
            "TCP TIME_WAIT 10.0.0.2:54640 10.0.0.100:80 10.1.0.22:80"
        );
        assert_eq!(entry("pro expire state"), None);
    }
}
