//! Keeps the ways to the real servers known: passes every second and after changes.

use super::{Hop, HopError, resolve_from};
use futures_util::FutureExt as _;
use futures_util::stream::{Stream, StreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::{Handle, MulticastGroup};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

/// A pass comes this long after the one before, if nothing changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Changes come in crowds (a link that goes up brings routes and neighbours), so a pass waits this
/// long after the first of them,
const CROWD: Duration = Duration::from_millis(20);
/// and passes that changes ask for are at least this far apart.
const GAP: Duration = Duration::from_millis(100);

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// A task that keeps the ways to a set of addresses known. It ends when dropped.
#[derive(Debug)]
pub struct Keeper {
    addresses: watch::Sender<Vec<IpAddr>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts the task, in the calling thread's network namespace and Tokio runtime.
    ///
    /// `tell` gets the result of every pass, changed or not, in the addresses' order; whoever
    /// writes a time up to which a hop may be relied on needs to know that it still holds. It runs
    /// on the runtime and must not block.
    pub fn start(
        addresses: Vec<IpAddr>,
        tell: impl Fn(Vec<(IpAddr, Option<Hop>)>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_from(addresses, None, tell)
    }

    /// [`Keeper::start`], for packets that come in by an interface: see [`resolve_from`].
    pub fn start_from(
        addresses: Vec<IpAddr>,
        interface: Option<String>,
        tell: impl Fn(Vec<(IpAddr, Option<Hop>)>) + Send + 'static,
    ) -> io::Result<Self> {
        let sockets = Sockets::open()?;
        let (addresses, watched) = watch::channel(addresses);
        let task = tokio::spawn(keep(sockets, watched, interface, tell));
        Ok(Self { addresses, task })
    }

    /// Replaces the set of addresses; a pass follows at once.
    pub fn watch(&self, addresses: Vec<IpAddr>) {
        self.addresses.send_replace(addresses);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The kernel's announcements; none stands for those that were lost.
type Changes = Pin<Box<dyn Stream<Item = Option<RouteNetlinkMessage>> + Send>>;

/// One socket for questions, one for the kernel's announcements: a crowd of these must not crowd
/// out an answer.
struct Sockets {
    handle: Handle,
    changes: Changes,
    /// Drives both sockets; they are closed with it.
    _tasks: JoinSet<()>,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tasks.spawn(connection);
        let (connection, _, changes) = rtnetlink::new_multicast_connection(&GROUPS)?;
        tasks.spawn(connection);
        let changes = changes.map(|(message, _)| {
            if let NetlinkPayload::InnerMessage(change) = message.payload {
                Some(change)
            } else {
                None
            }
        });
        Ok(Self {
            handle,
            changes: Box::pin(changes),
            _tasks: tasks,
        })
    }
}

async fn keep(
    mut sockets: Sockets,
    mut addresses: watch::Receiver<Vec<IpAddr>>,
    interface: Option<String>,
    tell: impl Fn(Vec<(IpAddr, Option<Hop>)>) + Send,
) {
    let mut said = BTreeMap::new();
    loop {
        let start = Instant::now();
        let asked = addresses.borrow_and_update().clone();
        let results = resolve_from(&mut sockets.handle, &asked, interface.as_deref()).await;
        say(&mut said, &results);
        let broken = results
            .iter()
            .any(|(_, result)| matches!(result, Err(HopError::Netlink { .. })));
        let hops: Vec<_> = results
            .into_iter()
            .map(|(address, result)| (address, result.ok()))
            .collect();
        let neighbours = neighbours(&hops);
        tell(hops);

        let until = start + INTERVAL;
        let wait = timeout_at(until, change(&mut sockets.changes, &neighbours));
        let announced = tokio::select! {
            set = addresses.changed() => {
                if set.is_err() {
                    // The keeper is gone.
                    return;
                }
                continue;
            }
            announced = wait => announced,
        };
        match announced {
            Ok(Announced::Change) => {
                sleep_until((Instant::now() + CROWD).max(start + GAP)).await;
                while let Some(Some(_)) = sockets.changes.next().now_or_never() {}
            }
            Ok(Announced::End) => {
                sleep_until(until).await;
                reopen(&mut sockets);
            }
            Err(_) if broken => reopen(&mut sockets),
            Err(_) => {}
        }
    }
}

enum Announced {
    Change,
    /// The socket is closed.
    End,
}

/// Waits for the first announcement that may concern a hop.
async fn change(changes: &mut Changes, neighbours: &BTreeSet<(u32, IpAddr)>) -> Announced {
    loop {
        match changes.next().await {
            Some(Some(change)) if !concerns(&change, neighbours) => {}
            Some(_) => return Announced::Change,
            None => return Announced::End,
        }
    }
}

/// Neighbours come and go all the time on a large network, so only those in use matter. All other
/// announcements are rare enough to look again for each.
fn concerns(change: &RouteNetlinkMessage, neighbours: &BTreeSet<(u32, IpAddr)>) -> bool {
    if let RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message) =
        change
    {
        destination(message)
            .is_some_and(|address| neighbours.contains(&(message.header.ifindex, address)))
    } else {
        true
    }
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
            Some(IpAddr::V4(*address))
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = attribute
        {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    })
}

/// The neighbours that the hops use, by interface and address.
fn neighbours(hops: &[(IpAddr, Option<Hop>)]) -> BTreeSet<(u32, IpAddr)> {
    hops.iter()
        .filter_map(|(address, hop)| {
            let hop = (*hop)?;
            (!hop.local).then_some((hop.ifindex, hop.gateway.unwrap_or(*address)))
        })
        .collect()
}

fn reopen(sockets: &mut Sockets) {
    match Sockets::open() {
        Ok(opened) => *sockets = opened,
        Err(error) => tracing::warn!(%error, "cannot open a netlink socket"),
    }
}

/// Logs what changed since it was logged last.
fn say(
    said: &mut BTreeMap<IpAddr, Result<Hop, HopError>>,
    results: &[(IpAddr, Result<Hop, HopError>)],
) {
    for (address, result) in results {
        if said.get(address) == Some(result) {
            continue;
        }
        match result {
            Ok(hop) => tracing::debug!(%address, ?hop, "way to a real server"),
            Err(error) => tracing::warn!("{error}"),
        }
        said.insert(*address, result.clone());
    }
    if said.len() > results.len() {
        let asked: BTreeSet<_> = results.iter().map(|(address, _)| address).collect();
        said.retain(|address, _| asked.contains(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::link::LinkMessage;
    use rtnetlink::packet_route::route::RouteMessage;

    fn neighbour(ifindex: u32, address: IpAddr) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = ifindex;
        message.attributes = vec![NeighbourAttribute::Destination(address.into())];
        message
    }

    #[test]
    fn only_neighbours_in_use_concern() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let other = IpAddr::from([10, 0, 0, 2]);
        let used = BTreeSet::from([(3, address)]);
        let table = [
            (
                RouteNetlinkMessage::NewNeighbour(neighbour(3, address)),
                true,
            ),
            (
                RouteNetlinkMessage::DelNeighbour(neighbour(3, address)),
                true,
            ),
            (
                RouteNetlinkMessage::NewNeighbour(neighbour(4, address)),
                false,
            ),
            (
                RouteNetlinkMessage::NewNeighbour(neighbour(3, other)),
                false,
            ),
            (
                RouteNetlinkMessage::NewNeighbour(NeighbourMessage::default()),
                false,
            ),
            (RouteNetlinkMessage::NewRoute(RouteMessage::default()), true),
            (RouteNetlinkMessage::DelLink(LinkMessage::default()), true),
        ];
        for (change, expected) in table {
            assert_eq!(concerns(&change, &used), expected, "{change:?}");
        }
    }

    #[test]
    fn gateways_stand_for_their_servers() {
        let (server, gateway) = (IpAddr::from([10, 9, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let hop = |gateway, local| Hop {
            ifindex: 3,
            gateway,
            source: None,
            mtu: 1500,
            local,
            macs: None,
        };
        let used = neighbours(&[
            (server, Some(hop(Some(gateway), false))),
            (IpAddr::from([10, 0, 0, 7]), Some(hop(None, false))),
            (IpAddr::from([10, 0, 0, 8]), Some(hop(None, true))),
            (IpAddr::from([10, 0, 0, 9]), None),
        ]);
        assert_eq!(
            used,
            BTreeSet::from([(3, gateway), (3, IpAddr::from([10, 0, 0, 7]))])
        );
    }
}
