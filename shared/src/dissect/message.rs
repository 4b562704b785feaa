//! A message that a stream carried, as an event tells it.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::field::Field;

/// The protocol of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Protocol {
    /// Records and handshake messages of TLS.
    Tls,
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// Frames of HTTP/2.
    Http2,
    /// Frames of WebSocket.
    WebSocket,
}

impl Protocol {
    /// The name as people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::WebSocket => "WebSocket",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message of an application's protocol that a packet completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// Whose message it is.
    pub protocol: Protocol,
    /// One line on what it is, such as `HTTP/2 HEADERS GET /x` or `TLS 1.3 ClientHello`.
    pub summary: String,
    /// What it says, in the order of its bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// Where it begins in its direction of the connection: bytes of payload before it, counted
    /// from the SYN, or from the first segment that was seen where there was no SYN.
    pub offset: u64,
    /// Its length in that stream, in bytes, as much of it as came.
    pub length: u64,
    /// The part of it that this packet carries begins here in the packet's payload.
    pub from: u32,
    /// And ends here. Equal to `from` where the message lies in packets that came before and
    /// waited for this one.
    pub to: u32,
}

/// A named value of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Detail {
    /// What it is called, such as `Stream`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Cow<'static, str>,
    /// Its value in words.
    pub value: String,
}

impl From<Field> for Detail {
    fn from(field: Field) -> Self {
        Self {
            name: field.name,
            value: field.value,
        }
    }
}
