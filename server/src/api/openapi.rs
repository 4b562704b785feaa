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
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};

use super::problem::MEDIA_TYPE;

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

/// How a visitor shows that it has joined, where the server asks for that.
const SCHEMES: [&str; 2] = ["pass", "code"];

/// What can happen to any request before its handler sees it.
const ANYWHERE: [(&str, &str); 6] = [
    ("400", "The request is malformed"),
    (
        "401",
        "The server is open to a network, and the join code is missing or wrong",
    ),
    (
        "403",
        "The request is for another host, or comes from another site",
    ),
    ("414", "Path and query are too long"),
    (
        "429",
        "Too many requests; Retry-After says when to come back",
    ),
    (
        "503",
        "Too many connections, or the server is shutting down; Retry-After says when to come back",
    ),
];

/// Adds to every operation what the gate before it may answer, and what the gate asks for.
pub(super) fn completed(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let pass = ApiKey::Cookie(ApiKeyValue::with_description(
        "linger-pass-PORT",
        "What a browser gets for the join code; PORT is the server's.",
    ));
    let code = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The join code that the server's owner has shared."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEMES[0], SecurityScheme::ApiKey(pass));
    components.add_security_scheme(SCHEMES[1], SecurityScheme::Http(code));
    let none = SecurityRequirement::default();
    let any = SCHEMES.map(|name| SecurityRequirement::new::<_, _, String>(name, []));
    document.security = Some([none].into_iter().chain(any).collect());
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete]
            .into_iter()
            .flatten()
        {
            for (status, description) in ANYWHERE {
                operation
                    .responses
                    .responses
                    .entry(status.to_owned())
                    .or_insert_with(|| RefOr::T(problem(description)));
            }
        }
    }
    document
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content(
            MEDIA_TYPE,
            ContentBuilder::new().schema(Some(schema)).build(),
        )
        .build()
}

pub(super) async fn answer(document: Arc<utoipa::openapi::OpenApi>) -> Response {
    Json(document.as_ref()).into_response()
}
