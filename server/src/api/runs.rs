//! Starting, watching, acting on and stopping runs.

use axum::{
    Json,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use linger_shared::protocol::{Action, Problem, RunInfo, RunRequest};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use utoipa::IntoParams;

use super::{
    Shared,
    extract::{JsonBody, QueryOf, RunId},
    limits::Ends,
    lines,
    problem::ApiError,
    stream,
};
use crate::runs::ActError;

/// What a stopped run is recorded to have been stopped by.
const BY_THE_USER: &str = "stopped by the user";

/// Which runs are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many at most, from 1 to 1000.
    #[serde(default = "usual_page")]
    #[param(default = 200, minimum = 1, maximum = 1000)]
    limit: usize,
    /// Only those that were started before the run of this id.
    before: Option<String>,
}

const fn usual_page() -> usize {
    200
}

/// The most runs in one answer.
const LARGEST_PAGE: usize = 1_000;

/// The runs that the server has, the newest first. Where there are more, the `Link` header leads to
/// them. The headers of those that are recorded are left out.
#[utoipa::path(
    get,
    path = "/api/runs",
    tag = "runs",
    params(Page),
    responses(
        (status = OK, body = Vec<RunInfo>, headers(("Link" = String, description = "Where the next ones are, as rel=next; absent after the last"))),
        (status = BAD_REQUEST, description = "The query is malformed", body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "No run is called as `before` says", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    QueryOf(page): QueryOf<Page>,
) -> Result<Response, ApiError> {
    if !(1..=LARGEST_PAGE).contains(&page.limit) {
        return Err(ApiError::MalformedUrl(format!(
            "limit={} is not from 1 to {LARGEST_PAGE}",
            page.limit
        )));
    }
    let manager = shared.manager;
    // One more than wanted tells whether there are more; who wants older ones has them all read,
    // which the retention bounds.
    let most = page.before.as_ref().map_or(page.limit + 1, |_| usize::MAX);
    let mut runs = reading(move || manager.list(most)).await?;
    if let Some(before) = page.before {
        let Some(place) = runs.iter().position(|run| run.id == before) else {
            return Err(ActError::UnknownRun(before).into());
        };
        runs.drain(..=place);
    }
    let more = runs.len() > page.limit;
    runs.truncate(page.limit);
    let link = runs.last().filter(|_| more).map(|last| {
        let next = format!("</api/runs?limit={}&before={}>", page.limit, last.id);
        [(header::LINK, format!("{next}; rel=\"next\""))]
    });
    Ok((link, Json(runs)).into_response())
}

/// Looks something up where the answer may have to come from the disk.
pub(super) async fn reading<T: Send + 'static, E: Send + 'static>(
    look: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    spawn_blocking(look)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Starts a run, or queues it.
#[utoipa::path(
    post,
    path = "/api/runs",
    tag = "runs",
    request_body = RunRequest,
    responses(
        (status = CREATED, body = RunInfo, headers(("Location" = String, description = "The run's path"))),
        (status = BAD_REQUEST, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = FORBIDDEN, description = "The request comes from another site", body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "No such experiment; the nearest is named", body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, description = "This machine cannot run it", body = Problem, content_type = "application/problem+json"),
        (status = PAYLOAD_TOO_LARGE, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "The address has too many runs, or starts too many", body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "A parameter is unknown, malformed or out of bounds", body = Problem, content_type = "application/problem+json"),
        (status = SERVICE_UNAVAILABLE, description = "Too many runs are waiting, or the server is shutting down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn start(
    State(shared): State<Shared>,
    ends: Ends,
    JsonBody(request): JsonBody<RunRequest>,
) -> Result<Response, ApiError> {
    let visitor = shared.visitors.runner(ends.peer.ip());
    let run = shared.manager.start(&request, visitor)?;
    let location = format!("/api/runs/{}", run.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(run),
    )
        .into_response())
}

/// A run as it stands.
#[utoipa::path(
    get,
    path = "/api/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = OK, body = RunInfo),
        (status = NOT_FOUND, description = "No such run", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn info(
    State(shared): State<Shared>,
    RunId(id): RunId,
) -> Result<Json<RunInfo>, ApiError> {
    let manager = shared.manager;
    reading(move || match manager.info(&id)? {
        Some(run) => Ok(Json(run)),
        None => Err(ActError::UnknownRun(id).into()),
    })
    .await
}

/// Stops a run; one that is over stays as it is. Its events remain.
///
/// The answer comes at once, and may still say `running`: the last events of the stream tell when
/// the run is over.
#[utoipa::path(
    post,
    path = "/api/runs/{id}/stop",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = OK, body = RunInfo),
        (status = NOT_FOUND, description = "No such run", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stop(
    State(shared): State<Shared>,
    RunId(id): RunId,
) -> Result<Json<RunInfo>, ApiError> {
    let manager = shared.manager;
    Ok(Json(reading(move || manager.stop(&id, BY_THE_USER)).await?))
}

/// Removes a run that is over, and its record.
#[utoipa::path(
    delete,
    path = "/api/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = NO_CONTENT, description = "It is gone"),
        (status = FORBIDDEN, description = "The server is open to a network, and its recordings are its owner's", body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "No such run", body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, description = "The run is not over", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(shared): State<Shared>,
    RunId(id): RunId,
) -> Result<StatusCode, ApiError> {
    if shared.is_open {
        return Err(ApiError::OwnersOnly);
    }
    let manager = shared.manager;
    reading(move || manager.delete(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does something to a live run: cuts the path, heals it.
#[utoipa::path(
    post,
    path = "/api/runs/{id}/actions",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    request_body = Action,
    responses(
        (status = NO_CONTENT, description = "Done; an event of the run tells when"),
        (status = NOT_FOUND, description = "No such run", body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, description = "The run is not running, or cannot do that", body = Problem, content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "Too many actions on this run", body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "No such action", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn act(
    State(shared): State<Shared>,
    RunId(id): RunId,
    JsonBody(action): JsonBody<Action>,
) -> Result<StatusCode, ApiError> {
    let manager = shared.manager.clone();
    let known = id.clone();
    let known = reading(move || manager.log(&known)).await?;
    if known.is_none() {
        return Err(ActError::UnknownRun(id).into());
    }
    shared.visitors.act(&id)?;
    let manager = shared.manager;
    // A host takes milliseconds to come up, and nobody else is to wait for it.
    reading(move || manager.act(&id, action)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The number of the first event that is wanted, from 0. One that is not there yet is waited
    /// for, as long as the run goes on.
    #[serde(default)]
    from: u64,
    /// Plain GET only: whether to go on until the run is over, instead of ending with the last
    /// event that is there now.
    #[serde(default)]
    follow: bool,
}

/// The events of a run.
///
/// As a WebSocket, batches of events while they happen: text messages, each a JSON object whose
/// `message` is `hello` (first), `events`, `alive` (every 5 s while nothing happens) or `end`, after
/// which the server closes with code 1000. Who lost the connection comes back with the number of
/// the next event. As a plain GET, JSON Lines: the header, then one event a line.
#[utoipa::path(
    get,
    path = "/api/runs/{id}/events",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id"), Wanted),
    responses(
        (status = OK, description = "One event a line", content_type = "application/jsonl", body = String),
        (status = SWITCHING_PROTOCOLS, description = "The stream of messages"),
        (status = BAD_REQUEST, description = "The query or the handshake is malformed", body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "No such run", body = Problem, content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "Too many streams are open", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(shared): State<Shared>,
    RunId(id): RunId,
    QueryOf(wanted): QueryOf<Wanted>,
    ends: Ends,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let manager = shared.manager.clone();
    let log = reading(move || match manager.log(&id)? {
        Some(log) => Ok(log),
        None => Err(ApiError::from(ActError::UnknownRun(id))),
    })
    .await?;
    match upgrade {
        Ok(upgrade) => {
            let place = shared.visitors.watch(ends.peer.ip())?;
            Ok(stream::answer(upgrade, shared, log, wanted.from, place))
        }
        Err(rejection) if headers.contains_key(header::UPGRADE) => {
            Err(ApiError::Handshake(rejection.body_text()))
        }
        Err(_) => {
            let place = wanted
                .follow
                .then(|| shared.visitors.watch(ends.peer.ip()))
                .transpose()?;
            Ok(lines::answer(log, wanted.from, wanted.follow, place))
        }
    }
}
