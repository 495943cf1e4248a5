//! A director with its data plane in memory, served on a socket of its own, for tests of those who ask one.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rvs_config::Protocol;
use rvs_control::actor;
use rvs_control::api;
use rvs_control::client::Client;
use rvs_control::director::Director;
use rvs_control::forwarding::{Adoption, Connection};
use rvs_control::listener::Place;
use rvs_control::memory::Memory;
use rvs_control::source::Source;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// It lives as long as this does.
pub(crate) struct Served {
    pub(crate) client: Client,
    _runtime: Runtime,
    _end: watch::Sender<bool>,
    _stops: mpsc::Receiver<rvs_control::wire::Stop>,
    _directory: TempDir,
}

impl Served {
    /// Serves what this configuration says, and nothing else.
    pub(crate) fn start(config: &str) -> Served {
        Served::with(Memory::new(), config)
    }

    /// The same, over a data plane that has something already.
    pub(crate) fn with(memory: Memory, config: &str) -> Served {
        let directory = tempfile::tempdir().expect("directory");
        let file: PathBuf = directory.path().join("rvs.toml");
        let text = format!("[director]\ninterfaces = [\"eth0\"]\n{config}");
        std::fs::write(&file, text).expect("written");
        let socket = directory.path().join("rvs.sock");
        let source = Source {
            file,
            socket: Some(socket.clone()),
            ..Source::default()
        };
        let config = source.load().expect("a configuration");
        let now = SystemTime::UNIX_EPOCH;
        let director = Director::start(Box::new(memory), Adoption::Fresh, config, source, now)
            .expect("started");
        let runtime = Runtime::new().expect("runtime");
        let guard = runtime.enter();
        let mut place = Place::take(&socket).expect("taken");
        let listener = place.bind().expect("bound");
        let (director, _thread) = actor::spawn(director).expect("spawned");
        let (stop, stops) = mpsc::channel(1);
        let (end, ended) = watch::channel(false);
        let context = api::Context {
            director,
            stop,
            ways: None,
        };
        runtime.spawn(async move {
            let _place = place;
            api::serve(listener, context, ended).await
        });
        drop(guard);
        Served {
            client: Client::new(socket),
            _runtime: runtime,
            _end: end,
            _stops: stops,
            _directory: directory,
        }
    }
}

/// Some connection of the service tcp://10.0.0.100:80.
pub(crate) fn connection(port: u16) -> Connection {
    Connection {
        protocol: Protocol::Tcp,
        key: "tcp://10.0.0.100:80".parse().ok(),
        client: ([10, 0, 0, 2], port).into(),
        service: ([10, 0, 0, 100], 80).into(),
        server: ([10, 1, 0, 21], 80).into(),
        state: "ESTABLISHED",
        expires: Duration::from_secs(893),
        active: true,
        packets: 12,
        template: false,
        mark: 0,
        call: None,
    }
}
