//! One pass over all addresses: for each the route, its device and its neighbour.

use super::Hop;
use futures_util::StreamExt as _;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::link::{
    InfoPortKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The kernel answers at once; an answer that takes this long was lost.
const ANSWER_TIME: Duration = Duration::from_secs(1);

const ENOENT: i32 = 2;

/// Why there is no way to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// The kernel refused the address: no route, an `unreachable` or `prohibit` route, and so on.
    #[error("no route to {address}: {}", io::Error::from_raw_os_error(*errno))]
    NoRoute {
        /// The address.
        address: IpAddr,
        /// The kernel's reason.
        errno: i32,
    },
    /// The route ends here (`unreachable`, `blackhole`) or leads to many hosts.
    #[error("the route to {address} is a {} one, which reaches no single host", format!("{kind:?}").to_lowercase())]
    NotUnicast {
        /// The address.
        address: IpAddr,
        /// The route's type.
        kind: RouteType,
    },
    /// The route names no interface, or one that is gone.
    #[error("the route to {address} leads to no interface")]
    NoInterface {
        /// The address.
        address: IpAddr,
    },
    /// The kernel could not be asked.
    #[error("cannot ask the kernel for the way to {address}: {reason}")]
    Netlink {
        /// The address.
        address: IpAddr,
        /// What rtnetlink said.
        reason: String,
    },
}

/// Finds the way to each address, in the order given.
///
/// Neighbours that are not known yet are asked for, but not waited for: their hops come without
/// hardware addresses until a later pass.
pub async fn resolve(
    handle: &mut Handle,
    addresses: &[IpAddr],
) -> Vec<(IpAddr, Result<Hop, HopError>)> {
    resolve_from(handle, addresses, None).await
}

/// [`resolve`], for packets that come in by an interface: where that is in a VRF, by the VRF's routes.
pub async fn resolve_from(
    handle: &mut Handle,
    addresses: &[IpAddr],
    interface: Option<&str>,
) -> Vec<(IpAddr, Result<Hop, HopError>)> {
    let mut pass = Pass {
        handle,
        vrf: None,
        devices: BTreeMap::new(),
        neighbours: BTreeMap::new(),
    };
    if let Some(interface) = interface {
        pass.vrf = pass.vrf_of(interface).await;
    }
    let mut hops = Vec::with_capacity(addresses.len());
    for &address in addresses {
        hops.push((address, pass.hop(address).await));
    }
    hops
}

/// What one pass has asked already.
struct Pass<'a> {
    handle: &'a mut Handle,
    /// Whose routes are asked; the main table's without one.
    vrf: Option<u32>,
    devices: BTreeMap<u32, Option<Device>>,
    neighbours: BTreeMap<(u32, IpAddr), Option<[u8; 6]>>,
}

#[derive(Clone, Copy)]
struct Device {
    mtu: u32,
    mac: Option<[u8; 6]>,
}

/// A neighbour's entry, or what of it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Neighbour {
    state: NeighbourState,
    mac: Option<[u8; 6]>,
}

/// How asking failed.
enum Failure {
    Errno(i32),
    Other(String),
}

