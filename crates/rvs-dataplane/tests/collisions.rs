//! Somebody who sends tuples that meet in one place of the connection table, if its hash has the key that he thinks: by
//! real frames, with a key guessed and with the key known.

mod common;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    str::FromStr,
};

use aya::maps::{Array, Map, MapData};
use common::{instance_name, pinned_maps};
use rvs_abi::Counter;
use rvs_config::{
    Director, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, TableSize, Weight,
};
use rvs_dataplane::{Dataplane, Origin};
use rvs_lab::{Family, Flood, Lab, SYN, Topology, Vip, tcp_frame};
use rvs_table::{Hash, HashKey, Key};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SLOTS: u32 = 1024;
/// An eighth of the table: with an even distribution nearly all find room in their first window.
const CONNECTIONS: usize = 128;
/// Slots in which all windows that are aimed at begin; two such windows have at most 15 slots.
const TARGET: u32 = 8;
const ROOM: usize = 15;

/// What an attacker goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Nothing: as the tuples come.
    Honest,
    /// A key that is a likely mistake: all zero.
    Guess,
    /// The director's own key, which only root can read.
    Knowledge,
}

/// Tuples aimed with the director's own key pile up; those aimed with a guessed one do no worse than any others.
#[test]
fn only_who_knows_the_key_can_aim() -> Outcome {
    let honest = spilled(Attack::Honest)?;
    let guessed = spilled(Attack::Guess)?;
    let known = spilled(Attack::Knowledge)?;
    println!("spilled of {CONNECTIONS}: {honest} honest, {guessed} guessed, {known} known");
    assert!(honest <= 4, "{honest}");
    assert!(guessed <= 4, "{guessed}");
    // The attack is sound.
    assert!(known >= CONNECTIONS - ROOM, "{known}");
    Ok(())
}

/// How many connections of an attack did not get into their first window.
fn spilled(attack: Attack) -> Outcome<usize> {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let name = instance_name(&format!("collide-{attack:?}").to_lowercase());
    let mut settings = Director::new(name.parse()?, vec!["eth0".parse()?]);
    settings.connections = TableSize::new(SLOTS.into())?;
    settings.connections_v6 = TableSize::new(SLOTS.into())?;
    let (mut dataplane, _) = net.director.in_namespace(|| Dataplane::open(&settings))??;
    // What is pinned outlives the namespaces: it is removed also when an assertion fails.
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome<usize> {
        dataplane.add_service(&service()?, Origin::Runtime)?;
        let key = match attack {
            Attack::Honest => None,
            Attack::Guess => Some(HashKey { k0: 0, k1: 0 }),
            Attack::Knowledge => Some(key_of(&settings)?),
        };
        let clients = clients(key);
        let (macs, at) = (
            (net.director.mac("eth0")?, net.client.mac("eth0")?),
            SocketAddr::new(Vip::Direct.address(Family::V4), 80),
        );
        let flood = Flood::start(&net.client, "eth0", 10_000, move |number| {
            let from = *clients.get(number as usize)?;
            tcp_frame(macs, (SocketAddr::from(from), at), SYN, 1).ok()
        })?;
        assert_eq!(flood.finish()?, CONNECTIONS as u64);
        let counters = dataplane.counters();
        let count = |wanted: Counter| {
            let found = counters.iter().find(|(counter, _)| *counter == wanted);
            found.map_or(0, |(_, count)| *count as usize)
        };
        let made = dataplane.connections().len();
        let refused = count(Counter::DropTableFull);
        assert_eq!(made + refused, CONNECTIONS, "{attack:?}: {counters:?}");
        Ok(count(Counter::Spilled) + refused)
    }));
    net.director.in_namespace(|| dataplane.detach())??;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn service() -> Outcome<Service> {
    let address = SocketAddr::new(Vip::Direct.address(Family::V4), 80);
    let key = ServiceKey::from_str(&format!("tcp://{address}"))?;
    let server = Topology::outside_address(0, Family::V4);
    let server = Server::new(server, key.port(), Method::Direct, Weight::default())?;
    Ok(Service::new(key, ServiceOptions::new(Scheduler::Rr))?.with_servers([server])?)
}

/// Clients whose connections begin, in a table with this key, in the first slots; without a key any.
fn clients(key: Option<HashKey>) -> Vec<(Ipv4Addr, u16)> {
    let IpAddr::V4(vip) = Vip::Direct.address(Family::V4) else {
        return Vec::new();
    };
    let first = u32::from(Ipv4Addr::new(172, 16, 0, 1));
    (0_u32..)
        .map(|number| {
            let address = Ipv4Addr::from(first + (number >> 14));
            (address, 1024 + (number & 0x3fff) as u16)
        })
        .filter(|(address, port)| {
            let Some(key) = key else {
                return true;
            };
            let ports = [port.to_be_bytes(), 80_u16.to_be_bytes()].concat();
            let tuple = Key::<1> {
                source: [u32::from_ne_bytes(address.octets())],
                destination: [u32::from_ne_bytes(vip.octets())],
                ports: u32::from_ne_bytes([ports[0], ports[1], ports[2], ports[3]]),
                protocol: 6,
            };
            let hash = Hash::of(&tuple, key);
            [0, 1]
                .into_iter()
                .all(|level| hash.home(level) & (SLOTS - 1) < TARGET)
        })
        .take(CONNECTIONS)
        .collect()
}

/// The director's key, as root reads it from the pinned settings.
fn key_of(settings: &Director) -> Outcome<HashKey> {
    const WORDS: usize = size_of::<rvs_abi::Settings>() / 4;
    let map = MapData::from_pin(pinned_maps(settings).join("SETTINGS"))?;
    let words = Array::<_, [u32; WORDS]>::try_from(Map::Array(map))?.get(&0, 0)?;
    let number = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let key = HashKey {
        k0: number(words[0], words[1]),
        k1: number(words[2], words[3]),
    };
    if key == HashKey::default() {
        return Err("the director's key is the guessed one".into());
    }
    Ok(key)
}
