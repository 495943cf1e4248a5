//! Where the configuration comes from: a file, and what the command line says besides. The same at every reload.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rvs_config::{Config, ConfigErrors, Director, InterfaceName, Name, Services};

/// The largest file that is read.
const LARGEST_FILE: u64 = 64 << 20;

/// A configuration's whereabouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Whether the file may be missing, if the command line names the interfaces.
    pub optional: bool,
    /// Instead of the file's.
    pub instance: Option<Name>,
    /// Instead of the file's, unless empty.
    pub interfaces: Vec<InterfaceName>,
    /// Instead of the file's.
    pub socket: Option<PathBuf>,
}

impl Source {
    /// Reads and checks the configuration.
    pub fn load(&self) -> Result<Config, LoadError> {
        let mut config = match read(&self.file) {
            Err(LoadError::Read { source, .. })
                if self.optional && source.kind() == io::ErrorKind::NotFound =>
            {
                if self.interfaces.is_empty() {
                    return Err(LoadError::Nothing(self.file.clone()));
                }
                Config {
                    director: Director::new(Name::default(), self.interfaces.clone()),
                    services: Services::new(),
                }
            }
            result => result?,
        };
        let director = &mut config.director;
        if let Some(instance) = &self.instance {
            // A socket that only follows from the instance's name follows the new name.
            if director.socket == Director::default_socket(&director.instance) {
                director.socket = Director::default_socket(instance);
            }
            director.instance = instance.clone();
        }
        if !self.interfaces.is_empty() {
            director.interfaces.clone_from(&self.interfaces);
        }
        if let Some(socket) = &self.socket {
            director.socket.clone_from(socket);
        }
        Ok(config)
    }
}

/// Reads and checks a configuration file.
pub fn read(file: &Path) -> Result<Config, LoadError> {
    let failed = |source| LoadError::Read {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(file)
        .map_err(failed)?
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(LoadError::TooLarge(file.to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = good
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let last = String::from_utf8_lossy(good.get(line_start..).unwrap_or_default());
        LoadError::NotText {
            file: file.to_owned(),
            line: 1 + good.iter().filter(|&&byte| byte == b'\n').count(),
            column: 1 + last.chars().count(),
        }
    })?;
    Ok(Config::parse(text, &file.display().to_string())?)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No file, and no interface either.
    #[error("{} does not exist: write it, or name an interface with --interface", .0.display())]
    Nothing(PathBuf),
    /// Nobody writes such a file.
    #[error("{} is larger than {LARGEST_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Not UTF-8.
    #[error("{}:{line}:{column}: not UTF-8", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The file is read, and wrong. One line for each error.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
}

impl LoadError {
    /// The error on one line: the first of several.
    pub fn one_line(&self) -> String {
        match self {
            LoadError::Config(errors) => match errors.errors() {
                [only] => only.to_string(),
                [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
                [] => self.to_string(),
            },
            LoadError::Read { .. }
            | LoadError::Nothing(_)
            | LoadError::TooLarge(_)
            | LoadError::NotText { .. } => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: PathBuf) -> Source {
        Source {
            file,
            ..Source::default()
        }
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("rvs.toml");
        std::fs::write(&file, "[director]\ninterfaces = [\"eth0\"]\n").expect("written");
        let mut source = source(file);
        source.instance = Some("two".parse().expect("name"));
        source.interfaces = vec!["eth1".parse().expect("interface")];
        let director = source.load().expect("loaded").director;
        assert_eq!(director.socket, Path::new("/run/rvs/two.sock"));
        assert_eq!(director.interfaces, source.interfaces);
        source.socket = Some("/tmp/x.sock".into());
        let director = source.load().expect("loaded").director;
        assert_eq!(director.socket, Path::new("/tmp/x.sock"));
    }

    #[test]
    fn a_missing_file() {
        let directory = tempfile::tempdir().expect("directory");
        let mut source = source(directory.path().join("none.toml"));
        assert!(matches!(source.load(), Err(LoadError::Read { .. })));
        source.optional = true;
        assert!(matches!(source.load(), Err(LoadError::Nothing(_))));
        source.interfaces = vec!["eth1".parse().expect("interface")];
        assert!(source.load().expect("empty intent").services.is_empty());
    }

    #[test]
    fn not_text() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("rvs.toml");
        std::fs::write(&file, b"[director]\n\xc3\xa4b\xff").expect("written");
        let error = source(file.clone())
            .load()
            .expect_err("not UTF-8")
            .to_string();
        assert_eq!(error, format!("{}:2:3: not UTF-8", file.display()));
    }
}
