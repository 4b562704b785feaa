//! Keeps other web pages away.
//!
//! A browser lets any page send requests to any server that it can reach, also to one on loopback.
//! Three checks stop that, and none stands in the way of a program that is no browser:
//!
//! - The server answers to its own names only: `localhost` and loopback addresses; where it serves
//!   a network, the address that a connection came to, and the names that it was given. A foreign
//!   name that is made to point here (DNS rebinding) would make a foreign page look like ours.
//! - What changes something or opens a WebSocket is refused where its `Origin` is another site's. A
//!   server on loopback also accepts pages that this machine itself serves, such as those of
//!   `trunk serve`.
//! - What a page of another site loads on its own (`Sec-Fetch-Site`) is refused; following a link
//!   to us is not that.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, Method, Uri, Version, header, uri::Authority};

use super::problem::ApiError;

/// Who may talk to the server.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Names that are its own.
    names: Vec<String>,
    /// Whether it serves this machine only.
    local: bool,
}

impl Guard {
    /// The guard of a server that listens on a loopback address, which the user wrote as `name`.
    pub fn local(name: Option<&str>) -> Self {
        Self {
            names: name.into_iter().map(bare).collect(),
            local: true,
        }
    }

    /// The guard of a server that serves a network under these names and addresses, besides those
    /// that connections come to.
    pub fn remote<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            names: names.into_iter().map(bare).collect(),
            local: false,
        }
    }

    /// Whether a request with this head, which came to the address `own`, may pass.
    ///
    /// # Errors
    /// [`ApiError::MalformedHost`], [`ApiError::ForeignHost`] or [`ApiError::ForeignOrigin`].
    pub(super) fn check(&self, request: &Head<'_>, own: SocketAddr) -> Result<(), ApiError> {
        let host = host(request)?;
        if let Some(host) = &host
            && !self.is_own_name(host.host(), own.ip())
        {
            return Err(ApiError::ForeignHost {
                host: host.to_string(),
            });
        }
        let headers = request.headers;
        let Some(origin) = headers.get(header::ORIGIN) else {
            return self.check_fetch(headers);
        };
        let is_safe = matches!(
            *request.method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        if is_safe && !headers.contains_key(header::UPGRADE) {
            return self.check_fetch(headers);
        }
        let page = origin
            .to_str()
            .ok()
            .and_then(|text| text.split_once("://"))
            .and_then(|(_, authority)| authority.parse::<Authority>().ok());
        let accepted = page.is_some_and(|page| {
            let same = host
                .as_ref()
                .is_some_and(|host| page.as_str().eq_ignore_ascii_case(host.as_str()));
            same || (self.local && is_this_machine(page.host()))
        });
        if accepted {
            return Ok(());
        }
        Err(ApiError::ForeignOrigin {
            origin: String::from_utf8_lossy(origin.as_bytes()).into_owned(),
        })
    }

    /// Refuses what another site's page loads on its own; a browser says so itself, at least where
    /// it trusts the way to the server.
    fn check_fetch(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let says = |name: &'static str, value: &str| {
            let said = headers.get(HeaderName::from_static(name));
            said.is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        if says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate") {
            return Err(ApiError::ForeignOrigin {
                origin: "another site".to_owned(),
            });
        }
        Ok(())
    }

    fn is_own_name(&self, host: &str, own: IpAddr) -> bool {
        if is_this_machine(host) {
            return true;
        }
        let address = address(host);
        if address.is_some_and(|address| self.local || address == own.to_canonical()) {
            // An address cannot be made to point elsewhere.
            return true;
        }
        let name = bare(host);
        self.names.iter().any(|own| own.eq_ignore_ascii_case(&name))
    }
}

/// What the guard reads of a request.
pub(super) struct Head<'a> {
    /// The method.
    pub(super) method: &'a Method,
    /// The request line's address.
    pub(super) uri: &'a Uri,
    /// The version.
    pub(super) version: Version,
    /// The headers.
    pub(super) headers: &'a HeaderMap,
}

/// The authority that the request is for; `None` for a program of HTTP/1.0 that names none.
fn host(request: &Head<'_>) -> Result<Option<Authority>, ApiError> {
    let mut values = request.headers.get_all(header::HOST).iter();
    let (first, more) = (values.next(), values.next().is_some());
    if more || (first.is_none() && request.version == Version::HTTP_11) {
        return Err(ApiError::MalformedHost);
    }
    let Some(value) = first else {
        return Ok(request.uri.authority().cloned());
    };
    let host = Authority::try_from(value.as_bytes()).map_err(|_| ApiError::ForeignHost {
        host: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    })?;
    match request.uri.authority() {
        Some(other) if other != &host => Err(ApiError::MalformedHost),
        _ => Ok(Some(host)),
    }
}

