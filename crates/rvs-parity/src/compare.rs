//! Two directors' notes, side by side.

use serde::Serialize;

use crate::scenario::{Connection, Explained, Note, TIMEOUT_SLACK, Value};

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// At this step.
    pub(crate) step: String,
    /// What the kernel's IPVS showed.
    pub(crate) kernel: Vec<String>,
    /// What RVS showed.
    pub(crate) rvs: Vec<String>,
    /// The manual's heading, if it is explained.
    pub(crate) heading: Option<&'static str>,
}

/// Everything that differs, and the explanations that nothing needs.
pub(crate) fn compare(
    kernel: &[Note],
    rvs: &[Note],
    explained: &[Explained],
) -> (Vec<Difference>, Vec<Explained>) {
    let mut differences = Vec::new();
    for at in 0..kernel.len().max(rvs.len()) {
        let (left, right) = (kernel.get(at), rvs.get(at));
        if let (Some(left), Some(right)) = (left, right)
            && left.step == right.step
        {
            if !is_same(&left.value, &right.value) {
                differences.push(difference(
                    &left.step,
                    shown(&left.value),
                    shown(&right.value),
                ));
            }
            continue;
        }
        // From here on they went different ways.
        let step = left
            .or(right)
            .map(|note| note.step.clone())
            .unwrap_or_default();
        let side = |note: Option<&Note>| {
            note.map_or(vec!["(ended)".to_owned()], |note| {
                [vec![format!("{}:", note.step)], shown(&note.value)].concat()
            })
        };
        differences.push(difference(&step, side(left), side(right)));
        break;
    }
    for difference in &mut differences {
        difference.heading = explained
            .iter()
            .find(|explained| difference.step.starts_with(explained.step))
            .map(|explained| explained.heading);
    }
    let unused = explained.iter().filter(|explained| {
        !differences
            .iter()
            .any(|difference| difference.step.starts_with(explained.step))
    });
    let unused = unused.copied().collect();
    (differences, unused)
}

fn difference(step: &str, kernel: Vec<String>, rvs: Vec<String>) -> Difference {
    Difference {
        step: step.to_owned(),
        kernel,
        rvs,
        heading: None,
    }
}

fn is_same(kernel: &Value, rvs: &Value) -> bool {
    match (kernel, rvs) {
        (Value::Lines(left), Value::Lines(right))
        | (Value::Packets(left), Value::Packets(right)) => left == right,
        (Value::Connections(left), Value::Connections(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right): (&Connection, _)| {
                        left.what == right.what
                            && left.timeout.abs_diff(right.timeout)
                                <= TIMEOUT_SLACK + left.unsure + right.unsure
                    })
        }
        (
            Value::Shares {
                counts: left,
                slack,
            },
            Value::Shares { counts: right, .. },
        ) => {
            let count = |counts: &std::collections::BTreeMap<String, u64>, name| {
                counts.get(name).copied().unwrap_or(0)
            };
            left.keys()
                .chain(right.keys())
                .all(|name| count(left, name).abs_diff(count(right, name)) <= *slack)
        }
        (
            Value::Time {
                milliseconds: left,
                slack,
            },
            Value::Time {
                milliseconds: right,
                ..
            },
        ) => left.abs_diff(*right) <= *slack,
        (
            Value::Lines(_)
            | Value::Packets(_)
            | Value::Connections(_)
            | Value::Shares { .. }
            | Value::Time { .. },
            _,
        ) => false,
    }
}

/// A value in lines.
pub(crate) fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::Lines(lines) | Value::Packets(lines) => lines.clone(),
        Value::Connections(connections) => connections.iter().map(ToString::to_string).collect(),
        Value::Shares { counts, slack } => {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.chain([format!("(give or take {slack})")]).collect()
        }
        Value::Time {
            milliseconds,
            slack,
        } => {
            vec![format!("{milliseconds} ms (give or take {slack})")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(step: &str, line: &str) -> Note {
        Note {
            step: step.to_owned(),
            value: Value::Lines(vec![line.to_owned()]),
        }
    }

    fn connection(timeout: u64) -> Note {
        let what = "TCP ESTABLISHED".to_owned();
        Note {
            step: "connections".to_owned(),
            value: Value::Connections(vec![Connection {
                what,
                timeout,
                unsure: 0,
            }]),
        }
    }

    #[test]
    fn what_differs_is_found_and_explained() {
        let explained = |step| Explained {
            step,
            heading: "Why",
        };
        let (kernel, rvs) = (
            [note("a", "1"), note("b", "1")],
            [note("a", "1"), note("b", "2")],
        );
        let (differences, unused) = compare(&kernel, &rvs, &[]);
        assert_eq!((differences.len(), unused.len()), (1, 0));
        assert_eq!(
            (differences[0].step.as_str(), differences[0].heading),
            ("b", None)
        );
        let (differences, unused) = compare(&kernel, &rvs, &[explained("b")]);
        assert_eq!((differences[0].heading, unused.len()), (Some("Why"), 0));
        let (_, unused) = compare(&kernel, &kernel, &[explained("b")]);
        assert_eq!(unused.len(), 1);
    }

    #[test]
    fn one_that_ends_early_differs() {
        let notes = [note("a", "1"), note("b", "1")];
        for (kernel, rvs) in [(&notes[..], &notes[..1]), (&notes[..1], &notes[..])] {
            assert_eq!(compare(kernel, rvs, &[]).0[0].step, "b");
        }
    }

    #[test]
    fn times_and_shares_have_slack() {
        let is_equal = |left: u64, right| {
            compare(&[connection(left)], &[connection(right)], &[])
                .0
                .is_empty()
        };
        assert!(is_equal(60, 60 + TIMEOUT_SLACK));
        assert!(!is_equal(60, 61 + TIMEOUT_SLACK));
        let shares = |count| Value::Shares {
            counts: [("one".to_owned(), count)].into(),
            slack: 5,
        };
        assert!(is_same(&shares(100), &shares(105)));
        assert!(!is_same(&shares(100), &shares(106)));
        let none = Value::Shares {
            counts: [].into(),
            slack: 5,
        };
        assert!(!is_same(&shares(6), &none));
    }
}
