//! The configuration file: what it says, and everything that is wrong with it.

mod reader;
mod walk;
mod writer;

use std::fmt;

use crate::director::Director;
use crate::services::Services;

/// Everything that a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The director's settings.
    pub director: Director,
    /// Its services.
    pub services: Services,
}

impl Config {
    /// Reads the text of a configuration file. The file's name is only for the messages.
    ///
    /// Whatever the text, this does not panic, and it reports all that it finds wrong in one go. A text that is not
    /// even TOML is reported as such, and its meaning is not looked at.
    pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
        reader::read(text, file_name)
    }

    /// The text that reads back as this very configuration. Settings that have their default are left out.
    pub fn to_toml(&self) -> String {
        writer::write(self)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file's name as given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

/// One line for each error.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests;
