//! The API's unix socket: one daemon for each path, and nobody's but the owner's.
//!
//! Who holds the lock beside the socket is the daemon of this socket. A socket file without a lock's holder is what a
//! dead daemon left, and is replaced; a lock whose holder lost its socket file is still a daemon.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

/// A socket's place, held until this is dropped.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    _lock: File,
    /// Device and inode of the socket that is ours.
    bound: Option<(u64, u64)>,
}

impl Place {
    /// Takes the place, unless a daemon that lives has it.
    pub fn take(path: &Path) -> Result<Place, SocketError> {
        let failed = |source| SocketError::Listen {
            path: path.to_owned(),
            source,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => SocketError::InUse(path.to_owned()),
            errno => failed(errno.into()),
        })?;
        // Somebody may listen there who knows nothing of our lock.
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        Ok(Place {
            path: path.to_owned(),
            _lock: lock,
            bound: None,
        })
    }

    /// Listens, in the place of whatever a dead daemon left.
    pub fn bind(&mut self) -> Result<UnixListener, SocketError> {
        let failed = |source| SocketError::Listen {
            path: self.path.clone(),
            source,
        };
        match fs::symlink_metadata(&self.path) {
            Ok(found) if !is_socket(&found) => {
                return Err(SocketError::NotASocket(self.path.clone()));
            }
            Ok(_) => fs::remove_file(&self.path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let listener = UnixListener::bind(&self.path).map_err(failed)?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).map_err(failed)?;
        let found = fs::symlink_metadata(&self.path).map_err(failed)?;
        self.bound = Some((found.dev(), found.ino()));
        Ok(listener)
    }

    /// Whether the socket's file is gone, or another's.
    pub fn is_lost(&self) -> bool {
        let found = fs::symlink_metadata(&self.path)
            .ok()
            .map(|found| (found.dev(), found.ino()));
        found != self.bound
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_lost() && self.bound.is_some() {
            // What remains is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon lives there.
    #[error("socket {} is in use by another instance", .0.display())]
    InUse(PathBuf),
    /// Something else is there, which is not ours to remove.
    #[error("{} is there already, and no socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_live_one_is_refused_and_a_dead_one_replaced() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("deep/rvs.sock");
        let mut place = Place::take(&path).expect("taken");
        let listener = place.bind().expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = Place::take(&path).expect_err("in use").to_string();
        assert_eq!(
            refused,
            format!("socket {} is in use by another instance", path.display())
        );
        // As after a kill: the file stays, nobody listens, the lock is free.
        drop(listener);
        let stale = place.bound.take();
        drop(place);
        assert!(stale.is_some() && path.exists());
        let mut place = Place::take(&path).expect("taken again");
        place.bind().expect("bound again");
        assert!(!place.is_lost());
        fs::remove_file(&path).expect("removed");
        assert!(place.is_lost());
        assert!(matches!(Place::take(&path), Err(SocketError::InUse(_))));
        let _listener = place.bind().expect("bound once more");
        drop(place);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn foreign_files_and_foreign_listeners_are_left_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("rvs.sock");
        fs::write(&path, "precious").expect("written");
        let mut place = Place::take(&path).expect("taken");
        assert!(matches!(place.bind(), Err(SocketError::NotASocket(_))));
        drop(place);
        assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
        fs::remove_file(&path).expect("removed");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("another's");
        assert!(matches!(Place::take(&path), Err(SocketError::InUse(_))));
    }
}
