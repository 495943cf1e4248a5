//! How far long work is: one line that is written over on a terminal, and else a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two lines where nothing can be written over.
const LINE_INTERVAL: Duration = Duration::from_secs(15);
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Before this an estimate is a guess.
const MIN_ELAPSED: Duration = Duration::from_secs(3);

/// Work in progress. Dropped, its line is wiped off the terminal.
pub(crate) struct Progress {
    label: String,
    start: Instant,
    last: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(label: &str) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let progress = Self {
            label: label.to_owned(),
            start: Instant::now(),
            last: None,
            is_terminal,
        };
        if !is_terminal {
            println!("{label} ...");
        }
        progress
    }

    /// So much of the whole is done, in whatever unit.
    pub(crate) fn at(&mut self, done: u64, total: u64) {
        let interval = if self.is_terminal {
            REDRAW_INTERVAL
        } else {
            LINE_INTERVAL
        };
        let now = Instant::now();
        if now.duration_since(self.last.unwrap_or(self.start)) < interval {
            return;
        }
        self.last = Some(now);
        let text = line(&self.label, done, total, now.duration_since(self.start));
        if self.is_terminal {
            print!("\r\x1b[K{text}");
            // A terminal that is gone shows nothing; the work goes on.
            let _ = std::io::stdout().flush();
        } else {
            println!("{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            print!("\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
    }
}

/// Seconds, as a person says them.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

fn line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(1);
    // More than was expected: no end is in sight, but it is near.
    let done = done.min(total * 99 / 100);
    let percent = done * 100 / total;
    let mut line = format!("{label}: {percent} %, {}", duration(elapsed));
    if elapsed >= MIN_ELAPSED && done > 0 {
        let left = elapsed.mul_f64((total - done) as f64 / done as f64);
        line.push_str(&format!(", about {} to go", duration(left)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_estimate_follows_from_what_is_done() {
        assert_eq!(line("building", 0, 10, seconds(1)), "building: 0 %, 1 s");
        assert_eq!(
            line("building", 25, 100, seconds(40)),
            "building: 25 %, 40 s, about 2 min 0 s to go"
        );
        assert_eq!(
            line("building", 120, 100, seconds(99)),
            "building: 99 %, 1 min 39 s, about 1 s to go"
        );
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(line("x", 0, 0, seconds(60)), "x: 0 %, 1 min 0 s");
    }
}
