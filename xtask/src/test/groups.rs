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

/// A test that is not [`Share::One`].
struct Group {
    package: &'static str,
    target: &'static str,
    test: &'static str,
    share: Share,
}

const fn floods(test: &'static str, share: Share) -> Group {
    Group {
        package: "rvs",
        target: "e2e_floods",
        test,
        share,
    }
}

const fn load(test: &'static str, share: Share) -> Group {
    Group {
        target: "e2e_load",
        ..floods(test, share)
    }
}

/// Each with its reason.
const GROUPS: &[Group] = &[
    // It sends as fast as the machine can, and nine of ten packets must be accounted for.
    floods("a_flood_at_full_speed_is_accounted_for", Share::Alone),
    // Paced floods of 40,000 packets a second, whose shares are counted.
    floods(
        "a_syn_flood_fills_the_table_and_drop_entry_empties_it",
        Share::Two,
    ),
    floods("drop_packet_drops_its_share", Share::Two),
    // Gibibytes, hashed at both ends.
    load("long_transfers_packet_by_packet", Share::Two),
    load("long_transfers_with_offloads", Share::Two),
    // Load as fast as it goes while a dozen directors start.
    load("ports_are_used_again_over_upgrades", Share::Two),
    load("upgrades_that_are_killed_lose_nothing", Share::Two),
];

/// The share of the machine that a test takes.
pub(crate) fn share(package: &str, target: &str, test: &str) -> Share {
    GROUPS
        .iter()
        .find(|group| group.package == package && group.target == target && group.test == test)
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
        if !tests.iter().any(|test| test == group.test) {
            bail!(
                "xtask/src/test/groups.rs names {} of {}, which is not there",
                group.test,
                group.target
            );
        }
    }
    Ok(())
}
