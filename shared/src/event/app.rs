//! What applications do and see.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A call that an application made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Call {
    /// The call's name, such as `connect`, `read`, `close`.
    pub call: String,
    /// Its arguments in words, such as `198.51.100.1:7654`; may be empty.
    pub args: String,
    /// What it returned in words: `5 bytes`, `end of stream`, `ETIMEDOUT`; empty while it has not.
    pub result: String,
    /// The errno's name where it failed.
    pub errno: Option<String>,
    /// When the call was made, where it came back later, in microseconds.
    pub began_us: Option<u64>,
    /// The socket's own address, where it has one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub local: Option<SocketAddr>,
    /// The address of the socket's peer, where it is known. On the accepting side it is what tells
    /// a connection from the others of the same listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub remote: Option<SocketAddr>,
    /// A proxy's call on one of its two connections: the client's address of the other one, which
    /// joins the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub on_behalf_of: Option<SocketAddr>,
}

/// An HTTP request and its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HttpExchange {
    /// Which request of the run, from 1.
    pub request: u32,
    /// Method and target, such as `GET /1`.
    pub line: String,
    /// Status code; absent where no response came, or none has come yet.
    pub status: Option<u16>,
    /// Errno's name or what else went wrong; absent, with no status either, while it still waits.
    pub error: Option<String>,
    /// When the request was handed to the client library, in microseconds.
    pub began_us: u64,
    /// Bytes of the response's body.
    pub body: u64,
    /// The address of the client's socket, where it is known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub local: Option<SocketAddr>,
    /// Whether the connection had carried a request before.
    pub reused: bool,
}

/// How a TLS handshake went, as one side saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TlsHandshake {
    /// The version that was agreed on, such as `TLS 1.3`; absent where it did not come to that.
    pub version: Option<String>,
    /// The cipher suite, as IANA's registry names it.
    pub cipher_suite: Option<String>,
    /// The group of the key exchange, such as `X25519MLKEM768`; absent where there was none.
    pub group: Option<String>,
    /// How much of a handshake it was.
    pub handshake: Option<HandshakeKind>,
    /// The protocol that ALPN agreed on (RFC 7301), such as `http/1.1`.
    pub alpn: Option<String>,
    /// The name that the client asked for (SNI, RFC 6066 section 3).
    pub server_name: Option<String>,
    /// What went wrong, in a word or a few: `alert received: certificate expired`.
    pub error: Option<String>,
    /// When it began, in microseconds.
    pub began_us: u64,
    /// The socket's own address, where it is known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub local: Option<SocketAddr>,
    /// The peer's address, where it is known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub peer: Option<SocketAddr>,
}

/// How much of a handshake it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HandshakeKind {
    /// All of it.
    Full,
    /// All of it, and one round trip more for a HelloRetryRequest (RFC 8446, section 4.1.4).
    FullWithRetry,
    /// Taken up from an earlier connection: a ticket, a session id, a PSK.
    Resumed,
}

/// Where a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", try_from = "FlatProcessState")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProcessState {
    /// It runs.
    Started {
        /// Its command line.
        command: String,
    },
    /// It ended by itself.
    Exited {
        /// Its exit status.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal's name, such as `SIGKILL`.
        signal: String,
        /// `script` or `user` where the laboratory sent it, `itself` otherwise.
        by: String,
    },
}

/// How a [`ProcessState`] is read: see [`flat`](super::flat) for why.
#[derive(Deserialize)]
struct FlatProcessState {
    is: String,
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    code: Option<i32>,
    #[serde(default)]
    signal: Option<String>,
    #[serde(default)]
    by: Option<String>,
}

impl TryFrom<FlatProcessState> for ProcessState {
    type Error = &'static str;

    fn try_from(flat: FlatProcessState) -> Result<Self, &'static str> {
        let state = match flat.is.as_str() {
            "started" => flat.command.map(|command| Self::Started { command }),
            "exited" => flat.code.map(|code| Self::Exited { code }),
            "killed" => flat
                .signal
                .zip(flat.by)
                .map(|(signal, by)| Self::Killed { signal, by }),
            _ => None,
        };
        state.ok_or("a program has no such state")
    }
}
