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
    /// The same with what the environment says where the command line says nothing.
    pub(crate) fn or_environment(self) -> anyhow::Result<Selection> {
        let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let instance = environment("RVS_INSTANCE")
            .map(|text| text.to_string_lossy().parse())
            .transpose()
            .context("the environment variable RVS_INSTANCE")?;
        Ok(self.or(instance, environment("RVS_SOCKET").map(PathBuf::from)))
    }

    /// An option goes before the environment, whose socket is another director's where an option says which instance.
    fn or(self, instance: Option<Name>, socket: Option<PathBuf>) -> Selection {
        let socket = socket.filter(|_| self.instance.is_none());
        Selection {
            instance: self.instance.or(instance),
            socket: self.socket.or(socket),
        }
    }

    /// A client of the director that is meant.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.place())
    }

    fn place(&self) -> PathBuf {
        let of = |instance: Option<&Name>| match instance {
            Some(instance) => Director::default_socket(instance),
            None => Director::default_socket(&Name::default()),
        };
        self.socket
            .clone()
            .unwrap_or_else(|| of(self.instance.as_ref()))
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
        let place = |selection: &Selection, instance, socket| {
            let place = selection.clone().or(instance, socket).place();
            place.to_string_lossy().into_owned()
        };
        assert_eq!(place(&none, None, None), "/run/rvs/default.sock");
        assert_eq!(place(&none, two(), None), "/run/rvs/two.sock");
        assert_eq!(place(&none, two(), path()), "/x");
        let instance = Selection {
            instance: two(),
            socket: None,
        };
        assert_eq!(place(&instance, None, path()), "/run/rvs/two.sock");
        let socket = Selection {
            instance: two(),
            socket: Some("/y".into()),
        };
        assert_eq!(place(&socket, two(), path()), "/y");
    }
}
