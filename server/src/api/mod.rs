//! The HTTP API: the only place that knows axum's routes.
//!
//! [`router`] is made of the handlers here, of the OpenAPI document that describes them (from the
//! same code, so that neither can be without the other), and of the page's files. [`serve`] runs it
//! on a listener until it is told to end. What a run is and does is [`runs`](crate::runs)' business.
//!
//! Every error is a problem document, see [`ApiError`]. Who may ask is [`Guard`]'s business.

pub mod assets;
mod catalogue;
mod extract;
mod guard;
mod lines;
mod openapi;
mod problem;
mod runs;
mod stream;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, Method, Uri, header},
    middleware,
    response::Response,
    routing::{any, get},
    serve::ListenerExt,
};
use linger_shared::protocol::{ALIVE_INTERVAL_MS, STREAM_PATH};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpListener, sync::mpsc};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    guard::Guard,
    problem::{ApiError, MEDIA_TYPE as PROBLEM_MEDIA_TYPE},
};
use crate::runs::Manager;

/// The largest body that is read, in bytes. A request to run something is a few hundred.
pub const BODY_LIMIT: usize = 64 * 1024;

/// What the kernel may hold for one viewer, in bytes: a ping stands behind it, so that on a slow
/// link more would make a viewer look dead that is only far behind.
const SEND_BUFFER: usize = 256 * 1024;

/// How long [`serve`] waits for what is still being sent when it ends.
const FAREWELL: Duration = Duration::from_secs(3);

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
    pace: Pace,
    /// Held by every open WebSocket: when all are dropped, all have ended.
    open: mpsc::Sender<()>,
}

/// Serves the API and the page until `shutdown` is done; then ends what is open and returns.
///
/// Whoever shuts down ends the runs first ([`Manager::shutdown`]): a stream ends with its run, so
/// viewers learn how it ended. What is still open 3 s later is cut.
///
/// # Errors
/// The listener's, where it has failed for good.
pub async fn serve(
    listener: TcpListener,
    manager: Manager,
    guard: Guard,
    pace: Pace,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (open, mut all_closed) = mpsc::channel(1);
    let app = router(manager, guard, pace, open);
    let listener = listener.tap_io(|stream| {
        // Without these a viewer is late by a delayed ACK, or forgotten without a word. Neither is
        // worth refusing a connection over.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15));
        let socket = SockRef::from(&*stream);
        let _ = socket.set_tcp_keepalive(&keepalive);
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
    });
    let (ending, ended) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        shutdown.await;
        drop(ending);
    });
    let deadline = async {
        // The sender is dropped, never used: this waits for the shutdown to begin.
        let _ = ended.await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        result = async {
            server.await?;
            all_closed.recv().await;
            Ok(())
        } => result,
        () = deadline => Ok(()),
    }
}

/// The API and the page as one application.
fn router(manager: Manager, guard: Guard, pace: Pace, open: mpsc::Sender<()>) -> Router {
    let shared = Shared {
        manager,
        pace,
        open,
    };
    let (api, document) = described().split_for_parts();
    let document = Arc::new(document);
    let api = api
        .route(
            "/api/openapi.json",
            get(move || openapi::answer(Arc::clone(&document))),
        )
        .route(&format!("{STREAM_PATH}/{{id}}"), get(runs::events))
        .route("/api", any(nothing_there))
        .route("/api/{*path}", any(nothing_there))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::map_response(never_cached))
        .with_state(shared);
    api.fallback(assets::serve)
        .layer(middleware::from_fn_with_state(
            Arc::new(guard),
            guard::watch,
        ))
}

/// The routes together with their description.
fn described() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(catalogue::experiments))
        .routes(routes!(catalogue::doctor))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::info, runs::stop))
        .routes(routes!(runs::act))
        .routes(routes!(runs::events))
}

async fn nothing_there(uri: Uri) -> ApiError {
    ApiError::NotFound(uri.path().to_owned())
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
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
