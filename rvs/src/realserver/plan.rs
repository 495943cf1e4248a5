//! What `rvs realserver up` has to change, decided from the host's state alone.

use std::fmt;
use std::net::IpAddr;

use rvs_config::Method;
use serde::{Deserialize, Serialize};

use super::network::Family;
use super::state::{State, Wanted, is_silent, tunnel_name};
use super::sysctl::Key;

/// One change, with what is needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    /// A sysctl set.
    Sysctl { key: Key, from: i64, to: i64 },
    /// A tunnel device made.
    Device { name: String },
    /// An interface set up.
    Up { device: String },
    /// Our own decapsulation put at an interface, in place of one for fewer addresses, if any.
    Decapsulation {
        device: String,
        vips: Vec<IpAddr>,
        before: Vec<IpAddr>,
    },
    /// A service's address added.
    Address { vip: IpAddr, device: String },
}

/// Why a host cannot be made a real server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// The host would answer ARP for it.
    #[error(
        "{vip} is on {device}, where this host answers ARP or neighbour discovery for it: \
         ip address del {vip}/{length} dev {device}"
    )]
    Answers {
        vip: IpAddr,
        device: String,
        length: u8,
    },
    /// It is on `lo`, but with a network.
    #[error(
        "{vip} is on {device} as /{length}, which makes the whole network local: \
         ip address del {vip}/{length} dev {device}"
    )]
    Network {
        vip: IpAddr,
        device: String,
        length: u8,
    },
    /// With NAT the address is the director's alone.
    #[error(
        "{vip} is on {device}, but with NAT it belongs to the director alone: \
         ip address del {vip}/{length} dev {device}"
    )]
    NotHere {
        vip: IpAddr,
        device: String,
        length: u8,
    },
    /// It is not known where tunnelled packets arrive.
    #[error(
        "no default route says where tunnelled packets arrive: name the interface with --device"
    )]
    NoDevice,
    /// The interface named is not there.
    #[error("there is no interface {0}")]
    UnknownDevice(String),
    /// There is no loopback interface.
    #[error("this namespace has no loopback interface")]
    NoLoopback,
}

/// The changes that are missing, in the order in which to make them: the addresses come last, so
/// that no ARP request finds them before the host keeps silent about them.
///
/// A family whose kernel device is not there is served by our own decapsulation; `done` is what an
/// earlier run changed.
pub(crate) fn plan(
    state: &State,
    wanted: &Wanted,
    done: &[Change],
) -> Result<Vec<Change>, PlanError> {
    if let Some(name) = &wanted.device
        && state.device(name).is_none()
    {
        return Err(PlanError::UnknownDevice(name.clone()));
    }
    refuse_other_places(state, wanted)?;
    let mut changes = Vec::new();
    match wanted.method {
        Method::Nat => return Ok(changes),
        Method::Direct => silence(state, wanted, &mut changes),
        Method::Tunnel => {
            silence(state, wanted, &mut changes);
            decapsulate(state, wanted, done, &mut changes)?;
        }
    }
    let loopback = state
        .devices
        .iter()
        .find(|device| device.loopback)
        .ok_or(PlanError::NoLoopback)?;
    if !loopback.up {
        changes.push(Change::Up {
            device: loopback.name.clone(),
        });
    }
    for vip in &wanted.vips {
        if !state.is_on_loopback(*vip) {
            changes.push(Change::Address {
                vip: *vip,
                device: loopback.name.clone(),
            });
        }
    }
    Ok(changes)
}

fn refuse_other_places(state: &State, wanted: &Wanted) -> Result<(), PlanError> {
    for vip in &wanted.vips {
        for place in state.places(*vip) {
            let (vip, length) = (*vip, place.length);
            let device = state.name(place.ifindex).to_owned();
            let full = length == Family::of(vip).full_length();
            match (wanted.method, state.is_loopback(place.ifindex)) {
                (Method::Nat, _) => {
                    return Err(PlanError::NotHere {
                        vip,
                        device,
                        length,
                    });
                }
                (Method::Direct | Method::Tunnel, true) if full => {}
                (Method::Direct | Method::Tunnel, true) => {
                    return Err(PlanError::Network {
                        vip,
                        device,
                        length,
                    });
                }
                (Method::Direct | Method::Tunnel, false) => {
                    return Err(PlanError::Answers {
                        vip,
                        device,
                        length,
                    });
                }
            }
        }
    }
    Ok(())
}

