//! Waiting for something to become true, with a limit. Real kernels and processes have no virtual
//! time, so this is the one place that sleeps.

use crate::error::{LabError, Result};
use std::time::{Duration, Instant};

/// What the calling thread has had of the processors: the cost of its work, whatever else the machine does.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const STEP: Duration = Duration::from_millis(10);

/// Tries the condition until it holds; an error naming `what` when the time is over.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= timeout {
            return Err(LabError::Timeout {
                what: what.to_owned(),
                timeout,
                detail: String::new(),
            });
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
