//! Floods, end to end: what they do to a director that lets them, and to one that has its defences; a well-behaved
//! client beside them is counted, not timed.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Cluster, Director, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{ACK, EchoConnection, Family, Flood, Host, SYN, Vip, tcp_frame, wait_until};

const NAT: Forward = Forward {
    vip: Vip::Nat,
    method: Method::Nat,
    family: Family::V4,
};
const DIRECT: Forward = Forward {
    vip: Vip::Direct,
    method: Method::Direct,
    family: Family::V4,
};
/// Connections that well-behaved clients ask for at once.
const POLITE: usize = 20;
/// A client's patience: time for its SYN to be repeated after 1, 3, 7 and 15 seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// That of clients who will not be served, as is to be shown: two repetitions.
const IMPATIENCE: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(60);

/// A cluster, and somebody outside who means no good.
struct Scene {
    cluster: Cluster,
    attacker: Host,
    macs: ([u8; 6], [u8; 6]),
}

impl Scene {
    fn new(settings: &str, services: &str) -> Outcome<Self> {
        let cluster = Cluster::with_real_servers(1, settings, services)?;
        let attacker = cluster.another_host("attacker")?;
        let macs = (cluster.net.director.mac("eth0")?, attacker.mac("eth0")?);
        Ok(Self {
            cluster,
            attacker,
            macs,
        })
    }

    fn director(&self) -> &Director {
        &self.cluster.director
    }

    fn client(&self) -> &Host {
        &self.cluster.net.client
    }

    /// SYNs from forged sources, each another one, from number `first` on.
    fn syns(&self, at: SocketAddr, first: u64, rate: u32, count: u64) -> Outcome<Flood> {
        let macs = self.macs;
        let flood = Flood::start(&self.attacker, "eth0", rate, move |number| {
            (number < count)
                .then(|| tcp_frame(macs, (forged(first + number), at), SYN, number as u32).ok())
                .flatten()
        })?;
        Ok(flood)
    }

    /// How many of [`POLITE`] connections are answered.
    fn served(&self, at: SocketAddr, patience: Duration) -> Outcome<usize> {
        let client = self.client();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..POLITE)
                .map(|_| scope.spawn(move || client.in_namespace(|| is_answered(at, patience))))
                .collect();
            asking.into_iter().map(|thread| thread.join()).collect()
        });
        let mut served = 0;
        for answer in answers {
            served += usize::from(answer.map_err(|_| "a client's thread panicked")??);
        }
        Ok(served)
    }

    /// A value of `defences` in the status.
    fn defence(&self, name: &str) -> Outcome<serde_json::Value> {
        Ok(self.director().json("status")?["defences"][name].clone())
    }

    /// Waits until drop_entry is in force, or no longer.
    fn await_drop_entry(&self, wanted: bool) -> Outcome {
        let what = format!("drop_entry in force: {wanted}");
        wait_until(&what, SOON, || {
            self.defence("drop_entry").is_ok_and(|now| now == wanted)
        })?;
        Ok(())
    }

    /// Waits until drop_packet drops one in so many; 0 is none.
    fn await_drop_rate(&self, rate: u32) -> Outcome {
        wait_until(&format!("drop_packet's rate {rate}"), SOON, || {
            self.defence("drop_rate").is_ok_and(|now| now == rate)
        })?;
        Ok(())
    }

    /// Slots of IPv4 that are in use.
    fn used(&self) -> Outcome<u64> {
        let status = self.director().json("status")?;
        let used = status["table"]["used_v4"].as_u64();
        used.ok_or_else(|| format!("no number: {status}").into())
    }

    /// Connections that the director takes for established.
    fn established(&self) -> Outcome<usize> {
        let list = self.director().json("connections --limit 100000")?;
        let list = list["connections"].as_array().ok_or("no list")?;
        Ok(list
            .iter()
            .filter(|one| one["state"] == "ESTABLISHED")
            .count())
    }
}

/// An address and port that nobody has.
fn forged(number: u64) -> SocketAddr {
    let address = u32::from(Ipv4Addr::new(172, 16, 0, 0)) + (number & 0xf_ffff) as u32;
    let port = 1024 + (number % 60_000) as u16;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port)
}

/// Whether an HTTP request over a connection of its own is answered in time.
fn is_answered(at: SocketAddr, patience: Duration) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET /id HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 ") && answer.ends_with("rs1\n"))
}

