//! Answers that are lines of JSON without an end in sight.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::events::Event;
use crate::forwarding::Connection;
use crate::wire;

/// How many connections are written at a time.
const CHUNK: usize = 512;

/// Every connection, a line each, never all of them as text at once.
pub(super) fn connections(connections: Vec<Connection>) -> Response {
    let chunks = stream::unfold(connections.into_iter(), |mut rest| async move {
        let mut text = Vec::new();
        for connection in rest.by_ref().take(CHUNK) {
            line(&mut text, &wire::Connection::from(&connection));
        }
        (!text.is_empty()).then(|| (Ok(Bytes::from(text)), rest))
    });
    lines(chunks)
}

/// The events so far, and then each as it happens, until the client leaves or the director stops.
pub(super) fn events(past: Vec<Event>, listener: broadcast::Receiver<Event>) -> Response {
    let mut text = Vec::new();
    for event in &past {
        line(&mut text, event);
    }
    let first = (!text.is_empty()).then(|| Bytes::from(text));
    let chunks = stream::unfold((first, listener), |(first, mut listener)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, listener)));
        }
        loop {
            match listener.recv().await {
                Ok(event) => {
                    let mut text = Vec::new();
                    line(&mut text, &event);
                    return Some((Ok(Bytes::from(text)), (None, listener)));
                }
                // The numbers show the gap.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    lines(chunks)
}

fn line(text: &mut Vec<u8>, document: &impl Serialize) {
    let start = text.len();
    match serde_json::to_writer(&mut *text, document) {
        Ok(()) => text.push(b'\n'),
        // Our own documents have string keys and finite numbers: a half line would only confuse.
        Err(_) => text.truncate(start),
    }
}

fn lines(chunks: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    (
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(chunks),
    )
        .into_response()
}
