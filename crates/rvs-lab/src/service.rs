//! What the small servers of this crate have in common: threads whose sockets belong to a host's
//! namespace, and which end when their guard drops.

use crate::error::{Context as _, Result};
use crate::host::Host;
use crate::lab::lock;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const BACKLOG: i32 = 4096;
/// How long a connection may say nothing before its thread looks whether the service goes on.
pub(crate) const LOOK_TIME: Duration = Duration::from_millis(100);

/// A TCP service on one port of all IPv4 and IPv6 addresses, with a thread per connection.
#[derive(Debug)]
pub(crate) struct TcpService {
    listeners: Vec<Socket>,
    shared: Arc<Connections>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Connections {
    stopped: AtomicBool,
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl TcpService {
    /// Listens, and calls `serve` for each connection on a thread of its own.
    pub(crate) fn start(
        host: &Host,
        port: u16,
        serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Connections::default());
        let mut service = Self {
            listeners: Vec::new(),
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for address in both_families(port) {
            let listen = || {
                let socket = bound_socket(address, Type::STREAM, Protocol::TCP)?;
                socket.listen(BACKLOG)?;
                Ok::<_, io::Error>((socket.try_clone()?, TcpListener::from(socket)))
            };
            let (stopper, listener) = host
                .in_namespace(listen)?
                .at(host.name(), || format!("cannot listen on {address}"))?;
            let (shared, serve) = (Arc::clone(&shared), serve.clone());
            service.listeners.push(stopper);
            service.threads.push(std::thread::spawn(move || {
                accept(&listener, &shared, &serve);
            }));
        }
        Ok(service)
    }
}

fn accept<S>(listener: &TcpListener, shared: &Connections, serve: &S)
where
    S: Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
{
    while !shared.stopped.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            // Shut down, or a passing lack of resources.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (Ok(copy), Ok(closer)) = (stream.try_clone(), stream.try_clone()) else {
            continue;
        };
        let serve = serve.clone();
        let thread = std::thread::spawn(move || {
            // The peer sees a broken connection as it would with any server; nobody else needs to.
            drop(serve(stream));
            // The copy in the list would keep the connection open.
            drop(closer.shutdown(Shutdown::Both));
        });
        let mut open = lock(&shared.open);
        open.retain(|(_, thread)| !thread.is_finished());
        open.push((copy, thread));
    }
}

impl Drop for TcpService {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for listener in &self.listeners {
            // Wakes accept().
            drop(listener.shutdown(Shutdown::Both));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        for (stream, thread) in lock(&self.shared.open).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
            drop(thread.join());
        }
    }
}

/// The wildcard addresses; separate sockets, so that IPv4 peers are not shown as mapped.
pub(crate) fn both_families(port: u16) -> [SocketAddr; 2] {
    [
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ]
}

pub(crate) fn bound_socket(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}
