//! Proxies: what stands between a client and its server, with patience of its own.
//!
//! A [`TcpProxy`] copies bytes between two connections; a [`ReverseProxy`] understands HTTP/1.1 and
//! keeps connections to its backend. Both run on any host, usually on `proxy`, work over packets and
//! over the relay, and record what they do as that host's application: what happens to each of the
//! two connections, not every chunk. A call on the backend's side names the client's address that
//! it serves (`on_behalf_of`), so that the two can be told to belong together.

mod headers;
mod http;
mod pool;
mod tcp;
mod tunnel;

pub use self::{
    http::{Retry, ReverseProxy},
    tcp::TcpProxy,
};

/// How a proxy closes a connection that it has had enough of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Closing {
    /// With FIN, as `close()` does.
    #[default]
    Fin,
    /// With RST: SO_LINGER of 0 before `close()`.
    Rst,
}
