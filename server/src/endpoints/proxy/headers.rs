//! What a proxy must change in the fields of a message (RFC 9110, section 7.6).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, VIA},
};

/// Fields that concern one connection, besides those that `Connection` names (RFC 9110,
/// section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Who received the message, and by which version of the protocol (RFC 9110, section 7.6.3).
const RECEIVED_BY: HeaderValue = HeaderValue::from_static("1.1 linger");

/// The protocol that a message asks to change to, or agrees to (RFC 9110, section 7.8).
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = named(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    asked.then(|| headers.get(UPGRADE).cloned()).flatten()
}

/// Takes away what concerns the connection that a message came over, and says that it came through
/// here.
pub(super) fn forward(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = named(headers)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.append(VIA, RECEIVED_BY);
}

/// Asks for, or agrees to, a change of protocol on the connection that the message goes over.
pub(super) fn keep_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// What `Connection` names.
fn named(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let mut fields = headers(&[
            ("host", "server"),
            ("connection", "keep-alive, X-Only-Here"),
            ("keep-alive", "timeout=5"),
            ("x-only-here", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        forward(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "via"]);
    }

    #[test]
    fn each_proxy_adds_itself_behind_the_others() {
        let mut fields = headers(&[("via", "1.0 elsewhere")]);
        forward(&mut fields);
        let via: Vec<_> = fields.get_all(VIA).iter().collect();
        assert_eq!(via, ["1.0 elsewhere", "1.1 linger"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_by_two_fields_together() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
    }
}
