//! Reading the captures, and making the tables that they show.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_config::{Protocol, ServiceKey};

use super::memory::Memory;
use crate::ipvsadm::table::{ConnectionEntry, Stats};

pub(super) const LIST: &str = include_str!("../../../tests/ipvsadm-output/03-list.txt");
pub(super) const CONNECTIONS: &str =
    include_str!("../../../tests/ipvsadm-output/04-connections.txt");

/// A command of a session, what it printed, and its exit status.
pub(super) struct Step<'a> {
    pub(super) command: &'a str,
    pub(super) output: &'a str,
    pub(super) status: u8,
}

/// The steps of a session.
pub(super) fn steps(text: &str) -> Vec<Step<'_>> {
    let step = |block| {
        let (command, rest): (&str, &str) = str::split_once(block, '\n').expect("a command's line");
        let (output, rest) = rest.rsplit_once("[exit ").expect("an exit status");
        let status = rest
            .split(']')
            .next()
            .and_then(|status| status.parse().ok())
            .expect("a number");
        Step {
            command: command.trim_start_matches("$ "),
            output,
            status,
        }
    };
    format!("\n{text}")
        .leak()
        .split("\n$ ")
        .skip(1)
        .map(step)
        .collect()
}

/// What a command of a session printed.
pub(super) fn output<'a>(text: &'a str, command: &str) -> &'a str {
    let start = text.find(&format!("$ {command}\n")).expect(command) + command.len() + 3;
    let rest = text.get(start..).expect("in the text");
    rest.get(..rest.find("[exit ").expect("an exit status"))
        .expect("in the text")
}

/// The words of a command as a shell sees them.
pub(super) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in command.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (Some(_) | None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The table of the session of listings: made by its own commands, then given the counters that it shows.
pub(super) fn table_of_the_list() -> Memory {
    let mut table = Memory::new();
    // The order of services is that of the kernel's table, the order of servers is newest first.
    let mut key: Option<ServiceKey> = None;
    let lines = |command| output(LIST, command).lines();
    for line in lines("ipvsadm -L -n --nosort").skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [protocol @ ("TCP" | "UDP"), address, scheduler] => {
                let service: ServiceKey = format!("{protocol}://{address}").parse().expect(line);
                super::run(
                    &mut table,
                    &["-A", option(service), address, "-s", scheduler],
                    "",
                );
                key = Some(service);
            }
            ["->", address, forward, weight, active, inactive] => {
                let service = key.expect("a service before its servers");
                let method = match *forward {
                    "Masq" => "-m",
                    "Tunnel" => "-i",
                    "Route" => "-g",
                    other => panic!("{other}"),
                };
                let service_address = service.socket_addr().expect("an address").to_string();
                super::run(
                    &mut table,
                    &[
                        "-a",
                        option(service),
                        &service_address,
                        "-r",
                        address,
                        method,
                        "-w",
                        weight,
                    ],
                    "",
                );
                let servers = &mut table.services.last_mut().expect("a service").servers;
                let entry = servers.first_mut().expect("a server");
                assert_eq!(entry.server.socket_addr().to_string(), *address);
                (entry.active, entry.inactive) =
                    (active.parse().expect(line), inactive.parse().expect(line));
                // The listing is newest first already.
                servers.rotate_left(1);
            }
            _ => panic!("{line}"),
        }
    }
    for (line, stats) in counters(output(LIST, "ipvsadm -L -n --stats --exact")) {
        *slot(&mut table, &line).0 = stats;
    }
    for (line, stats) in counters(output(LIST, "ipvsadm -L -n --rate")) {
        *slot(&mut table, &line).1 = stats;
    }
    table
}

fn option(key: ServiceKey) -> &'static str {
    match key.protocol().expect("an address") {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
    }
}

/// Each service's or server's place, as "service" or "service server", with its five numbers.
fn counters(listing: &str) -> Vec<(String, Stats)> {
    let mut service = String::new();
    let counted = listing.lines().skip(3).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, address, numbers @ ..] = words.as_slice() else {
            panic!("{line}")
        };
        let place = match *kind {
            "->" => format!("{service} {address}"),
            _ => {
                (*address).clone_into(&mut service);
                service.clone()
            }
        };
        let numbers: Vec<u64> = numbers
            .iter()
            .map(|number| number.parse().expect(line))
            .collect();
        let &[connections, packets_in, packets_out, bytes_in, bytes_out] = numbers.as_slice()
        else {
            panic!("{line}")
        };
        (
            place,
            Stats {
                connections,
                packets_in,
                packets_out,
                bytes_in,
                bytes_out,
            },
        )
    });
    counted.collect()
}

fn slot<'a>(table: &'a mut Memory, place: &str) -> (&'a mut Stats, &'a mut Stats) {
    let (service, server) = match place.split_once(' ') {
        Some((service, server)) => (service, Some(server)),
        None => (place, None),
    };
    let found = table.services.iter_mut().find(|entry| {
        entry
            .key
            .socket_addr()
            .is_some_and(|address| address.to_string() == service)
    });
    let found = found.expect(place);
    match server {
        None => (&mut found.stats, &mut found.rates),
        Some(server) => {
            let entry = found
                .servers
                .iter_mut()
                .find(|entry| entry.server.socket_addr().to_string() == server)
                .expect(place);
            (&mut entry.stats, &mut entry.rates)
        }
    }
}

/// The connections of a numeric listing.
pub(super) fn connections(listing: &str) -> Vec<ConnectionEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[
            protocol,
            expires,
            state,
            client,
            virtual_address,
            destination,
            ref engine @ ..,
        ] = words.as_slice()
        else {
            panic!("{line}")
        };
        let (minutes, seconds) = expires.split_once(':').expect(line);
        let seconds =
            minutes.parse::<u64>().expect(line) * 60 + seconds.parse::<u64>().expect(line);
        let address = |text: &str| text.parse::<SocketAddr>().expect(text);
        ConnectionEntry {
            protocol: (protocol != "IP").then(|| protocol.parse().expect(line)),
            client: address(client),
            virtual_address: address(virtual_address),
            destination: address(destination),
            state: state.to_owned(),
            expires: Duration::from_secs(seconds),
            engine: match engine {
                [name, data] => Some(((*name).to_owned(), (*data).to_owned())),
                _ => None,
            },
        }
    };
    listing.lines().skip(2).map(entry).collect()
}
