//! Reading the closing lines of Rust's test runner.

use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Summary {
    /// One thing that failed without a test of its own to count: a build, a crash, a guest that did not boot.
    pub(crate) const FAILURE: Self = Self {
        passed: 0,
        failed: 1,
        ignored: 0,
    };

    /// The numbers of a `test result:` line; nothing for any other line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (_, counts) = line
            .trim_end()
            .strip_prefix("test result: ")?
            .split_once(". ")?;
        let count = |label: &str| {
            counts
                .split("; ")
                .find_map(|part| part.strip_suffix(label)?.trim_end().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }

    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }

    /// The plain line that closes a run.
    pub(crate) fn closing_line(self) -> String {
        let Self {
            passed,
            failed,
            ignored,
        } = self;
        let skipped = if ignored == 0 {
            String::new()
        } else {
            format!(", {ignored} skipped")
        };
        format!("{passed} passed, {failed} failed{skipped}")
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.52s";
        assert_eq!(
            Summary::from_line(line),
            Some(Summary {
                passed: 12,
                failed: 0,
                ignored: 1
            })
        );
        let line = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\r";
        assert_eq!(
            Summary::from_line(line),
            Some(Summary {
                passed: 3,
                failed: 2,
                ignored: 0
            })
        );
    }

    #[test]
    fn other_lines_are_not() {
        for line in [
            "",
            "running 3 tests",
            "test result: ok",
            "test result: ok. many passed; 0 failed; 0 ignored",
            "test result: ok. 1 passed; 0 failed",
            "the test result: ok. 1 passed; 0 failed; 0 ignored",
            "test summary::result_lines_are_read ... ok",
        ] {
            assert_eq!(Summary::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn summaries_add_up_to_the_closing_line() {
        let mut total = Summary {
            passed: 5,
            failed: 0,
            ignored: 0,
        };
        total += Summary {
            passed: 2,
            failed: 0,
            ignored: 0,
        };
        assert_eq!(total.closing_line(), "7 passed, 0 failed");
        total += Summary {
            passed: 0,
            failed: 1,
            ignored: 4,
        };
        assert_eq!(total.closing_line(), "7 passed, 1 failed, 4 skipped");
        assert_eq!(total.ran(), 8);
    }
}
