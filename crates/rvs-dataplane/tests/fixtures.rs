//! The packet case table of `rvs-fixtures`, run by the programs in the kernel (`BPF_PROG_TEST_RUN`):
//! tc gives the core's bytes, verdicts and counters; XDP gives what the core's express way gives, and
//! what XDP passes tc finishes as if XDP had not been there.

#[path = "fixtures/engine.rs"]
mod engine;
#[path = "fixtures/network.rs"]
mod network;

use engine::{Kernel, KernelEngine};
use rvs_fixtures::{Mode, cases, check};

/// What `BPF_PROG_TEST_RUN` cannot express, by reason. A case may only be left out for one of these.
const INEXPRESSIBLE: &[&str] = &[
    "a test run makes packets whose checksums are whole; ip_summed cannot be set",
    "a test run refuses frames that end within the IP header",
    "a test run's super-packets have no gso_type; room is only made in those that have",
];

#[test]
fn every_case_at_tc() {
    run(Mode::Whole, 0);
}

#[test]
fn every_case_at_xdp_then_tc() {
    run(Mode::ExpressFirst, 12);
}

fn run(mode: Mode, least: usize) {
    let network = network::Network::new();
    network.inside(|surroundings| {
        let mut kernel = Kernel::load();
        let (mut run, mut left_out, mut finished) = (0, 0, 0);
        for case in cases() {
            if let Some(reason) = case.native_only {
                assert!(
                    INEXPRESSIBLE.contains(&reason),
                    "\"{}\": {reason}",
                    case.name
                );
                left_out += 1;
                continue;
            }
            let mut engine = KernelEngine::new(&mut kernel, &case.world, surroundings, mode);
            check(&case, &mut engine);
            finished += engine.finished_by_xdp();
            run += 1;
        }
        println!("{run} cases run, {left_out} left out, {finished} packets finished by XDP");
        assert!(left_out * 10 < run, "{left_out} cases left out");
        assert!(finished >= least, "XDP finished only {finished} packets");
    });
}