/// A SYN flood that fills the table, and then goes on. Without drop_entry nobody new is served until half-open
/// connections time out; with it everybody is, at the second try at the latest. Who is connected notices nothing.
#[test]
fn a_syn_flood_fills_the_table_and_drop_entry_empties_it() -> Outcome {
    for (forward, mode) in [(NAT, 0), (NAT, 1), (DIRECT, 2), (NAT, 3), (DIRECT, 3)] {
        let context = format!("{} drop_entry = {mode}", forward.method);
        let services = forward.service("tcp", 80, 1) + &forward.service("tcp", 7, 1);
        let settings = format!("connections = \"16Ki\"\ndrop_entry = {mode}\n");
        let scene = Scene::new(&settings, &services)?;
        let mut known = EchoConnection::open(scene.client(), forward.at(7))?;
        assert_eq!(scene.defence("drop_entry")?, mode == 3, "{context}");

        // To be served by none, the table has to have no room whatever a connection's addresses are; ten times what it takes.
        let count = if mode == 0 { 80_000 } else { 40_000 };
        let sent = scene.syns(forward.at(80), 0, 40_000, count)?.finish()?;
        assert_eq!(sent, count, "{context}");
        let going_on = scene.syns(forward.at(80), sent, 2000, u64::MAX)?;
        known.check("the table is full")?;
        if mode > 0 {
            scene.await_drop_entry(true)?;
        }
        let patience = if mode == 0 { IMPATIENCE } else { PATIENCE };
        let served = scene.served(forward.at(80), patience)?;
        known.check("the flood goes on")?;
        let counters = scene.director().counters()?;
        println!("{context}: {served} of {POLITE} served, {counters:?}");
        let count = |name: &str| counters.get(name).copied().unwrap_or(0);
        assert!(count("drop_table_full") > 10_000, "{context}: {counters:?}");
        assert_eq!(count("drop_defence"), 0, "{context}: {counters:?}");
        if mode == 0 {
            assert!(served <= POLITE / 5, "{context}: {served}");
            // What those who were served have closed makes way, and nothing else.
            let made = count("made_room");
            assert!(made <= served as u64, "{context}: {counters:?}");
        } else {
            assert_eq!(served, POLITE, "{context}: {counters:?}");
            assert!(count("made_room") > 0, "{context}: {counters:?}");
        }
        going_on.stop()?;
        if mode == 1 || mode == 2 {
            // What is half open goes, and then the defence is no longer called for.
            scene.await_drop_entry(false)?;
        }
        known.check("the flood is over")?;
    }
    Ok(())
}

/// As many SYNs as the sender can make, with all defences automatic: who is connected notices nothing, every packet is
/// accounted for, and afterwards no defence is in force any more and all are served.
#[test]
fn a_flood_at_full_speed_is_accounted_for() -> Outcome {
    const COUNT: u64 = 200_000;
    let settings = "connections = \"16Ki\"\ndrop_entry = 1\ndrop_packet = 1\nsecure_tcp = 1\n";
    let services = NAT.service("tcp", 80, 1) + &NAT.service("tcp", 7, 1);
    let scene = Scene::new(settings, &services)?;
    let mut known = EchoConnection::open(scene.client(), NAT.at(7))?;
    let before = scene.director().json("status")?["counted"]["connections"]
        .as_u64()
        .ok_or("no number")?;
    let flood = scene.syns(NAT.at(80), 0, u32::MAX, COUNT)?;
    for _ in 0..10 {
        known.check("in the flood")?;
    }
    assert_eq!(flood.finish()?, COUNT);
    known.check("after the flood")?;
    let status = scene.director().json("status")?;
    let made = status["counted"]["connections"]
        .as_u64()
        .ok_or("no number")?
        - before;
    let counters = scene.director().counters()?;
    let count = |name: &str| counters.get(name).copied().unwrap_or(0);
    let seen = made + count("drop_table_full") + count("drop_defence");
    println!("{made} connections, {counters:?}");
    // The switch may lose a few on their way.
    assert!(
        seen <= COUNT && seen > COUNT / 10 * 9,
        "{seen}: {counters:?}"
    );
    scene.await_drop_entry(false)?;
    // Much of the table is still half open.
    assert_eq!(scene.served(NAT.at(80), PATIENCE)?, POLITE);
    assert_eq!(scene.defence("drop_rate")?, 0);
    assert_eq!(scene.defence("secure_tcp")?, false);
    known.check("when all is over")?;
    Ok(())
}

