//! The data plane that the daemon drives: opening it, and keeping the ways to the real servers known to it.

use anyhow::Context;
use rvs_config::Director;
use rvs_control::actor::Handle;
use rvs_control::forwarding::{Adoption, Forwarding};
use rvs_dataplane::Dataplane;
use rvs_dataplane::hops::Keeper;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

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

/// Keeps the ways to the real servers known for as long as what it returns lives.
pub(super) async fn keep_next_hops(director: &Handle) -> anyhow::Result<NextHops> {
    let (mut events, addresses) = director
        .ask(|director| (director.events().listen(), director.server_addresses()))
        .await?;
    let told = director.clone();
    let keeper = Keeper::start(addresses, move |hops| {
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
