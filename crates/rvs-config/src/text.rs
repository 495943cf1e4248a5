//! Helpers for types that are one word or one phrase in every notation: serde by way of `Display` and `FromStr`, and
//! the known word nearest to an unknown one.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Reads a string and parses it.
pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// Serde's traits for types whose `Display` and `FromStr` are their notation.
macro_rules! serde_as_text {
    ($($type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::deserialize(deserializer)
            }
        }
    )+};
}
pub(crate) use serde_as_text;

/// The known word that needs the fewest edits, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // The table below is quadratic: a word this long is nobody's slip of the finger.
    if word.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|&candidate| (distance(word, candidate), candidate))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, candidate)| distance <= 1 + candidate.chars().count() / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, case aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (j, (&y, pair)) in b.iter().zip(row.windows(2)).enumerate() {
            debug_assert_eq!(next.len(), j + 1);
            let &[diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("Weight", "weight"), 0);
    }

    #[test]
    fn nearest_word() {
        assert_eq!(
            nearest("intrefaces", &["attach", "interfaces"]),
            Some("interfaces")
        );
        assert_eq!(nearest("zzzzzz", &["attach", "interfaces"]), None);
        assert_eq!(nearest(&"x".repeat(100), &["attach"]), None);
    }
}
