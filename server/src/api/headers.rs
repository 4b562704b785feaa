//! The headers that keep every answer to itself: who may frame it, read it, run scripts in it.
//!
//! Two policies: the large page runs its own script and WebAssembly and speaks to this server; the
//! small pages run nothing. Neither allows a script or a style sheet inline, or anything of another
//! site; the diagram places its parts by style attributes.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a browser may do on the large page: run its scripts and WebAssembly, and speak to this
/// server. `'self'` includes WebSockets of the same host and port.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
    style-src 'self'; style-src-attr 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// On the small pages: look right, and send a form to this server.
const PLAIN_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// Sets what is not set yet. A browser heeds `Cross-Origin-Opener-Policy` only where it trusts the
/// way to the server, and complains about it elsewhere, so it goes to such visitors alone.
pub(super) fn secure(headers: &mut HeaderMap, trusted_way: bool) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, PLAIN_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (
            PERMISSIONS_POLICY,
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if trusted_way {
        headers
            .entry(CROSS_ORIGIN_OPENER_POLICY)
            .or_insert(HeaderValue::from_static("same-origin"));
    }
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_allows_anything_inline_or_foreign() {
        for policy in [PAGE_POLICY, PLAIN_POLICY] {
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            let policy = policy.replace("style-src-attr 'unsafe-inline'", "");
            for loose in ["unsafe-inline", "'unsafe-eval'", "http:", "https:", "*"] {
                assert!(!policy.contains(loose), "{loose} in {policy}");
            }
        }
    }

    #[test]
    fn what_an_answer_says_of_itself_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("same-origin"),
        );
        secure(&mut headers, false);
        assert_eq!(headers[header::REFERRER_POLICY], "same-origin");
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], PLAIN_POLICY);
        assert!(!headers.contains_key(CROSS_ORIGIN_OPENER_POLICY));
        secure(&mut headers, true);
        assert!(headers.contains_key(CROSS_ORIGIN_OPENER_POLICY));
    }
}
