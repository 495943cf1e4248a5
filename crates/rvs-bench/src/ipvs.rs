//! Beside the kernel's IPVS, where the machine has it: each forwarding method at XDP and at tc, packets of known
//! flows and of new ones, over veth, in turns in the same run.

use std::time::Duration;

use anyhow::Result;
use rvs_config::{Attach, Method};

use crate::{
    Wanted, machine,
    report::{Report, Row, Target, median},
    testrun::on_a_thread,
    veth::{Line, Load, Middle, RING},
};

const METHODS: [Method; 3] = [Method::Nat, Method::Direct, Method::Tunnel];
const TIME: Duration = Duration::from_millis(400);

/// All rows; none where there is no IPVS.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    for method in METHODS {
        for load in [Load::Known, Load::New] {
            let names = [Attach::Xdp, Attach::Tc].map(|attach| row(attach, method, load));
            if wanted.any(&[&names[0], &names[1]]) && machine::has_ipvs() {
                on_a_thread(|| compare(method, load, wanted, report))?;
            }
        }
    }
    Ok(())
}

fn row(attach: Attach, method: Method, load: Load) -> String {
    format!(
        "{} {} beside ipvs",
        Middle::Rvs(attach, method).name(),
        what(load)
    )
}

fn what(load: Load) -> &'static str {
    match load {
        Load::Known => "pps",
        Load::New => "new flows",
    }
}

fn compare(method: Method, load: Load, wanted: &Wanted, report: &mut Report) -> Result<()> {
    let cpu = machine::pin()?;
    let kinds = [
        Middle::Rvs(Attach::Xdp, method),
        Middle::Rvs(Attach::Tc, method),
        Middle::Ipvs(method),
        Middle::Bare,
    ];
    let mut lines = Vec::new();
    let measured = (|| {
        for kind in kinds {
            let mut line = Line::new(kind)?;
            line.load(load, RING);
            lines.push(line);
        }
        let mut rates = vec![Vec::new(); lines.len()];
        for line in &mut lines {
            line.run(cpu, TIME / 4)?;
        }
        for _ in 0..wanted.runs {
            for (line, rates) in lines.iter_mut().zip(&mut rates) {
                rates.push(line.run(cpu, TIME)?.0);
            }
        }
        anyhow::Ok(rates.iter().map(|rates| median(rates)).collect::<Vec<_>>())
    })();
    for line in lines {
        line.close()?;
    }
    let Ok([xdp, tc, theirs, bare]) = <[f64; 4]>::try_from(measured?) else {
        return Ok(());
    };
    // What the director adds to the line, in microseconds a packet.
    let own = |rate: f64| 1.0 / rate - 1.0 / bare;
    for (attach, rate) in [(Attach::Xdp, xdp), (Attach::Tc, tc)] {
        let target = match (attach, load) {
            (Attach::Xdp, Load::Known) => Target::Ratio(3.0),
            (_, Load::New) => Target::Ratio(1.0),
            _ => Target::None,
        };
        let name = row(attach, method, load);
        let rate_row = Row::new(&name, "kpps", rate * 1e3);
        report.add(rate_row.against("kernel IPVS", theirs * 1e3).target(target));
        let share = Row::new(&format!("{name}, less the line"), "us", own(rate));
        report.add(share.against("kernel IPVS", own(theirs)));
    }
    let name = format!("bare line {} beside ipvs, {method}", what(load));
    report.add(Row::new(&name, "kpps", bare * 1e3).against("kernel IPVS", theirs * 1e3));
    Ok(())
}