/// No ARP answers for the addresses on `lo`, no ARP requests in their name. IPv6 needs nothing:
/// its kernel code answers on an interface for that interface's addresses only.
fn silence(state: &State, wanted: &Wanted, changes: &mut Vec<Change>) {
    if !wanted.has(Family::V4) {
        return;
    }
    for interface in ["all", "lo"] {
        if !is_silent(state.ipv4(interface, "arp_ignore")) {
            set(state, interface, "arp_ignore", 1, changes);
        }
        if state.ipv4(interface, "arp_announce") < 2 {
            set(state, interface, "arp_announce", 2, changes);
        }
    }
    // The larger of `all`'s and the interface's own holds, and some larger ones mean less.
    for device in state.devices.iter().filter(|device| device.ethernet) {
        let own = state.ipv4(&device.name, "arp_ignore");
        if own > 1 && !is_silent(own) {
            set(state, &device.name, "arp_ignore", 1, changes);
        }
    }
}

fn decapsulate(
    state: &State,
    wanted: &Wanted,
    done: &[Change],
    changes: &mut Vec<Change>,
) -> Result<(), PlanError> {
    let mut own = Vec::new();
    for family in Family::ALL {
        if !wanted.has(family) {
            continue;
        }
        let Some(device) = state.tunnel(family) else {
            own.extend(wanted.of(family));
            continue;
        };
        if family == Family::V4 && state.effective(&device.name, "rp_filter") == 1 {
            // Strict would drop what comes out of the tunnel, since replies go elsewhere. `all`
            // is not ours to loosen; where it is strict, loose (2) is the larger and holds.
            let to = if state.ipv4("all", "rp_filter") == 0 {
                0
            } else {
                2
            };
            set(state, &device.name, "rp_filter", to, changes);
        }
        if !device.up {
            changes.push(Change::Up {
                device: tunnel_name(family).to_owned(),
            });
        }
    }
    if own.is_empty() {
        return Ok(());
    }
    let device = program_device(state, wanted).ok_or(PlanError::NoDevice)?;
    let before = if state.attached.contains(&device) {
        decapsulated(done, &device)
    } else {
        Vec::new()
    };
    if own.iter().any(|vip| !before.contains(vip)) {
        let mut vips = before.clone();
        vips.extend(own);
        vips.sort();
        vips.dedup();
        changes.push(Change::Decapsulation {
            device,
            vips,
            before,
        });
    }
    Ok(())
}

/// Where our own decapsulation belongs: where a person said, or where the default route leaves.
pub(crate) fn program_device(state: &State, wanted: &Wanted) -> Option<String> {
    if let Some(device) = &wanted.device {
        return Some(device.clone());
    }
    Family::ALL
        .into_iter()
        .filter(|family| wanted.has(*family))
        .find_map(|family| state.default_device(family))
        .map(|device| device.name.clone())
}

/// What our own decapsulation at an interface was last told to take.
fn decapsulated(done: &[Change], at: &str) -> Vec<IpAddr> {
    done.iter()
        .rev()
        .find_map(|change| match change {
            Change::Decapsulation { device, vips, .. } if device == at => Some(vips.clone()),
            Change::Decapsulation { .. }
            | Change::Sysctl { .. }
            | Change::Device { .. }
            | Change::Up { .. }
            | Change::Address { .. } => None,
        })
        .unwrap_or_default()
}

fn set(state: &State, interface: &str, name: &str, to: i64, changes: &mut Vec<Change>) {
    let key = Key::ipv4(interface, name);
    if let Some(from) = state.sysctls.get(&key).copied() {
        changes.push(Change::Sysctl { key, from, to });
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { key, from, to } => write!(f, "{key}: {from} -> {to}"),
            Self::Device { name } => write!(f, "device {name}"),
            Self::Up { device } => write!(f, "{device} up"),
            Self::Decapsulation { device, vips, .. } => {
                write!(f, "decapsulation on {device} for")?;
                vips.iter().try_for_each(|vip| write!(f, " {vip}"))
            }
            Self::Address { vip, device } => {
                write!(f, "{vip}/{} on {device}", Family::of(*vip).full_length())
            }
        }
    }
}

#[cfg(test)]
mod tests;
