//! What a run says: a [`Header`], then [`Event`]s numbered from 0 without gaps.
//!
//! An event is one fact, with the time at which it was true and who saw it. What a fact means for
//! a picture is `diagram`'s business; what it means for the outcome is the server's verdict.
//!
//! The JSON form is the project's public format (`linger run --format jsonl`, the event API), so a
//! change of a name here is a change of `protocol::PROTOCOL_VERSION`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::experiment::Value;

/// One network stack of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HostName {
    /// The host that opens connections.
    Client,
    /// A host between the two, where an experiment has one.
    Proxy,
    /// The host that accepts connections.
    Server,
}

impl HostName {
    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who saw a fact. Written `wire`, `kernel:client`, `app:server`, `experiment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Observer {
    /// What joins the hosts: it stamped the packet itself.
    Wire,
    /// The kernel of one host, through `sock_diag`.
    Kernel(HostName),
    /// The application on one host: what its call returned.
    App(HostName),
    /// The script of the experiment.
    Experiment,
}

/// A text that names no observer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` names no observer: wire, kernel:HOST, app:HOST or experiment")]
pub struct UnknownObserver(String);

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire => f.write_str("wire"),
            Self::Kernel(host) => write!(f, "kernel:{host}"),
            Self::App(host) => write!(f, "app:{host}"),
            Self::Experiment => f.write_str("experiment"),
        }
    }
}

impl From<Observer> for String {
    fn from(observer: Observer) -> Self {
        observer.to_string()
    }
}

impl TryFrom<String> for Observer {
    type Error = UnknownObserver;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Observer {
    type Err = UnknownObserver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = |name: &str| match name {
            "client" => Ok(HostName::Client),
            "proxy" => Ok(HostName::Proxy),
            "server" => Ok(HostName::Server),
            _ => Err(UnknownObserver(text.to_owned())),
        };
        match text.split_once(':') {
            None if text == "wire" => Ok(Self::Wire),
            None if text == "experiment" => Ok(Self::Experiment),
            Some(("kernel", name)) => host(name).map(Self::Kernel),
            Some(("app", name)) => host(name).map(Self::App),
            _ => Err(UnknownObserver(text.to_owned())),
        }
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Observer {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("wire, kernel:HOST, app:HOST or experiment"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Observer {}

/// What carries the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Mode {
    /// Real packets between network namespaces.
    Packets,
    /// Byte streams over loopback sockets; the kernel answers on each side of the relay.
    Relay,
}

impl Mode {
    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Relay => "relay",
        }
    }
}

/// One host of a run, as the header introduces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostInfo {
    /// Its name.
    pub name: HostName,
    /// Its address, without a port.
    pub address: String,
    /// The sysctls that the run pinned or that its question depends on, by name.
    pub sysctls: BTreeMap<String, String>,
}

