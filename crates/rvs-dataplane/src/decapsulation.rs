//! The program of a tunnel-mode real server, for kernels without ipip devices.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::maps::HashMap;
use rvs_abi::service::address as meaning;

use crate::{
    OpenError,
    attach::{self, Interface},
    kernel,
    object::{self, describe},
    shared::Plain,
    wire,
};

const PROGRAM: &str = "rvs_decapsulate";
const KIND: &str = "decapsulate";

/// The port at which real servers take GUE packets (IANA).
pub const GUE_PORT: u16 = 6080;

/// Lets `device` unwrap tunnelled packets for `vips`. What was attached before is replaced.
pub fn attach(bpffs: &Path, device: &str, vips: &[IpAddr]) -> Result<(), OpenError> {
    kernel::check(bpffs)?;
    let interface = interface(device)?;
    let directory = directory(bpffs);
    fs::create_dir_all(&directory)
        .map_err(|error| OpenError::kernel(format!("making {}", directory.display()), error))?;
    let mut loaded = aya::EbpfLoader::new()
        .load(object::OBJECT)
        .map_err(|error| OpenError::Object(describe(&error)))?;
    let map = loaded
        .map_mut("ADDRESSES")
        .ok_or_else(|| OpenError::Object("map ADDRESSES is missing".to_owned()))?;
    let mut addresses: HashMap<_, Plain<rvs_abi::AddressKey>, u32> =
        HashMap::try_from(map).map_err(|error| OpenError::Object(error.to_string()))?;
    let virtuals = vips
        .iter()
        .map(|vip| (wire::address_key(*vip, 0), meaning::VIRTUAL));
    for (key, bits) in virtuals.chain([(gue_key(), meaning::GUE)]) {
        addresses.insert(Plain(key), bits, 0).map_err(|error| {
            OpenError::kernel(
                "adding a virtual address",
                std::io::Error::other(describe(&error)),
            )
        })?;
    }
    let program = object::load_tc(&mut loaded, PROGRAM)?;
    attach::tc(program, &interface, &directory, KIND)
}

/// Takes the program off `device`. Says whether it was there.
pub fn detach(bpffs: &Path, device: &str) -> Result<bool, OpenError> {
    let directory = directory(bpffs);
    let was_there = attach::tc_detach(&interface(device)?, &directory, KIND)?;
    // Other interfaces of this namespace may have theirs in it: then it stays.
    let _ = fs::remove_dir(&directory);
    Ok(was_there)
}

/// Whether the program is attached to `device`.
pub fn attached(bpffs: &Path, device: &str) -> bool {
    interface(device)
        .is_ok_and(|interface| attach::tc_attached(&interface, &directory(bpffs), KIND))
}

/// Under which the program finds that a UDP port is GUE's.
fn gue_key() -> rvs_abi::AddressKey {
    rvs_abi::AddressKey {
        protocol: rvs_abi::protocol::UDP,
        port: GUE_PORT.to_be(),
        ..rvs_abi::AddressKey::default()
    }
}

fn interface(device: &str) -> Result<Interface, OpenError> {
    Ok(Interface {
        name: device.to_owned(),
        ifindex: kernel::ifindex(device)?,
    })
}

/// One directory for each network namespace, since interface indexes repeat.
fn directory(bpffs: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino());
    bpffs.join("rvs-realserver").join(namespace.to_string())
}
