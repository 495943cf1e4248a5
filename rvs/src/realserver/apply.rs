//! Making changes, and undoing them only where they still are as they were made.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use rvs_dataplane::decapsulation;

use super::network::{Family, Network, Up};
use super::plan::Change;

/// What became of a change that was to be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// It is undone.
    Yes,
    /// It was gone already.
    Gone,
    /// Somebody changed it meanwhile: why it was left alone.
    LeftAlone(String),
}

/// Makes a change.
pub(crate) async fn apply(network: &Network, bpffs: &Path, change: &Change) -> anyhow::Result<()> {
    match change {
        Change::Sysctl { key, to, .. } => key.write(&to.to_string()).map_err(Into::into),
        // Made before the plan, which depends on whether the kernel has such devices.
        Change::Device { .. } => Ok(()),
        Change::Up { device } => {
            let ifindex = network.index_of(device).await?;
            network.set_up(ifindex, Up::Up).await
        }
        Change::Decapsulation { device, vips, .. } => {
            decapsulation::attach(bpffs, device, vips).map_err(Into::into)
        }
        Change::Address { vip, device } => {
            let ifindex = network.index_of(device).await?;
            let added = network.add_vip(ifindex, *vip).await;
            match (&added, vip) {
                (Err(_), IpAddr::V6(_)) if ipv6_is_off(device) => added.context(
                    "IPv6 is switched off there: sysctl -w net.ipv6.conf.lo.disable_ipv6=0",
                ),
                (Ok(()) | Err(_), _) => added,
            }
        }
    }
    .with_context(|| change.to_string())
}

/// Undoes a change.
pub(crate) async fn undo(
    network: &Network,
    bpffs: &Path,
    change: &Change,
) -> anyhow::Result<Undone> {
    match change {
        Change::Sysctl { key, from, to } => match key.read()? {
            None => Ok(Undone::Gone),
            Some(value) if value == from.to_string() => Ok(Undone::Gone),
            Some(value) if value == to.to_string() => {
                key.write(&from.to_string())
                    .with_context(|| format!("cannot set {key} back to {from}"))?;
                Ok(Undone::Yes)
            }
            Some(value) => Ok(Undone::LeftAlone(format!(
                "{key} is {value}, neither {from} as before nor {to} as `up` set it"
            ))),
        },
        Change::Device { name } => match network.device(name).await? {
            None => Ok(Undone::Gone),
            Some(device) => {
                network
                    .remove_device(device.index)
                    .await
                    .with_context(|| format!("cannot remove {name}"))?;
                Ok(Undone::Yes)
            }
        },
        Change::Up { device: name } => match network.device(name).await? {
            Some(device) if device.up => {
                network
                    .set_up(device.index, Up::Down)
                    .await
                    .with_context(|| format!("cannot set {name} down"))?;
                Ok(Undone::Yes)
            }
            Some(_) | None => Ok(Undone::Gone),
        },
        Change::Decapsulation { device, before, .. } => {
            if !before.is_empty() {
                decapsulation::attach(bpffs, device, before)?;
                return Ok(Undone::Yes);
            }
            let was_there = decapsulation::detach(bpffs, device)?;
            Ok(if was_there { Undone::Yes } else { Undone::Gone })
        }
        Change::Address { vip, device } => {
            let length = Family::of(*vip).full_length();
            let Some(found) = network.device(device).await? else {
                return Ok(Undone::Gone);
            };
            let there = network.addresses().await?.iter().any(|place| {
                place.address == *vip && place.length == length && place.ifindex == found.index
            });
            if !there {
                return Ok(Undone::LeftAlone(format!(
                    "{vip}/{length} is not on {device} any more"
                )));
            }
            network
                .remove_vip(found.index, *vip)
                .await
                .with_context(|| format!("cannot remove {vip}/{length} from {device}"))?;
            Ok(Undone::Yes)
        }
    }
}

fn ipv6_is_off(device: &str) -> bool {
    ["all", device]
        .iter()
        .any(|interface| super::sysctl::Key::ipv6(interface, "disable_ipv6").number() == Some(1))
}
