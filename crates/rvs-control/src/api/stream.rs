//! Answers that are lines of JSON without an end in sight.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use rvs_config::ServiceKey;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::actor::{Gone, Handle};
use crate::events::Event;
use crate::wire;

/// Up to `limit` connections, a line each, slice by slice: never all of them at once, and between two slices the
/// director does what else it is asked.
pub(super) async fn connections(
    director: Handle,
    of: Option<ServiceKey>,
    limit: usize,
) -> Result<Response, Gone> {
    let slice = move |director: Handle, place| async move {
        let asked = director.ask(move |director| director.connections_of_slice(of, place));
        asked.await
    };
    // A director that is gone is told by the answer's head.
    let first = slice(director.clone(), 0).await?;
    let begin = (Some(first), Some(0), limit);
    let chunks = stream::try_unfold(begin, move |(ready, place, left)| {
        let director = director.clone();
        async move {
            let (mut ready, mut place) = (ready, place);
            if left == 0 {
                return Ok(None);
            }
            loop {
                let (connections, next) = match (ready.take(), place) {
                    (Some(ready), _) => ready,
                    (None, Some(place)) => slice(director.clone(), place).await?,
                    (None, None) => return Ok(None),
                };
                place = next;
                if connections.is_empty() && next.is_some() {
                    continue;
                }
                let mut text = Vec::new();
                for connection in connections.iter().take(left) {
                    line(&mut text, &wire::Connection::from(connection));
                }
                let left = left.saturating_sub(connections.len());
                return Ok(Some((Bytes::from(text), (None, next, left))));
            }
        }
    });
    Ok(lines::<Gone>(chunks))
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
    lines::<Infallible>(chunks)
}

fn line(text: &mut Vec<u8>, document: &impl Serialize) {
    let start = text.len();
    match serde_json::to_writer(&mut *text, document) {
        Ok(()) => text.push(b'\n'),
        // Our own documents have string keys and finite numbers: a half line would only confuse.
        Err(_) => text.truncate(start),
    }
}

fn lines<E: std::error::Error + Send + Sync + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response {
    (
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(chunks),
    )
        .into_response()
}
