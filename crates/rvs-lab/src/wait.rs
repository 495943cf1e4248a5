//! Waiting for something to become true, with a limit. Real kernels and processes have no virtual
//! time, so this is the one place that sleeps.

use crate::error::{LabError, Result};
use std::time::{Duration, Instant};

/// What the calling thread has had of the processors: the cost of its work, whatever else the machine does.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const LEAST_STEP: Duration = Duration::from_millis(5);
const MOST_STEP: Duration = Duration::from_millis(200);

/// Tries the condition until it holds; an error naming `what` when the time is over.
///
/// Between two tries it sleeps for at least twice as long as a try took: a condition that runs a program leaves the
/// processors to what it waits for.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let try_start = Instant::now();
        if condition() {
            return Ok(());
        }
        let step = (2 * try_start.elapsed()).clamp(LEAST_STEP, MOST_STEP);
        if start.elapsed() >= timeout {
            return Err(LabError::Timeout {
                what: what.to_owned(),
                timeout,
                detail: String::new(),
            });
        }
        std::thread::sleep(step);
    }
}
