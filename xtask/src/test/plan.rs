//! The plan of a run of the tests: its phases, and the packages that they are about.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread::available_parallelism;

use anyhow::Result;

use super::Args;
use super::history::History;
use super::packages::Packages;
use super::phases::{Needs, Phase};
use super::report::Empty;

/// Packages whose integration tests make networks.
pub(crate) const HOST_PACKAGES: &[&str] = &["rvs", "rvs-dataplane", "rvs-lab"];
/// The one whose models loom checks.
const MODELS_PACKAGE: &str = "rvs-table";
/// The one that plays scenarios, with the program of [`PROGRAM_PACKAGE`].
const PARITY_PACKAGE: &str = "rvs-parity";
const PROGRAM_PACKAGE: &str = "rvs";
/// The one that the toolchain for eBPF builds.
const BPF_PACKAGE: &str = "rvs-dataplane";
/// Packages without a library have no examples.
const WITHOUT_LIBRARY: &[&str] = &["rvs", "rvs-bench", "rvs-parity", "xtask"];

/// See the module.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) phases: Vec<Phase>,
    /// The packages whose tests are run; all, if there is none.
    packages: Option<BTreeSet<String>>,
    pub(crate) only: Option<String>,
    pub(crate) jobs: usize,
    /// Whether a phase may be left with no test.
    pub(crate) empty: Empty,
    /// Whether more than a Rust compiler is needed.
    pub(crate) needs_setup: bool,
}

impl Plan {
    pub(crate) fn new(args: &Args, all: &Packages) -> Result<Self> {
        for package in &args.package {
            all.require(package)?;
        }
        let mut guest_touched = true;
        let packages = if args.changed {
            let touched = all.touched_by_changes()?;
            let program = touched.packages.contains(PROGRAM_PACKAGE);
            guest_touched = touched.guest || program;
            Some(touched.packages)
        } else if args.package.is_empty() {
            None
        } else {
            // A named package is wanted soon, and the guest is slow.
            guest_touched = false;
            Some(args.package.iter().cloned().collect())
        };
        let mut plan = Self {
            phases: Vec::new(),
            packages,
            only: args.only.clone(),
            jobs: args.jobs.unwrap_or_else(default_jobs).max(1),
            empty: Empty::Fails,
            needs_setup: false,
        };
        let is_asked = |phase: Phase| {
            if args.phase.is_empty() {
                (args.full || phase.is_usual())
                    && plan.concerns(phase, guest_touched)
                    && !(args.no_guest && phase.needs() == Needs::Guest)
            } else {
                args.phase.contains(&phase)
            }
        };
        plan.phases = Phase::ALL
            .into_iter()
            .filter(|phase| is_asked(*phase))
            .collect();
        if plan.only.is_some() || plan.packages.is_some() {
            plan.empty = Empty::Allowed;
        }
        plan.needs_setup = plan.phases.iter().any(|phase| {
            phase.needs() != Needs::Nothing
                || plan
                    .build_of(*phase)
                    .is_none_or(|built| built.iter().any(|one| all.needs(one, BPF_PACKAGE)))
        });
        Ok(plan)
    }

    /// Whether a phase without tests has failed.
    pub(crate) fn empty_of(&self, phase: Phase) -> Empty {
        match phase {
            Phase::Examples => Empty::Allowed,
            Phase::Unit
            | Phase::Models
            | Phase::Host
            | Phase::Alone
            | Phase::Parity
            | Phase::Guest
            | Phase::GuestFull
            | Phase::ParityFull => self.empty,
        }
    }

    /// Words for `cargo test` that select what all phases need built; none, if that is nothing beside what they build
    /// themselves.
    pub(crate) fn selection(&self) -> Vec<String> {
        let mut packages = BTreeSet::new();
        for phase in &self.phases {
            match self.build_of(*phase) {
                Some(of_phase) => packages.extend(of_phase),
                None => return vec!["--workspace".to_owned()],
            }
        }
        words(&packages)
    }

    /// The same for examples.
    pub(crate) fn selection_of_libraries(&self) -> Vec<String> {
        match &self.packages {
            None => vec!["--workspace".to_owned()],
            Some(packages) => {
                let mut libraries = packages.clone();
                libraries.retain(|package| !WITHOUT_LIBRARY.contains(&package.as_str()));
                words(&libraries)
            }
        }
    }

    /// Whether it runs the tests of a package.
    pub(crate) fn is_about(&self, package: &str) -> bool {
        self.packages
            .as_ref()
            .is_none_or(|packages| packages.contains(package))
    }

    fn concerns(&self, phase: Phase, guest: bool) -> bool {
        match phase {
            Phase::Unit => self.packages.as_ref().is_none_or(|all| !all.is_empty()),
            Phase::Examples => !self.selection_of_libraries().is_empty(),
            Phase::Models => self.is_about(MODELS_PACKAGE),
            Phase::Host | Phase::Alone => {
                HOST_PACKAGES.iter().any(|package| self.is_about(package))
            }
            Phase::Parity | Phase::ParityFull => self.is_about(PARITY_PACKAGE),
            Phase::Guest | Phase::GuestFull => guest,
        }
    }

    /// The packages whose tests, and programs, a phase needs built; all, if there is none.
    fn build_of(&self, phase: Phase) -> Option<BTreeSet<String>> {
        let these = |packages: &[&str]| Some(packages.iter().map(|&one| one.to_owned()).collect());
        match phase {
            Phase::Unit => self.packages.clone(),
            // Cargo builds them when it runs them.
            Phase::Examples | Phase::Models => these(&[]),
            Phase::Host | Phase::Alone => {
                let about = |package: &&&str| self.is_about(package);
                let packages: Vec<_> = HOST_PACKAGES.iter().filter(about).copied().collect();
                these(&packages)
            }
            Phase::Parity | Phase::ParityFull => these(&[PROGRAM_PACKAGE, PARITY_PACKAGE]),
            Phase::Guest | Phase::GuestFull => {
                these(&[PROGRAM_PACKAGE, BPF_PACKAGE, PARITY_PACKAGE])
            }
        }
    }
}

fn words(packages: &BTreeSet<String>) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| ["--package".to_owned(), package.clone()])
        .collect()
}

fn default_jobs() -> usize {
    2 * available_parallelism().map_or(1, usize::from)
}

/// The phases, what each needs and what it took last time.
pub(crate) fn listing(history: &History) -> String {
    let mut text = format!(
        "{:<12} {:<12} {:<7} {:>9}  {}\n",
        "phase", "needs", "runs", "last time", "what it is"
    );
    for phase in Phase::ALL {
        let last = history.phase(phase.name());
        let last = last.map_or("-".to_owned(), |seconds| format!("{seconds:.0} s"));
        let _ = writeln!(
            text,
            "{:<12} {:<12} {:<7} {last:>9}  {}",
            phase.name(),
            phase.needs().name(),
            if phase.is_usual() { "always" } else { "--full" },
            phase.about()
        );
    }
    if let Some(seconds) = history.phase("build") {
        let _ = writeln!(text, "The last build took {seconds:.0} s.");
    }
    text
}
