//! What the first packet of a connection costs at tc by each scheduler, among few servers and among as many as a service
//! can have; and by persistence, from clients that have no template yet.

use std::net::Ipv4Addr;

use anyhow::Result;
use rvs_config::{Method, Persistence, PersistenceTimeout, Scheduler, ServiceOptions};

use crate::{
    Wanted,
    bed::{Bed, Measured},
    frame::Kind,
    report::{Report, Row, Target, median},
    testrun::on_a_thread,
};

/// Servers of the service.
const SIZES: [u32; 3] = [4, 64, 1024];
/// Connections made in one measurement.
const COUNT: u32 = 1 << 14;
const SLOTS: u64 = 1 << 20;
const SLOTS_V6: u64 = 1 << 10;
/// Nanoseconds that a choice among the most servers may take.
const LIMIT: f64 = 10_000.0;

/// What is measured: a row's name, and the options that make it.
struct Way {
    name: String,
    options: ServiceOptions,
}

/// All rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    for servers in SIZES {
        let ways: Vec<Way> = ways(servers)
            .into_iter()
            .filter(|way| wanted.any(&[&way.name]))
            .collect();
        if !ways.is_empty() {
            on_a_thread(|| measure(servers, &ways, wanted, report))?;
        }
    }
    Ok(())
}

fn ways(servers: u32) -> Vec<Way> {
    let named = |what: &str, options| Way {
        name: format!("tc new connection by {what} among {servers} servers"),
        options,
    };
    let mut ways: Vec<Way> = Scheduler::ALL
        .into_iter()
        .filter(|scheduler| *scheduler != Scheduler::None)
        .map(|scheduler| named(scheduler.name(), ServiceOptions::new(scheduler)))
        .collect();
    let mut persistent = ServiceOptions::new(Scheduler::Wlc);
    persistent.persistence = Some(Persistence::new(PersistenceTimeout::default()));
    ways.push(named("wlc with persistence", persistent));
    ways
}

fn measure(servers: u32, ways: &[Way], wanted: &Wanted, report: &mut Report) -> Result<()> {
    let first = u32::from(Ipv4Addr::new(10, 1, 1, 1));
    let addresses: Vec<Ipv4Addr> = (0..servers).map(|i| Ipv4Addr::from(first + i)).collect();
    let mut bed = Bed::with_servers(Method::Direct, &addresses, SLOTS, SLOTS_V6)?;
    let mut found = vec![Vec::new(); ways.len()];
    let mut from = 0_u32;
    let mut all = || -> Result<()> {
        for _ in 0..wanted.runs {
            for (way, found) in ways.iter().zip(&mut found) {
                bed.set_options(&way.options)?;
                let with = bed.sequence(Kind::Syn, Measured::Director, from, COUNT)?;
                let without = bed.sequence(Kind::Syn, Measured::Nothing, from, COUNT)?;
                found.push(with - without);
                from = from.wrapping_add(COUNT);
            }
        }
        Ok(())
    };
    let done = all();
    bed.close()?;
    done?;
    for (way, found) in ways.iter().zip(&found) {
        let row = Row::new(&way.name, "ns", median(found));
        report.add(if servers == 1024 {
            row.target(Target::AtMost(LIMIT))
        } else {
            row
        });
    }
    Ok(())
}