/// What is known of a run before its first event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Header {
    /// `protocol::PROTOCOL_VERSION` of the server that recorded the run.
    pub protocol_version: u32,
    /// The run's id.
    pub run: String,
    /// The experiment's id.
    pub experiment: String,
    /// The experiment's title.
    pub title: String,
    /// Every parameter with the value that was used, defaults included.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, crate::experiment::ParamValue>))]
    pub params: BTreeMap<String, Value>,
    /// What every random choice of the run is derived from.
    pub seed: u64,
    /// Packets or relay.
    pub mode: Mode,
    /// Wall clock at time 0 of the run, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: u64,
    /// The kernel's release, such as `6.18.44`.
    pub kernel: String,
    /// The hosts, in the order of their lanes.
    pub hosts: Vec<HostInfo>,
    /// Versions of what took part, by name (`linger`, `hyper`, ...).
    pub versions: BTreeMap<String, String>,
}

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Position in the run, from 0, without gaps.
    pub seq: u64,
    /// When it was true: microseconds since the run's start, on its one monotonic clock.
    ///
    /// Events are numbered as they are collected; two observers may report within a few
    /// milliseconds of each other out of order, and a measurement bears the time of what was
    /// measured, so `at_us` may step back a little where `seq` steps forward.
    pub at_us: u64,
    /// Who saw it.
    pub seen_by: Observer,
    /// What was seen.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Fact {
    /// A packet left a host.
    PacketDeparted(Packet),
    /// The packet reached the other host.
    PacketArrived {
        /// The id of the departure.
        id: u64,
    },
    /// The packet was dropped on its way.
    PacketDropped {
        /// The id of the departure.
        id: u64,
        /// The rule that dropped it, such as `cut`.
        rule: String,
        /// Why, in a word or two, for the diagram.
        reason: String,
        /// Where on its way: 0 at the sender, 1 at the receiver.
        place: f64,
    },
    /// Relay mode: part of a byte stream was read from one host's socket.
    ChunkDeparted(Chunk),
    /// Relay mode: the chunk was written to the other host's socket.
    ChunkArrived {
        /// The id of the departure.
        id: u64,
    },
    /// Relay mode: the chunk was thrown away.
    ChunkDropped {
        /// The id of the departure.
        id: u64,
        /// The rule that dropped it.
        rule: String,
        /// Why, in a word or two.
        reason: String,
        /// Where on its way: 0 at the sender, 1 at the receiver.
        place: f64,
    },
    /// A socket appeared or changed, as its kernel tells it.
    Socket(Box<SocketSnapshot>),
    /// A socket that was there before is no longer known to its kernel.
    SocketGone {
        /// The socket's own address.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        local: SocketAddr,
        /// Its peer.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        remote: SocketAddr,
        /// The state in which it was last seen.
        last_state: TcpState,
    },
    /// An application made a call, or a call came back.
    Call(Call),
    /// An HTTP exchange ended, as the client saw it.
    Http(HttpExchange),
    /// A rule of the wire was armed or disarmed.
    Rule {
        /// Its name, such as `cut`.
        rule: String,
        /// The host whose packets it concerns.
        from: HostName,
        /// Whether it acts from now on.
        active: bool,
        /// `script` or `user`.
        by: String,
    },
    /// A new part of the experiment begins.
    Chapter {
        /// Its title.
        title: String,
    },
    /// What theory says will happen.
    Expectation {
        /// Which measurement this predicts.
        name: String,
        /// When it should happen, on the run's clock, in microseconds.
        predicted_at_us: u64,
        /// The formula with its numbers.
        because: String,
    },
    /// What was measured for an expectation.
    Measurement(Measurement),
    /// Something a reader should know, such as a scale.
    Remark {
        /// One or two sentences.
        text: String,
    },
    /// The run was ended before its script was done.
    Stopped {
        /// By whom or what: `stopped by the user`, `time limit of 60 s`, `server shutdown`.
        reason: String,
    },
    /// The laboratory itself failed; nothing may be concluded from the run.
    Failure {
        /// What was tried, with which value, and what happened.
        message: String,
    },
    /// The outcome. The last event of every run that did not fail.
    Verdict(Verdict),
}

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
    /// The packet itself, as hexadecimal digits.
    pub bytes: String,
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
#[serde(rename_all = "snake_case", tag = "is")]
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

/// The states of RFC 9293, section 3.3.2, and Linux's NEW_SYN_RECV shown as SYN_RECV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TcpState {
    /// Waits for connections.
    Listen,
    /// Sent a SYN.
    SynSent,
    /// Received a SYN and answered it.
    SynRecv,
    /// Open.
    Established,
    /// Closed here first; FIN not yet acknowledged.
    FinWait1,
    /// Closed here first; FIN acknowledged, the peer's not yet seen.
    FinWait2,
    /// The peer closed; the application here has not.
    CloseWait,
    /// Both closed; FINs crossed.
    Closing,
    /// Closed after the peer; waits for the last ACK.
    LastAck,
    /// Closed first; waits out old duplicates.
    TimeWait,
    /// Gone.
    Closed,
}

