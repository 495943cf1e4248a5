//! Echo services: UDP datagrams answered one by one, and TCP connections that stay open.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use crate::service::{LOOK_TIME, TcpService, both_families, bound_socket};
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Protocol, Socket, Type};
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const MAX_DATAGRAM_BYTES: usize = 65_536;

/// Answers each UDP datagram by `<host>: <payload>`, from the address that it was sent to, on all
/// IPv4 and IPv6 addresses. Ends when dropped.
#[derive(Debug)]
pub struct UdpEcho {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts the service on a host's port.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Self::answering(host, port, |name, asked| {
            Some([name.as_bytes(), b": ", asked].concat())
        })
    }

    /// Starts a service that answers what `say` says of the host's name and the datagram; where that is nothing, not.
    pub(crate) fn answering(
        host: &Host,
        port: u16,
        say: fn(&str, &[u8]) -> Option<Vec<u8>>,
    ) -> Result<Self> {
        let mut echo = Self {
            stopped: Arc::default(),
            threads: Vec::new(),
        };
        for address in both_families(port) {
            let open = || {
                let socket = bound_socket(address, Type::DGRAM, Protocol::UDP)?;
                socket.set_read_timeout(Some(LOOK_TIME))?;
                if address.is_ipv4() {
                    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
                } else {
                    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                }
                Ok::<_, io::Error>(socket)
            };
            let socket = host
                .in_namespace(open)?
                .at(host.name(), || format!("cannot open UDP socket {address}"))?;
            let (stopped, name) = (Arc::clone(&echo.stopped), host.name().to_owned());
            echo.threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
                while !stopped.load(Ordering::SeqCst) {
                    // Time-outs, and errors that ICMP brought for an earlier answer, change nothing.
                    let _ = answer(&socket, &name, &mut buffer, say);
                }
            }));
        }
        Ok(echo)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Answers one datagram. The answer's source is set by hand: a host with a service's address on
/// `lo` would otherwise choose the address of the interface.
fn answer(
    socket: &Socket,
    name: &str,
    buffer: &mut [u8],
    say: fn(&str, &[u8]) -> Option<Vec<u8>>,
) -> nix::Result<()> {
    let mut space = cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let (length, from) = (message.bytes, message.address);
    let mut sources = (None, None);
    for control in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
            sources.0 = Some(libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ipi_addr: info.ipi_addr,
            });
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            // Link-local peers need the interface, and for others it does no harm to leave it out.
            let ipi6_ifindex = if info.ipi6_addr.s6_addr.starts_with(&[0xfe, 0x80]) {
                info.ipi6_ifindex
            } else {
                0
            };
            sources.1 = Some(libc::in6_pktinfo {
                ipi6_addr: info.ipi6_addr,
                ipi6_ifindex,
            });
        }
    }
    let payload = buffer.get(..length).unwrap_or_default();
    let Some(said) = say(name, payload) else {
        return Ok(());
    };
    let parts = [IoSlice::new(&said)];
    let control = match (&sources.0, &sources.1) {
        (Some(info), _) => vec![ControlMessage::Ipv4PacketInfo(info)],
        (None, Some(info)) => vec![ControlMessage::Ipv6PacketInfo(info)],
        (None, None) => Vec::new(),
    };
    sendmsg(
        socket.as_raw_fd(),
        &parts,
        &control,
        MsgFlags::empty(),
        from.as_ref(),
    )
    .map(drop)
}

/// Greets each TCP connection by a line with the host's name, then echoes line by line for as
/// long as the peer likes. Ends, connections included, when dropped.
#[derive(Debug)]
pub struct TcpEcho {
    _service: TcpService,
}

impl TcpEcho {
    /// Starts the service on a host's port.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let name = host.name().to_owned();
        let service = TcpService::start(host, port, move |mut stream| {
            stream.set_nodelay(true)?;
            stream.write_all(format!("{name}\n").as_bytes())?;
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line)? > 0 {
                stream.write_all(&line)?;
                line.clear();
            }
            Ok(())
        })?;
        Ok(Self { _service: service })
    }
}

/// A client's connection to a [`TcpEcho`].
#[derive(Debug)]
pub struct EchoConnection {
    place: String,
    peer: SocketAddr,
    reader: BufReader<TcpStream>,
    server: String,
}

impl EchoConnection {
    /// Connects and reads the greeting.
    pub fn open(client: &Host, peer: SocketAddr) -> Result<Self> {
        Self::open_from(client, None, peer)
    }

    /// Connects from a chosen address and port and reads the greeting.
    pub fn open_from(client: &Host, source: Option<SocketAddr>, peer: SocketAddr) -> Result<Self> {
        let place = client.name().to_owned();
        let stream = client.connect_from(source, peer)?;
        stream
            .set_nodelay(true)
            .at(&place, || format!("connection to {peer}"))?;
        let mut connection = Self {
            place,
            peer,
            reader: BufReader::new(stream),
            server: String::new(),
        };
        connection.server = connection.read_line(crate::REQUEST_TIME)?;
        Ok(connection)
    }

    /// The name of the real server at the other end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends a line and checks that it comes back: the connection is alive.
    pub fn check(&mut self, word: &str) -> Result<()> {
        self.check_within(word, crate::REQUEST_TIME)
    }

    /// Like [`EchoConnection::check`], with a limit of one's own.
    pub fn check_within(&mut self, word: &str, timeout: Duration) -> Result<()> {
        let line = format!("{word}\n");
        let written = self.reader.get_mut().write_all(line.as_bytes());
        written.at(&self.place, || format!("connection to {}", self.peer))?;
        let answer = self.read_line(timeout)?;
        if answer == word {
            return Ok(());
        }
        Err(LabError::Answer {
            place: self.place.clone(),
            what: format!("{} echoed {answer:?} for {word:?}", self.peer),
        })
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    fn read_line(&mut self, timeout: Duration) -> Result<String> {
        let mut line = String::new();
        let read = self
            .reader
            .get_ref()
            .set_read_timeout(Some(timeout))
            .and_then(|()| self.reader.read_line(&mut line))
            .map_err(crate::client::timed_out)
            .and_then(|_| {
                line.strip_suffix('\n')
                    .map(str::to_owned)
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            });
        read.at(&self.place, || format!("connection to {}", self.peer))
    }
}
