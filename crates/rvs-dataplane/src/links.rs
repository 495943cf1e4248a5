//! What kind of interfaces the director's are.

use std::thread;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::{OpenError, attach::Interface};

/// What attaching needs to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its link-layer address.
    pub(crate) mac: [u8; 6],
    /// Made of software alone: veth, bridge, bond and the like.
    pub(crate) is_virtual: bool,
    /// Without link header: tun, wireguard.
    pub(crate) is_headless: bool,
}

/// Asks the kernel for the facts; refuses interfaces where the director would not see what it should.
pub(crate) fn facts(interfaces: &[Interface]) -> Result<Vec<Facts>, OpenError> {
    // A thread of its own: the caller may be inside a runtime, where another cannot run.
    thread::scope(|scope| scope.spawn(|| ask(interfaces)).join()).unwrap_or_else(|_| {
        Err(OpenError::kernel(
            "asking for interfaces",
            std::io::Error::other("the asking thread panicked"),
        ))
    })
}

/// The name of an interface.
pub(crate) fn name(ifindex: u32) -> Option<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::index_to_name(&socket, ifindex).ok()
}

fn ask(interfaces: &[Interface]) -> Result<Vec<Facts>, OpenError> {
    let failed = |error: std::io::Error| OpenError::kernel("asking for interfaces", error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        let mut all = Vec::new();
        for interface in interfaces {
            let mut links = handle.link().get().match_index(interface.ifindex).execute();
            let link = links
                .try_next()
                .await
                .map_err(|error| failed(std::io::Error::other(error)))?
                .ok_or_else(|| OpenError::NoInterface(interface.name.clone()))?;
            if let Some(reason) = unsuitable(&link) {
                return Err(OpenError::Unsuitable {
                    interface: interface.name.clone(),
                    reason,
                });
            }
            let mut facts = Facts {
                mac: [0; 6],
                is_virtual: false,
                is_headless: link.header.link_layer_type == LinkLayerType::None,
            };
            for attribute in &link.attributes {
                if let LinkAttribute::Address(address) = attribute
                    && let Ok(mac) = <[u8; 6]>::try_from(address.as_slice())
                {
                    facts.mac = mac;
                }
                if let LinkAttribute::LinkInfo(infos) = attribute {
                    facts.is_virtual = infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
                }
            }
            all.push(facts);
        }
        Ok(all)
    })
}

/// Why the director cannot sit on an interface like this; nothing where it can.
pub fn unsuitable(link: &LinkMessage) -> Option<&'static str> {
    let layer = link.header.link_layer_type;
    if layer == LinkLayerType::Loopback {
        return Some("clients on the director itself are served with local_clients = true");
    }
    if layer != LinkLayerType::Ether && layer != LinkLayerType::None {
        return Some(
            "only Ethernet interfaces, and tun and wireguard, which have no link header, are switched",
        );
    }
    let infos = link.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute {
            Some(infos)
        } else {
            None
        }
    });
    infos.flatten().find_map(|info| {
        if let LinkInfo::Kind(InfoKind::Vrf) = info {
            Some("what comes in for a VRF is seen on the interfaces in it: name those")
        } else if let LinkInfo::PortKind(port) = info {
            above(port)
        } else {
            None
        }
    })
}

/// Where the packets of an interface go that is part of another; nothing for a VRF, where they are still its own.
fn above(port: &InfoPortKind) -> Option<&'static str> {
    if *port == InfoPortKind::Bond {
        return Some("it is part of a bond: name the bond");
    }
    if *port == InfoPortKind::Bridge {
        return Some("it is a port of a bridge: name the bridge");
    }
    let InfoPortKind::Other(kind) = port else {
        return None;
    };
    match kind.as_str() {
        "team" => Some("it is part of a team: name the team"),
        "openvswitch" => Some("it is a port of a switch: name the switch's own interface"),
        _ => None,
    }
}