/// drop_packet drops one new connection in so many, in mode 3 always, in modes 1 and 2 only while room is short, and
/// never a packet of a connection that is there.
#[test]
fn drop_packet_drops_its_share() -> Outcome {
    const COUNT: u64 = 20_000;
    let services = NAT.service("tcp", 80, 1) + &NAT.service("tcp", 7, 1);
    let settings = "connections = \"256Ki\"\nam_droprate = 4\n";
    let scene = Scene::new(settings, &services)?;
    let mut known = EchoConnection::open(scene.client(), NAT.at(7))?;
    let mut sent = 0;
    for (mode, rate, expected) in [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 4, COUNT / 4)] {
        scene.director().rvs(&format!("knobs drop_packet={mode}"))?;
        scene.await_drop_rate(rate)?;
        let before = scene.director().counter("drop_defence")?;
        sent += scene.syns(NAT.at(80), sent, 20_000, COUNT)?.finish()?;
        for round in 0..100 {
            known.check(&format!("mode {mode}, {round}"))?;
        }
        let dropped = scene.director().counter("drop_defence")? - before;
        // The switch may lose a few; the client's own connection counts too.
        assert!(
            dropped <= expected + 1 && dropped >= expected / 10 * 9,
            "mode {mode}: {dropped}, not {expected}"
        );
        // Whoever is dropped tries again.
        assert_eq!(scene.served(NAT.at(80), PATIENCE)?, POLITE, "mode {mode}");
    }
    assert_eq!(sent, 4 * COUNT);

    let settings = "connections = \"16Ki\"\ndrop_packet = 1\n";
    let scene = Scene::new(settings, &services)?;
    let mut known = EchoConnection::open(scene.client(), NAT.at(7))?;
    let mut first = scene.syns(NAT.at(80), 0, 40_000, 40_000)?.finish()?;
    for mode in [1, 2] {
        scene.director().rvs(&format!("knobs drop_packet={mode}"))?;
        scene.await_drop_rate(1)?;
        let before = scene.director().counters()?;
        let sent = scene.syns(NAT.at(80), first, 4000, 4000)?.finish()?;
        first += sent;
        let after = scene.director().counters()?;
        let more = |name: &str| {
            let of =
                |all: &std::collections::BTreeMap<String, u64>| all.get(name).copied().unwrap_or(0);
            of(&after) - of(&before)
        };
        // A full table: all are dropped before anybody looks for room.
        assert!(
            more("drop_defence") >= sent / 10 * 9,
            "mode {mode}: {after:?}"
        );
        assert_eq!(more("drop_table_full"), 0, "mode {mode}: {after:?}");
        known.check("while all that is new is dropped")?;
    }
    Ok(())
}

/// SYN and ACK from forged sources, while the server says nothing: without secure_tcp the director takes these for
/// connections, which stay for a quarter of an hour; with it, not one, and drop_entry takes them away.
#[test]
fn secure_tcp_believes_no_client_alone() -> Outcome {
    const COUNT: u64 = 2000;
    const SILENT: &str = "10.1.0.50";
    let services = format!(
        "[[service]]\naddress = \"tcp://{}\"\nmethod = \"nat\"\nservers = [\"{SILENT}\"]\n",
        NAT.at(80)
    );
    let scene = Scene::new("secure_tcp = 3\ndrop_entry = 3\n", &services)?;
    let net = &scene.cluster.net;
    net.director
        .neighbour("eth1", SILENT.parse()?, net.real_servers[0].mac("eth1")?)?;
    let mut first = 0;
    // Connections that are believed stay, so the mode that believes none comes first.
    for (mode, believes) in [(3, false), (0, true), (1, true), (2, true)] {
        scene.director().rvs(&format!("knobs secure_tcp={mode}"))?;
        wait_until("secure_tcp as the mode says", SOON, || {
            scene
                .defence("secure_tcp")
                .is_ok_and(|now| now == (mode == 3))
        })?;
        let established_before = scene.established()?;
        let (macs, at) = (scene.macs, NAT.at(80));
        let flood = Flood::start(&scene.attacker, "eth0", 10_000, move |number| {
            let flags = if number % 2 == 0 { SYN } else { ACK };
            let from = forged(first + number / 2);
            (number < 2 * COUNT)
                .then(|| tcp_frame(macs, (from, at), flags, number as u32).ok())
                .flatten()
        })?;
        flood.finish()?;
        first += COUNT;
        let established = scene.established()? - established_before;
        println!("secure_tcp = {mode}: {established} of {COUNT} believed");
        if believes {
            assert!(
                established as u64 >= COUNT / 10 * 9,
                "mode {mode}: {established}"
            );
        } else {
            assert_eq!(established, 0, "mode {mode}");
            // The table has 64 Ki slots, of which one in 32 is looked at in a second.
            let before = scene.director().connections()?;
            wait_until("drop_entry takes some away", SOON, || {
                scene
                    .director()
                    .connections()
                    .is_ok_and(|now| now * 10 < before * 9)
            })?;
        }
    }
    Ok(())
}

