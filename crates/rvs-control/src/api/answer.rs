//! Answers: documents, and refusals with their status codes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::actor::Gone;
use crate::director::RequestError;
use crate::wire::{Code, Refusal};

/// What a handler returns: a document, or a refusal.
pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused(Refusal);

impl Refused {
    pub(super) fn new(code: Code, error: impl ToString) -> Refused {
        // Whatever a client wrote, its echo stays on one line.
        let error = error
            .to_string()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Refused(Refusal { error, code })
    }

    pub(super) fn invalid(error: impl ToString) -> Refused {
        Refused::new(Code::Invalid, error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (status(self.0.code), Json(self.0)).into_response()
    }
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Refused::new(error.code(), error)
    }
}

impl From<Gone> for Refused {
    fn from(gone: Gone) -> Self {
        Refused::new(Code::Stopping, gone)
    }
}

/// A document for something new.
pub(super) fn created<T: Serialize>(document: T) -> (StatusCode, Json<T>) {
    (StatusCode::CREATED, Json(document))
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NoSuchPath | Code::NoSuchService | Code::NoSuchServer => StatusCode::NOT_FOUND,
        Code::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Code::ServiceExists | Code::ServerExists => StatusCode::CONFLICT,
        Code::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
        Code::BadConfiguration => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Kernel => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}
