//! Serves the front-end that the build script put inside the binary.
//!
//! Files carry the large page's content security policy; the [gate](super::gate) adds what every
//! answer has. Files keep their names from one version to the
//! next, so a browser asks each time and is told in a few bytes that nothing has changed. A server
//! that was built without the front-end says on its page which command builds it; its API works
//! all the same.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
    response::IntoResponse,
};

use super::{headers::PAGE_POLICY, nothing_at, problem::ApiError};

/// A file of the front-end.
#[derive(Debug, Clone, Copy)]
struct Asset {
    /// Where it is served, from `/`.
    path: &'static str,
    /// Its media type, with the charset where it is text.
    media_type: &'static str,
    /// Changes with its content; quoted, as RFC 9110, section 8.8.3 has it.
    etag: &'static str,
    /// Its content.
    identity: &'static [u8],
    /// Its content as brotli (RFC 7932), where that is shorter.
    brotli: Option<&'static [u8]>,
    /// Its content as gzip, where that is shorter.
    gzip: Option<&'static [u8]>,
}

/// The front-end; empty in a server that was built without it.
static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Whether this server carries a front-end.
pub fn is_there() -> bool {
    !ASSETS.is_empty()
}

/// Answers every request that is not for the API: the fallback of the router.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    answer(ASSETS, &method, uri.path(), &headers)
}

/// Whether an address is the page's: `/`, or that of an experiment or a run, which the page reads
/// on its own.
fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/e/") || path.starts_with("/r/")
}

/// Which file answers a path, if any.
fn find<'a>(assets: &'a [Asset], path: &str) -> Option<&'a Asset> {
    let path = if is_page(path) { "/index.html" } else { path };
    assets.iter().find(|asset| asset.path == path)
}

fn answer(assets: &[Asset], method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = ApiError::MethodNotAllowed {
            method: method.to_string(),
            path: path.to_owned(),
        }
        .into_response();
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    let mut response = if let Some(asset) = find(assets, path) {
        file(asset, headers)
    } else if assets.is_empty() && is_page(path) {
        without_front_end()
    } else {
        nothing_at(path, headers)
    };
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// A file in the shortest form that the browser takes, or word that it has it already.
fn file(asset: &Asset, headers: &HeaderMap) -> Response<Body> {
    let (encoding, body) = negotiate(asset, headers);
    // Each form has a tag of its own, since a strong tag stands for bytes.
    let etag = match encoding {
        Some(encoding) => format!("{}-{encoding}\"", asset.etag.trim_end_matches('"')),
        None => asset.etag.to_owned(),
    };
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::from(body));
        let length = HeaderValue::from(body.len());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
        response
    };
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static(PAGE_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(asset.media_type),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if let (Some(encoding), false) = (encoding, known) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The shortest form that `Accept-Encoding` allows (RFC 9110, section 12.5.3).
fn negotiate(asset: &Asset, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let accepted: Vec<(String, bool)> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let wanted = weight.parse::<f32>().is_ok_and(|weight| weight > 0.0);
            (coding.trim().to_ascii_lowercase(), wanted)
        })
        .collect();
    let accepts = |coding: &str| {
        let said = |name: &str| accepted.iter().find(|(known, _)| known == name);
        said(coding)
            .or_else(|| said("*"))
            .is_some_and(|(_, wanted)| *wanted)
    };
    [("br", asset.brotli), ("gzip", asset.gzip)]
        .into_iter()
        .find_map(|(coding, body)| Some((coding, body.filter(|_| accepts(coding))?)))
        .map_or((None, asset.identity), |(coding, body)| {
            (Some(coding), body)
        })
}

