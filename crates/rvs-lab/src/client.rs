//! Requests from a host, one at a time: curl, and a small HTTP/1.0 client that is fast enough for
//! thousands of short connections.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long a request may take.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);

/// More than any answer that is kept in memory.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

impl Host {
    /// What curl gets from a URL; HTTP errors are errors.
    pub fn curl(&self, url: &str) -> Result<String> {
        self.run(&["curl", "-sS", "-g", "--fail", "--max-time", "30", url])
    }

    /// Gets a path by HTTP/1.0 over a connection of its own; the body, which must come with
    /// status 200.
    pub fn get(&self, address: SocketAddr, path: &str) -> Result<String> {
        self.in_namespace(|| get(address, path))?
            .at(self.name(), || format!("cannot get http://{address}{path}"))
    }

    /// A TCP connection from this host, which may be used from any thread.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        self.connect_from(None, address)
    }

    /// A TCP connection from a chosen address and port of this host (port 0: any).
    pub fn connect_from(
        &self,
        source: Option<SocketAddr>,
        address: SocketAddr,
    ) -> Result<TcpStream> {
        self.connect_within(source, address, REQUEST_TIME)
    }

    /// Like [`Host::connect_from`], with a limit of one's own.
    pub fn connect_within(
        &self,
        source: Option<SocketAddr>,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream> {
        self.in_namespace(|| connect(source, address, timeout))?
            .at(self.name(), || match source {
                Some(source) => format!("cannot connect from {source} to {address}"),
                None => format!("cannot connect to {address}"),
            })
    }

    /// A UDP socket of this host, bound to the address if given and else to any port of the peer's
    /// family, and connected to the peer.
    pub fn udp_socket(&self, source: Option<SocketAddr>, peer: SocketAddr) -> Result<UdpSocket> {
        let any = if peer.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let bind = || match source {
            Some(source) => UdpSocket::bind(source),
            None => UdpSocket::bind(any),
        };
        let open = || {
            let socket = bind()?;
            socket.connect(peer)?;
            Ok::<_, io::Error>(socket)
        };
        self.in_namespace(open)?.at(self.name(), || {
            format!("cannot open a UDP socket to {peer}")
        })
    }

    /// Sends a datagram and waits for the answer.
    pub fn udp_exchange(
        &self,
        source: Option<SocketAddr>,
        peer: SocketAddr,
        payload: &str,
        timeout: Duration,
    ) -> Result<String> {
        let socket = self.udp_socket(source, peer)?;
        let mut buffer = vec![0; 65_536];
        let mut exchange = || {
            socket.set_read_timeout(Some(timeout))?;
            socket.send(payload.as_bytes())?;
            socket.recv(&mut buffer)
        };
        let length = exchange()
            .map_err(timed_out)
            .at(self.name(), || format!("UDP exchange with {peer}"))?;
        let answer = buffer.get(..length).unwrap_or_default();
        String::from_utf8(answer.to_vec()).map_err(|_| LabError::Answer {
            place: self.name().to_owned(),
            what: format!("the answer of {peer} is not text: {answer:02x?}"),
        })
    }
}

/// A TCP connection from the calling thread's namespace.
pub(crate) fn connect(
    source: Option<SocketAddr>,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect_timeout(&address, timeout);
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // So that the same port can be used again while an older connection lingers.
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}

/// Gets a path from the calling thread's namespace.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut answer = Vec::new();
    let stream = request(address, path)?;
    stream
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut answer)
        .map_err(timed_out)?;
    let (head, body) =
        split_head(&answer).ok_or_else(|| bad("the answer has no end of headers", &answer))?;
    check_head(head)?;
    // A connection cut short looks like the end of the answer otherwise.
    if let Some(length) = content_length(head)
        && length != body.len() as u64
    {
        return Err(bad(&format!("{} of {length} bytes came", body.len()), head));
    }
    String::from_utf8(body.to_vec()).map_err(|_| bad("the body is not text", body))
}

/// Connects and sends a request.
pub(crate) fn request(address: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut stream = connect(None, address, REQUEST_TIME)?;
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    Ok(stream)
}

/// Splits an answer behind its headers.
pub(crate) fn split_head(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    answer.split_at_checked(end + 4)
}

/// Refuses everything but status 200.
pub(crate) fn check_head(head: &[u8]) -> io::Result<()> {
    let is_ok = head.starts_with(b"HTTP/1.") && head.get(8..12) == Some(b" 200");
    if is_ok {
        Ok(())
    } else {
        Err(bad("not status 200", head))
    }
}

/// The length that the headers promise.
pub(crate) fn content_length(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| {
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().ok()).flatten()
        })
}

/// An error that shows the first line of what came.
pub(crate) fn bad(what: &str, bytes: &[u8]) -> io::Error {
    let text =
        String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).unwrap_or_default()).into_owned();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what}: {:?}", text.lines().next().unwrap_or_default()),
    )
}

/// "Resource temporarily unavailable" is the kernel's word for a time-out; say so.
pub(crate) fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrs1\n";
        let (head, body) = split_head(answer).expect("it has headers");
        assert_eq!(body, b"rs1\n");
        assert_eq!(content_length(head), Some(4));
        assert!(check_head(head).is_ok());
        assert!(check_head(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").is_err());
        assert!(check_head(b"").is_err());
        assert_eq!(split_head(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
