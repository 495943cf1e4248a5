//! The network of this namespace by rtnetlink: what is there, and the few changes that `rvs
//! realserver` makes. What ought to be there is decided elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, anyhow, bail};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMetric, RouteType,
};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

const EEXIST: i32 = 17;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The length of a prefix that is one address.
    pub(crate) fn full_length(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    /// Whether its link is there too.
    pub(crate) running: bool,
    pub(crate) loopback: bool,
    /// Whether its packets have Ethernet headers.
    pub(crate) ethernet: bool,
    /// Why a director cannot sit there.
    pub(crate) unsuitable: Option<&'static str>,
    pub(crate) mtu: u32,
    /// "veth", "vlan", "ipip" and so on; nothing for hardware.
    pub(crate) kind: Option<String>,
    /// The device below, of a VLAN for instance.
    pub(crate) parent: Option<u32>,
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ifindex: u32,
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
    /// Whether the kernel never chooses it as the source of packets to others: IPv4 of scope
    /// host, IPv6 deprecated.
    pub(crate) never_source: bool,
}

/// A default route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    pub(crate) family: Family,
    pub(crate) ifindex: Option<u32>,
    pub(crate) gateway: Option<IpAddr>,
    /// The segment size that this host asks of its peers.
    pub(crate) advmss: Option<u32>,
}

/// A rtnetlink socket.
pub(crate) struct Network {
    pub(crate) handle: Handle,
}

/// Whether a device was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is new.
    New,
    /// One of that name was there, or came with the kernel module.
    Found,
    /// This kernel has no such devices.
    Unknown,
}

/// Runs on a runtime of its own, in the caller's namespace, on a thread of its own, so that it
/// does not matter whether the caller is on a runtime already.
pub(crate) fn block_on<T: Send>(
    work: impl AsyncFnOnce(Network) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().context("cannot open a netlink socket")?;
            tokio::spawn(connection);
            work(Network { handle }).await
        })
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Network {
    /// All interfaces, by their numbers.
    pub(crate) async fn devices(&self) -> anyhow::Result<Vec<Device>> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(readable)
            .context("cannot list the interfaces")?;
        let mut devices: Vec<Device> = links.iter().map(device).collect();
        devices.sort_by_key(|device| device.index);
        Ok(devices)
    }

    /// All addresses, in the kernel's order.
    pub(crate) async fn addresses(&self) -> anyhow::Result<Vec<Address>> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(readable)
            .context("cannot list the addresses")?;
        Ok(messages.iter().filter_map(address).collect())
    }

    /// The default routes of the main table.
    pub(crate) async fn default_routes(&self) -> anyhow::Result<Vec<DefaultRoute>> {
        let mut found = Vec::new();
        for family in Family::ALL {
            let request = match family {
                Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
                Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
            };
            let mut routes = std::pin::pin!(self.handle.route().get(request).execute());
            while let Some(route) = routes
                .try_next()
                .await
                .map_err(readable)
                .context("cannot list the routes")?
            {
                let header = &route.header;
                if header.destination_prefix_length == 0
                    && header.table == RouteHeader::RT_TABLE_MAIN
                    && header.kind == RouteType::Unicast
                {
                    found.push(default_route(family, &route.attributes));
                }
            }
        }
        Ok(found)
    }

    /// Adds a service's address, as one that is never chosen as a source.
    pub(crate) async fn add_vip(&self, ifindex: u32, vip: IpAddr) -> anyhow::Result<()> {
        let length = Family::of(vip).full_length();
        let mut request = self.handle.address().add(ifindex, vip, length);
        let message = request.message_mut();
        match vip {
            IpAddr::V4(_) => message.header.scope = AddressScope::Host,
            IpAddr::V6(_) => {
                message.header.flags |= AddressHeaderFlags::Nodad;
                let mut times = CacheInfo::default();
                times.ifa_preferred = 0;
                times.ifa_valid = u32::MAX;
                message.attributes.push(AddressAttribute::CacheInfo(times));
            }
        }
        request.execute().await.map_err(readable)
    }

    /// Removes a service's address.
    pub(crate) async fn remove_vip(&self, ifindex: u32, vip: IpAddr) -> anyhow::Result<()> {
        let length = Family::of(vip).full_length();
        let message = match vip {
            IpAddr::V4(vip) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(ifindex)
                .address(vip, length)
                .build(),
            IpAddr::V6(vip) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(ifindex)
                .address(vip, length)
                .build(),
        };
        let request = self.handle.address().del(message);
        request.execute().await.map_err(readable)
    }

    /// Makes a tunnel device without ends of its own, which takes any tunnel's packets. The
    /// kernel loads its module for that where it has one.
    pub(crate) async fn make_tunnel(&self, name: &str, family: Family) -> anyhow::Result<Made> {
        let kind = match family {
            Family::V4 => InfoKind::IpIp,
            Family::V6 => InfoKind::Ip6Tnl,
        };
        let message = rtnetlink::LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind)
            .name(name.to_owned())
            .build();
        match self.handle.link().add(message).execute().await {
            Ok(()) => Ok(Made::New),
            Err(rtnetlink::Error::NetlinkError(error)) => {
                let error = error.to_io();
                if error.raw_os_error() == Some(EEXIST) {
                    Ok(Made::Found)
                } else if error.kind() == io::ErrorKind::Unsupported {
                    Ok(Made::Unknown)
                } else {
                    Err(error.into())
                }
            }
            Err(error) => Err(readable(error)),
        }
    }

    /// Removes an interface.
    pub(crate) async fn remove_device(&self, ifindex: u32) -> anyhow::Result<()> {
        let request = self.handle.link().del(ifindex);
        request.execute().await.map_err(readable)
    }

    /// Sets an interface up or down.
    pub(crate) async fn set_up(&self, ifindex: u32, up: Up) -> anyhow::Result<()> {
        let builder = LinkUnspec::new_with_index(ifindex);
        let message = match up {
            Up::Up => builder.up().build(),
            Up::Down => builder.down().build(),
        };
        let request = self.handle.link().set(message);
        request.execute().await.map_err(readable)
    }

    /// The interface of that name.
    pub(crate) async fn device(&self, name: &str) -> anyhow::Result<Option<Device>> {
        let devices = self.devices().await?;
        Ok(devices.into_iter().find(|device| device.name == name))
    }

    /// The number of the interface of that name.
    pub(crate) async fn index_of(&self, name: &str) -> anyhow::Result<u32> {
        match self.device(name).await? {
            Some(device) => Ok(device.index),
            None => bail!("there is no interface {name}"),
        }
    }
}

