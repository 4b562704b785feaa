//! Every error of the API, as RFC 9457 writes it (`application/problem+json`).
//!
//! An error says what was asked, with which value, and what to do next; its `type` names one of the
//! [kinds](super::kinds), so that a program need not read the text.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use linger_shared::protocol::Problem;
use thiserror::Error;

use super::kinds::Kind;
use crate::{
    export::{ExportError, Format},
    runs::{ActError, DeleteError, StartError, store::StoreError},
};

/// The media type of an error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// After how many seconds a client may try again where the server is busy.
const RETRY_AFTER: u64 = 5;

/// Why the API did not do what it was asked to do.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run does not exist, or cannot do what was asked.
    #[error(transparent)]
    Act(ActError),
    /// The run was not removed.
    #[error(transparent)]
    Delete(DeleteError),
    /// The recordings cannot be read.
    #[error("the recordings cannot be read; the server's own output says why")]
    Store(StoreError),
    /// The run cannot be written in the format.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// There is no such format.
    #[error("there is no format `{format}`; runs are exported as {}", formats())]
    UnknownFormat {
        /// What was asked for.
        format: String,
    },
    /// Nothing of the run is there yet.
    #[error("the run `{0}` has not begun, so there is nothing to export")]
    NotBegun(String),
    /// The server is open to a network, and this is for its owner to do.
    #[error(
        "a server that is open to a network deletes nothing; `linger runs delete` does, on its machine"
    )]
    OwnersOnly,
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
    /// The request does not name one host.
    #[error("a request names its host once, in the Host header")]
    MalformedHost,
    /// The WebSocket handshake is malformed.
    #[error("no WebSocket can be opened: {0}")]
    Handshake(String),
    /// The visitor has not shown the join code.
    #[error(
        "this server is open to a network and asks for its join code: open its page and enter the \
         code, or send it as Authorization: Bearer CODE"
    )]
    NotJoined,
    /// The visitor has tried too many wrong join codes.
    #[error("too many wrong join codes came from your address; the next may be tried in {}", seconds(.wait))]
    TooManyAttempts {
        /// How long to wait.
        wait: Duration,
    },
    /// The address asks too often.
    #[error("too many requests came from your address; the next is taken in {}", seconds(.wait))]
    TooManyRequests {
        /// How long to wait.
        wait: Duration,
    },
    /// A run is acted on too often.
    #[error("too many actions on the run `{run}`; the next is taken in {}", seconds(.wait))]
    TooManyActions {
        /// The run's id.
        run: String,
        /// How long to wait.
        wait: Duration,
    },
    /// The address has as many streams open as it may.
    #[error("your address has {limit} event streams open, which is as many as it may")]
    TooManyStreams {
        /// The bound.
        limit: usize,
    },
    /// The server has as many connections open as it may.
    #[error("the server has {limit} connections open, which is as many as it may")]
    TooManyConnections {
        /// The bound.
        limit: usize,
    },
    /// The address has as many connections open as it may.
    #[error("your address has {limit} connections open, which is as many as it may")]
    TooManyConnectionsHere {
        /// The bound.
        limit: usize,
    },
    /// Path and query are too long.
    #[error("path and query are {length} bytes long, and {limit} are read")]
    UriTooLong {
        /// Their length, in bytes.
        length: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The body comes in chunks.
    #[error("the body's length is to be declared by Content-Length; chunks are not read")]
    LengthRequired,
    /// The body did not come in time.
    #[error("the body was not there after {}", seconds(.limit))]
    SlowBody {
        /// The bound.
        limit: Duration,
    },
    /// A request came over no connection.
    #[error("the request came over no connection")]
    Nowhere,
}

fn formats() -> String {
    Format::ALL.map(Format::name).join(", ")
}

fn seconds(time: &Duration) -> String {
    match whole_seconds(*time) {
        1 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

/// As `Retry-After` counts (RFC 9110, section 10.2.3): whole seconds, and none too few.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // A path of this machine is its owner's to know.
        eprintln!("linger: {error}");
        Self::Store(error)
    }
}

impl From<ActError> for ApiError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Store(error) => error.into(),
            error => Self::Act(error),
        }
    }
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Store(error) => error.into(),
            error => Self::Delete(error),
        }
    }
}

