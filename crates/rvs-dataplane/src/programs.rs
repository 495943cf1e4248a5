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

/// How many ticks a second has: `CONFIG_HZ`, which the kernel does not tell, measured until two measurements in a row
/// agree: in a virtual machine whose processor is taken away for some milliseconds, ticks lag behind time, and a wrong
/// number would make every time-out wrong for as long as the director runs.
pub(crate) fn ticks_per_second(object: &Ebpf) -> Result<u32, OpenError> {
    const TRIES: u32 = 20;
    let (mut before, mut last) = (clock(object)?, None);
    for _ in 0..TRIES {
        thread::sleep(Duration::from_millis(60));
        let now = clock(object)?;
        let measured = rate(&before, &now);
        if last == Some(measured) {
            break;
        }
        (before, last) = (now, Some(measured));
    }
    Ok(last.unwrap_or(1))
}

/// The ticks in a second by two readings: the nearest number that kernels are built with.
fn rate(before: &ClockReading, now: &ClockReading) -> u32 {
    const KNOWN: [u32; 6] = [100, 250, 300, 512, 1000, 1024];
    let nanoseconds = now.monotonic.saturating_sub(before.monotonic).max(1);
    let ticks = u64::from(now.tick.wrapping_sub(before.tick));
    let measured = (ticks * 1_000_000_000 / nanoseconds) as u32;
    KNOWN
        .into_iter()
        .min_by_key(|known| known.abs_diff(measured))
        .unwrap_or(measured)
        .max(1)
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
