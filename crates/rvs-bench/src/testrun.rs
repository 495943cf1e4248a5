//! Nanoseconds a packet by `BPF_PROG_TEST_RUN`.
//!
//! A feed writes the next flow's frame and calls the director's program; what the same feed costs with
//! a program that does nothing is subtracted, and what that program alone costs (the kernel's loop) is
//! added again, since everybody's numbers have it. Rows that are compared are measured in turns.

use anyhow::Result;
use rvs_config::Method;

use crate::{
    Wanted,
    bed::{Bed, Hook, Measured},
    frame::Kind,
    machine,
    report::{Report, Row, Target, median},
};

/// How many flows a row has, its name, and Katran's nanoseconds.
const SIZES: [(u32, &str, f64); 3] = [
    (1, "1 flow", 128.0),
    (1 << 16, "65 k flows", 255.0),
    (1 << 20, "1 M flows", 424.0),
];
const LIMITS: [f64; 3] = [75.0, 128.0, 212.0];
const KATRAN: &str = "katran (measured earlier)";
const PACKETS: u32 = 1 << 19;
const SLOTS_V6: u64 = 1 << 10;

/// All of them.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    for (method, name) in [
        (Method::Direct, "direct"),
        (Method::Nat, "nat"),
        (Method::Tunnel, "tunnel"),
    ] {
        let rows = Rows::of(method, name);
        if wanted.any(&rows.names()) {
            on_a_thread(|| rows.measure(wanted, report))?;
        }
    }
    Ok(())
}

/// Runs `work` on a thread that may move into a namespace, on the last core.
pub(crate) fn on_a_thread(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            machine::pin()?;
            work()
        });
        match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The rows of one method.
struct Rows {
    method: Method,
    hooks: Vec<(Hook, Vec<String>)>,
    new: Option<String>,
}

const EMPTY: &str = "empty program";

impl Rows {
    fn of(method: Method, name: &str) -> Self {
        let names = |hook: &str| {
            SIZES
                .iter()
                .map(|(_, flows, _)| format!("{hook} {name} {flows}"))
                .collect::<Vec<_>>()
        };
        // A tunnel changes the packet's length, which the express way never does.
        let hooks = match method {
            Method::Tunnel => vec![(Hook::Tc, names("tc"))],
            Method::Direct | Method::Nat => {
                vec![(Hook::Xdp, names("xdp")), (Hook::Tc, names("tc"))]
            }
        };
        Self {
            method,
            hooks,
            new: (method != Method::Tunnel).then(|| format!("tc {name} new connection")),
        }
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .hooks
            .iter()
            .flat_map(|(_, names)| names.iter().map(String::as_str))
            .chain(self.new.as_deref())
            .collect();
        if self.method == Method::Direct {
            names.push(EMPTY);
        }
        names
    }

    fn measure(&self, wanted: &Wanted, report: &mut Report) -> Result<()> {
        let flows = SIZES
            .iter()
            .filter(|(_, size, _)| {
                self.hooks.iter().any(|(_, names)| {
                    names
                        .iter()
                        .any(|name| name.ends_with(size) && wanted.any(&[name]))
                })
            })
            .map(|(flows, ..)| *flows)
            .max()
            .unwrap_or(1);
        let slots = if self.method == Method::Nat { 4 } else { 2 };
        let mut bed = Bed::new(self.method, slots << 20, SLOTS_V6)?;
        let done = bed
            .establish(flows)
            .and_then(|()| self.measure_on(&mut bed, flows, wanted, report));
        bed.close()?;
        done
    }

    fn measure_on(
        &self,
        bed: &mut Bed,
        largest: u32,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<()> {
        let mut empty = Vec::new();
        let mut found: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); SIZES.len()]; self.hooks.len()];
        let mut new = Vec::new();
        for run in 0..wanted.runs {
            let loop_alone = bed.nothing(PACKETS)?;
            empty.push(loop_alone);
            for ((hook, names), found) in self.hooks.iter().zip(&mut found) {
                for (((flows, ..), name), found) in SIZES.iter().zip(names).zip(found) {
                    if *flows > largest || !wanted.any(&[name]) {
                        continue;
                    }
                    let both = if self.method == Method::Tunnel {
                        bed.single(Measured::Director, *flows)?
                            - bed.single(Measured::Nothing, *flows)?
                    } else {
                        // Once to bring what fits into the caches.
                        bed.random(*hook, Measured::Director, *flows, PACKETS / 2)?;
                        bed.random(*hook, Measured::Director, *flows, PACKETS)?
                            - bed.random(*hook, Measured::Nothing, *flows, PACKETS)?
                    };
                    found.push(both + loop_alone);
                }
            }
            if let Some(name) = &self.new
                && wanted.any(&[name])
            {
                // Flows that nobody has seen yet.
                let count = 1 << 16;
                let from = largest + run as u32 * count;
                let made = bed.sequence(Kind::Syn, Measured::Director, from, count)?;
                let fed = bed.sequence(Kind::Syn, Measured::Nothing, from, count)?;
                new.push(made - fed + loop_alone);
            }
        }
        if self.method == Method::Direct {
            report.add(Row::new(EMPTY, "ns", median(&empty)));
        }
        for ((hook, names), found) in self.hooks.iter().zip(&found) {
            for (place, (name, found)) in names.iter().zip(found).enumerate() {
                if found.is_empty() {
                    continue;
                }
                let row = Row::new(name, "ns", median(found));
                let row = if self.method == Method::Direct && *hook == Hook::Xdp {
                    row.against(KATRAN, SIZES[place].2)
                        .target(Target::AtMost(LIMITS[place]))
                } else {
                    row
                };
                report.add(row);
            }
        }
        if let Some(name) = &self.new
            && !new.is_empty()
        {
            report.add(Row::new(name, "ns", median(&new)));
        }
        Ok(())
    }
}
