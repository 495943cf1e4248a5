//! Real networks on one machine for tests, the demo and benchmarks: namespaces joined by veth
//! pairs and bridges, with real servers, traffic and captures. Everything made here is removed
//! when the [`Lab`] is dropped, and nothing outside those namespaces is touched.
//!
//! It is not a simulator: packets are the kernel's own. It knows nothing of RVS either; a test
//! starts `rvs` by [`Host::spawn`] as any other program. The API blocks; there is no runtime.
//!
//! When `RVS_LAB_EVIDENCE` names a directory, every lab leaves its traffic and its logs there when it is dropped. When
//! `RVS_LAB_DEADLINE_SECONDS` is set too, a process that still runs so long after its first lab does so and aborts.
//!
//! Root is needed. Without it, [`Lab::new`] fails and says so.
//!
//! ```no_run
//! use rvs_lab::{Family, Lab, Nginx, Topology, Vip};
//!
//! # fn main() -> rvs_lab::Result<()> {
//! let lab = Lab::new()?;
//! let net = Topology::new(&lab)?;
//! let _servers = net.real_servers.iter().map(Nginx::start).collect::<Result<Vec<_>, _>>()?;
//! let _rvs = net.director.spawn(&["/usr/sbin/rvs", "run", "rvs.toml"])?;
//! let url = format!("http://{}/id", Vip::Nat.address(Family::V4));
//! println!("{}", net.client.curl(&url)?);
//! # Ok(())
//! # }
//! ```

mod bulk;
mod child;
mod client;
mod echo;
mod error;
mod evidence;
mod flood;
mod host;
mod lab;
mod leftovers;
mod link;
mod load;
mod nginx;
mod packet;
mod pattern;
mod pcapng;
mod program;
mod sctp;
mod service;
mod sip;
mod tap;
mod topology;
mod vsftpd;
mod wait;

pub use bulk::{Bulk, Transfer};
pub use child::Child;
pub use client::REQUEST_TIME;
pub use echo::{EchoConnection, TcpEcho, UdpEcho};
pub use error::{LabError, Result};
pub use flood::{ACK, Flood, SYN, tcp_frame};
pub use host::Host;
pub use lab::{Kept, Lab};
pub use leftovers::{KeptLabs, Leftover, Traces};
pub use link::{Link, Offload, Switch};
pub use load::{Load, LoadReport};
pub use nginx::{Nginx, NginxOptions};
pub use packet::{Capture, Direction, Frame, inject, inject_all};
pub use pattern::pattern_sha256;
pub use program::{require_program, require_root, search_path, unpacked_programs};
pub use sctp::{SctpConnection, SctpEcho};
pub use sip::{SipAnswer, SipServer};
pub use topology::{Family, MAX_REAL_SERVERS, Topology, Vip};
pub use vsftpd::Vsftpd;
pub use wait::{processor_time, wait_until};
