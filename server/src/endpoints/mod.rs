//! Instrumented clients, servers and proxies that run on hosts: every call and its outcome is an
//! event.

mod again;
mod both;
mod errno;
mod http1;
mod leg;
mod options;
mod proxy;
mod tcp;
mod tls;

use self::tcp::connect_recorded;
pub use self::{
    again::{Persisted, Persistent},
    both::Silence,
    errno::errno_name,
    http1::{HttpClient, HttpOptions, Reuse, Serving, serve_http, serve_http_with},
    options::{KeepAlive, SocketOption},
    proxy::{Closing, Retry, ReverseProxy, TcpProxy},
    tcp::{Connection, Dial, ReadOutcome, WriteEnd, Written},
    tls::{
        Authority, SERVER_NAME, TlsClient, TlsConnection, TlsOptions, TlsServer, Validity,
        tls_error_name,
    },
};
