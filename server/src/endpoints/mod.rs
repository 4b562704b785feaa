//! Instrumented clients and servers that run on hosts: every call and its outcome is an event.

mod http1;
mod tcp;
mod tls;

use self::tcp::connect_recorded;
pub use self::{
    http1::{HttpClient, Reuse, serve_http},
    tcp::{Connection, KeepAlive, ReadOutcome},
    tls::{
        Authority, SERVER_NAME, TlsClient, TlsConnection, TlsOptions, TlsServer, Validity,
        tls_error_name,
    },
};

use std::io;

/// The errno's name of a failed call, as manual pages write it; the error's own words where it has
/// none that is known.
pub fn errno_name(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let name = match error.kind() {
        Kind::TimedOut => "ETIMEDOUT",
        Kind::ConnectionReset => "ECONNRESET",
        Kind::ConnectionRefused => "ECONNREFUSED",
        Kind::ConnectionAborted => "ECONNABORTED",
        Kind::BrokenPipe => "EPIPE",
        Kind::NotConnected => "ENOTCONN",
        Kind::AddrInUse => "EADDRINUSE",
        Kind::AddrNotAvailable => "EADDRNOTAVAIL",
        Kind::HostUnreachable => "EHOSTUNREACH",
        Kind::NetworkUnreachable => "ENETUNREACH",
        Kind::NetworkDown => "ENETDOWN",
        _ => return error.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_as_manual_pages_name_them() {
        assert_eq!(
            errno_name(&io::Error::from(io::ErrorKind::TimedOut)),
            "ETIMEDOUT"
        );
        assert_eq!(
            errno_name(&io::Error::other("no such thing")),
            "no such thing"
        );
    }
}
