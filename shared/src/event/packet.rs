//! What the wire carries: packets, and a relay's chunks of a stream.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::HostName;
use crate::dissect::Message;

/// A packet as it left a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Packet {
    /// Joins departure and arrival or drop; unique within the run.
    pub id: u64,
    /// The host it left.
    pub from: HostName,
    /// The host it is addressed to.
    pub to: HostName,
    /// Size on the wire in bytes, IP header included.
    pub length: u32,
    /// What the TCP header and its connection's history say; absent where the bytes are no TCP.
    pub tcp: Option<TcpInfo>,
    /// One line on what the bytes are, such as `SYN` or `GET /1 HTTP/1.1`.
    pub summary: String,
    /// The messages of applications that it completed, in order; none for a duplicate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// The packet itself, as hexadecimal digits.
    pub bytes: String,
    /// The packet as it arrives, where a middlebox rewrites it on its way. What `tcp` and `summary`
    /// say is said of the form that the connection's opener knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<String>,
    /// Where it comes from, if no host has sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a packet comes from that the wire has made: an RST or an ICMP message in a host's name, a
/// duplicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// The rule that made it, such as `reject` or `duplicate`.
    pub rule: String,
    /// The id of the packet that it answers or repeats; absent where a timer made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<u64>,
    /// Where it sets out: 0 at the host in whose name it is sent, 1 at the receiver.
    pub place: f64,
}

/// What became of a middlebox's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FlowState {
    /// A packet made it.
    Opened,
    /// It was forgotten after its idle limit.
    Expired,
    /// Both sides closed, or one reset, and it was forgotten.
    Closed,
}

/// A TCP segment in the light of its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TcpInfo {
    /// Which connection of the run, from 0, in the order of their first packets.
    pub connection: u32,
    /// Sender's address and port.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub src: SocketAddr,
    /// Receiver's address and port.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub dst: SocketAddr,
    /// Flag names joined by commas, such as `SYN,ACK`.
    pub flags: String,
    /// Sequence number relative to the connection's first SYN in this direction.
    pub seq: u32,
    /// The sequence number in the header.
    pub seq_raw: u32,
    /// Acknowledgment number relative to the other direction's SYN; 0 without ACK.
    pub ack: u32,
    /// The acknowledgment number in the header.
    pub ack_raw: u32,
    /// The receive window, scaled where the scale is known, in bytes.
    pub window: u32,
    /// Options in words, such as `MSS 1460`, `SACK permitted`, `WS 7`.
    pub options: Vec<String>,
    /// Payload length in bytes.
    pub payload: u32,
    /// What the connection's history makes of it.
    pub role: Role,
}

/// What a segment is within its connection, beyond its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", try_from = "FlatRole")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Nothing special.
    Ordinary,
    /// The bytes (or SYN, or FIN) were sent before.
    Retransmission {
        /// Which one of the same bytes, from 1.
        nth: u32,
    },
    /// A keep-alive or zero-window probe: sequence number one below the next, no new bytes
    /// (RFC 9293, section 3.8.4).
    KeepAliveProbe {
        /// Which one in a row without an answer, from 1.
        nth: u32,
    },
    /// The answer to a probe: an ACK that acknowledges nothing new.
    KeepAliveAck,
}

/// How a [`Role`] is read: see [`flat`](super::flat) for why.
#[derive(Deserialize)]
struct FlatRole {
    is: String,
    #[serde(default)]
    nth: Option<u32>,
}

impl TryFrom<FlatRole> for Role {
    type Error = &'static str;

    fn try_from(flat: FlatRole) -> Result<Self, &'static str> {
        match (flat.is.as_str(), flat.nth) {
            ("ordinary", _) => Ok(Self::Ordinary),
            ("retransmission", Some(nth)) => Ok(Self::Retransmission { nth }),
            ("keep_alive_probe", Some(nth)) => Ok(Self::KeepAliveProbe { nth }),
            ("keep_alive_ack", _) => Ok(Self::KeepAliveAck),
            _ => Err("a segment has no such role"),
        }
    }
}

/// Relay mode: a piece of a byte stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chunk {
    /// Joins departure and arrival or drop; unique within the run.
    pub id: u64,
    /// Which connection of the run, from 0, in the order in which the relay accepted them.
    pub connection: u32,
    /// The host it left.
    pub from: HostName,
    /// The host it is for.
    pub to: HostName,
    /// What it is.
    pub content: ChunkContent,
    /// One line on what it is, such as `connect` or `GET /1 HTTP/1.1`.
    pub summary: String,
    /// The bytes themselves, as hexadecimal digits; empty unless `content` is `data`.
    pub bytes: String,
    /// The address that tells this connection from others on the sending host: on the opener's its
    /// own, on the accepting host the relay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub opener: Option<SocketAddr>,
}

/// What a relay saw on one of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChunkContent {
    /// A connection was accepted and is carried on.
    Open,
    /// Bytes.
    Data,
    /// End of stream: the peer closed its sending side.
    End,
    /// The read or write failed with ECONNRESET or EPIPE.
    Reset,
}
