//! FTP through NAT: a real server, a real client, active and passive, both families, without the daemon's API.

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    str::FromStr,
    time::Duration,
};

use common::instance_name;
use rvs_abi::Counter;
use rvs_config::{
    Director, Method, Scheduler, Server, Service, ServiceKey, ServiceOptions, Weight,
};
use rvs_dataplane::{Adoption, Dataplane, Origin, hops};
use rvs_lab::{Family, Host, Lab, Topology, Vip, Vsftpd};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const BULK: usize = 3 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Real servers with vsftpd, and a data plane in front of them, by NAT.
struct Site {
    settings: Director,
    dataplane: Option<Dataplane>,
    servers: Vec<Vsftpd>,
    net: Topology,
    _lab: Lab,
}

impl Site {
    fn new(instance: &str, count: usize) -> Outcome<Self> {
        let lab = Lab::new()?;
        let net = Topology::with_real_servers(&lab, count)?;
        let bulk = bulk();
        let files: [(&str, &[u8]); 3] = [("a", b"first\n"), ("b", b"second\n"), ("bulk", &bulk)];
        let servers = net
            .real_servers
            .iter()
            .map(|server| Vsftpd::start(server, &files))
            .collect::<Result<_, _>>()?;
        let interfaces = ["eth0", "eth1"].map(|name| name.parse().expect("an interface name"));
        let settings = Director::new(instance_name(instance).parse()?, interfaces.to_vec());
        let mut site = Self {
            settings,
            dataplane: None,
            servers,
            net,
            _lab: lab,
        };
        assert_eq!(site.open()?, Adoption::Fresh);
        for family in Family::ALL {
            let key = ServiceKey::from_str(&format!("tcp://{}", at(family)))?;
            let servers = (0..count).map(|number| {
                let address = Topology::inside_address(number, family);
                Server::new(address, key.port(), Method::Nat, Weight::default()).expect("a server")
            });
            let service =
                Service::new(key, ServiceOptions::new(Scheduler::Rr))?.with_servers(servers)?;
            site.dataplane().add_service(&service, Origin::Runtime)?;
        }
        site.resolve();
        Ok(site)
    }

    fn dataplane(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().expect("a data plane")
    }

    /// As a daemon that starts does.
    fn open(&mut self) -> Outcome<Adoption> {
        let settings = &self.settings;
        let (dataplane, adoption) = self
            .net
            .director
            .in_namespace(|| Dataplane::open(settings))??;
        self.dataplane = Some(dataplane);
        Ok(adoption)
    }

    /// As a daemon that ends does.
    fn leave(&mut self) {
        self.dataplane = None;
    }

    /// Looks the servers' next hops up, as the daemon does every second.
    fn resolve(&mut self) {
        let addresses = self.dataplane().server_addresses();
        let found = self.net.director.in_namespace(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let (connection, mut handle, _) = rtnetlink::new_connection().expect("netlink");
                tokio::spawn(connection);
                let mut found = Vec::new();
                for _ in 0..3 {
                    found = hops::resolve(&mut handle, &addresses).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                found
            })
        });
        let hops: Vec<_> = found
            .expect("the director's namespace")
            .into_iter()
            .map(|(address, hop)| (address, hop.ok()))
            .collect();
        self.dataplane().apply_hops(&hops);
    }

    fn counter(&mut self, counter: Counter) -> u64 {
        let counters = self.dataplane().counters();
        counters
            .into_iter()
            .find(|(known, _)| *known == counter)
            .map_or(0, |(_, count)| count)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What is pinned outlives the namespaces.
        if let Some(dataplane) = self.dataplane.take() {
            let _ = self.net.director.in_namespace(|| dataplane.detach());
        }
    }
}

fn at(family: Family) -> SocketAddr {
    SocketAddr::new(Vip::Nat.address(family), 21)
}

fn bulk() -> Vec<u8> {
    (0..BULK).map(|i| ((i / 7) ^ i) as u8).collect()
}

/// Fetches the files one after the other over one control connection.
fn fetch(client: &Host, family: Family, options: &[&str]) -> Outcome {
    let url = |name: &str| format!("ftp://{}/{name}", at(family));
    let mut command = client.command("curl");
    command.args(["-sS", "--max-time", "30", "--globoff"]);
    command.args(options);
    for name in ["a", "b", "bulk", "a"] {
        command.arg(url(name));
    }
    let output = command.output()?;
    let wanted = [&b"first\nsecond\n"[..], &bulk(), b"first\n"].concat();
    if output.status.success() && output.stdout == wanted {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{family:?} {options:?}: {} bytes, {}, {error}",
        output.stdout.len(),
        output.status
    )
    .into())
}

#[test]
fn files_arrive_in_every_mode() -> Outcome {
    let mut site = Site::new("ftp-modes", 2)?;
    assert!(
        site.servers
            .iter()
            .all(|server| server.root().join("bulk").exists())
    );
    let client = site.net.client.clone();
    let client = &client;
    for family in Family::ALL {
        let before = site.counter(Counter::FtpDetour);
        // EPSV, then EPRT.
        fetch(client, family, &[])?;
        fetch(client, family, &["--ftp-port", "-"])?;
        if family == Family::V4 {
            // PASV, then PORT.
            fetch(client, family, &["--disable-epsv"])?;
            fetch(client, family, &["--disable-eprt", "--ftp-port", "-"])?;
        }
        let modes = if family == Family::V4 { 4 } else { 2 };
        assert!(
            site.counter(Counter::FtpDetour) - before >= modes * 4,
            "{family:?}"
        );
    }
    assert_eq!(site.counter(Counter::DropFtp), 0);
    assert_eq!(site.counter(Counter::DropSequence), 0);
    Ok(())
}

