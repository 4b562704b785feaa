//! Every error of the API, as RFC 9457 writes it (`application/problem+json`).
//!
//! An error says what was asked, with which value, and what to do next; its `type` names the kind,
//! so that a program need not read the text.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use linger_shared::protocol::Problem;
use thiserror::Error;

use crate::runs::{ActError, StartError};

/// The media type of an error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// After how many seconds a client may try again where the server is busy.
const RETRY_AFTER: u32 = 5;

/// Why the API did not do what it was asked to do.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run does not exist, or cannot do what was asked.
    #[error(transparent)]
    Act(#[from] ActError),
    /// No resource has that path.
    #[error("there is nothing at {0}; /api/openapi.json describes what there is")]
    NotFound(String),
    /// The resource does not know the method.
    #[error("{method} means nothing at {path}; the Allow header names what does")]
    MethodNotAllowed {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// The path or the query is not understood.
    #[error("{0}")]
    MalformedUrl(String),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    MalformedJson(String),
    /// The body is JSON of another shape.
    #[error("the body is not understood: {0}")]
    InvalidRequest(String),
    /// The body claims to be something else.
    #[error("the body is to be JSON, sent with Content-Type: application/json")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("the body is larger than the {limit} bytes that are read")]
    BodyTooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The body could not be read to its end.
    #[error("the body could not be read: {0}")]
    BrokenBody(String),
    /// A page of another site asked for a change or a stream.
    #[error("pages of {origin} may not use this server, only its own")]
    ForeignOrigin {
        /// The Origin header.
        origin: String,
    },
    /// The request was meant for another name than this server's.
    #[error("this server is not {host}; reach it by its address or as localhost")]
    ForeignHost {
        /// The Host header.
        host: String,
    },
    /// The WebSocket handshake is malformed.
    #[error("no WebSocket can be opened: {0}")]
    Handshake(String),
}

impl ApiError {
    /// Status, the kind as it ends the `type`, and the kind in words.
    const fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Start(error) => match error {
                StartError::UnknownExperiment { .. } => (
                    StatusCode::NOT_FOUND,
                    "unknown-experiment",
                    "No such experiment",
                ),
                StartError::Param(_) => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid-parameter",
                    "A parameter is not accepted",
                ),
                StartError::Unavailable { .. } => (
                    StatusCode::CONFLICT,
                    "unavailable-here",
                    "This machine cannot run the experiment",
                ),
                StartError::QueueFull { .. } => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "queue-full",
                    "Too many runs are waiting",
                ),
                StartError::TooManyRuns { .. } => (
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-runs",
                    "Too many runs of this address",
                ),
                StartError::TooManyStarts { .. } => (
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-starts",
                    "Too many starts of this address",
                ),
                StartError::ShuttingDown => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "shutting-down",
                    "The server is shutting down",
                ),
            },
            Self::Act(error) => match error {
                ActError::UnknownRun(_) => (StatusCode::NOT_FOUND, "unknown-run", "No such run"),
                ActError::NotRunning(_) => (
                    StatusCode::CONFLICT,
                    "not-running",
                    "The run is not running",
                ),
                ActError::Unsupported(_) => (
                    StatusCode::CONFLICT,
                    "unsupported-action",
                    "The run cannot do that",
                ),
            },
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Nothing is there"),
            Self::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not allowed",
            ),
            Self::MalformedUrl(_) => (
                StatusCode::BAD_REQUEST,
                "malformed-url",
                "The path or the query is not understood",
            ),
            Self::MalformedJson(_) => (
                StatusCode::BAD_REQUEST,
                "malformed-json",
                "The body is not JSON",
            ),
            Self::InvalidRequest(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-request",
                "The body is not understood",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body is not declared as JSON",
            ),
            Self::BodyTooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Self::BrokenBody(_) => (
                StatusCode::BAD_REQUEST,
                "broken-body",
                "The body could not be read",
            ),
            Self::ForeignOrigin { .. } => (
                StatusCode::FORBIDDEN,
                "foreign-origin",
                "The request comes from another site",
            ),
            Self::ForeignHost { .. } => (
                StatusCode::FORBIDDEN,
                "foreign-host",
                "The request is for another host",
            ),
            Self::Handshake(_) => (
                StatusCode::BAD_REQUEST,
                "websocket-handshake",
                "The WebSocket handshake failed",
            ),
        }
    }

    /// The error as it is sent.
    pub fn problem(&self) -> Problem {
        let (status, kind, title) = self.kind();
        Problem {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, ..) = self.kind();
        let mut response = (status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::protocol::RunState;

    use super::*;

    #[test]
    fn a_problem_names_kind_status_and_value() {
        let problem = ApiError::from(ActError::UnknownRun("r-1".to_owned())).problem();
        assert_eq!(problem.kind, "/problems/unknown-run");
        assert_eq!(problem.status, 404);
        assert!(problem.detail.contains("r-1"), "{}", problem.detail);
    }

    #[test]
    fn errors_are_sent_as_problem_json() {
        let response = ApiError::from(ActError::NotRunning(RunState::Finished)).into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let response = ApiError::from(StartError::QueueFull { limit: 3 }).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }
}
