//! Out of requests, into values that cannot be wrong.

use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use rvs_config::{Server, Service, ServiceKey};
use serde::de::DeserializeOwned;

use super::answer::Refused;
use crate::wire::Code;

/// A body of JSON, whatever its content type says.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Code::TooLarge
            } else {
                Code::Invalid
            };
            Refused::new(code, error.body_text())
        })?;
        // A list in the fields' order would be taken too.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Refused::invalid("the request's body is no JSON object"));
        }
        serde_json::from_slice(&bytes)
            .map(Body)
            .map_err(|error| Refused::invalid(format!("the request's body: {error}")))
    }
}

/// A body of JSON that may be missing.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let length = request.headers().get(axum::http::header::CONTENT_LENGTH);
        let chunked = request
            .headers()
            .contains_key(axum::http::header::TRANSFER_ENCODING);
        if !chunked && length.is_none_or(|length| length == "0") {
            return Ok(OptionalBody(T::default()));
        }
        Body::from_request(request, state)
            .await
            .map(|Body(value)| OptionalBody(value))
    }
}

/// The words behind the question mark.
pub(super) struct Words<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Words<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(words)| Words(words))
            .map_err(|error| Refused::invalid(error.body_text()))
    }
}

/// The service that a path names.
pub(super) struct Target(pub(super) ServiceKey);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let segments = segments(parts, state).await?;
        key(&segments).map(Target)
    }
}

/// The service and the server that a path names.
pub(super) struct ServerTarget(pub(super) ServiceKey, pub(super) SocketAddr);

impl<S: Send + Sync> FromRequestParts<S> for ServerTarget {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let segments = segments(parts, state).await?;
        let key = key(&segments)?;
        let text = segment(&segments, "server");
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let address = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
            (Ok(address), _) => address,
            (Err(_), Ok(address)) => SocketAddr::new(address, key.port()),
            (Err(_), Err(_)) => {
                return Err(Refused::invalid(format!(
                    "\"{text}\" is not a real server's address like 10.1.0.21:80, 10.1.0.21 or [2001:db8::21]:80"
                )));
            }
        };
        Ok(ServerTarget(key, address))
    }
}

type Segments = Vec<(String, String)>;

async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Segments, Refused> {
    Path::from_request_parts(parts, state)
        .await
        .map(|Path(segments)| segments)
        .map_err(|error| Refused::invalid(error.body_text()))
}

fn segment<'a>(segments: &'a Segments, name: &str) -> &'a str {
    segments
        .iter()
        .find(|(known, _)| known == name)
        .map_or("", |(_, value)| value)
}

fn key(segments: &Segments) -> Result<ServiceKey, Refused> {
    let (protocol, address) = (segment(segments, "protocol"), segment(segments, "address"));
    format!("{protocol}://{address}")
        .parse()
        .map_err(Refused::invalid)
}

/// A JSON object that is still to be understood.
pub(super) type Notation = serde_json::Map<String, serde_json::Value>;

/// A server of this service, in the notation of a service's list.
pub(super) fn server(key: ServiceKey, notation: &Notation) -> Result<Server, Refused> {
    // The one place that knows the notation, the default port included, is a service.
    let service = serde_json::json!({ "address": key, "persistence": {}, "servers": [notation] });
    let service: Service = serde_json::from_value(service).map_err(Refused::invalid)?;
    service
        .servers()
        .first()
        .copied()
        .ok_or_else(|| Refused::invalid("no server"))
}
