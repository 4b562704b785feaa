//! The gate: what every request passes before it reaches a handler.
//!
//! In this order: the address's rate, the form of the request, the host and the origin, the join
//! code. What passes, and what does not, gets the [headers](super::headers) that every answer has.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    extract,
    guard::{Guard, Head, is_this_machine},
    headers,
    join::{self, JoinCode},
    limits::{Ends, Limits, URI_LIMIT, Visitors},
    pages::{self, JoinNote},
    problem::ApiError,
};

/// Where the join page is, and its form goes.
const JOIN_PATH: &str = "/join";

/// The query's name for the code.
const JOIN_QUERY: &str = "join";

/// What the join page needs: it is there before anyone has joined.
const OPEN: [&str; 2] = [pages::STYLE_PATH, "/favicon.ico"];

/// What the gate knows.
pub(super) struct Gate {
    guard: Guard,
    code: Option<JoinCode>,
    visitors: Arc<Visitors>,
    limits: Limits,
}

impl Gate {
    /// A gate; without a code whoever reaches it has joined.
    pub(super) const fn new(
        guard: Guard,
        code: Option<JoinCode>,
        visitors: Arc<Visitors>,
        limits: Limits,
    ) -> Self {
        Self {
            guard,
            code,
            visitors,
            limits,
        }
    }

    fn check(&self, request: &Request, ends: Ends) -> Result<(), ApiError> {
        self.visitors.request(ends.peer.ip())?;
        let length = request
            .uri()
            .path_and_query()
            .map_or(0, |path| path.as_str().len());
        if length > URI_LIMIT {
            return Err(ApiError::UriTooLong {
                length,
                limit: URI_LIMIT,
            });
        }
        // A server and what stands before it may disagree where a chunked body ends, above all
        // when a length is declared as well; what we read has a length.
        if request.headers().contains_key(header::TRANSFER_ENCODING) {
            return Err(ApiError::LengthRequired);
        }
        let head = Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        };
        self.guard.check(&head, ends.own)
    }

    /// Passes a request on if its visitor has joined, lets a visitor join, or asks for the code.
    async fn admit(&self, code: &JoinCode, request: Request, next: Next, ends: Ends) -> Response {
        let path = request.uri().path();
        if OPEN.contains(&path) {
            return next.run(request).await;
        }
        if path == JOIN_PATH {
            return self.join(code, request, ends).await;
        }
        if let Some((typed, clean)) = code_in_query(request.uri()) {
            return self.try_code(code, &typed, &clean, ends, request.headers());
        }
        let port = ends.own.port();
        if code.has_pass(request.headers(), port) {
            let marked = join::has_mark(request.headers(), port);
            let mut response = next.run(request).await;
            if !marked {
                code.let_in(response.headers_mut(), port);
            }
            return response;
        }
        if let Some(typed) = join::bearer(request.headers()) {
            return match self.judge(code, typed, ends) {
                Ok(()) => next.run(request).await,
                Err(error) => error.into_response(),
            };
        }
        let page = matches!(*request.method(), Method::GET | Method::HEAD)
            && pages::wants_html(request.headers());
        if !page {
            return ApiError::NotJoined.into_response();
        }
        let here = local_path(request.uri());
        if join::has_mark(request.headers(), port) {
            // A link from another site: the browser holds the pass back for this one request. The
            // mark goes with it, so that a pass that is gone is asked for at the next.
            let mut response = pages::once_more(&here);
            join::unmark(response.headers_mut(), port);
            return response;
        }
        pages::join(StatusCode::UNAUTHORIZED, JoinNote::Welcome, &here)
    }

    /// The join page itself, and its form.
    async fn join(&self, code: &JoinCode, request: Request, ends: Ends) -> Response {
        match *request.method() {
            Method::GET | Method::HEAD => match code_in_query(request.uri()) {
                Some((typed, _)) => self.try_code(code, &typed, "/", ends, request.headers()),
                None => pages::join(StatusCode::OK, JoinNote::Welcome, "/"),
            },
            Method::POST => {
                let headers = request.headers().clone();
                let body = match extract::read(request, self.limits.body_time).await {
                    Ok(body) => body,
                    Err(error) => return error.into_response(),
                };
                let field = |name: &str| {
                    form_urlencoded::parse(&body)
                        .find(|(key, _)| key == name)
                        .map(|(_, value)| value.into_owned())
                        .unwrap_or_default()
                };
                self.try_code(code, &field("code"), &field("to"), ends, &headers)
            }
            _ => {
                let mut response = ApiError::MethodNotAllowed {
                    method: request.method().to_string(),
                    path: JOIN_PATH.to_owned(),
                }
                .into_response();
                let allowed = HeaderValue::from_static("GET, HEAD, POST");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
        }
    }

    fn try_code(
        &self,
        code: &JoinCode,
        typed: &str,
        to: &str,
        ends: Ends,
        headers: &HeaderMap,
    ) -> Response {
        let to = if is_local(to) { to } else { "/" };
        let error = match self.judge(code, typed, ends) {
            Ok(()) => {
                let mut response = Redirect::to(to).into_response();
                code.let_in(response.headers_mut(), ends.own.port());
                no_store(&mut response);
                return response;
            }
            Err(error) => error,
        };
        if !pages::wants_html(headers) {
            return error.into_response();
        }
        match error.retry_after() {
            Some(seconds) => {
                let note = JoinNote::Wait { seconds };
                let mut response = pages::join(StatusCode::TOO_MANY_REQUESTS, note, to);
                let wait = HeaderValue::from(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, wait);
                response
            }
            None => pages::join(StatusCode::UNAUTHORIZED, JoinNote::Wrong, to),
        }
    }

    /// Whether a code is right; a wrong one is counted, and whoever was wrong too often is not
    /// told either way.
    fn judge(&self, code: &JoinCode, typed: &str, ends: Ends) -> Result<(), ApiError> {
        self.visitors.may_try(ends.peer.ip())?;
        if code.is(typed) {
            return Ok(());
        }
        self.visitors.tried_in_vain(ends.peer.ip());
        Err(ApiError::NotJoined)
    }
}

