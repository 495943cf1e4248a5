//! Taking values out of a parsed TOML document, noting what is wrong and going on.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::{ConfigError, ConfigErrors};
use crate::text::nearest;

/// What is wrong so far: the place in the text, and a message of one line.
#[derive(Default)]
pub(super) struct Complaints(Vec<(usize, String)>);

impl Complaints {
    /// Notes that something is wrong.
    pub(super) fn add(&mut self, at: Range<usize>, what: impl Display) {
        let one_line = what.to_string().replace(['\n', '\r'], " ");
        self.0.push((at.start, one_line));
    }

    /// The value, or a complaint.
    pub(super) fn check<T, E: Display>(
        &mut self,
        at: Range<usize>,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.add(at, error)).ok()
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them with lines and columns.
    pub(super) fn into_errors(mut self, text: &str, file: &str) -> ConfigErrors {
        self.0.sort_by_key(|&(offset, _)| offset);
        // One walk over the text, however many errors there are.
        let (mut line, mut line_start, mut seen) = (1, 0, 0);
        let errors = self.0.into_iter().map(|(offset, message)| {
            for (index, _) in text
                .get(seen..offset)
                .unwrap_or_default()
                .match_indices('\n')
            {
                line += 1;
                line_start = seen + index + 1;
            }
            seen = seen.max(offset);
            let before = text.get(line_start..offset).unwrap_or_default();
            let column = before.chars().count() + 1;
            ConfigError {
                file: file.to_owned(),
                line,
                column,
                message,
            }
        });
        ConfigErrors(errors.collect())
    }
}

/// A table, where it is, and what it is called.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) values: &'a DeTable<'a>,
    pub(super) name: &'a str,
}

impl<'a> Table<'a> {
    /// Takes a value as a table and complains of every key that is none of the known ones.
    pub(super) fn new(
        complaints: &mut Complaints,
        value: &'a Spanned<DeValue<'a>>,
        name: &'a str,
        known: &[&str],
    ) -> Option<Table<'a>> {
        let Some(values) = value.get_ref().as_table() else {
            complaints.add(value.span(), expected(name, "a table", value.get_ref()));
            return None;
        };
        Some(Table::of(complaints, values, name, known))
    }

    /// The same for what is a table already.
    pub(super) fn of(
        complaints: &mut Complaints,
        values: &'a DeTable<'a>,
        name: &'a str,
        known: &[&str],
    ) -> Table<'a> {
        for key in values
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let place = if name.is_empty() {
                String::new()
            } else {
                format!(" in {name}")
            };
            let hint = match nearest(key.get_ref(), known) {
                Some(word) => format!(" (did you mean \"{word}\"?)"),
                None => format!(" (known: {})", known.join(", ")),
            };
            complaints.add(
                key.span(),
                format!("unknown key {:?}{place}{hint}", key.get_ref()),
            );
        }
        Table { values, name }
    }

    /// The value of a key.
    pub(super) fn get(self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.values.get(key)
    }

    /// The place of a key's value.
    pub(super) fn span(self, key: &str) -> Option<Range<usize>> {
        self.get(key).map(Spanned::span)
    }

    /// A string.
    pub(super) fn text(self, complaints: &mut Complaints, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            complaints.add(
                value.span(),
                expected(&self.path(key), "a string", value.get_ref()),
            );
        }
        text
    }

    /// A string that means something.
    pub(super) fn word<T>(self, complaints: &mut Complaints, key: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(complaints, key)?;
        complaints.check(self.span(key)?, text.parse())
    }

    /// A string that is one of a few words.
    pub(super) fn choice<T: Copy, const N: usize>(
        self,
        complaints: &mut Complaints,
        key: &str,
        all: [T; N],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(complaints, key)?;
        let found = all.into_iter().find(|&choice| name(choice) == text);
        if found.is_none() {
            let words = all.map(name).join(", ");
            complaints.add(
                self.span(key)?,
                format!("{} is {text:?} (known: {words})", self.path(key)),
            );
        }
        found
    }

    /// A boolean; 0 and 1 are booleans too, as in IPVS's sysctls.
    pub(super) fn flag(self, complaints: &mut Complaints, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().map(digits);
        match (value.get_ref().as_bool(), number.as_deref()) {
            (Some(flag), _) => Some(flag),
            (None, Some("0")) => Some(false),
            (None, Some("1")) => Some(true),
            (None, Some(number)) => {
                let path = self.path(key);
                complaints.add(
                    value.span(),
                    format!("{path} is {number} (known: true, false, 1, 0)"),
                );
                None
            }
            (None, None) => {
                complaints.add(
                    value.span(),
                    expected(&self.path(key), "true or false", value.get_ref()),
                );
                None
            }
        }
    }

    /// A list of strings that mean something, each with its place.
    pub(super) fn words<T>(self, complaints: &mut Complaints, key: &str) -> Vec<(T, Range<usize>)>
    where
        T: FromStr,
        T::Err: Display,
    {
        let mut words = Vec::new();
        for value in self
            .list(complaints, key)
            .into_iter()
            .flat_map(|list| list.iter())
        {
            match value.get_ref().as_str() {
                Some(text) => {
                    if let Some(word) = complaints.check(value.span(), text.parse()) {
                        words.push((word, value.span()));
                    }
                }
                None => {
                    let name = format!("each of {}", self.path(key));
                    complaints.add(value.span(), expected(&name, "a string", value.get_ref()));
                }
            }
        }
        words
    }

    /// A whole number that means something.
    pub(super) fn number<T>(self, complaints: &mut Complaints, key: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let value = self.get(key)?;
        match value.get_ref().as_integer() {
            Some(integer) => complaints.check(value.span(), digits(integer).parse()),
            None => {
                complaints.add(
                    value.span(),
                    expected(&self.path(key), "a whole number", value.get_ref()),
                );
                None
            }
        }
    }

    /// A whole number or a string, with one meaning for both.
    pub(super) fn number_or_text<T, E: Display>(
        self,
        complaints: &mut Complaints,
        key: &str,
        parse: fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let text = match (value.get_ref().as_integer(), value.get_ref().as_str()) {
            (Some(integer), _) => digits(integer),
            (None, Some(text)) => text.to_owned(),
            (None, None) => {
                complaints.add(
                    value.span(),
                    expected(
                        &self.path(key),
                        "a whole number or a string",
                        value.get_ref(),
                    ),
                );
                return None;
            }
        };
        complaints.check(value.span(), parse(&text))
    }

    /// A list.
    pub(super) fn list(self, complaints: &mut Complaints, key: &str) -> Option<&'a DeArray<'a>> {
        let value = self.get(key)?;
        let list = value.get_ref().as_array();
        if list.is_none() {
            complaints.add(
                value.span(),
                expected(&self.path(key), "a list", value.get_ref()),
            );
        }
        list
    }

    /// A key's whole name.
    fn path(self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}

/// "NAME must be a string, not an integer".
pub(super) fn expected(name: &str, what: &str, value: &DeValue<'_>) -> String {
    let found = value.type_str();
    let article = if found.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{name} must be {what}, not {article} {found}")
}

/// An integer in decimal, whatever its notation.
fn digits(integer: &DeInteger<'_>) -> String {
    if integer.radix() == 10 {
        return integer.as_str().to_owned();
    }
    match u128::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) => number.to_string(),
        Err(_) => integer.as_str().to_owned(),
    }
}
