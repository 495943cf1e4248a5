//! .
use crate::{Wanted, report::Report};
pub(crate) fn run(_wanted: &Wanted, _report: &mut Report) -> anyhow::Result<()> {
    Ok(())
}
