//! Requests to the server, as `/api/openapi.json` describes them.

use linger_shared::protocol::{Action, CatalogueEntry, Doctor, RunInfo, RunRequest};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, RequestInit, Response};

use crate::state::{load::Trouble, route::encode};

/// The catalogue, in the server's order.
///
/// # Errors
/// [`Trouble`] in words for people, as for every request here.
pub async fn experiments() -> Result<Vec<CatalogueEntry>, Trouble> {
    let what = "Asking for the experiments";
    read(what, &get(what, "/api/experiments").await?)
}

/// What the server's machine can do.
///
/// # Errors
/// As [`experiments`].
pub async fn doctor() -> Result<Doctor, Trouble> {
    let what = "Asking what the machine can do";
    read(what, &get(what, "/api/doctor").await?)
}

/// The runs that the server still knows, the most recent first.
///
/// # Errors
/// As [`experiments`].
pub async fn runs() -> Result<Vec<RunInfo>, Trouble> {
    let what = "Asking for the recent runs";
    read(what, &get(what, "/api/runs").await?)
}

/// One run as it stands.
///
/// # Errors
/// As [`experiments`]; status 404 where the server does not have it.
pub async fn run(id: &str) -> Result<RunInfo, Trouble> {
    let what = "Asking for the run";
    read(what, &get(what, &run_path(id)).await?)
}

/// Starts a run.
///
/// # Errors
/// As [`experiments`].
pub async fn start(request: &RunRequest) -> Result<RunInfo, Trouble> {
    let what = "Starting the run";
    let body = write(what, request)?;
    read(what, &send(what, "POST", "/api/runs", Some(&body)).await?)
}

/// Stops a run.
///
/// # Errors
/// As [`experiments`].
pub async fn stop(id: &str) -> Result<(), Trouble> {
    let what = "Stopping the run";
    let path = format!("{}/stop", run_path(id));
    send(what, "POST", &path, None).await.map(drop)
}

/// Removes a run that is over, and its record.
///
/// # Errors
/// As [`experiments`]; status 409 where it is not over.
pub async fn delete(id: &str) -> Result<(), Trouble> {
    let what = "Deleting the run";
    send(what, "DELETE", &run_path(id), None).await.map(drop)
}

/// Does something to a live run.
///
/// # Errors
/// As [`experiments`].
pub async fn act(id: &str, action: Action) -> Result<(), Trouble> {
    let what = "Acting on the run";
    let body = write(what, &action)?;
    let path = format!("{}/actions", run_path(id));
    send(what, "POST", &path, Some(&body)).await.map(drop)
}

fn run_path(id: &str) -> String {
    format!("/api/runs/{}", encode(id))
}

async fn get(what: &str, path: &str) -> Result<String, Trouble> {
    send(what, "GET", path, None).await
}

fn write<T: Serialize>(what: &str, value: &T) -> Result<String, Trouble> {
    serde_json::to_string(value).map_err(|error| Trouble::unreadable(what, &error.to_string()))
}

fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::unreadable(what, &error.to_string()))
}

/// Sends a request and gives the body of a successful answer.
async fn send(what: &str, method: &str, path: &str, body: Option<&str>) -> Result<String, Trouble> {
    let response = fetch(method, path, body)
        .await
        .map_err(|_| Trouble::unreachable(what))?;
    let status = response.status();
    let text = match response.text() {
        Ok(promise) => JsFuture::from(promise)
            .await
            .map_err(|_| Trouble::unreachable(what))?
            .as_string()
            .unwrap_or_default(),
        Err(_) => String::new(),
    };
    if response.ok() {
        Ok(text)
    } else {
        Err(Trouble::refused(what, status, &text))
    }
}

async fn fetch(method: &str, path: &str, body: Option<&str>) -> Result<Response, JsValue> {
    let init = RequestInit::new();
    init.set_method(method);
    if let Some(body) = body {
        init.set_body(&JsValue::from_str(body));
    }
    let request = Request::new_with_str_and_init(path, &init)?;
    request.headers().set("accept", "application/json")?;
    if body.is_some() {
        request.headers().set("content-type", "application/json")?;
    }
    let window = web_sys::window().ok_or(JsValue::NULL)?;
    JsFuture::from(window.fetch_with_request(&request))
        .await?
        .dyn_into()
}
