//! Names of hosts and ports, from `/etc/hosts` and `/etc/services`; hosts that are named nowhere there are asked of
//! the system's resolver. Addresses are named by `/etc/hosts` alone: a listing waits for no name server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use rvs_config::Protocol;

/// What the two files say.
#[derive(Clone, Debug)]
pub(super) struct Names {
    hosts: Vec<(IpAddr, Vec<String>)>,
    ports: Vec<Port>,
    others: Others,
}

/// Who knows the hosts that the files do not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Resolver,
    #[cfg(any(test, fuzzing))]
    Nobody,
}

#[derive(Clone, Debug)]
struct Port {
    number: u16,
    protocol: String,
    names: Vec<String>,
}

impl Names {
    /// This machine's names. A file that cannot be read has no names in it.
    pub(super) fn of_this_machine() -> Names {
        // As bytes: a comment may be in any encoding.
        let read = |path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Names::from_texts(
            &read("/etc/hosts"),
            &read("/etc/services"),
            Others::Resolver,
        )
    }

    /// The names in files of the formats of hosts(5) and services(5). Lines that make no sense are left out.
    pub(super) fn from_texts(hosts: &str, services: &str, others: Others) -> Names {
        let host = |line: Vec<&str>| {
            let (address, names) = line.split_first()?;
            let address = address.parse().ok()?;
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            (!names.is_empty()).then_some((address, names))
        };
        let port = |line: Vec<&str>| {
            let [name, port, aliases @ ..] = line.as_slice() else {
                return None;
            };
            let (number, protocol) = port.split_once('/')?;
            let names = std::iter::once(name)
                .chain(aliases)
                .map(|&name| name.to_owned())
                .collect();
            Some(Port {
                number: number.parse().ok()?,
                protocol: protocol.to_owned(),
                names,
            })
        };
        Names {
            hosts: lines(hosts).filter_map(host).collect(),
            ports: lines(services).filter_map(port).collect(),
            others,
        }
    }

    /// The IPv4 address of a host name, as ipvsadm looks for it: IPv6 addresses are only given as numbers.
    pub(super) fn host(&self, name: &str) -> Option<Ipv4Addr> {
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        };
        let listed = self
            .hosts
            .iter()
            .filter(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
            .find_map(|&(address, _)| v4(address));
        // A mistyped address is nobody's name: what a name server makes of it is not asked.
        let is_number = name.chars().all(|c| c.is_ascii_digit() || c == '.');
        if listed.is_some() || is_number || name.contains(char::is_whitespace) {
            return listed;
        }
        match self.others {
            Others::Resolver => (name, 0)
                .to_socket_addrs()
                .ok()?
                .find_map(|socket| v4(socket.ip())),
            #[cfg(any(test, fuzzing))]
            Others::Nobody => None,
        }
    }

    /// The number of a named port.
    pub(super) fn port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| port.protocol == protocol && port.names.iter().any(|known| known == name))
            .map(|port| port.number)
    }

    /// How a socket address reads with names in the place of numbers. A port's name belongs to a protocol.
    pub(super) fn socket(&self, socket: SocketAddr, protocol: Option<Protocol>) -> String {
        let named = |port: &&Port| {
            port.number == socket.port()
                && protocol.is_some_and(|protocol| port.protocol == protocol.name())
        };
        let port = self
            .ports
            .iter()
            .find(named)
            .and_then(|port| port.names.first().cloned())
            .unwrap_or_else(|| socket.port().to_string());
        let host = self
            .hosts
            .iter()
            .find(|&&(address, _)| address == socket.ip())
            .and_then(|(_, names)| names.first().cloned())
            .unwrap_or_else(|| number(socket.ip()));
        if socket.is_ipv6() {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// An address as the C library writes it: as everybody does, but for IPv6 addresses that end in an IPv4 address after
/// nothing but zeros.
fn number(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                format!("::{}", Ipv4Addr::from_bits(v6.to_bits() as u32))
            }
            _ => v6.to_string(),
        },
        IpAddr::V4(v4) => v4.to_string(),
    }
}

/// A socket address in numbers.
pub(super) fn socket_number(socket: SocketAddr) -> String {
    let (host, port) = (number(socket.ip()), socket.port());
    if socket.is_ipv6() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The words of each line, without comments and empty lines.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| {
            line.split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
        })
        .filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "# services\nhttp\t80/tcp\twww # web\ndomain 53/tcp\ndomain 53/udp\nrubbish\nx 99999/tcp\ny /tcp\n";
    const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.9 Web9.example.com web9\nrubbish x\n";

    #[test]
    fn ports() {
        let names = Names::from_texts(HOSTS, SERVICES, Others::Nobody);
        assert_eq!(names.port("http", "tcp"), Some(80));
        assert_eq!(names.port("www", "tcp"), Some(80));
        assert_eq!(names.port("http", "udp"), None);
        assert_eq!(names.port("HTTP", "tcp"), None);
        assert_eq!(names.port("x", "tcp"), None);
        let socket = |text: &str, protocol| names.socket(text.parse().expect(text), Some(protocol));
        assert_eq!(socket("10.0.0.1:80", Protocol::Tcp), "10.0.0.1:http");
        assert_eq!(socket("10.0.0.1:80", Protocol::Udp), "10.0.0.1:80");
        assert_eq!(
            socket("[2001:db8::1]:53", Protocol::Udp),
            "[2001:db8::1]:domain"
        );
        assert_eq!(socket("10.0.0.9:81", Protocol::Tcp), "Web9.example.com:81");
    }

    #[test]
    fn hosts() {
        let names = Names::from_texts(HOSTS, SERVICES, Others::Nobody);
        assert_eq!(names.host("web9"), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(
            names.host("WEB9.example.COM"),
            Some(Ipv4Addr::new(10, 0, 0, 9))
        );
        assert_eq!(names.host("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(names.host(""), None);
        assert_eq!(names.host("no such"), None);
    }
}
