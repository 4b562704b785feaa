//! HTTP/1.1: an axum server on one host, a hyper client with hyper-util's pool on the other.

mod body;
mod client;
mod server;

use std::io;

use super::errno_name;

pub(super) use self::{
    body::Told,
    server::{Turns, Watched, serve_connection},
};
pub use self::{
    client::{HttpClient, HttpOptions, Reuse},
    server::{Serving, serve_http, serve_http_with},
};

/// The errno at the bottom of a library's error, or the error's own words.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error.to_string();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return match io.get_ref() {
                // A library's error may be wrapped as one of the system's.
                Some(wrapped) => root_cause(wrapped),
                None => errno_name(io),
            };
        }
        last = inner.to_string();
        cause = inner.source();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_is_found_below_whatever_wraps_it() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let wrapped = io::Error::other(io::Error::other(reset));
        assert_eq!(root_cause(&wrapped), "ECONNRESET");
        assert_eq!(root_cause(&io::Error::other("no more")), "no more");
    }
}
