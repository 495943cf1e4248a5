//! Nanoseconds a packet by `BPF_PROG_TEST_RUN`.
//!
//! A feed writes the next flow's frame and calls the director's program; what the same feed costs with
//! a program that does nothing is subtracted. A table has about twice as many slots as connections need,
//! as one would configure it; the default's size is measured too. Rows are measured in turns.

use anyhow::Result;
use rvs_config::Method;

use crate::{
    Wanted,
    bed::{Bed, Hook, Measured},
    frame::Kind,
    machine,
    report::{Report, Row, Target, median},
};

/// How many connections there are.
struct Size {
    flows: u32,
    name: &'static str,
    /// Slots, if more than the connections need.
    slots: u64,
    /// Katran's nanoseconds, at 524 k flows in place of 1 M.
    katran: f64,
    /// What is to be reached.
    limit: Option<f64>,
}

const SIZES: [Size; 4] = [
    Size {
        flows: 1,
        name: "1 flow",
        slots: 1 << 10,
        katran: 128.0,
        limit: Some(75.0),
    },
    Size {
        flows: 1 << 16,
        name: "65 k flows",
        slots: 1 << 10,
        katran: 255.0,
        limit: Some(128.0),
    },
    Size {
        flows: 1 << 16,
        name: "65 k flows in 1 Mi slots",
        slots: 1 << 20,
        katran: 255.0,
        limit: None,
    },
    Size {
        flows: 1 << 20,
        name: "1 M flows",
        slots: 1 << 10,
        katran: 424.0,
        limit: Some(212.0),
    },
];
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
                .map(|size| format!("{hook} {name} {}", size.name))
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
        let mut beds = Vec::new();
        let done = self.measure_all(&mut beds, wanted, report);
        for (_, bed) in beds {
            bed.close()?;
        }
        done
    }

    fn measure_all(
        &self,
        beds: &mut Vec<(usize, Bed)>,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<()> {
        let per_flow = if self.method == Method::Nat { 4 } else { 2 };
        for (place, size) in SIZES.iter().enumerate() {
            if self
                .hooks
                .iter()
                .any(|(_, names)| wanted.any(&[&names[place]]))
            {
                let slots = u64::from(size.flows) * per_flow;
                let mut bed = Bed::new(self.method, slots.max(size.slots), SLOTS_V6)?;
                let done = bed.establish(size.flows);
                beds.push((place, bed));
                done?;
            }
        }
        let mut empty = Vec::new();
        let mut found: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); SIZES.len()]; self.hooks.len()];
        for _ in 0..wanted.runs {
            for (place, bed) in beds.iter_mut() {
                let flows = SIZES[*place].flows;
                for ((hook, names), found) in self.hooks.iter().zip(&mut found) {
                    if wanted.any(&[&names[*place]]) {
                        found[*place].push(self.once(bed, *hook, flows)?);
                    }
                }
            }
        }
        let new = self.new_connections(wanted)?;
        if self.method == Method::Direct && wanted.any(&[EMPTY]) {
            let mut bed = Bed::new(self.method, 1 << 10, SLOTS_V6)?;
            for _ in 0..wanted.runs {
                empty.push(bed.nothing(PACKETS)?);
            }
            bed.close()?;
            report.add(Row::new(EMPTY, "ns", median(&empty)));
        }
        for ((hook, names), found) in self.hooks.iter().zip(&found) {
            for ((size, name), found) in SIZES.iter().zip(names).zip(found) {
                if found.is_empty() {
                    continue;
                }
                let row = Row::new(name, "ns", median(found));
                let ours = self.method == Method::Direct && *hook == Hook::Xdp;
                report.add(match (ours, size.limit) {
                    (true, Some(limit)) => row
                        .against(KATRAN, size.katran)
                        .target(Target::AtMost(limit)),
                    (true, None) => row.against(KATRAN, size.katran),
                    (false, _) => row,
                });
            }
        }
        if let (Some(name), false) = (&self.new, new.is_empty()) {
            report.add(Row::new(name, "ns", median(&new)));
        }
        Ok(())
    }

    /// Nanoseconds for a packet of one of `flows` connections.
    fn once(&self, bed: &mut Bed, hook: Hook, flows: u32) -> Result<f64> {
        if self.method == Method::Tunnel {
            return Ok(
                bed.single(Measured::Director, flows)? - bed.single(Measured::Nothing, flows)?
            );
        }
        // Once to bring what fits into the caches.
        bed.random(hook, Measured::Director, flows, PACKETS / 2)?;
        Ok(bed.random(hook, Measured::Director, flows, PACKETS)?
            - bed.random(hook, Measured::Nothing, flows, PACKETS)?)
    }

    /// Nanoseconds for the first packet of a connection, in a table of the default size.
    fn new_connections(&self, wanted: &Wanted) -> Result<Vec<f64>> {
        const COUNT: u32 = 1 << 16;
        let mut found = Vec::new();
        if !self.new.as_ref().is_some_and(|name| wanted.any(&[name])) {
            return Ok(found);
        }
        let mut bed = Bed::new(self.method, 1 << 20, SLOTS_V6)?;
        let mut run = |from: u32| -> Result<f64> {
            Ok(bed.sequence(Kind::Syn, Measured::Director, from, COUNT)?
                - bed.sequence(Kind::Syn, Measured::Nothing, from, COUNT)?)
        };
        let done = (0..wanted.runs as u32)
            .try_for_each(|number| run(number.wrapping_mul(COUNT)).map(|value| found.push(value)));
        bed.close()?;
        done.map(|()| found)
    }
}
