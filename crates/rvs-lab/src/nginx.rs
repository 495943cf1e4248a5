//! A real web server on a host: Debian's nginx with a configuration of its own.

use crate::child::Child;
use crate::error::{Context as _, Result};
use crate::host::Host;
use crate::pattern::Pattern;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

const START_TIME: Duration = Duration::from_secs(60);

/// What an nginx listens on and serves.
#[derive(Debug, Clone)]
pub struct NginxOptions {
    /// TCP ports, on all IPv4 and IPv6 addresses.
    pub ports: Vec<u16>,
    /// Size of `/big`; no `/big` when 0.
    pub big_bytes: u64,
}

impl Default for NginxOptions {
    fn default() -> Self {
        Self {
            ports: vec![80],
            big_bytes: 0,
        }
    }
}

/// A running nginx; it ends when this is dropped.
///
/// * `/` and `/id` answer the host's name and a newline,
/// * `/client` the client's address as nginx saw it, `/server` its own address and port,
/// * `/big` a file of [`NginxOptions::big_bytes`] bytes (hash: [`crate::pattern_sha256`]),
/// * `PUT /upload/NAME` stores a file, see [`Nginx::uploaded`].
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    directory: PathBuf,
}

impl Nginx {
    /// Starts nginx on a host on port 80.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_with(host, &NginxOptions::default())
    }

    /// Starts nginx on a host and waits until it answers.
    pub fn start_with(host: &Host, options: &NginxOptions) -> Result<Self> {
        let directory = host.lab().new_file(&format!("{}-nginx", host.name()), "d");
        let file = directory.join("nginx.conf");
        fs::create_dir_all(directory.join("upload"))
            .and_then(|()| fs::create_dir_all(directory.join("tmp")))
            .and_then(|()| fs::write(&file, configuration(host, &directory, options)))
            .at(host.name(), || format!("cannot write {}", file.display()))?;
        if options.big_bytes > 0 {
            make_big_file(host, options.big_bytes)?;
        }
        let (directory_text, file_text) = (directory.to_string_lossy(), file.to_string_lossy());
        let child = host.spawn(&[
            "nginx",
            "-e",
            "stderr",
            "-p",
            &directory_text,
            "-c",
            &file_text,
        ])?;
        let mut nginx = Self { child, directory };
        let ports = options.ports.clone();
        host.in_namespace(|| {
            nginx.child.wait_ready("listening", START_TIME, || {
                ports
                    .iter()
                    .all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok())
            })
        })??;
        Ok(nginx)
    }

    /// The file that `PUT /upload/NAME` made.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.directory.join("upload").join(name)
    }

    /// The process, to stop it harshly for instance.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

fn configuration(host: &Host, directory: &std::path::Path, options: &NginxOptions) -> String {
    let listen: String = options
        .ports
        .iter()
        .map(|port| {
            format!("    listen 0.0.0.0:{port} backlog=4096;\n    listen [::]:{port} ipv6only=on backlog=4096;\n")
        })
        .collect();
    let big = if options.big_bytes > 0 {
        format!(
            "    location = /big {{ alias {}; }}\n",
            big_file(host, options.big_bytes).display()
        )
    } else {
        String::new()
    };
    let (name, directory) = (host.name(), directory.display());
    format!(
        r#"daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  default_type text/plain;
  client_max_body_size 0;
  client_body_temp_path {directory}/tmp/body;
  proxy_temp_path {directory}/tmp/proxy;
  fastcgi_temp_path {directory}/tmp/fastcgi;
  uwsgi_temp_path {directory}/tmp/uwsgi;
  scgi_temp_path {directory}/tmp/scgi;
  server {{
{listen}    location = / {{ return 200 "{name}\n"; }}
    location = /id {{ return 200 "{name}\n"; }}
    location = /client {{ return 200 "$remote_addr\n"; }}
    location = /server {{ return 200 "$server_addr $server_port\n"; }}
{big}    location /upload/ {{ root {directory}; dav_methods PUT; }}
  }}
}}
"#
    )
}

fn big_file(host: &Host, bytes: u64) -> PathBuf {
    host.directory().join(format!("big-{bytes}"))
}

/// Writes the file once for all hosts of the lab.
fn make_big_file(host: &Host, bytes: u64) -> Result<()> {
    let path = big_file(host, bytes);
    let unfinished = host.lab().new_file("big", "part");
    let write = || {
        if path.exists() {
            return Ok(());
        }
        Pattern::new(bytes).write_to(&mut File::create(&unfinished)?)?;
        fs::rename(&unfinished, &path)
    };
    write().at(host.name(), || format!("cannot write {}", path.display()))
}