#[test]
fn many_clients_at_once() -> Outcome {
    let site = Site::new("ftp-many", 3)?;
    let client = &site.net.client;
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..12)
            .map(|number| {
                let options: &[&str] = match number % 3 {
                    0 => &["--disable-epsv"],
                    1 => &["--disable-eprt", "--ftp-port", "-"],
                    _ => &[],
                };
                // An error may not cross the scope: its text does.
                scope.spawn(move || {
                    fetch(client, Family::V4, options).map_err(|error| error.to_string())
                })
            })
            .collect();
        for fetch in fetches {
            fetch.join().expect("no panic")?;
        }
        Ok(())
    })
}

/// A control connection whose numbers are adjusted lives on while the daemon is gone, and is served when it is back.
#[test]
fn a_control_connection_outlives_the_daemon() -> Outcome {
    let mut site = Site::new("ftp-outlives", 1)?;
    let mut talk = site
        .net
        .client
        .in_namespace(|| Talk::open(at(Family::V4)))??;
    for _ in 0..3 {
        talk.fetch(&site.net.client, "a", b"first\n")?;
    }
    site.leave();
    assert!(talk.say("NOOP")?.starts_with("200"));
    assert!(talk.say("PWD")?.starts_with("257"));
    assert_eq!(site.open()?, Adoption::Adopted);
    talk.fetch(&site.net.client, "b", b"second\n")?;
    // Other table sizes are other tables. What was announced before is still expected.
    let announced = talk.passive()?;
    site.leave();
    site.settings.connections = "4096".parse()?;
    let adoption = site.open()?;
    assert!(
        matches!(adoption, Adoption::Upgraded { .. }),
        "{adoption:?}"
    );
    site.resolve();
    let client = site.net.client.clone();
    let data = client.in_namespace(|| TcpStream::connect_timeout(&announced, TIMEOUT))??;
    talk.receive(data, "b", b"second\n")?;
    assert!(talk.say("NOOP")?.starts_with("200"));
    talk.fetch(&site.net.client, "bulk", &bulk())?;
    Ok(())
}

/// Nobody is called who did not ask for it, and words that are split are not understood but do no harm.
#[test]
fn foreign_addresses_are_not_taken() -> Outcome {
    let mut site = Site::new("ftp-foreign", 1)?;
    let mut talk = site
        .net
        .client
        .in_namespace(|| Talk::open(at(Family::V4)))??;
    let connections = site.dataplane().connections().len();
    // The server refuses it, and the director makes no connection for it.
    talk.say("PORT 192,0,2,99,4,1")?;
    assert_eq!(site.dataplane().connections().len(), connections);
    talk.say("PORT 1,2,3")?;
    talk.say("EPRT |1|999.1.1.1|5|")?;
    talk.fetch(&site.net.client, "a", b"first\n")?;
    Ok(())
}

/// A client that speaks by hand.
struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    fn open(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut talk = Self {
            stream: BufReader::new(stream),
        };
        talk.answer()?;
        talk.say("USER anonymous")?;
        Ok(talk)
    }

    fn say(&mut self, words: &str) -> std::io::Result<String> {
        self.stream
            .get_mut()
            .write_all(format!("{words}\r\n").as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> std::io::Result<String> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("the server hung up"));
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return Ok(line);
            }
        }
    }

    /// Where the server waits for the next data connection, as the client is told.
    fn passive(&mut self) -> Outcome<SocketAddr> {
        let answer = self.say("PASV")?;
        let numbers: Vec<u16> = answer
            .split(['(', ')', ','])
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        let [a, b, c, d, e, f] = numbers[..] else {
            return Err(format!("{answer:?}").into());
        };
        let address = Vip::Nat.address(Family::V4);
        assert_eq!(format!("{a}.{b}.{c}.{d}"), address.to_string());
        Ok(SocketAddr::new(address, e << 8 | f))
    }

    /// By PASV, and then by PORT.
    fn fetch(&mut self, client: &Host, name: &str, wanted: &[u8]) -> Outcome {
        let announced = self.passive()?;
        let data = client.in_namespace(|| TcpStream::connect_timeout(&announced, TIMEOUT))??;
        self.receive(data, name, wanted)?;

        let listener = client.in_namespace(|| TcpListener::bind("0.0.0.0:0"))??;
        let own = self.stream.get_ref().local_addr()?.ip().to_string();
        let port = listener.local_addr()?.port();
        let words = format!(
            "PORT {},{},{}",
            own.replace('.', ","),
            port >> 8,
            port & 255
        );
        assert!(self.say(&words)?.starts_with("200"));
        self.stream
            .get_mut()
            .write_all(format!("RETR {name}\r\n").as_bytes())?;
        let (mut data, from) = listener.accept()?;
        assert_eq!(from, SocketAddr::new(Vip::Nat.address(Family::V4), 20));
        assert!(self.answer()?.starts_with("150"));
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        assert!(bytes == wanted, "{} bytes", bytes.len());
        assert!(self.answer()?.starts_with("226"));
        Ok(())
    }

    fn receive(&mut self, mut data: TcpStream, name: &str, wanted: &[u8]) -> Outcome {
        data.set_read_timeout(Some(TIMEOUT))?;
        assert!(self.say(&format!("RETR {name}"))?.starts_with("150"));
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        assert!(bytes == wanted, "{} bytes", bytes.len());
        assert!(self.answer()?.starts_with("226"));
        Ok(())
    }
}
