//! Running the programs that no packet runs (`BPF_PROG_TEST_RUN`).

use std::{thread, time::Duration};

use aya::{
    Ebpf,
    programs::{Program, TestRun, TestRunOptions},
};
use rvs_abi::sweep::{ClockReading, Insertion, Sweep};

use crate::{
    OpenError,
    object::describe,
    shared::{Request, bytes_of, bytes_of_mut},
};

const SWEEP: &str = "rvs_sweep";
const INSERT: &str = "rvs_insert";
const CLOCK: &str = "rvs_clock";

/// Sweeps a slice.
pub(crate) fn sweep(object: &Ebpf, slice: Sweep) -> Result<Sweep, OpenError> {
    run(object, SWEEP, slice)
}

/// Inserts a connection.
pub(crate) fn insert(object: &Ebpf, insertion: Insertion) -> Result<Insertion, OpenError> {
    run(object, INSERT, insertion)
}

/// The data path's clock.
pub(crate) fn clock(object: &Ebpf) -> Result<ClockReading, OpenError> {
    run(object, CLOCK, ClockReading::default())
}

/// How many ticks a second has: `CONFIG_HZ`, which the kernel does not tell, measured.
pub(crate) fn ticks_per_second(object: &Ebpf) -> Result<u32, OpenError> {
    const KNOWN: [u32; 6] = [100, 250, 300, 512, 1000, 1024];
    let first = clock(object)?;
    thread::sleep(Duration::from_millis(60));
    let second = clock(object)?;
    let nanoseconds = second.monotonic.saturating_sub(first.monotonic).max(1);
    let ticks = u64::from(second.tick.wrapping_sub(first.tick));
    let measured = (ticks * 1_000_000_000 / nanoseconds) as u32;
    Ok(KNOWN
        .into_iter()
        .min_by_key(|known| known.abs_diff(measured))
        .unwrap_or(measured)
        .max(1))
}

fn run<T: Request>(object: &Ebpf, name: &'static str, request: T) -> Result<T, OpenError> {
    let Some(Program::SchedClassifier(program)) = object.program(name) else {
        return Err(OpenError::Object(format!("program {name} is missing")));
    };
    let mut answer = request;
    let options = TestRunOptions {
        data_in: Some(bytes_of(&request)),
        data_out: Some(bytes_of_mut(&mut answer)),
        ..TestRunOptions::new()
    };
    program.test_run(options).map_err(|error| {
        OpenError::kernel(
            format!("running {name}"),
            std::io::Error::other(describe(&error)),
        )
    })?;
    Ok(answer)
}