/// Complete handshakes from many addresses that then say nothing. Without drop_entry they keep the table full; with it
/// they take part in a lottery after a minute, and well-behaved clients are served again.
#[test]
fn a_connection_flood_is_thinned_out() -> Outcome {
    const MINUTE: Duration = Duration::from_secs(62);
    const IDLE: u16 = 9;
    /// Slots of 1024; a few may be left that are nobody's.
    const FULL: u64 = 1000;
    let mut scenes = Vec::new();
    for mode in [0, 3] {
        let services = DIRECT.service("tcp", 80, 1) + &DIRECT.service("tcp", IDLE, 1);
        let settings = format!("connections = \"1024\"\ndrop_entry = {mode}\n");
        let scene = Scene::new(&settings, &services)?;
        // Nobody accepts; the kernel completes the handshakes all the same.
        let server = &scene.cluster.net.real_servers[0];
        let listener = server.in_namespace(|| listen(IDLE))??;
        scene
            .client()
            .route(&["add", "local", "172.16.0.0/16", "dev", "lo"])?;
        let open = scene
            .client()
            .in_namespace(|| connect_all(DIRECT.at(IDLE), 4000))??;
        scenes.push((mode, scene, listener, open));
    }
    for (mode, scene, _, open) in &mut scenes {
        // A client that found no free slot tries again after a second, and after three.
        wait_until("a full table", SOON, || {
            scene.used().is_ok_and(|used| used >= FULL)
        })?;
        // The others would go on trying, and get in as soon as there is room.
        open.retain(|one| one.peer_addr().is_ok());
        let made = open.len();
        assert!((900..=1024).contains(&made), "mode {mode}: {made}");
        assert!(
            scene.served(DIRECT.at(80), IMPATIENCE)? <= POLITE / 5,
            "mode {mode}"
        );
    }
    std::thread::sleep(MINUTE);
    for (mode, scene, _, _) in &scenes {
        if *mode != 0 {
            // The lottery goes on until all are out. With three quarters used, a client may still find every slot
            // that could be its own taken; with half, none of twenty does.
            wait_until("a thinner crowd", 3 * MINUTE, || {
                scene.used().is_ok_and(|used| used <= 512)
            })?;
        }
        let served = scene.served(
            DIRECT.at(80),
            if *mode == 0 { IMPATIENCE } else { PATIENCE },
        )?;
        println!("drop_entry = {mode}: {served} of {POLITE} served");
        if *mode == 0 {
            assert!(served <= POLITE / 5, "{served}");
        } else {
            assert_eq!(served, POLITE);
        }
    }
    Ok(())
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address)?;
    // More than the standard library asks for.
    rustix::net::listen(&listener, 4096)?;
    Ok(listener)
}

/// Begins so many connections, each from an address of its own, and waits for none.
fn connect_all(at: SocketAddr, count: u32) -> std::io::Result<Vec<TcpStream>> {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    let first = u32::from(Ipv4Addr::new(172, 16, 1, 0));
    (0..count)
        .map(|number| {
            let socket = socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                None,
            )?;
            bind(
                &socket,
                &SocketAddr::from((Ipv4Addr::from(first + number), 0)),
            )?;
            match connect(&socket, &at) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
                Err(error) => Err(error.into()),
            }
        })
        .collect()
}
