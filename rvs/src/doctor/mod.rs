//! `rvs doctor`
mod finding;
pub(crate) use finding::{Finding, Level, Report};
