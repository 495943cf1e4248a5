//! Attaching programs to interfaces so that they outlive this process, and replacing them without a
//! gap.
//!
//! Where the kernel has tcx, and for XDP, a link is pinned; the next start opens the pin and replaces
//! the program in the link. With clsact there is nothing to pin: the filter is found again by its
//! priority and handle, and replaced in place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::programs::LinkOrder;
use aya::programs::{
    SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
    xdp::XdpLink,
};

use crate::{OpenError, kernel, object::describe};

/// Ours among clsact's filters: early, and with a handle that spells "RVS".
const PRIORITY: u16 = 10;
const HANDLE: u32 = 0x0052_5653;

/// An interface that a program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

/// Attaches a tc program, or replaces the one that is there: to what goes out if the kind is [`OUT`], else to what
/// comes in. `kind` tells the links of one instance apart.
pub(crate) fn tc(
    program: &mut SchedClassifier,
    interface: &Interface,
    links: &Path,
    kind: &str,
) -> Result<(), OpenError> {
    let name = &interface.name;
    let failed = |error: &dyn std::error::Error| {
        OpenError::kernel(
            format!("attaching to {name}"),
            std::io::Error::other(describe(error)),
        )
    };
    if kernel::has_tcx() {
        let pin = pin(links, kind, interface);
        if let Some(link) = pinned(&pin)
            && let Ok(link) = SchedClassifierLink::try_from(link)
            && let Ok(id) = program.attach_to_link(link)
        {
            return program
                .take_link(id)
                .map(drop)
                .map_err(|error| failed(&error));
        }
        unpin(&pin)?;
        let id = program
            .attach_with_options(
                name,
                side(kind),
                TcAttachOptions::TcxOrder(LinkOrder::first()),
            )
            .map_err(|error| failed(&error))?;
        let link = program.take_link(id).map_err(|error| failed(&error))?;
        let link = FdLink::try_from(link).map_err(|error| failed(&error))?;
        link.pin(&pin).map_err(|error| failed(&error))?;
        return Ok(());
    }
    // An error says that the qdisc is there already; a real one shows when the filter is added.
    let _ = qdisc_add_clsact(name);
    let existing = filter(name, kind)?;
    let id = match program.attach_to_link(existing) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions {
                priority: PRIORITY,
                handle: handle(kind),
                ..NlOptions::default()
            };
            program
                .attach_with_options(name, side(kind), TcAttachOptions::Netlink(options))
                .map_err(|error| failed(&error))?
        }
    };
    // Dropping the link would remove the filter.
    std::mem::forget(program.take_link(id).map_err(|error| failed(&error))?);
    let marker = marker(links, kind, interface);
    unpin(&marker)?;
    program.pin(&marker).map_err(|error| failed(&error))
}

/// Attaches a tc program to what comes in by a device that ends with this process.
pub(crate) fn for_now(program: &mut SchedClassifier, name: &str) -> Result<(), OpenError> {
    let options = if kernel::has_tcx() {
        TcAttachOptions::TcxOrder(LinkOrder::first())
    } else {
        // A new device has none.
        let _ = qdisc_add_clsact(name);
        TcAttachOptions::Netlink(NlOptions {
            priority: PRIORITY,
            handle: handle(TC),
            ..NlOptions::default()
        })
    };
    // The link lies with the program until that is dropped.
    program
        .attach_with_options(name, TcAttachType::Ingress, options)
        .map(drop)
        .map_err(|error| {
            OpenError::kernel(
                format!("attaching to {name}"),
                std::io::Error::other(describe(&error)),
            )
        })
}

/// Removes a tc program from an interface. Says whether it was there.
pub(crate) fn tc_detach(
    interface: &Interface,
    links: &Path,
    kind: &str,
) -> Result<bool, OpenError> {
    if kernel::has_tcx() {
        return unpin(&pin(links, kind, interface));
    }
    let was = unpin(&marker(links, kind, interface))?;
    let link = filter(&interface.name, kind)?;
    Ok(aya::programs::links::Link::detach(link).is_ok() || was)
}

/// Whether a tc program of this kind is attached.
pub(crate) fn tc_attached(interface: &Interface, links: &Path, kind: &str) -> bool {
    if kernel::has_tcx() {
        return pin(links, kind, interface).exists();
    }
    marker(links, kind, interface).exists()
}

/// Whether a director's program is on the interface that is not of the instance with these links.
/// Only tcx tells; with clsact the later director takes the filter over.
pub(crate) fn is_anothers(interface: &Interface, links: &Path) -> bool {
    if !kernel::has_tcx() || pin(links, TC, interface).exists() {
        return false;
    }
    SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress).is_ok_and(|(_, programs)| {
        programs
            .iter()
            .any(|program| program.name_as_str() == Some(crate::object::INGRESS))
    })
}

