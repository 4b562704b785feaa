//! The OpenAPI document: what the code says about itself.
//!
//! Paths come from the handlers' own descriptions when the router is made; here is what belongs to
//! no single one of them.

use std::sync::Arc;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use linger_shared::protocol::{Problem, StreamMessage};
use utoipa::OpenApi;

/// The frame of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Linger",
        description = "Runs experiments on long-lived connections and streams what happens. Times are microseconds since a run's start; durations in parameters are written 1500ms, 5s, 2min, 2h. Every error is a problem document (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "catalogue", description = "What can be run here"),
        (name = "runs", description = "Runs and their events")
    ),
    components(schemas(Problem, StreamMessage, linger_shared::event::Event))
)]
pub(super) struct Document;

pub(super) async fn answer(document: Arc<utoipa::openapi::OpenApi>) -> Response {
    Json(document.as_ref()).into_response()
}