/// What an interface is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Up,
    Down,
}

/// The kernel's own words where there are some.
fn readable(error: rtnetlink::Error) -> anyhow::Error {
    if let rtnetlink::Error::NetlinkError(error) = error {
        error.to_io().into()
    } else {
        anyhow!("netlink: {error}")
    }
}

fn device(message: &LinkMessage) -> Device {
    let flags = message.header.flags;
    let mut device = Device {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        unsuitable: rvs_dataplane::unsuitable(message),
        mtu: 0,
        kind: None,
        parent: None,
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            device.name.clone_from(name);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            device.mtu = *mtu;
        } else if let LinkAttribute::Link(parent) = attribute {
            device.parent = Some(*parent).filter(|parent| *parent != 0);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            device.kind = infos.iter().find_map(|info| {
                if let LinkInfo::Kind(kind) = info {
                    Some(kind.to_string())
                } else {
                    None
                }
            });
        }
    }
    device
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut other, mut deprecated) = (None, None, false);
    for attribute in &message.attributes {
        // On a point-to-point link the plain address is the peer's.
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            other = Some(*address);
        } else if let AddressAttribute::Flags(flags) = attribute {
            deprecated = flags.contains(AddressFlags::Deprecated);
        }
    }
    let address = local.or(other)?;
    Some(Address {
        ifindex: message.header.index,
        address,
        length: message.header.prefix_len,
        never_source: match address {
            IpAddr::V4(_) => message.header.scope == AddressScope::Host,
            IpAddr::V6(_) => deprecated,
        },
    })
}

fn default_route(family: Family, attributes: &[RouteAttribute]) -> DefaultRoute {
    let mut route = DefaultRoute {
        family,
        ifindex: None,
        gateway: None,
        advmss: None,
    };
    for attribute in attributes {
        if let RouteAttribute::Oif(ifindex) = attribute {
            route.ifindex = Some(*ifindex);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(gateway)) = attribute {
            route.gateway = Some(IpAddr::V4(*gateway));
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
            route.gateway = Some(IpAddr::V6(*gateway));
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            route.advmss = metrics.iter().find_map(|metric| {
                if let RouteMetric::Advmss(bytes) = metric {
                    Some(*bytes)
                } else {
                    None
                }
            });
        }
    }
    route
}
