//! Keeps other web pages away from a playground on this machine.
//!
//! A browser lets any page send requests to a server on loopback. Two checks stop that, and neither
//! stands in the way of a program that is no browser:
//!
//! - What changes something or opens a stream is refused where its `Origin` is another site's. A
//!   server on loopback also accepts pages that this machine itself serves, such as those of
//!   `trunk serve`.
//! - A server on loopback answers to addresses, `localhost` and the name that it was told to listen
//!   on, and to no other `Host`: a foreign name that is made to point here (DNS rebinding) would
//!   make a foreign page look like one of ours.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::ApiError;

/// Who may talk to the server.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Names that are its own, where it listens on loopback; `None` where it serves a network,
    /// which may know it by any name.
    loopback_names: Option<Vec<String>>,
}

impl Guard {
    /// The guard of a server that listens on `address`, which the user wrote as `name`.
    pub fn new(address: SocketAddr, name: Option<&str>) -> Self {
        let names = || name.into_iter().map(str::to_owned).collect();
        Self {
            loopback_names: address.ip().is_loopback().then(names),
        }
    }

    /// Whether a request with these headers may pass.
    ///
    /// # Errors
    /// [`ApiError::ForeignHost`] or [`ApiError::ForeignOrigin`].
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = host(uri, headers)?;
        if let (Some(names), Some(host)) = (&self.loopback_names, &host)
            && !is_own_name(host.host(), names)
        {
            return Err(ApiError::ForeignHost {
                host: host.to_string(),
            });
        }
        let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if is_safe && !headers.contains_key(header::UPGRADE) {
            return Ok(());
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let page = origin
            .to_str()
            .ok()
            .and_then(|text| text.split_once("://"))
            .and_then(|(_, authority)| authority.parse::<Authority>().ok());
        let accepted = page.is_some_and(|page| {
            let same = host
                .as_ref()
                .is_some_and(|host| page.as_str().eq_ignore_ascii_case(host.as_str()));
            same || (self.loopback_names.is_some() && is_this_machine(page.host()))
        });
        if accepted {
            return Ok(());
        }
        Err(ApiError::ForeignOrigin {
            origin: String::from_utf8_lossy(origin.as_bytes()).into_owned(),
        })
    }
}

/// The authority that the request is for; `None` for a program that names none.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, ApiError> {
    match headers.get(header::HOST) {
        None => Ok(uri.authority().cloned()),
        Some(value) => Authority::try_from(value.as_bytes())
            .map(Some)
            .map_err(|_| ApiError::ForeignHost {
                host: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            }),
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Names below `localhost` are loopback by definition (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_own_name(host: &str, names: &[String]) -> bool {
    address(host).is_some()
        || is_localhost(host)
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn is_this_machine(host: &str) -> bool {
    is_localhost(host) || address(host).is_some_and(|address| address.is_loopback())
}

/// The guard as a layer; it also sets the headers that every answer has.
pub(super) async fn watch(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let checked = guard.check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(HeaderName::from_static("cross-origin-resource-policy"))
        .or_insert(HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        listen: &str,
        name: Option<&str>,
        method: &Method,
        headers: &[(HeaderName, &str)],
    ) -> Result<(), String> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        Guard::new(listen.parse().unwrap(), name)
            .check(method, &Uri::from_static("/api/runs"), &headers)
            .map_err(|error| error.problem().kind)
    }

    const LOOPBACK: &str = "127.0.0.1:8080";
    const NETWORK: &str = "192.0.2.7:8080";

    #[test]
    fn a_server_on_loopback_answers_to_its_own_names_only() {
        let ask = |host| {
            check(
                LOOPBACK,
                Some("lab.test"),
                &Method::GET,
                &[(header::HOST, host)],
            )
        };
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
            "LOCALHOST:8080",
            "linger.localhost:8080",
            "lab.test:8080",
        ] {
            assert_eq!(ask(host), Ok(()), "{host}");
        }
        for host in [
            "rebound.example:8080",
            "localhost.example",
            "notlocalhost",
            "a b",
        ] {
            assert_eq!(
                ask(host),
                Err("/problems/foreign-host".to_owned()),
                "{host}"
            );
        }
    }

    #[test]
    fn a_server_on_a_network_may_have_any_name() {
        let headers = [(header::HOST, "lab.example")];
        assert_eq!(check(NETWORK, None, &Method::GET, &headers), Ok(()));
    }

    #[test]
    fn changes_are_for_pages_of_the_same_origin() {
        let ask = |listen, host, origin| {
            let headers = [(header::HOST, host), (header::ORIGIN, origin)];
            check(listen, None, &Method::POST, &headers)
        };
        let foreign = Err("/problems/foreign-origin".to_owned());
        assert_eq!(ask(LOOPBACK, LOOPBACK, "http://127.0.0.1:8080"), Ok(()));
        assert_eq!(ask(LOOPBACK, LOOPBACK, "http://localhost:8081"), Ok(()));
        assert_eq!(ask(LOOPBACK, LOOPBACK, "https://evil.example"), foreign);
        assert_eq!(ask(LOOPBACK, LOOPBACK, "null"), foreign);
        assert_eq!(
            ask(LOOPBACK, LOOPBACK, "http://localhost.evil.example"),
            foreign
        );
        assert_eq!(ask(NETWORK, "lab.example", "http://lab.example"), Ok(()));
        assert_eq!(
            ask(NETWORK, "lab.example", "http://lab.example:81"),
            foreign
        );
        assert_eq!(
            ask(NETWORK, "lab.example", "http://localhost:8081"),
            foreign
        );
    }

    #[test]
    fn a_websocket_counts_as_a_change_and_a_plain_get_does_not() {
        let foreign = [
            (header::HOST, LOOPBACK),
            (header::ORIGIN, "https://evil.example"),
        ];
        assert_eq!(check(LOOPBACK, None, &Method::GET, &foreign), Ok(()));
        let mut upgrade = foreign.to_vec();
        upgrade.push((header::UPGRADE, "websocket"));
        assert!(check(LOOPBACK, None, &Method::GET, &upgrade).is_err());
    }

    #[test]
    fn programs_that_send_no_origin_may_do_everything() {
        let headers = [(header::HOST, LOOPBACK)];
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(check(LOOPBACK, None, &method, &headers), Ok(()));
        }
        assert_eq!(check(LOOPBACK, None, &Method::POST, &[]), Ok(()));
    }
}
