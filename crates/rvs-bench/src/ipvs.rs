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
    let what = match load {
        Load::Known => "pps",
        Load::New => "new flows",
    };
    format!("{} {what} beside ipvs", Middle::Rvs(attach, method).name())
}

fn compare(method: Method, load: Load, wanted: &Wanted, report: &mut Report) -> Result<()> {
    let cpu = machine::pin()?;
    let kinds = [
        Middle::Rvs(Attach::Xdp, method),
        Middle::Rvs(Attach::Tc, method),
        Middle::Ipvs(method),
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
    let rates = measured?;
    let theirs = rates.get(2).copied().unwrap_or_default();
    for (attach, rate) in [Attach::Xdp, Attach::Tc].into_iter().zip(rates) {
        let target = match (attach, load) {
            (Attach::Xdp, Load::Known) => Target::Ratio(3.0),
            (_, Load::New) => Target::Ratio(1.0),
            _ => Target::None,
        };
        let row = Row::new(&row(attach, method, load), "kpps", rate * 1e3);
        report.add(row.against("kernel IPVS", theirs * 1e3).target(target));
    }
    Ok(())
}
