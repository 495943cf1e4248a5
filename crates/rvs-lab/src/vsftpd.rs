//! A real FTP server on a host: Debian's vsftpd, for anonymous users who may only read.

use crate::child::Child;
use crate::error::{Context as _, Result};
use crate::host::Host;
use std::fs;
use std::net::{Ipv6Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

const START_TIME: Duration = Duration::from_secs(60);

/// A running vsftpd at port 21; it ends when this is dropped.
#[derive(Debug)]
pub struct Vsftpd {
    _child: Child,
    root: PathBuf,
}

impl Vsftpd {
    /// Starts it with these files, and waits until it answers.
    pub fn start(host: &Host, files: &[(&str, &[u8])]) -> Result<Self> {
        let directory = host.lab().new_file(&format!("{}-ftp", host.name()), "d");
        let (root, empty) = (directory.join("root"), directory.join("empty"));
        let file = directory.join("vsftpd.conf");
        let readable =
            |path: &PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        let write = || -> std::io::Result<()> {
            for path in [&root, &empty] {
                fs::create_dir_all(path)?;
                readable(path)?;
            }
            readable(&directory)?;
            for (name, bytes) in files {
                fs::write(root.join(name), bytes)?;
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644))?;
            }
            // The user of its package is not there where it was only unpacked; vsftpd wants one whose home exists.
            fs::write(
                &file,
                format!(
                    "listen=NO\nlisten_ipv6=YES\nlisten_port=21\nbackground=NO\nanonymous_enable=YES\n\
                     no_anon_password=YES\nftp_username=daemon\nlocal_enable=NO\nanon_root={}\nsecure_chroot_dir={}\n\
                     connect_from_port_20=YES\nxferlog_enable=NO\nisolate_network=NO\nseccomp_sandbox=NO\n\
                     tcp_wrappers=NO\n",
                    root.display(),
                    empty.display()
                ),
            )
        };
        write().at(host.name(), || format!("cannot write {}", file.display()))?;
        let mut child = host.spawn(&["vsftpd", &file.to_string_lossy()])?;
        host.in_namespace(|| {
            child.wait_ready("listening", START_TIME, || {
                TcpStream::connect((Ipv6Addr::LOCALHOST, 21)).is_ok()
            })
        })??;
        Ok(Self {
            _child: child,
            root,
        })
    }

    /// Where the files are.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }
}
