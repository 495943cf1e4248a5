//! Requests that change something.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rvs_config::{Knobs, Service, Timeouts, Weight};
use serde::Deserialize;

use super::Context;
use super::answer::{Answer, Refused, created};
use super::input::{self, Body, OptionalBody, ServerTarget, Target};
use crate::wire::{self, Code, Done};

type Created<T> = Result<(StatusCode, Json<T>), Refused>;

pub(super) async fn add_service(
    State(context): State<Context>,
    Body(service): Body<Service>,
) -> Created<wire::Service> {
    let added = context
        .change(move |director| director.add_service(service))
        .await?;
    Ok(created(added))
}

pub(super) async fn clear(State(context): State<Context>) -> Answer<Done> {
    let changes = context.director.ask(|director| director.clear()).await??;
    Ok(Json(Done { changes }))
}

pub(super) async fn set_service(
    State(context): State<Context>,
    Target(key): Target,
    Body(change): Body<wire::ServiceChange>,
) -> Answer<wire::Service> {
    let service = context
        .director
        .ask(move |director| director.set_service(key, change))
        .await??;
    Ok(Json(service))
}

pub(super) async fn remove_service(
    State(context): State<Context>,
    Target(key): Target,
) -> Answer<Done> {
    context
        .director
        .ask(move |director| director.remove_service(key))
        .await??;
    Ok(Json(Done { changes: 1 }))
}

pub(super) async fn add_server(
    State(context): State<Context>,
    Target(key): Target,
    Body(notation): Body<input::Notation>,
) -> Created<wire::Server> {
    let server = input::server(key, &notation)?;
    let added = context
        .change(move |director| director.add_server(key, server))
        .await?;
    Ok(created(added))
}

pub(super) async fn set_server(
    State(context): State<Context>,
    ServerTarget(key, address): ServerTarget,
    Body(change): Body<wire::ServerChange>,
) -> Answer<wire::Server> {
    if change == wire::ServerChange::default() {
        return Err(Refused::invalid(
            "nothing to change: give a weight, a method, a tunnel or thresholds",
        ));
    }
    let server = context
        .director
        .ask(move |director| director.set_server(key, address, change))
        .await??;
    Ok(Json(server))
}

/// A weight alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnlyWeight {
    weight: Weight,
}

pub(super) async fn set_weight(
    context: State<Context>,
    target: ServerTarget,
    Body(OnlyWeight { weight }): Body<OnlyWeight>,
) -> Answer<wire::Server> {
    let change = wire::ServerChange {
        weight: Some(weight),
        ..wire::ServerChange::default()
    };
    set_server(context, target, Body(change)).await
}

pub(super) async fn drain(
    State(context): State<Context>,
    ServerTarget(key, address): ServerTarget,
) -> Answer<wire::Server> {
    let server = context
        .director
        .ask(move |director| director.drain(key, address))
        .await??;
    Ok(Json(server))
}

pub(super) async fn remove_server(
    State(context): State<Context>,
    ServerTarget(key, address): ServerTarget,
) -> Answer<Done> {
    context
        .director
        .ask(move |director| director.remove_server(key, address))
        .await??;
    Ok(Json(Done { changes: 1 }))
}

pub(super) async fn zero_service(
    State(context): State<Context>,
    Target(key): Target,
) -> Answer<Done> {
    context
        .director
        .ask(move |director| director.zero(Some(key)))
        .await??;
    Ok(Json(Done { changes: 1 }))
}

pub(super) async fn zero(State(context): State<Context>) -> Answer<Done> {
    context
        .director
        .ask(|director| director.zero(None))
        .await??;
    Ok(Json(Done { changes: 1 }))
}

pub(super) async fn set_timeouts(
    State(context): State<Context>,
    Body(change): Body<serde_json::Value>,
) -> Answer<Timeouts> {
    let timeouts = context
        .director
        .ask(move |director| director.change_timeouts(change))
        .await??;
    Ok(Json(timeouts))
}

pub(super) async fn set_knobs(
    State(context): State<Context>,
    Body(change): Body<serde_json::Value>,
) -> Answer<Knobs> {
    let knobs = context
        .director
        .ask(move |director| director.set_knobs(change))
        .await??;
    Ok(Json(knobs))
}

pub(super) async fn set_scheduling(
    State(context): State<Context>,
    Body(scheduling): Body<wire::Scheduling>,
) -> Answer<wire::Scheduling> {
    context
        .director
        .ask(move |director| director.set_scheduling(scheduling.on))
        .await?;
    Ok(Json(scheduling))
}

pub(super) async fn reload(State(context): State<Context>) -> Answer<Done> {
    let changes = context.change(|director| director.reload()).await?;
    Ok(Json(Done { changes }))
}

/// Says yes, and then the daemon stops.
pub(super) async fn stop(
    State(context): State<Context>,
    OptionalBody(stop): OptionalBody<wire::Stop>,
) -> Created<Done> {
    match context.stop.try_send(stop) {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(Done { changes: 1 }))),
        Err(_) => Err(Refused::new(Code::Stopping, "the director is stopping")),
    }
}
