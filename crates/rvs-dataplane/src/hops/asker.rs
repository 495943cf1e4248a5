//! Ways that somebody waits for: those of servers just added, ahead of the keeper's next pass.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rtnetlink::Handle;
use tokio::task::JoinSet;

use super::{Hop, resolve_from};

/// Somebody who can be asked for ways. Clones share a socket.
#[derive(Clone, Debug)]
pub struct Asker {
    handle: Handle,
    interface: Option<String>,
    /// Drives the socket, which is closed with it.
    _task: Arc<JoinSet<()>>,
}

impl Asker {
    /// Opens a socket in the calling thread's network namespace; to be called inside a Tokio runtime. The ways are
    /// those of packets that come in by `interface`, if one is given.
    pub fn open(interface: Option<String>) -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self {
            handle,
            interface,
            _task: Arc::new(task),
        })
    }

    /// The way to each address, in the order given; none where the kernel knows none.
    pub async fn ways(&self, addresses: &[IpAddr]) -> Vec<(IpAddr, Option<Hop>)> {
        let mut handle = self.handle.clone();
        let found = resolve_from(&mut handle, addresses, self.interface.as_deref()).await;
        found
            .into_iter()
            .map(|(address, result)| (address, result.ok()))
            .collect()
    }
}
