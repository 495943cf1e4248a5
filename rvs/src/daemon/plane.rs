//! The data plane that the daemon drives: opening it, and keeping the ways to the real servers known to it.

use rvs_config::Director;
use rvs_control::actor::Handle;
use rvs_control::forwarding::{Adoption, Forwarding};

/// Opens the data plane, or takes over one that forwards already.
pub(super) fn open(_director: &Director) -> anyhow::Result<(Box<dyn Forwarding>, Adoption)> {
    anyhow::bail!("this program was built without its data plane")
}

/// Keeps the ways to the real servers known for as long as what it returns lives.
pub(super) async fn keep_next_hops(_director: &Handle) -> anyhow::Result<()> {
    Ok(())
}
