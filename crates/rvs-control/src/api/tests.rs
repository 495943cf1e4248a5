//! The API over a real socket, with a data plane in memory.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use rvs_config::ServiceKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::actor;
use crate::client::Client;
use crate::director::Director;
use crate::forwarding::{Adoption, Connection};
use crate::listener::Place;
use crate::memory::Memory;
use crate::source::Source;

mod changes;
mod reading;

const CONFIG: &str = r#"
[director]
interfaces = ["eth0"]

[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.1.0.21:80", { address = "10.1.0.22:8080", weight = 2 }]
"#;

const WEB: &str = "/v1/services/tcp/10.0.0.100:80";

/// A served director.
struct Served {
    client: Client,
    director: Handle,
    stops: mpsc::Receiver<wire::Stop>,
    _end: watch::Sender<bool>,
    directory: TempDir,
}

impl Served {
    fn start() -> Served {
        Served::with(Memory::new())
    }

    fn with(memory: Memory) -> Served {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("rvs.toml");
        std::fs::write(&file, CONFIG).expect("written");
        let source = Source {
            file,
            socket: Some(directory.path().join("rvs.sock")),
            ..Source::default()
        };
        let config = source.load().expect("configuration");
        let director = Director::start(
            Box::new(memory),
            Adoption::Fresh,
            config,
            source,
            SystemTime::UNIX_EPOCH,
        )
        .expect("started");
        let socket = director.settings().socket.clone();
        let mut place = Place::take(&socket).expect("taken");
        let listener = place.bind().expect("bound");
        let (director, _thread) = actor::spawn(director).expect("spawned");
        let (stop, stops) = mpsc::channel(1);
        let (end, ended) = watch::channel(false);
        let context = Context {
            director: director.clone(),
            stop,
            ways: None,
        };
        tokio::spawn(async move {
            let _place = place;
            serve(listener, context, ended).await
        });
        Served {
            client: Client::new(socket),
            director,
            stops,
            _end: end,
            directory,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("rvs.toml")
    }

    /// Asks, and returns status and document.
    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let reply = self
            .client
            .send(method, path, body.as_bytes().to_vec())
            .await
            .expect(path);
        let document = serde_json::from_slice(&reply.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&reply.body).into_owned()));
        (reply.status.as_u16(), document)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, document) = self.ask(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// All that a refused request must not change.
    async fn state(&self) -> (Value, Value) {
        (self.get("/v1/services").await, self.get("/v1/events").await)
    }
}
