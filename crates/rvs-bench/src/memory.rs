//! What ten million direct-routing connections weigh, and what a packet of one costs then.

use anyhow::Result;
use rvs_config::Method;

use crate::{
    Wanted,
    bed::{Bed, Hook, Measured},
    report::{Report, Row, Target, median},
    testrun::on_a_thread,
};

const FLOWS: u32 = 10_000_000;
const SLOTS: u64 = 1 << 24;
/// The IPv6 table of a director that has not been told otherwise.
const SLOTS_V6: u64 = 1 << 18;
const PACKETS: u32 = 1 << 20;
const MEMORY: &str = "memory for 10 M direct connections";
const TIME: &str = "xdp direct 10 M flows";

/// Both rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    if !wanted.any(&[MEMORY, TIME]) {
        return Ok(());
    }
    on_a_thread(|| {
        let mut bed = Bed::new(Method::Direct, SLOTS, SLOTS_V6)?;
        let done = measure(&mut bed, wanted, report);
        bed.close()?;
        done
    })
}

fn measure(bed: &mut Bed, wanted: &Wanted, report: &mut Report) -> Result<()> {
    bed.establish(FLOWS)?;
    let megabytes = bed.memory()? as f64 / 1e6;
    let mut found = Vec::new();
    for _ in 0..wanted.runs {
        found.push(
            bed.random(Hook::Xdp, Measured::Director, FLOWS, PACKETS)?
                - bed.random(Hook::Xdp, Measured::Nothing, FLOWS, PACKETS)?,
        );
    }
    report.add(Row::new(MEMORY, "MB", megabytes).target(Target::AtMost(1500.0)));
    report.add(Row::new(TIME, "ns", median(&found)));
    Ok(())
}
