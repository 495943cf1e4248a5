//! What systemd wants to be told (sd_notify(3)): datagrams to the socket that it names. Without systemd, nothing.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A way to tell systemd.
pub(super) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watched: bool,
}

impl Notifier {
    /// As the environment says.
    pub(super) fn from_environment() -> Notifier {
        let own = |pid: OsString| pid.to_string_lossy() == std::process::id().to_string();
        Notifier {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(path.as_bytes())),
            watched: std::env::var_os("WATCHDOG_USEC").is_some()
                && std::env::var_os("WATCHDOG_PID").is_none_or(own),
        }
    }

    /// The API answers.
    pub(super) fn ready(&self) {
        self.send("READY=1\nSTATUS=forwarding");
    }

    /// The configuration is read again.
    pub(super) fn reloading(&self) {
        self.send("RELOADING=1");
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The director answers.
    pub(super) fn watchdog(&self) {
        if self.watched {
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            // systemd draws its own conclusions from silence.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

fn connect(path: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    };
    Some((UnixDatagram::unbound().ok()?, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(address: &[u8], listener: &UnixDatagram) -> String {
        let notifier = Notifier {
            socket: connect(address),
            watched: false,
        };
        notifier.watchdog();
        notifier.stopping();
        listener.set_nonblocking(true).expect("nonblocking");
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_address() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("bound");
        assert_eq!(heard(path.as_os_str().as_bytes(), &listener), "STOPPING=1");
        let name = format!("rvs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("address");
        let listener = UnixDatagram::bind_addr(&address).expect("bound");
        assert_eq!(
            heard(format!("@{name}").as_bytes(), &listener),
            "STOPPING=1"
        );
    }
}
