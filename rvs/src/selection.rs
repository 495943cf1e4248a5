//! Which of this machine's directors is meant: by option, by environment, or the default one.

use std::path::PathBuf;

use anyhow::Context;
use rvs_config::{Director, Name};
use rvs_control::client::Client;

/// What the command line says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) instance: Option<Name>,
    pub(crate) socket: Option<PathBuf>,
}

impl Selection {
    /// A client of the director that is meant.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let (instance, socket) = (environment("RVS_INSTANCE"), environment("RVS_SOCKET"));
        let instance = match instance {
            Some(text) => Some(
                text.to_string_lossy()
                    .parse()
                    .context("the environment variable RVS_INSTANCE")?,
            ),
            None => None,
        };
        Ok(Client::new(
            self.socket(instance, socket.map(PathBuf::from)),
        ))
    }

    /// An option goes before the environment, and a socket before an instance.
    fn socket(&self, instance: Option<Name>, socket: Option<PathBuf>) -> PathBuf {
        let of = |instance: &Name| Director::default_socket(instance);
        self.socket
            .clone()
            .or_else(|| self.instance.as_ref().map(of))
            .or(socket)
            .or_else(|| instance.as_ref().map(of))
            .unwrap_or_else(|| of(&Name::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_before_the_environment() {
        let none = Selection::default();
        let two = || "two".parse::<Name>().ok();
        let path = || Some(PathBuf::from("/x"));
        assert_eq!(
            none.socket(None, None),
            PathBuf::from("/run/rvs/default.sock")
        );
        assert_eq!(none.socket(two(), None), PathBuf::from("/run/rvs/two.sock"));
        assert_eq!(none.socket(two(), path()), PathBuf::from("/x"));
        let instance = Selection {
            instance: two(),
            socket: None,
        };
        assert_eq!(
            instance.socket(None, path()),
            PathBuf::from("/run/rvs/two.sock")
        );
        let socket = Selection {
            instance: two(),
            socket: Some("/y".into()),
        };
        assert_eq!(socket.socket(two(), path()), PathBuf::from("/y"));
    }
}