/// The gate as a layer.
pub(super) async fn pass(
    State(gate): State<Arc<Gate>>,
    ends: Ends,
    request: Request,
    next: Next,
) -> Response {
    let trusted_way = request
        .headers()
        .get(header::HOST)
        .and_then(|host| {
            host.to_str()
                .ok()?
                .parse::<axum::http::uri::Authority>()
                .ok()
        })
        .is_some_and(|host| is_this_machine(host.host()));
    let mut response = match (gate.check(&request, ends), &gate.code) {
        (Err(error), _) => error.into_response(),
        (Ok(()), None) => next.run(request).await,
        (Ok(()), Some(code)) => gate.admit(code, request, next, ends).await,
    };
    headers::secure(response.headers_mut(), trusted_way);
    response
}

fn no_store(response: &mut Response) {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
}

/// The code that an address brings along, and the address without it.
fn code_in_query(uri: &Uri) -> Option<(String, String)> {
    let query = uri.query()?;
    let is_code = |pair: &&str| pair.split('=').next() == Some(JOIN_QUERY);
    let pair = query.split('&').find(is_code)?;
    let (_, typed) = form_urlencoded::parse(pair.as_bytes()).next()?;
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_code(pair)).collect();
    let clean = match rest.join("&") {
        rest if rest.is_empty() => uri.path().to_owned(),
        rest => format!("{}?{rest}", uri.path()),
    };
    Some((typed.into_owned(), clean))
}

/// Path and query as an address of this server.
fn local_path(uri: &Uri) -> String {
    match uri.path_and_query() {
        Some(path) if is_local(path.as_str()) => path.as_str().to_owned(),
        _ => "/".to_owned(),
    }
}

/// Whether this is a path, and no address of another server: browsers read `//` and `/\` as the
/// beginning of one, and skip control characters.
fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.len() <= URI_LIMIT
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_taken_out_of_an_address() {
        for (uri, typed, clean) in [
            ("/?join=ABCD-EFGH", "ABCD-EFGH", "/"),
            (
                "/r/7?event=3&join=abcd%2Defgh&x=1",
                "abcd-efgh",
                "/r/7?event=3&x=1",
            ),
            ("/?join=", "", "/"),
            ("/?join", "", "/"),
        ] {
            let found = code_in_query(&uri.parse().unwrap());
            assert_eq!(found, Some((typed.to_owned(), clean.to_owned())), "{uri}");
        }
        for uri in ["/", "/?joined=1", "/?a=join"] {
            assert_eq!(code_in_query(&uri.parse().unwrap()), None, "{uri}");
        }
    }

    #[test]
    fn a_visitor_is_never_sent_to_another_server() {
        for path in ["/", "/r/7?event=3", "/e/tcp-dead-peer?idle=5s"] {
            assert!(is_local(path), "{path}");
        }
        for path in [
            "",
            "r/7",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
        ] {
            assert!(!is_local(path), "{path:?}");
        }
    }
}
