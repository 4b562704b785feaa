//! What the byte streams of a connection carry: segments put in order, and the messages of
//! applications found in them, wherever segments begin and end.
//!
//! A [`Conversation`] is both directions of one connection. Each direction has a [`Reassembler`]
//! and behind it a machine for the protocol that its first bytes tell: TLS, HTTP/1, HTTP/2, or,
//! after an upgrade, WebSocket. A machine keeps the beginning of an unfinished message and passes
//! over bodies without keeping them. What one direction has to know of the other (which request a
//! response answers, which version of TLS was agreed on) is in [`Shared`].
//!
//! Promises: the same messages however a stream is cut into segments; a bound on what is kept for
//! a connection ([`Conversation::MAX_HELD`]), whatever peers send; and where bytes are missing, a
//! message that says so, after which the next recognisable beginning is looked for.

mod conversation;
mod direction;
mod found;
mod http1;
mod http2;
mod machine;
mod reassembly;
mod recognise;
mod tls;
mod websocket;

pub(super) use self::conversation::{Conversation, Part};
pub(super) use self::found::{Found, compose};
pub use self::reassembly::{Piece, Reassembler};
use self::{http1::HttpShared, tls::TlsShared};

/// What both directions of a connection know of each other.
#[derive(Debug, Default)]
struct Shared {
    http1: HttpShared,
    tls: TlsShared,
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
