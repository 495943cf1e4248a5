//! Measures a director: nanoseconds a packet, packets a second, connections a second, memory. Run by
//! `cargo xtask bench`; docs/bench.md says what each row means and how it is measured.
//!
//! It judges nothing: a target that is missed is printed as such, and is no failure. Everything
//! happens in namespaces of its own.

mod bed;
mod floods;
mod frame;
mod ipvs;
mod machine;
mod memory;
mod report;
mod schedulers;
mod services;
mod tcp;
mod testrun;
mod veth;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

use report::Report;

/// Measures a director and prints one table.
#[derive(Parser)]
struct Args {
    /// Also write the rows to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only rows whose name contains this.
    #[arg(long, value_name = "PATTERN", default_value = "")]
    only: String,
    /// Runs of each row, of which the median is taken; fewer than five are for trying out.
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
}

/// What is asked for.
struct Wanted {
    only: String,
    runs: usize,
}

impl Wanted {
    /// Whether any of these rows is asked for.
    fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.contains(&self.only))
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    rvs_lab::Lab::sweep()?;
    let wanted = Wanted {
        only: args.only.clone(),
        runs: args.runs.max(1),
    };
    println!("{}", machine::description());
    println!("medians of {} runs\n", wanted.runs);
    let mut report = Report::default();
    testrun::run(&wanted, &mut report)?;
    schedulers::run(&wanted, &mut report)?;
    services::run(&wanted, &mut report)?;
    memory::run(&wanted, &mut report)?;
    veth::run(&wanted, &mut report)?;
    ipvs::run(&wanted, &mut report)?;
    tcp::run(&wanted, &mut report)?;
    floods::run(&wanted, &mut report)?;
    report.retain(&wanted.only);
    print!("{}", report.table());
    if let Some(file) = &args.json {
        std::fs::write(file, report.json()?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