impl Pass<'_> {
    async fn hop(&mut self, address: IpAddr) -> Result<Hop, HopError> {
        let netlink = |reason| HopError::Netlink { address, reason };
        let route = match self.route(address).await {
            Ok(message) => Route::read(address, &message)?,
            Err(Failure::Errno(errno)) => return Err(HopError::NoRoute { address, errno }),
            Err(Failure::Other(reason)) => return Err(netlink(reason)),
        };
        let device = match self.devices.get(&route.ifindex) {
            Some(known) => *known,
            None => {
                let found = self.device(route.ifindex).await.map_err(netlink)?;
                self.devices.insert(route.ifindex, found);
                found
            }
        };
        let device = device.ok_or(HopError::NoInterface { address })?;
        let mut macs = None;
        if let (Some(own), false) = (device.mac, route.local) {
            let key = (route.ifindex, route.gateway.unwrap_or(address));
            let known = match self.neighbours.get(&key) {
                Some(known) => *known,
                None => {
                    let found = self.neighbour_mac(key).await.map_err(netlink)?;
                    self.neighbours.insert(key, found);
                    found
                }
            };
            macs = known.map(|neighbour| join(neighbour, own));
        }
        Ok(Hop {
            ifindex: route.ifindex,
            gateway: route.gateway,
            source: route.source,
            mtu: route.mtu.unwrap_or(device.mtu),
            local: route.local,
            macs,
        })
    }

    /// The VRF that an interface is in. One that cannot be asked is in none: it is missing, or soon will be asked again.
    async fn vrf_of(&mut self, interface: &str) -> Option<u32> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(interface.to_owned()));
        let request = RouteNetlinkMessage::GetLink(message);
        match self.ask(request, NLM_F_REQUEST).await {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => vrf(&link),
            Ok(_) | Err(_) => None,
        }
    }

    async fn route(&mut self, address: IpAddr) -> Result<RouteMessage, Failure> {
        let full = if address.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, full)
            .map_err(|error| Failure::Other(error.to_string()))?
            .build();
        if let Some(vrf) = self.vrf {
            // As a socket bound to the VRF would ask.
            message.attributes.push(RouteAttribute::Oif(vrf));
        }
        let request = RouteNetlinkMessage::GetRoute(message);
        match self.ask(request, NLM_F_REQUEST).await? {
            Some(RouteNetlinkMessage::NewRoute(route)) => Ok(route),
            other => Err(unexpected(other)),
        }
    }

    async fn device(&mut self, ifindex: u32) -> Result<Option<Device>, String> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        let request = RouteNetlinkMessage::GetLink(message);
        match self.ask(request, NLM_F_REQUEST).await {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(Device::read(&link))),
            Ok(other) => Err(unexpected(other).reason()),
            // The device went away since the route was looked up.
            Err(Failure::Errno(_)) => Ok(None),
            Err(Failure::Other(reason)) => Err(reason),
        }
    }

    /// The hardware address of a neighbour, whose confirmation is asked for when it is due.
    async fn neighbour_mac(&mut self, key: (u32, IpAddr)) -> Result<Option<[u8; 6]>, String> {
        let message = RouteNetlinkMessage::GetNeighbour(neighbour_message(key));
        let neighbour = match self.ask(message, NLM_F_REQUEST).await {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(entry))) => Neighbour::read(&entry),
            Ok(other) => return Err(unexpected(other).reason()),
            Err(Failure::Errno(ENOENT)) => Neighbour::UNKNOWN,
            Err(failure) => return Err(failure.reason()),
        };
        if neighbour.is_due() {
            let mut message = neighbour_message(key);
            message.header.flags = NeighbourFlags::Use;
            let request = RouteNetlinkMessage::NewNeighbour(message);
            // NLM_F_REPLACE is left out: an entry that is there is used, not overwritten.
            let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
            if let Err(failure) = self.ask(request, flags).await {
                let (ifindex, address) = key;
                let reason = failure.reason();
                tracing::debug!(ifindex, %address, reason, "the kernel does not ask for a neighbour");
            }
        }
        Ok(neighbour.usable_mac())
    }

    /// One request and its only answer; no answer is an acknowledgement.
    async fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<RouteNetlinkMessage>, Failure> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = flags;
        let mut answers = self
            .handle
            .request(message)
            .map_err(|error| Failure::Other(error.to_string()))?;
        let Ok(answer) = tokio::time::timeout(ANSWER_TIME, answers.next()).await else {
            return Err(Failure::Other("no answer".to_owned()));
        };
        match answer.map(|message| message.payload) {
            None if flags & NLM_F_ACK != 0 => Ok(None),
            None => Err(Failure::Other("the netlink socket is closed".to_owned())),
            Some(NetlinkPayload::InnerMessage(message)) => Ok(Some(message)),
            Some(NetlinkPayload::Error(error)) => match error.to_io().raw_os_error() {
                Some(errno) => Err(Failure::Errno(errno)),
                None => Err(Failure::Other(error.to_string())),
            },
            Some(other) => Err(Failure::Other(format!("unexpected answer {other:?}"))),
        }
    }
}

/// What of a route's message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    ifindex: u32,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    local: bool,
}

impl Route {
    fn read(address: IpAddr, message: &RouteMessage) -> Result<Self, HopError> {
        let kind = message.header.kind;
        let local = kind == RouteType::Local;
        if !local && kind != RouteType::Unicast {
            return Err(HopError::NotUnicast { address, kind });
        }
        let mut route = Self {
            ifindex: 0,
            gateway: None,
            source: None,
            mtu: None,
            local,
        };
        for attribute in &message.attributes {
            if let RouteAttribute::Oif(ifindex) = attribute {
                route.ifindex = *ifindex;
            } else if let RouteAttribute::Gateway(gateway) = attribute {
                route.gateway = ip_address(gateway);
            } else if let RouteAttribute::Via(via) = attribute {
                route.gateway = via_address(via);
            } else if let RouteAttribute::PrefSource(source) = attribute {
                route.source = ip_address(source);
            } else if let RouteAttribute::Metrics(metrics) = attribute {
                route.mtu = metrics.iter().find_map(mtu);
            }
        }
        match route.ifindex {
            0 => Err(HopError::NoInterface { address }),
            _ => Ok(route),
        }
    }
}

