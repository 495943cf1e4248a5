//! The JSON API: paths to questions, answers to documents.
//!
//! ```text
//! GET    /v1/status | counters | interfaces | timeouts | knobs | events?after=N[&follow=true]
//! GET    /v1/connections?limit=N&service=KEY[&format=ndjson]
//! GET    /v1/services                                POST (a service with its servers)   DELETE (all)
//! GET    /v1/services/{protocol}/{address}           PUT (options)                       DELETE
//! POST   /v1/services/{protocol}/{address}/zero
//! POST   /v1/services/{protocol}/{address}/servers   (a server)
//! PUT    /v1/services/{protocol}/{address}/servers/{server}  {weight, method, tunnel, thresholds}  DELETE
//! PUT    /v1/services/{protocol}/{address}/servers/{server}/weight  {weight}
//! PUT    /v1/services/{protocol}/{address}/servers/{server}/drain
//! PUT    /v1/timeouts | knobs | scheduling {on}      POST /v1/zero | reload | stop {forwarding}
//! GET    /metrics        (OpenMetrics)
//! ```
//!
//! `{protocol}/{address}` is `tcp/10.0.0.1:80` or `fwmark/7`. Where PUT changes something, what is left out stays, and PATCH
//! is the same. A server without a port has the service's. A refusal is `{"error": one line, "code": one word}`. Nothing is taken
//! on trust: unknown fields, large bodies and wrong words are refused before the director is asked.

mod answer;
mod changes;
mod input;
mod stream;
#[cfg(test)]
mod tests;
mod views;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post, put};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use crate::actor::Handle;
use crate::director::{Director, RequestError};
use crate::forwarding::Asker;
use crate::wire;
use answer::Refused;

/// The largest request body: a service with all the servers that it can have.
const LARGEST_BODY: usize = 256 * 1024;

/// What the handlers need.
#[derive(Clone)]
pub struct Context {
    /// The director.
    pub director: Handle,
    /// Where a request to stop goes.
    pub stop: mpsc::Sender<wire::Stop>,
    /// Who knows the ways to servers, if anybody does.
    pub ways: Option<Asker>,
}

impl Context {
    /// Lets the director change something. Whoever is answered may rely on it: the ways to servers that it brought
    /// were asked for.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Director) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, Refused> {
        let asked = self.director.ask(|director| {
            let done = change(director);
            (done, director.take_new_addresses())
        });
        let (done, addresses) = asked.await?;
        if let Some(asker) = self.ways.as_ref().filter(|_| !addresses.is_empty()) {
            let ways = asker.ways(&addresses).await;
            self.director
                .ask(move |director| director.add_hops(&ways))
                .await?;
        }
        Ok(done?)
    }
}

/// All paths.
pub fn router(context: Context) -> Router {
    let service = "/v1/services/{protocol}/{address}";
    let server = "/v1/services/{protocol}/{address}/servers/{server}";
    Router::new()
        .route("/v1/status", get(views::status))
        .route("/v1/counters", get(views::counters))
        .route("/v1/interfaces", get(views::interfaces))
        .route("/v1/connections", get(views::connections))
        .route("/v1/published", get(views::published))
        .route("/v1/events", get(views::events))
        .route("/metrics", get(views::metrics))
        .route(
            "/v1/services",
            get(views::services)
                .post(changes::add_service)
                .delete(changes::clear),
        )
        .route(
            service,
            get(views::service)
                .put(changes::set_service)
                .patch(changes::set_service)
                .delete(changes::remove_service),
        )
        .route(&format!("{service}/zero"), post(changes::zero_service))
        .route(&format!("{service}/servers"), post(changes::add_server))
        .route(
            server,
            put(changes::set_server)
                .patch(changes::set_server)
                .delete(changes::remove_server),
        )
        .route(&format!("{server}/weight"), put(changes::set_weight))
        .route(&format!("{server}/drain"), put(changes::drain))
        .route(
            "/v1/timeouts",
            get(views::timeouts)
                .put(changes::set_timeouts)
                .patch(changes::set_timeouts),
        )
        .route(
            "/v1/knobs",
            get(views::knobs)
                .put(changes::set_knobs)
                .patch(changes::set_knobs),
        )
        .route("/v1/scheduling", put(changes::set_scheduling))
        .route("/v1/zero", post(changes::zero))
        .route("/v1/reload", post(changes::reload))
        .route("/v1/stop", post(changes::stop))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(context)
}

/// Serves until told to end, and lets requests that have begun be answered.
pub async fn serve(
    listener: UnixListener,
    context: Context,
    mut end: watch::Receiver<bool>,
) -> std::io::Result<()> {
    axum::serve(listener, router(context))
        .with_graceful_shutdown(async move {
            // A sender that is gone is an end too.
            let _ = end.wait_for(|end| *end).await;
        })
        .await
}

async fn no_such_path(uri: Uri) -> Refused {
    Refused::new(
        wire::Code::NoSuchPath,
        format!("no such path: {}", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    Refused::new(
        wire::Code::WrongMethod,
        format!("{} does not take {method}", uri.path()),
    )
}