fn without_front_end() -> Response<Body> {
    let mut response = Response::new(Body::from(WITHOUT_FRONT_END));
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The page of a server that was built without the front-end.
const WITHOUT_FRONT_END: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Linger, without its page</title>
<h1>This server was built without its page</h1>
<p>In the repository, this command builds the page and a server that carries it, and starts both:</p>
<pre>cargo xtask play</pre>
<p>Everything else works: <a href=\"/api/experiments\">the experiments</a>,
<a href=\"/api/doctor\">what this machine can do</a>, and on the command line
<code>linger run tcp-lifecycle</code>.</p>
</html>
";

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Asset = Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"0123\"",
        identity: b"the page",
        brotli: Some(b"br"),
        gzip: Some(b"gzip"),
    };
    const ICON: Asset = Asset {
        path: "/icon.png",
        media_type: "image/png",
        etag: "\"4567\"",
        identity: b"the icon",
        brotli: None,
        gzip: None,
    };

    async fn get(path: &str, headers: &[(&str, &str)]) -> (Response<Body>, Vec<u8>) {
        ask(&[PAGE, ICON], Method::GET, path, headers).await
    }

    async fn ask(
        assets: &[Asset],
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (Response<Body>, Vec<u8>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        let mut response = answer(assets, &method, path, &map);
        let body = std::mem::replace(response.body_mut(), Body::empty());
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (response, body.to_vec())
    }

    #[tokio::test]
    async fn the_page_answers_at_its_own_addresses_and_nowhere_else() {
        for path in ["/", "/index.html", "/e/tcp-lifecycle", "/r/42?event=7"] {
            let (response, body) = get(path, &[]).await;
            assert_eq!(
                (response.status(), &body[..]),
                (StatusCode::OK, PAGE.identity),
                "{path}"
            );
        }
        for path in ["/etc/passwd", "/..", "/icon.png/", "//icon.png", "/e"] {
            let (response, _) = get(path, &[]).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn the_shortest_form_that_is_accepted_is_sent() {
        for (accepted, encoding, content) in [
            ("gzip, deflate, br, zstd", Some("br"), "br"),
            ("gzip, br;q=0", Some("gzip"), "gzip"),
            ("*", Some("br"), "br"),
            ("GZIP;q=0.5", Some("gzip"), "gzip"),
            ("identity", None, "the page"),
            ("*;q=0", None, "the page"),
            ("", None, "the page"),
        ] {
            let (response, body) = get("/", &[("accept-encoding", accepted)]).await;
            let sent = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(
                sent.map(|value| value.to_str().unwrap()),
                encoding,
                "{accepted}"
            );
            assert_eq!(body, content.as_bytes(), "{accepted}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
        let (response, body) = get("/icon.png", &[("accept-encoding", "br")]).await;
        assert_eq!(response.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(body, ICON.identity);
    }

    #[tokio::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let (first, _) = get("/", &[("accept-encoding", "br")]).await;
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        let known = format!("\"other\", W/{tag}");
        let headers = [("accept-encoding", "br"), ("if-none-match", known.as_str())];
        let (second, body) = get("/", &headers).await;
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert!(body.is_empty());
        assert_eq!(second.headers()[header::ETAG], tag.as_str());
        let headers = [("if-none-match", tag.as_str())];
        let (other_form, _) = get("/", &headers).await;
        assert_eq!(
            other_form.status(),
            StatusCode::OK,
            "a tag stands for one form"
        );
    }

    #[tokio::test]
    async fn files_carry_the_policy_of_the_page() {
        for path in ["/", "/icon.png"] {
            let (response, _) = get(path, &[]).await;
            assert_eq!(
                response.headers()[header::CONTENT_SECURITY_POLICY],
                PAGE_POLICY
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs() {
        let (response, body) = get("/nowhere", &[("accept", "text/html,*/*;q=0.8")]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert!(String::from_utf8(body).unwrap().contains("/nowhere"));
        let (response, _) = get("/nowhere", &[("accept", "*/*")]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[tokio::test]
    async fn a_server_without_the_page_says_what_builds_it() {
        let (response, body) = ask(&[], Method::GET, "/", &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            String::from_utf8(body)
                .unwrap()
                .contains("cargo xtask play")
        );
    }

    #[tokio::test]
    async fn files_are_read_and_never_written() {
        let (response, body) = ask(&[PAGE], Method::HEAD, "/", &[]).await;
        assert_eq!(
            response.headers()[header::CONTENT_LENGTH],
            PAGE.identity.len().to_string().as_str()
        );
        assert!(body.is_empty());
        let (response, _) = ask(&[PAGE], Method::POST, "/", &[]).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }
}