impl Device {
    fn read(message: &LinkMessage) -> Self {
        let mut device = Self { mtu: 0, mac: None };
        for attribute in &message.attributes {
            if let LinkAttribute::Mtu(mtu) = attribute {
                device.mtu = *mtu;
            } else if let LinkAttribute::Address(address) = attribute
                && message.header.link_layer_type == LinkLayerType::Ether
            {
                device.mac = address.as_slice().try_into().ok();
            }
        }
        device
    }
}

impl Neighbour {
    const UNKNOWN: Self = Self {
        state: NeighbourState::None,
        mac: None,
    };

    fn read(message: &NeighbourMessage) -> Self {
        let mac = message.attributes.iter().find_map(|attribute| {
            if let NeighbourAttribute::LinkLayerAddress(address) = attribute {
                address.as_slice().try_into().ok()
            } else {
                None
            }
        });
        Self {
            state: message.header.state,
            mac,
        }
    }

    /// The hardware address, where the state lets the kernel itself send to it.
    fn usable_mac(self) -> Option<[u8; 6]> {
        let usable = matches!(
            self.state,
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Permanent
        );
        if usable { self.mac } else { None }
    }

    /// Whether the kernel should be told to use the entry, so that it asks for the address or has
    /// it confirmed. Never for a permanent one: to use it by netlink takes the permanence away.
    fn is_due(self) -> bool {
        matches!(
            self.state,
            NeighbourState::None | NeighbourState::Failed | NeighbourState::Stale
        )
    }
}

impl Failure {
    fn reason(self) -> String {
        match self {
            Self::Errno(errno) => io::Error::from_raw_os_error(errno).to_string(),
            Self::Other(reason) => reason,
        }
    }
}

/// A request about one neighbour.
fn neighbour_message((ifindex, address): (u32, IpAddr)) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = ifindex;
    let destination = NeighbourAddress::from(address);
    message
        .attributes
        .push(NeighbourAttribute::Destination(destination));
    message
}

/// The VRF that a link is a member of.
fn vrf(link: &LinkMessage) -> Option<u32> {
    let is_member = link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
            if infos.contains(&LinkInfo::PortKind(InfoPortKind::Vrf)))
    });
    link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::Controller(controller) = attribute {
            Some(*controller).filter(|_| is_member)
        } else {
            None
        }
    })
}

fn unexpected(answer: Option<RouteNetlinkMessage>) -> Failure {
    Failure::Other(format!("unexpected answer {answer:?}"))
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some(IpAddr::V4(*address))
    } else if let RouteAddress::Inet6(address) = address {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

fn via_address(via: &RouteVia) -> Option<IpAddr> {
    if let RouteVia::Inet(address) = via {
        Some(IpAddr::V4(*address))
    } else if let RouteVia::Inet6(address) = via {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    if let RouteMetric::Mtu(mtu) = metric {
        Some(*mtu).filter(|mtu| *mtu != 0)
    } else {
        None
    }
}

fn join(destination: [u8; 6], source: [u8; 6]) -> [u8; 12] {
    let mut macs = [0; 12];
    let (first, second) = macs.split_at_mut(6);
    first.copy_from_slice(&destination);
    second.copy_from_slice(&source);
    macs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_decide_what_is_used_and_what_is_asked_for() {
        let mac = Some([2, 0, 0, 0, 0, 1]);
        let table = [
            (NeighbourState::None, false, true),
            (NeighbourState::Incomplete, false, false),
            (NeighbourState::Reachable, true, false),
            (NeighbourState::Stale, true, true),
            (NeighbourState::Delay, true, false),
            (NeighbourState::Probe, true, false),
            (NeighbourState::Failed, false, true),
            (NeighbourState::Noarp, false, false),
            (NeighbourState::Permanent, true, false),
            (NeighbourState::Other(0x300), false, false),
        ];
        for (state, usable, due) in table {
            let neighbour = Neighbour { state, mac };
            assert_eq!(neighbour.usable_mac().is_some(), usable, "{state:?}");
            assert_eq!(neighbour.is_due(), due, "{state:?}");
        }
    }

    #[test]
    fn frames_begin_with_the_destination() {
        assert_eq!(
            join([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
    }
}