/// Attaches an XDP program in the driver, or replaces the one that is there.
pub(crate) fn xdp(
    program: &mut Xdp,
    interface: &Interface,
    links: &Path,
) -> Result<(), aya::programs::ProgramError> {
    let pin = pin(links, "xdp", interface);
    if let Some(link) = pinned(&pin)
        && let Ok(link) = XdpLink::try_from(link)
        && let Ok(id) = program.attach_to_link(link)
    {
        return program.take_link(id).map(drop);
    }
    let _ = fs::remove_file(&pin);
    let id = program.attach(&interface.name, XdpMode::Driver)?;
    let link = program.take_link(id)?;
    let unpinned = |_| aya::programs::ProgramError::NotAttached;
    FdLink::try_from(link)
        .map_err(unpinned)?
        .pin(&pin)
        .map_err(|_| aya::programs::ProgramError::NotAttached)?;
    Ok(())
}

/// Removes the links of interfaces that are not in `wanted`, by the names of their pins.
pub(crate) fn keep_only(
    links: &Path,
    wanted: &[Interface],
    with_xdp: &[u32],
) -> Result<(), OpenError> {
    let Ok(entries) = fs::read_dir(links) else {
        return Ok(());
    };
    let both = |kind: &str, interface: &Interface| {
        let link = file(kind, interface);
        let marker = format!("{link}{MARKER}");
        [link, marker]
    };
    let mut keep = Vec::from(both(LOOPBACK, &loopback()));
    for interface in wanted {
        keep.extend(both(TC, interface));
        keep.extend(both(OUT, interface));
        if with_xdp.contains(&interface.ifindex) {
            keep.push(file("xdp", interface));
        }
    }
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if keep.contains(&name) {
            continue;
        }
        unpin(&entry.path())?;
        if let Some(name) = name.strip_suffix(MARKER)
            && let Some(interface) = name.rsplit('-').next()
            && let Ok(ifindex) = interface.parse()
            && let Some(interface) = crate::links::name(ifindex)
            && let Ok(filter) = filter(&interface, if name.starts_with(OUT) { OUT } else { TC })
        {
            // It may be gone with a qdisc that somebody removed.
            let _ = aya::programs::links::Link::detach(filter);
        }
    }
    Ok(())
}

/// The loopback interface.
pub(crate) fn loopback() -> Interface {
    Interface {
        name: "lo".to_owned(),
        ifindex: rvs_abi::device::LOOPBACK,
    }
}

/// The kind of the director's own tc links.
pub(crate) const TC: &str = "tc";
/// The kind of its links for what the host itself sends out.
pub(crate) const OUT: &str = "out";
/// The kind of its link on the loopback interface.
pub(crate) const LOOPBACK: &str = "lo";

/// Which way the packets go that a link of this kind shows.
fn side(kind: &str) -> TcAttachType {
    if kind == OUT {
        TcAttachType::Egress
    } else {
        TcAttachType::Ingress
    }
}

/// How the names of pins end that stand for a clsact filter.
const MARKER: &str = "-clsact";

/// Where the kind's filter is found again: two kinds may sit on one interface.
fn handle(kind: &str) -> TcHandle {
    TcHandle::from(if kind == TC { HANDLE } else { HANDLE + 1 })
}

fn filter(name: &str, kind: &str) -> Result<SchedClassifierLink, OpenError> {
    SchedClassifierLink::attached(name, side(kind), PRIORITY, handle(kind), None)
        .map_err(|_| OpenError::NoInterface(name.to_owned()))
}

/// What says that a clsact filter is ours: the pinned program.
fn marker(links: &Path, kind: &str, interface: &Interface) -> PathBuf {
    links.join(format!("{}{MARKER}", file(kind, interface)))
}

fn file(kind: &str, interface: &Interface) -> String {
    // A name may hold a dot, which bpffs refuses; the index tells interfaces apart.
    format!(
        "{kind}-{}-{}",
        interface.name.replace('.', "_"),
        interface.ifindex
    )
}

fn pin(links: &Path, kind: &str, interface: &Interface) -> PathBuf {
    links.join(file(kind, interface))
}

/// The link that is pinned at `path`. The pin stays: dropping the descriptor detaches nothing.
fn pinned(path: &Path) -> Option<FdLink> {
    if !path.exists() {
        return None;
    }
    Some(FdLink::from(PinnedLink::from_pin(path).ok()?))
}

/// Says whether something was pinned.
fn unpin(path: &Path) -> Result<bool, OpenError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::kernel(
            format!("removing {}", path.display()),
            error,
        )),
    }
}
