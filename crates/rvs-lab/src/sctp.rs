//! SCTP associations of the kernel's own: a service that echoes, and its client. One-to-one sockets, so that an
//! association is used like a TCP connection. Not every kernel has SCTP.

use crate::error::{Context as _, LabError, Result};
use crate::host::Host;
use crate::service::{LOOK_TIME, bound_socket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const SCTP: i32 = 132;
const BACKLOG: i32 = 128;

/// Answers each association on an address first with the host's name and a newline, then with what it is sent. Ends
/// when dropped.
#[derive(Debug)]
pub struct SctpEcho {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SctpEcho {
    /// Starts the service on a host's address and port. The wildcard address tells peers of all the host's addresses.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let listen = || {
            let socket = bound_socket(address, Type::STREAM, Protocol::from(SCTP))?;
            socket.set_nonblocking(true)?;
            socket.listen(BACKLOG)?;
            Ok::<_, io::Error>(socket)
        };
        let listener = host
            .in_namespace(listen)?
            .at(host.name(), || format!("cannot listen on sctp://{address}"))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (name, flag) = (host.name().to_owned(), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || accept(&listener, &name, &flag));
        Ok(Self {
            stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for SctpEcho {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &Socket, name: &str, stopped: &Arc<AtomicBool>) {
    let mut open = Vec::new();
    while !stopped.load(Ordering::SeqCst) {
        let Ok((association, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let (name, stopped) = (name.to_owned(), Arc::clone(stopped));
        open.push(std::thread::spawn(move || {
            // The peer sees a broken association as it would with any server.
            drop(serve(association, &name, &stopped));
        }));
    }
    for thread in open {
        drop(thread.join());
    }
}

fn serve(mut association: Socket, name: &str, stopped: &AtomicBool) -> io::Result<()> {
    association.set_nonblocking(false)?;
    association.set_read_timeout(Some(LOOK_TIME))?;
    association.write_all(format!("{name}\n").as_bytes())?;
    let mut buffer = vec![0; 65_536];
    while !stopped.load(Ordering::SeqCst) {
        match association.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => association.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client's association with an [`SctpEcho`]; it is shut down when this is dropped.
#[derive(Debug)]
pub struct SctpConnection {
    place: String,
    peer: SocketAddr,
    socket: Socket,
    server: String,
}

impl SctpConnection {
    /// Associates, from one address of the host, and reads the greeting.
    pub fn open(
        client: &Host,
        source: SocketAddr,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<Self> {
        let connect = || {
            let socket = Socket::new(
                Domain::for_address(peer),
                Type::STREAM,
                Some(Protocol::from(SCTP)),
            )?;
            socket.bind(&SockAddr::from(source))?;
            // It is the send time-out that bounds a connect.
            socket.set_write_timeout(Some(patience))?;
            socket.set_read_timeout(Some(patience))?;
            socket.connect(&SockAddr::from(peer))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = client
            .in_namespace(connect)?
            .at(client.name(), || format!("cannot connect to sctp://{peer}"))?;
        let mut connection = Self {
            place: client.name().to_owned(),
            peer,
            socket,
            server: String::new(),
        };
        let mut greeting = Vec::new();
        while greeting.last() != Some(&b'\n') {
            let more = connection.read(1)?;
            greeting.extend(more);
        }
        connection.server = String::from_utf8_lossy(&greeting).trim_end().to_owned();
        Ok(connection)
    }

    /// The name of the real server at the other end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends so many bytes and checks that they come back.
    pub fn check(&mut self, length: usize) -> Result<()> {
        let sent: Vec<u8> = (0..length).map(|number| (number * 31) as u8).collect();
        self.socket
            .write_all(&sent)
            .at(&self.place, || format!("association with {}", self.peer))?;
        let got = self.read(length)?;
        if got == sent {
            return Ok(());
        }
        Err(LabError::Answer {
            place: self.place.clone(),
            what: format!("sctp://{} echoed something else", self.peer),
        })
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.socket
            .read_exact(&mut bytes)
            .at(&self.place, || format!("association with {}", self.peer))?;
        Ok(bytes)
    }
}
