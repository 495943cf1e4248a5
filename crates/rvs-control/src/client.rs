//! A client of the API, for the command line and for tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
pub use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::wire::Refusal;

/// How long the beginning of an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client of the daemon that listens there.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client {
            socket: socket.into(),
        }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and reads the whole answer. A refusal is an error.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<Reply, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(ClientError::Body)?,
            None => Vec::new(),
        };
        let reply = self.send(method, path, body).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(match serde_json::from_slice(&reply.body) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => ClientError::Strange(reply.status),
        })
    }

    /// Asks for a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let reply = self.call(Method::GET, path, None::<&()>).await?;
        serde_json::from_slice(&reply.body).map_err(ClientError::Body)
    }

    /// Asks with any body, and reads the whole answer, be it a refusal.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Reply, ClientError> {
        let response = self.begin(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply { status, body })
    }

    /// Asks for lines, and hands over each as it comes.
    pub async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let response = self.begin(Method::GET, path, Vec::new()).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let bytes = body.collect().await?.to_bytes();
            return Err(match serde_json::from_slice(&bytes) {
                Ok(refusal) => ClientError::Refused(refusal),
                Err(_) => ClientError::Strange(status),
            });
        }
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            rest.extend_from_slice(&data);
            let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else {
                continue;
            };
            for line in rest
                .get(..end)
                .unwrap_or_default()
                .split(|&byte| byte == b'\n')
            {
                each(line)?;
            }
            rest.drain(..=end);
        }
        Ok(())
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Connect {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer; what goes wrong is seen there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "rvs")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Silent(self.socket.clone()))?
            .map_err(ClientError::from)
    }
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no director answers at {}: {source}", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody listens and says nothing.
    #[error("the director at {} has not answered for {} seconds", .0.display(), PATIENCE.as_secs())]
    Silent(PathBuf),
    /// The director refused.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// An answer that is none of the API's.
    #[error("the director answered with status {0}")]
    Strange(StatusCode),
    /// A document that is not what it should be.
    #[error("the director's answer: {0}")]
    Body(serde_json::Error),
    /// The connection broke.
    #[error("the connection to the director: {0}")]
    Http(#[from] hyper::Error),
    /// A path that cannot be asked for.
    #[error("the request: {0}")]
    Request(#[from] hyper::http::Error),
    /// Whoever reads the lines has had enough.
    #[error("{0}")]
    Reader(#[from] std::io::Error),
}
