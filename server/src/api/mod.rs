//! The HTTP API: the only place that knows axum's routes.
//!
//! A connection comes in by the [`door`], which bounds how many there are and how slow they may be.
//! Each of its requests passes the [`gate`]: the address's rate, host and origin ([`Guard`]), and
//! the join code where the server is open to a network ([`JoinCode`]). Behind it are the handlers,
//! the OpenAPI document that describes them (from the same code, so that neither can be without the
//! other), the page's files, and a few small pages for people. [`serve`] runs all of it on a
//! listener until it is told to end. What a run is and does is [`runs`](crate::runs)' business.
//!
//! Every error is a problem document, see [`ApiError`].

pub mod assets;
mod bucket;
mod catalogue;
mod door;
mod export;
mod extract;
mod gate;
mod guard;
mod headers;
mod join;
mod kinds;
mod limits;
mod lines;
mod openapi;
mod pages;
mod places;
mod problem;
mod runs;
mod stall;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use linger_shared::protocol::{ALIVE_INTERVAL_MS, STREAM_PATH};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    bucket::Rate,
    guard::Guard,
    join::{JoinCode, JoinCodeError},
    limits::{BODY_LIMIT, HEAD_LIMIT, Limits, URI_LIMIT},
    problem::{ApiError, MEDIA_TYPE as PROBLEM_MEDIA_TYPE},
};
use self::{door::Door, gate::Gate, kinds::Kind, limits::Visitors};
use crate::runs::Manager;

/// How long [`serve`] waits for what is still being sent when it ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Who may reach the server, and how much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Under which names and from which sites.
    pub guard: Guard,
    /// What every visitor needs; `None` where the server is not open to a network.
    pub join: Option<JoinCode>,
    /// The liveness of streams.
    pub pace: Pace,
    /// The bounds.
    pub limits: Limits,
}

impl Settings {
    /// For this machine only: a server that listens on loopback, which the user wrote as `name`.
    pub fn local(name: Option<&str>) -> Self {
        Self {
            guard: Guard::local(name),
            join: None,
            pace: Pace::default(),
            limits: Limits::default(),
        }
    }
}

/// The times of the event stream's own liveness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After how long a silence the stream says that it lives.
    pub alive: Duration,
    /// How often a viewer is pinged.
    pub ping: Duration,
    /// How long a viewer may take to answer a ping.
    pub pong: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            alive: Duration::from_millis(ALIVE_INTERVAL_MS.into()),
            ping: Duration::from_secs(15),
            pong: Duration::from_secs(10),
        }
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    manager: Manager,
    /// Whether visitors come with a join code, from anywhere.
    is_open: bool,
    pace: Pace,
    /// How long a body may take.
    body_time: Duration,
    visitors: Arc<Visitors>,
    desk: export::Desk,
    /// Held by every open WebSocket: when all are dropped, all have ended.
    open: mpsc::Sender<()>,
}

/// Serves the API and the page until `shutdown` is done; then ends what is open and returns.
///
/// Whoever shuts down ends the runs first ([`Manager::shutdown`]): a stream ends with its run, so
/// viewers learn how it ended. What is still open 3 s later is cut.
pub async fn serve(
    listener: TcpListener,
    manager: Manager,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (open, mut all_closed) = mpsc::channel(1);
    let visitors = Arc::new(Visitors::new(&settings.limits));
    let shared = Shared {
        manager,
        is_open: settings.join.is_some(),
        pace: settings.pace,
        body_time: settings.limits.body_time,
        visitors: Arc::clone(&visitors),
        desk: export::Desk::default(),
        open,
    };
    let gate = Gate::new(
        settings.guard,
        settings.join,
        Arc::clone(&visitors),
        settings.limits.clone(),
    );
    let app = router(shared).layer(middleware::from_fn_with_state(Arc::new(gate), gate::pass));
    let door = Door::new(app, settings.limits, visitors);
    tokio::select! {
        never = door.accept(&listener) => match never {},
        () = shutdown => {}
    }
    drop(listener);
    let farewell = async {
        // Closing the door drops the handlers; what is left are streams.
        door.close(FAREWELL).await;
        all_closed.recv().await;
    };
    // Streams that are still open then are dropped with the runtime.
    let _ = timeout(FAREWELL + Duration::from_millis(200), farewell).await;
}

/// The API and the pages as one application.
fn router(shared: Shared) -> Router {
    let (api, document) = described().split_for_parts();
    let document = Arc::new(openapi::completed(document));
    let api = api
        .route(
            "/api/openapi.json",
            get(move || openapi::answer(Arc::clone(&document))),
        )
        .route(&format!("{STREAM_PATH}/{{id}}"), get(runs::events))
        .route("/api", any(nothing_there))
        .route("/api/{*path}", any(nothing_there))
        .route("/problems", get(async || pages::problems()))
        .route("/problems/{name}", get(problem))
        .route(pages::STYLE_PATH, get(pages::style))
        .route("/favicon.ico", get(pages::icon))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::map_response(never_cached))
        .with_state(shared);
    api.fallback(assets::serve)
}

/// The routes together with their description.
fn described() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(catalogue::experiments))
        .routes(routes!(catalogue::doctor))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::info, runs::delete))
        .routes(routes!(runs::stop))
        .routes(routes!(runs::act))
        .routes(routes!(runs::events))
        .routes(routes!(export::export))
}

async fn nothing_there(uri: Uri, headers: HeaderMap) -> Response {
    nothing_at(uri.path(), &headers)
}

/// A page for browsers, a problem document for programs.
fn nothing_at(path: &str, headers: &HeaderMap) -> Response {
    if pages::wants_html(headers) {
        return pages::nothing_here(path);
    }
    ApiError::NotFound(path.to_owned()).into_response()
}

/// What a kind of problem means, for people.
async fn problem(Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match Kind::named(&name) {
        Some(kind) => pages::problem(kind),
        None => nothing_at(uri.path(), &headers),
    }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotAllowed {
        method: method.to_string(),
        path: uri.path().to_owned(),
    }
}

/// What the API says is true now and not later.
async fn never_cached(mut response: Response) -> Response {
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_pace_keeps_within_the_viewers_patience() {
        let limit = Duration::from_millis(linger_shared::protocol::SILENCE_LIMIT_MS.into());
        assert!(Pace::default().alive * 2 < limit);
    }
}
