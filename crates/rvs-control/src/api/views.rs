//! Requests that only look.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use rvs_config::{Knobs, ServiceKey, Timeouts};
use serde::Deserialize;

use super::Context;
use super::answer::{Answer, Refused};
use super::input::{Target, Words};
use super::stream;
use crate::events::Event;
use crate::{metrics, wire};

/// How many connections are shown unless more are asked for.
const CONNECTIONS: usize = 1000;
/// For changes to be published: others may go on to change what is waited for.
const PUBLICATION_LIMIT: Duration = Duration::from_secs(1);
/// How many connections one document can hold; lines have no limit.
const MOST_CONNECTIONS: usize = 100_000;

pub(super) async fn status(State(context): State<Context>) -> Answer<wire::Status> {
    Ok(Json(
        context.director.ask(|director| director.status()).await?,
    ))
}

pub(super) async fn services(State(context): State<Context>) -> Answer<Vec<wire::Service>> {
    Ok(Json(
        context.director.ask(|director| director.services()).await?,
    ))
}

pub(super) async fn service(
    State(context): State<Context>,
    Target(key): Target,
) -> Answer<wire::Service> {
    Ok(Json(
        context
            .director
            .ask(move |director| director.service(key))
            .await??,
    ))
}

pub(super) async fn counters(State(context): State<Context>) -> Answer<Vec<wire::Counter>> {
    let counters = context.director.ask(|director| director.counters()).await?;
    Ok(Json(
        counters.into_iter().map(wire::Counter::from).collect(),
    ))
}

pub(super) async fn interfaces(State(context): State<Context>) -> Answer<Vec<wire::Interface>> {
    Ok(Json(
        context
            .director
            .ask(|director| director.interfaces())
            .await?,
    ))
}

/// Answers as soon as packets see every change that was answered before, or after [`PUBLICATION_LIMIT`].
pub(super) async fn published(State(context): State<Context>) -> Answer<wire::Published> {
    let deadline = Instant::now() + PUBLICATION_LIMIT;
    loop {
        let due = context.director.ask(|director| director.publish_due());
        let Some(due) = due.await? else {
            return Ok(Json(wire::Published { complete: true }));
        };
        if Instant::now() + due > deadline {
            return Ok(Json(wire::Published { complete: false }));
        }
        tokio::time::sleep(due).await;
    }
}

pub(super) async fn timeouts(State(context): State<Context>) -> Answer<Timeouts> {
    Ok(Json(
        context.director.ask(|director| director.timeouts()).await?,
    ))
}

pub(super) async fn knobs(State(context): State<Context>) -> Answer<Knobs> {
    Ok(Json(
        context.director.ask(|director| director.knobs()).await?,
    ))
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Ndjson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionWords {
    limit: Option<usize>,
    service: Option<ServiceKey>,
    #[serde(default)]
    format: Format,
}

pub(super) async fn connections(
    State(context): State<Context>,
    Words(words): Words<ConnectionWords>,
) -> Result<Response, Refused> {
    let limit = match (words.format, words.limit) {
        (Format::Json, None) => CONNECTIONS,
        (Format::Json, Some(limit)) if limit > MOST_CONNECTIONS => {
            return Err(Refused::invalid(format!(
                "limit {limit} is more than {MOST_CONNECTIONS}: ask for format=ndjson"
            )));
        }
        (Format::Json | Format::Ndjson, Some(limit)) => limit,
        (Format::Ndjson, None) => usize::MAX,
    };
    match words.format {
        Format::Json => {
            let (total, connections) = context
                .director
                .ask(move |director| director.connections(words.service, limit))
                .await?;
            Ok(Json(wire::Connections {
                total,
                connections: connections.iter().map(wire::Connection::from).collect(),
            })
            .into_response())
        }
        Format::Ndjson => Ok(stream::connections(context.director, words.service, limit).await?),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventWords {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn events(
    State(context): State<Context>,
    Words(words): Words<EventWords>,
) -> Result<Response, Refused> {
    let (past, listener): (Vec<Event>, _) = context
        .director
        .ask(move |director| {
            let events = director.events();
            (events.after(words.after), events.listen())
        })
        .await?;
    Ok(if words.follow {
        stream::events(past, listener)
    } else {
        Json(past).into_response()
    })
}

pub(super) async fn metrics(State(context): State<Context>) -> Result<Response, Refused> {
    let text = context
        .director
        .ask(|director| {
            metrics::encode(&metrics::Snapshot {
                status: director.status(),
                services: director.services(),
                counters: director.counters(),
            })
        })
        .await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