impl TcpState {
    /// The name as `ss` and `netstat` users know it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

/// Which of a socket's timers is pending (`idiag_timer`, Linux net/ipv4/inet_diag.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TimerKind {
    /// RTO, tail loss probe or early retransmit.
    Retransmission,
    /// Keep-alive; in FIN_WAIT2 the orphan's time limit.
    KeepAlive,
    /// TIME_WAIT, or FIN_WAIT2 of an orphan.
    TimeWait,
    /// Zero-window probe.
    WindowProbe,
}

/// A pending timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timer {
    /// Which one.
    pub timer: TimerKind,
    /// Time left when the snapshot was taken, in microseconds (the kernel tells milliseconds).
    pub left_us: u64,
}

/// A socket as its kernel describes it (`sock_diag(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SocketSnapshot {
    /// Its own address and port.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub local: SocketAddr,
    /// Its peer's; port 0 on a listener.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// The pending timer, if there is one.
    pub timer: Option<Timer>,
    /// Unanswered retransmissions or probes so far.
    pub retries: u8,
    /// Bytes not yet read by the application; on a listener, connections not yet accepted.
    pub recv_queue: u32,
    /// Bytes not yet acknowledged by the peer; on a listener, the limit of the queue.
    pub send_queue: u32,
    /// Whether an application still holds it: an orphan has none.
    pub orphan: bool,
    /// Congestion window in segments; absent where there is none (TIME_WAIT).
    pub cwnd: Option<u32>,
    /// Slow start threshold in segments; absent while it is infinite.
    pub ssthresh: Option<u32>,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u32>,
    /// Retransmission time-out in microseconds.
    pub rto_us: Option<u32>,
    /// How many times the RTO was doubled.
    pub backoff: Option<u8>,
}

/// A call that an application made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// An HTTP request and its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HttpExchange {
    /// Which request of the run, from 1.
    pub request: u32,
    /// Method and target, such as `GET /1`.
    pub line: String,
    /// Status code; absent where no response came.
    pub status: Option<u16>,
    /// Errno's name or what else went wrong.
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

/// Predicted beside measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Measurement {
    /// What was measured, such as `detection`.
    pub name: String,
    /// What theory said, as a span of time in microseconds.
    pub predicted_us: Option<u64>,
    /// What was measured, as a span of time in microseconds; absent where it did not happen.
    pub measured_us: Option<u64>,
}

/// How a run ended, worked out from the wire, the kernels and the applications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// `client`, `server`, `both` or `nobody`: of several connections, what most of them have.
    pub ended_by: String,
    /// `fin`, `rst`, `timeout` or `silence`.
    pub how: String,
    /// Host to what its application saw last, errno names as `ETIMEDOUT`.
    pub outcomes: BTreeMap<String, String>,
    /// Predicted beside measured, in the order in which they were measured.
    pub measurements: Vec<Measurement>,
    /// `connections`, `packets`, `bytes`, `dropped`, ... and `time_wait:client` and the like.
    pub counts: BTreeMap<String, u64>,
    /// The outcome in one or two sentences for people.
    pub summary: String,
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .collect();
    // Digits are ASCII, so this cannot fail.
    String::from_utf8(digits).unwrap_or_default()
}

/// Reads hexadecimal digits; `None` where the text is none.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observers_read_back_as_written() {
        for observer in [
            Observer::Wire,
            Observer::Kernel(HostName::Client),
            Observer::App(HostName::Proxy),
            Observer::Experiment,
        ] {
            assert_eq!(observer.to_string().parse(), Ok(observer));
        }
        for text in ["", "kernel", "kernel:", "app:nobody", "wire:client"] {
            assert!(text.parse::<Observer>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            seq: 7,
            at_us: 1_234,
            seen_by: Observer::Wire,
            fact: Fact::PacketArrived { id: 3 },
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"seq": 7, "at_us": 1234, "seen_by": "wire", "kind": "packet_arrived", "id": 3})
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn hexadecimal_digits_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex("é"), None);
    }
}