/// A host's name without the brackets of IPv6 and the dot that may end a name.
fn bare(host: &str) -> String {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let name = inner.unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

fn address(host: &str) -> Option<IpAddr> {
    let address: IpAddr = bare(host).parse().ok()?;
    Some(address.to_canonical())
}

/// Names below `localhost` are loopback by definition (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = bare(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

pub(super) fn is_this_machine(host: &str) -> bool {
    is_localhost(host) || address(host).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:8080";
    const NETWORK: &str = "192.0.2.7:8080";

    fn local() -> Guard {
        Guard::local(Some("lab.test"))
    }

    fn remote() -> Guard {
        Guard::remote(["lab.example", "2001:db8::7"])
    }

    fn ask(
        guard: &Guard,
        own: &str,
        method: &Method,
        headers: &[(HeaderName, &str)],
    ) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), value.parse().unwrap());
        }
        let head = Head {
            method,
            uri: &Uri::from_static("/api/runs"),
            version: Version::HTTP_11,
            headers: &map,
        };
        guard
            .check(&head, own.parse().unwrap())
            .map_err(|error| error.problem().kind)
    }

    fn foreign_host() -> Result<(), String> {
        Err("/problems/foreign-host".to_owned())
    }

    fn foreign_origin() -> Result<(), String> {
        Err("/problems/foreign-origin".to_owned())
    }

    #[test]
    fn a_server_on_loopback_answers_to_its_own_names_only() {
        let get = |host| ask(&local(), LOOPBACK, &Method::GET, &[(header::HOST, host)]);
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
            "LOCALHOST:8080",
            "linger.localhost:8080",
            "lab.test:8080",
            "Lab.Test.:8080",
        ] {
            assert_eq!(get(host), Ok(()), "{host}");
        }
        for host in [
            "rebound.example:8080",
            "localhost.example",
            "notlocalhost",
            "a b",
            "",
        ] {
            assert_eq!(get(host), foreign_host(), "{host}");
        }
    }

    #[test]
    fn a_server_on_a_network_answers_to_the_address_that_was_reached_and_given_names() {
        let get = |host| ask(&remote(), NETWORK, &Method::GET, &[(header::HOST, host)]);
        for host in [
            "192.0.2.7:8080",
            "192.0.2.7",
            "[2001:db8::7]:8080",
            "lab.example",
            "LAB.example.:8080",
            "localhost:8080",
            "127.0.0.1:9000",
        ] {
            assert_eq!(get(host), Ok(()), "{host}");
        }
        for host in ["rebound.example", "192.0.2.8:8080", "[2001:db8::8]", "lab"] {
            assert_eq!(get(host), foreign_host(), "{host}");
        }
        let mapped = "[::ffff:192.0.2.7]:8080";
        let headers = [(header::HOST, "192.0.2.7:8080")];
        assert_eq!(ask(&remote(), mapped, &Method::GET, &headers), Ok(()));
    }

    #[test]
    fn changes_are_for_pages_of_the_same_origin() {
        let post = |guard: &Guard, own, host, origin| {
            let headers = [(header::HOST, host), (header::ORIGIN, origin)];
            ask(guard, own, &Method::POST, &headers)
        };
        let here = |origin| post(&local(), LOOPBACK, LOOPBACK, origin);
        assert_eq!(here("http://127.0.0.1:8080"), Ok(()));
        assert_eq!(here("http://localhost:8081"), Ok(()));
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "",
        ] {
            assert_eq!(here(origin), foreign_origin(), "{origin}");
        }
        let there = |origin| post(&remote(), NETWORK, "lab.example", origin);
        assert_eq!(there("http://lab.example"), Ok(()));
        for origin in ["http://lab.example:81", "http://localhost:8081", "null"] {
            assert_eq!(there(origin), foreign_origin(), "{origin}");
        }
    }

    #[test]
    fn a_websocket_counts_as_a_change_and_a_plain_get_does_not() {
        let foreign = [
            (header::HOST, LOOPBACK),
            (header::ORIGIN, "https://evil.example"),
        ];
        assert_eq!(ask(&local(), LOOPBACK, &Method::GET, &foreign), Ok(()));
        let mut upgrade = foreign.to_vec();
        upgrade.push((header::UPGRADE, "websocket"));
        assert_eq!(
            ask(&local(), LOOPBACK, &Method::GET, &upgrade),
            foreign_origin()
        );
    }

    #[test]
    fn links_from_other_sites_are_followed_and_their_pages_load_nothing() {
        let get = |site, mode| {
            let headers = [
                (header::HOST, LOOPBACK),
                (HeaderName::from_static("sec-fetch-site"), site),
                (HeaderName::from_static("sec-fetch-mode"), mode),
            ];
            ask(&local(), LOOPBACK, &Method::GET, &headers)
        };
        assert_eq!(get("cross-site", "navigate"), Ok(()));
        assert_eq!(get("same-origin", "cors"), Ok(()));
        assert_eq!(get("none", "navigate"), Ok(()));
        assert_eq!(get("cross-site", "no-cors"), foreign_origin());
    }

    #[test]
    fn a_request_names_its_host_once() {
        let malformed = Err("/problems/malformed-host".to_owned());
        assert_eq!(ask(&local(), LOOPBACK, &Method::GET, &[]), malformed);
        let twice = [(header::HOST, LOOPBACK), (header::HOST, LOOPBACK)];
        assert_eq!(ask(&local(), LOOPBACK, &Method::GET, &twice), malformed);
        let headers = HeaderMap::from_iter([(header::HOST, LOOPBACK.parse().unwrap())]);
        let head = Head {
            method: &Method::GET,
            uri: &Uri::from_static("http://localhost/api/runs"),
            version: Version::HTTP_11,
            headers: &headers,
        };
        assert!(matches!(
            local().check(&head, LOOPBACK.parse().unwrap()),
            Err(ApiError::MalformedHost)
        ));
    }

    #[test]
    fn programs_that_send_no_origin_may_do_everything() {
        let headers = [(header::HOST, LOOPBACK)];
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(ask(&local(), LOOPBACK, &method, &headers), Ok(()));
        }
    }
}
