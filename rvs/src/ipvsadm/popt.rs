//! Reading a command line as the popt library does, which decides what ipvsadm's users may write.
//!
//! Short options can stand together (`-Ln`), an argument can follow its short option at once (`-w2`, `-w=2`) or as the
//! next word, whatever that looks like; long options are never shortened; words that are no options are set aside;
//! after `--` nothing is an option. An optional argument is taken unless the next word begins with `-`.

/// Whether an option has an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    Required,
    Optional,
}

/// One option of a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<T> {
    pub(super) long: Option<&'static str>,
    pub(super) short: Option<char>,
    pub(super) argument: Argument,
    pub(super) id: T,
}

/// Why a word could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadOption {
    #[error("{0}: unknown option")]
    Unknown(String),
    #[error("{0}: missing argument")]
    MissingArgument(String),
    #[error("{0}: option does not take an argument")]
    UnwantedArgument(String),
}

/// Walks over the words of a command line.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a, T: 'static> {
    table: &'static [Entry<T>],
    words: std::slice::Iter<'a, String>,
    /// The word that was read last.
    word: &'a str,
    /// What is left of a word of short options.
    shorts: &'a str,
    /// No options any more.
    only_rest: bool,
    rest: Vec<&'a str>,
}

impl<'a, T: Copy> Scanner<'a, T> {
    pub(super) fn new(table: &'static [Entry<T>], words: &'a [String]) -> Scanner<'a, T> {
        Scanner {
            table,
            words: words.iter(),
            word: "",
            shorts: "",
            only_rest: false,
            rest: Vec::new(),
        }
    }

    /// The next option with its argument.
    pub(super) fn next(&mut self) -> Result<Option<(T, Option<&'a str>)>, BadOption> {
        while self.shorts.is_empty() {
            let Some(word) = self.words.next() else {
                return Ok(None);
            };
            self.word = word;
            if self.only_rest || !word.starts_with('-') || word == "-" {
                self.rest.push(word);
            } else if word == "--" {
                self.only_rest = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            } else {
                self.shorts = word.get(1..).unwrap_or_default();
            }
        }
        self.short().map(Some)
    }

    /// The word that was read last: the one in which the last option stood, or its argument.
    pub(super) const fn word(&self) -> &'a str {
        self.word
    }

    /// The words that are no options, of those read so far.
    pub(super) fn into_rest(self) -> Vec<&'a str> {
        self.rest
    }

    fn long(&mut self, long: &'a str) -> Result<(T, Option<&'a str>), BadOption> {
        let (name, argument) = match long.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (long, None),
        };
        let entry = self.table.iter().find(|entry| entry.long == Some(name));
        let entry = entry.ok_or_else(|| BadOption::Unknown(self.word.to_owned()))?;
        match (entry.argument, argument) {
            (Argument::None, None) => Ok((entry.id, None)),
            (Argument::None, Some(_)) => Err(BadOption::UnwantedArgument(self.word.to_owned())),
            (Argument::Required | Argument::Optional, Some(argument)) => {
                Ok((entry.id, Some(argument)))
            }
            (Argument::Required | Argument::Optional, None) => self.argument(*entry),
        }
    }

    fn short(&mut self) -> Result<(T, Option<&'a str>), BadOption> {
        let mut chars = self.shorts.chars();
        let letter = chars.next();
        let entry = self
            .table
            .iter()
            .find(|entry| letter.is_some() && entry.short == letter);
        let entry = entry.ok_or_else(|| BadOption::Unknown(self.word.to_owned()))?;
        let after = chars.as_str();
        self.shorts = after.strip_prefix('=').unwrap_or(after);
        match entry.argument {
            Argument::None if after.starts_with('=') => {
                Err(BadOption::UnwantedArgument(self.word.to_owned()))
            }
            Argument::None => Ok((entry.id, None)),
            Argument::Required | Argument::Optional if !after.is_empty() => {
                Ok((entry.id, Some(std::mem::take(&mut self.shorts))))
            }
            Argument::Required | Argument::Optional => self.argument(*entry),
        }
    }

    /// The argument in a word of its own.
    fn argument(&mut self, entry: Entry<T>) -> Result<(T, Option<&'a str>), BadOption> {
        let next = self.words.as_slice().first().map(String::as_str);
        match (entry.argument, next) {
            (Argument::None, _) | (Argument::Optional, None) => Ok((entry.id, None)),
            (Argument::Optional, Some(word)) if word.starts_with('-') => Ok((entry.id, None)),
            (Argument::Required, None) => Err(BadOption::MissingArgument(self.word.to_owned())),
            (Argument::Required | Argument::Optional, Some(word)) => {
                self.words.next();
                self.word = word;
                Ok((entry.id, Some(word)))
            }
        }
    }
}
