//! How much of the machine a test takes while others run beside it.

use anyhow::{Result, bail};

use super::artifacts::TestProgram;
use super::plan::Plan;

/// The part of the machine that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// A test among others.
    One,
    /// As much as two: it computes all the time.
    Two,
    /// The whole machine: it measures time, or how much the machine can do.
    Alone,
}

/// A test, or all of a program, that is not [`Share::One`].
struct Group {
    package: &'static str,
    target: &'static str,
    /// Its name, or nothing for all of the program.
    test: Option<&'static str>,
    share: Share,
}

const fn group(
    package: &'static str,
    target: &'static str,
    test: Option<&'static str>,
    share: Share,
) -> Group {
    Group {
        package,
        target,
        test,
        share,
    }
}

/// Each with its reason.
const GROUPS: &[Group] = &[
    // Floods at the speed of the machine; shares of what is dropped by time.
    group("rvs", "e2e_floods", None, Share::Alone),
    // A gibibyte is hashed at both ends.
    group(
        "rvs",
        "e2e_load",
        Some("long_transfers_packet_by_packet"),
        Share::Two,
    ),
    group(
        "rvs",
        "e2e_load",
        Some("long_transfers_with_offloads"),
        Share::Two,
    ),
];

/// What a test takes.
pub(crate) fn share(package: &str, target: &str, test: &str) -> Share {
    GROUPS
        .iter()
        .find(|group| {
            group.package == package
                && group.target == target
                && group.test.is_none_or(|name| name == test)
        })
        .map_or(Share::One, |group| group.share)
}

/// An error if a group names no test of these programs: a test was renamed, and now runs beside others.
pub(crate) fn check(programs: &[&TestProgram], plan: &Plan) -> Result<()> {
    for group in GROUPS.iter().filter(|group| plan.is_about(group.package)) {
        let program = programs
            .iter()
            .find(|program| program.is_integration(group.package, group.target));
        let tests = match program {
            Some(program) => program.tests(None)?.run,
            None => Vec::new(),
        };
        let is_there = group.test.map_or(!tests.is_empty(), |name| {
            tests.iter().any(|test| test == name)
        });
        if !is_there {
            let name = group.test.unwrap_or("*");
            bail!(
                "xtask/src/test/groups.rs names {name} of {}, which is not there",
                group.target
            );
        }
    }
    Ok(())
}