impl ApiError {
    const fn kind(&self) -> Kind {
        match self {
            Self::Start(error) => match error {
                StartError::UnknownExperiment { .. } => Kind::UnknownExperiment,
                StartError::Param(_) => Kind::InvalidParameter,
                StartError::Unavailable { .. } => Kind::Unavailable,
                StartError::QueueFull { .. } => Kind::QueueFull,
                StartError::TooManyRuns { .. } => Kind::TooManyRuns,
                StartError::TooManyStarts { .. } => Kind::TooManyStarts,
                StartError::ShuttingDown => Kind::ShuttingDown,
            },
            Self::Act(error) => match error {
                ActError::UnknownRun(_) => Kind::UnknownRun,
                ActError::NotRunning(_) => Kind::NotRunning,
                ActError::Unsupported(_) => Kind::UnsupportedAction,
                ActError::Elsewhere(_) => Kind::RunElsewhere,
                ActError::Store(_) => Kind::Recordings,
            },
            Self::Delete(error) => match error {
                DeleteError::UnknownRun(_) => Kind::UnknownRun,
                DeleteError::NotOver { .. } => Kind::NotOver,
                DeleteError::Store(_) => Kind::Recordings,
            },
            Self::Store(_) => Kind::Recordings,
            Self::Export(error) => match error {
                ExportError::NoPackets { .. } => Kind::NoPackets,
                ExportError::Damaged { .. } => Kind::Recordings,
                ExportError::Output(_) => Kind::Internal,
            },
            Self::UnknownFormat { .. } => Kind::UnknownFormat,
            Self::NotBegun(_) => Kind::NotBegun,
            Self::OwnersOnly => Kind::OwnersOnly,
            Self::NotFound(_) => Kind::NotFound,
            Self::MethodNotAllowed { .. } => Kind::MethodNotAllowed,
            Self::MalformedUrl(_) => Kind::MalformedUrl,
            Self::MalformedJson(_) => Kind::MalformedJson,
            Self::InvalidRequest(_) => Kind::InvalidRequest,
            Self::UnsupportedMediaType => Kind::UnsupportedMediaType,
            Self::BodyTooLarge { .. } => Kind::BodyTooLarge,
            Self::BrokenBody(_) => Kind::BrokenBody,
            Self::ForeignOrigin { .. } => Kind::ForeignOrigin,
            Self::ForeignHost { .. } => Kind::ForeignHost,
            Self::MalformedHost => Kind::MalformedHost,
            Self::Handshake(_) => Kind::WebsocketHandshake,
            Self::NotJoined => Kind::NotJoined,
            Self::TooManyAttempts { .. } => Kind::TooManyAttempts,
            Self::TooManyRequests { .. } => Kind::TooManyRequests,
            Self::TooManyActions { .. } => Kind::TooManyActions,
            Self::TooManyStreams { .. } => Kind::TooManyStreams,
            Self::TooManyConnections { .. } => Kind::TooManyConnections,
            Self::TooManyConnectionsHere { .. } => Kind::TooManyConnectionsHere,
            Self::UriTooLong { .. } => Kind::UriTooLong,
            Self::LengthRequired => Kind::LengthRequired,
            Self::SlowBody { .. } => Kind::SlowBody,
            Self::Nowhere => Kind::Internal,
        }
    }

    /// After how many seconds it may be worth trying again, where waiting helps.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyAttempts { wait }
            | Self::TooManyRequests { wait }
            | Self::TooManyActions { wait, .. } => Some(whole_seconds(*wait)),
            Self::Start(StartError::TooManyStarts { retry_after, .. }) => {
                Some(whole_seconds(*retry_after))
            }
            _ => {
                let status = self.kind().about().status;
                let busy = status == StatusCode::SERVICE_UNAVAILABLE
                    || status == StatusCode::TOO_MANY_REQUESTS;
                busy.then_some(RETRY_AFTER)
            }
        }
    }

    /// The error as it is sent.
    pub fn problem(&self) -> Problem {
        let about = self.kind().about();
        Problem {
            kind: format!("/problems/{}", about.name),
            title: about.title.to_owned(),
            status: about.status.as_u16(),
            detail: self.to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.kind().about().status;
        let mut response = (status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::NotJoined => {
                let scheme = HeaderValue::from_static("Bearer realm=\"linger\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            // What is left of the body is not worth reading.
            Self::BodyTooLarge { .. } | Self::LengthRequired | Self::SlowBody { .. } => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
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
        let wait = Duration::from_millis(2_001);
        let response = ApiError::TooManyRequests { wait }.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
