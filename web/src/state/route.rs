//! Addresses of the page: `/`, `/e/{experiment}?name=value`, `/r/{run}`.
//!
//! A route is a place to look at, never an order: opening one starts no run.

use std::collections::BTreeMap;

/// Where the page stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The catalogue; shows the first experiment.
    Home,
    /// An experiment, with values for some of its parameters as they are written in its form.
    Experiment {
        /// The experiment's id.
        id: String,
        /// Values by parameter name.
        values: BTreeMap<String, String>,
    },
    /// A run.
    Run {
        /// The run's id.
        id: String,
    },
    /// An address that means nothing here.
    Unknown {
        /// Its path.
        path: String,
    },
}

impl Route {
    /// Reads a path and a query (with or without its question mark).
    pub fn parse(path: &str, query: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (None, _, _) => Self::Home,
            (Some("e"), Some(id), None) => Self::Experiment {
                id: decode(id),
                values: parse_query(query),
            },
            (Some("r"), Some(id), None) => Self::Run { id: decode(id) },
            _ => Self::Unknown {
                path: path.to_owned(),
            },
        }
    }

    /// The address, path and query.
    pub fn url(&self) -> String {
        match self {
            Self::Home => "/".to_owned(),
            Self::Experiment { id, values } => {
                let mut url = format!("/e/{}", encode(id));
                for (position, (name, value)) in values.iter().enumerate() {
                    url.push(if position == 0 { '?' } else { '&' });
                    url.push_str(&encode(name));
                    url.push('=');
                    url.push_str(&encode(value));
                }
                url
            }
            Self::Run { id } => format!("/r/{}", encode(id)),
            Self::Unknown { path } => path.clone(),
        }
    }

    /// Whether both show the same thing, so that going from one to the other is no step in the
    /// browser's history.
    pub fn same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Experiment { id: a, .. }, Self::Experiment { id: b, .. }) => a == b,
            _ => self == other,
        }
    }
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    query
        .trim_start_matches('?')
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((
                decode(&name.replace('+', " ")),
                decode(&value.replace('+', " ")),
            ))
        })
        .collect()
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push('%');
            encoded.push_str(&linger_shared::event::to_hex(&[byte]).to_ascii_uppercase());
        }
    }
    encoded
}

/// Undoes [`encode`]; what is not encoded well stays as it is, and bytes that are no UTF-8 are
/// replaced.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(linger_shared::event::from_hex);
        match escaped {
            Some(byte) => {
                decoded.extend(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for route in [
            Route::Home,
            Route::Run {
                id: "r7-k2".to_owned(),
            },
            Route::Experiment {
                id: "tcp-dead-peer".to_owned(),
                values: BTreeMap::new(),
            },
            Route::Experiment {
                id: "a b/ü".to_owned(),
                values: BTreeMap::from([
                    ("idle".to_owned(), "2s".to_owned()),
                    ("note".to_owned(), "50% & more = ä".to_owned()),
                ]),
            },
        ] {
            let url = route.url();
            let (path, query) = url.split_once('?').unwrap_or((&url, ""));
            assert_eq!(Route::parse(path, query), route, "{url}");
        }
    }

    #[test]
    fn a_strange_address_is_kept_for_the_message() {
        for path in ["/e", "/e/a/b", "/x/y", "/r"] {
            assert_eq!(
                Route::parse(path, ""),
                Route::Unknown {
                    path: path.to_owned()
                }
            );
        }
    }

    #[test]
    fn a_damaged_query_is_read_as_far_as_it_goes() {
        let Route::Experiment { values, .. } = Route::parse("/e/x", "?a=%zz&b&=&c=1%2") else {
            panic!("an experiment");
        };
        assert_eq!(values["a"], "%zz");
        assert_eq!(values["c"], "1%2");
        assert!(!values.contains_key("b"));
    }

    #[test]
    fn changing_a_value_is_no_step_in_history() {
        let with = |value: &str| Route::Experiment {
            id: "x".to_owned(),
            values: BTreeMap::from([("idle".to_owned(), value.to_owned())]),
        };
        assert!(with("2s").same_place(&with("3s")));
        assert!(!with("2s").same_place(&Route::Home));
    }
}
