//! What an examination finds, and how it is printed. What is examined is not known here.

use serde::Serialize;
use std::fmt::{self, Write as _};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Works, but a person should know.
    Warn,
    /// Keeps traffic from flowing.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// A short name that does not change, for scripts and tests.
    pub(crate) about: &'static str,
    /// What is so, in one line.
    pub(crate) what: String,
    /// What mends it: a command, or what a person has to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    pub(crate) fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            about,
            what: what.into(),
            mend: None,
        }
    }

    pub(crate) fn warn(
        about: &'static str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warn,
            about,
            what: what.into(),
            mend: Some(mend.into()),
        }
    }

    pub(crate) fn fail(
        about: &'static str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(about, what, mend)
        }
    }
}

/// All that an examination found, in the order of its questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Whether nothing keeps traffic from flowing.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let ok = findings.iter().all(|finding| finding.level != Level::Fail);
        Self { ok, findings }
    }
}

/// One line per finding, and one more for what mends it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let word = match finding.level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            writeln!(f, "{word:<5} {}", finding.what)?;
            if let Some(mend) = &finding.mend {
                writeln!(f, "      mend: {mend}")?;
            }
        }
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let mut summary = String::new();
        for (number, word) in [
            (count(Level::Fail), "to mend"),
            (count(Level::Warn), "to know"),
        ] {
            if number > 0 {
                let separator = if summary.is_empty() { "" } else { ", " };
                write!(summary, "{separator}{number} {word}")?;
            }
        }
        if summary.is_empty() {
            summary.push_str("all well");
        }
        writeln!(f, "{summary}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_short() {
        let well = Report::new(vec![Finding::ok("a", "a is so")]);
        assert_eq!(well.to_string(), "ok    a is so\nall well\n");
        assert!(well.ok);
        let known = Report::new(vec![Finding::warn("b", "b is odd", "do b")]);
        assert_eq!(
            known.to_string(),
            "warn  b is odd\n      mend: do b\n1 to know\n"
        );
        assert!(known.ok);
        let broken = Report::new(vec![
            Finding::fail("c", "c is not", "do c"),
            Finding::warn("b", "b is odd", "do b"),
        ]);
        assert!(!broken.ok);
        assert!(broken.to_string().ends_with("1 to mend, 1 to know\n"));
    }

    #[test]
    fn json_has_no_empty_mends() -> serde_json::Result<()> {
        let report = Report::new(vec![Finding::ok("a", "x"), Finding::fail("b", "y", "z")]);
        assert_eq!(
            serde_json::to_string(&report)?,
            r#"{"ok":false,"findings":[{"level":"ok","about":"a","what":"x"},{"level":"fail","about":"b","what":"y","mend":"z"}]}"#
        );
        Ok(())
    }
}
