//! The data plane that the daemon drives: opening it, and keeping the ways to the real servers known to it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rvs_config::Director;
use rvs_control::actor::Handle;
use rvs_control::forwarding::{Adoption, Forwarding};
use rvs_dataplane::Dataplane;
use rvs_dataplane::hops::{Asker, Keeper};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// The instance is this daemon's alone for as long as this lives: two would overwrite each other's changes.
#[derive(Debug)]
pub(super) struct Claim {
    pins: PathBuf,
    _held: File,
}

impl Claim {
    /// Claims the instance, unless a daemon that lives has it.
    pub(super) fn take(director: &Director) -> anyhow::Result<Claim> {
        let pins = director.bpffs.join("rvs").join(director.instance.as_str());
        let context = || format!("cannot claim {}", pins.display());
        loop {
            fs::create_dir_all(&pins).with_context(context)?;
            let held = File::open(&pins).with_context(context)?;
            match flock(&held, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    bail!("instance {} is run by another daemon", director.instance)
                }
                Err(errno) => return Err(errno).with_context(context),
            }
            // Its former holder may have removed it in between.
            let ours = held.metadata().with_context(context)?.ino();
            if fs::metadata(&pins).is_ok_and(|found| found.ino() == ours) {
                return Ok(Claim { pins, _held: held });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Only an empty one goes: what is pinned goes on forwarding.
        let _ = fs::remove_dir(&self.pins);
    }
}

/// Opens the data plane, or takes over one that forwards already.
pub(super) fn open(director: &Director) -> anyhow::Result<(Box<dyn Forwarding>, Adoption)> {
    let (plane, adoption) = Dataplane::open(director)?;
    Ok((Box::new(plane), adoption))
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct NextHops(JoinHandle<()>);

impl Drop for NextHops {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Finds the ways to the servers that there are, and returns who finds those of later ones for who waits for them.
pub(super) async fn find_next_hops(director: &Handle) -> anyhow::Result<Asker> {
    let (addresses, interface) = director
        .ask(|director| {
            let interface = director.settings().interfaces.first();
            (
                director.server_addresses(),
                interface.map(|name| name.as_str().to_owned()),
            )
        })
        .await?;
    let asker = Asker::open(interface).context("cannot ask for the routes to the real servers")?;
    let ways = asker.ways(&addresses).await;
    director
        .ask(move |director| director.add_hops(&ways))
        .await?;
    Ok(asker)
}

/// Keeps the ways to the real servers known for as long as what it returns lives: as packets go that come in by the
/// first of the director's interfaces.
pub(super) async fn keep_next_hops(director: &Handle) -> anyhow::Result<NextHops> {
    let (mut events, addresses, interface) = director
        .ask(|director| {
            let interface = director.settings().interfaces.first();
            (
                director.events().listen(),
                director.server_addresses(),
                interface.map(|name| name.as_str().to_owned()),
            )
        })
        .await?;
    let told = director.clone();
    let keeper = Keeper::start_from(addresses, interface, move |hops| {
        // If its turn does not come now, the next pass says the same again.
        told.tell(move |director| director.apply_hops(&hops));
    })
    .context("cannot watch the routes to the real servers")?;
    let director = director.clone();
    Ok(NextHops(tokio::spawn(async move {
        loop {
            match events.recv().await {
                // Any event may be about servers; the keeper does not mind the same set twice.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            // Events come in crowds, and one look is enough for all that are there.
            while events.try_recv().is_ok() {}
            match director.ask(|director| director.server_addresses()).await {
                Ok(addresses) => keeper.watch(addresses),
                Err(_) => return,
            }
        }
    })))
}
