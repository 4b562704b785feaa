//! What handlers take from a request, with every rejection as a problem document.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use linger_shared::protocol::{Action, RunRequest};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::{Shared, limits::BODY_LIMIT, problem::ApiError};

/// The `{id}` of the path.
pub(super) struct RunId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for RunId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::MalformedUrl(rejection.body_text()))?;
        Ok(Self(id))
    }
}

/// The `{id}` and the `{format}` of the path.
pub(super) struct RunAndFormat(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for RunAndFormat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((id, format)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::MalformedUrl(rejection.body_text()))?;
        Ok(Self(id, format))
    }
}

/// The query, as a struct that names what it knows.
pub(super) struct QueryOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(query) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::MalformedUrl(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: FromJson> FromRequest<Shared> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let declared = request.headers().get(header::CONTENT_TYPE);
        if !declared.is_some_and(|kind| is_json(kind.as_bytes())) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let bytes = read(request, shared.body_time).await?;
        let json = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::MalformedJson(error.to_string()))?;
        T::from_json(json)
            .map(Self)
            .map_err(|error| ApiError::InvalidRequest(error.to_string()))
    }
}

/// The whole body, if it is there in time and within its bound.
pub(super) async fn read(request: Request, patience: Duration) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::BodyTooLarge { limit: BODY_LIMIT };
    // What is declared to be too large is not waited for.
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), BODY_LIMIT);
    match timeout(patience, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::BrokenBody(error.to_string())),
        Err(_) => Err(ApiError::SlowBody { limit: patience }),
    }
}

/// A type that is read from a body.
pub(super) trait FromJson: Sized {
    /// Reads it.
    fn from_json(json: Json) -> Result<Self, serde_json::Error>;
}

impl FromJson for Action {
    fn from_json(json: Json) -> Result<Self, serde_json::Error> {
        let action = serde_json::from_value(json)?;
        if let Action::Arm { rule } = &action {
            rule.check().map_err(serde_json::Error::custom)?;
        }
        Ok(action)
    }
}

impl FromJson for RunRequest {
    /// A value that can be no parameter's (`-1`, `1.5`, null) is taken as its text, so that the
    /// check against the descriptor refuses it by the parameter's name.
    fn from_json(mut json: Json) -> Result<Self, serde_json::Error> {
        if let Some(Json::Object(params)) = json.get_mut("params") {
            for value in params.values_mut() {
                if !(value.is_boolean() || value.is_u64() || value.is_string()) {
                    *value = Json::String(value.to_string());
                }
            }
        }
        serde_json::from_value(json)
    }
}

/// Whether a Content-Type is that of JSON, whatever its parameters.
fn is_json(kind: &[u8]) -> bool {
    let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json"
        || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

#[cfg(test)]
mod tests {
    use linger_shared::experiment::Value;

    use super::*;

    #[test]
    fn json_is_recognised_by_its_media_type() {
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/a+json",
        ] {
            assert!(is_json(kind.as_bytes()), "{kind}");
        }
        for kind in [
            "",
            "text/plain",
            "application/jsonx",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(kind.as_bytes()), "{kind}");
        }
    }

    #[test]
    fn a_value_of_no_known_type_reaches_the_check_of_its_parameter() {
        let request = RunRequest::from_json(serde_json::json!({
            "experiment": "e",
            "params": {"a": -1, "b": 1.5, "c": null, "d": 3, "e": true}
        }))
        .unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let values: Vec<Value> = request.params.into_values().collect();
        assert_eq!(
            values,
            [
                text("-1"),
                text("1.5"),
                text("null"),
                Value::Integer(3),
                Value::Boolean(true)
            ]
        );
    }
}
