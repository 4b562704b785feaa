//! What a run says: a [`Header`], then [`Event`]s numbered from 0 without gaps.
//!
//! An event is one fact, with the time at which it was true and who saw it. What a fact means for
//! a picture is `diagram`'s business; what it means for the outcome is the server's verdict.
//!
//! The JSON form is the project's public format (`linger run --format jsonl`, the event API), so a
//! change of a name here is a change of `protocol::PROTOCOL_VERSION`.

mod app;
mod flat;
mod hex;
mod packet;
mod socket;
mod verdict;

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    app::{Call, HandshakeKind, HttpExchange, OutputStream, ProcessState, TlsHandshake},
    hex::{from_hex, to_hex},
    packet::{Chunk, ChunkContent, FlowState, Origin, Packet, Role, TcpInfo},
    socket::{SocketSnapshot, TcpState, Timer, TimerKind},
    verdict::{Ending, Measurement, Side, Verdict},
};
use crate::{experiment::Value, link::LinkInfo};

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
    /// What joins them, each direction apart; empty over a relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkInfo>,
    /// Versions of what took part, by name (`linger`, `hyper`, ...).
    pub versions: BTreeMap<String, String>,
}

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "flat::Flat")]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// A TLS handshake ended, as one side saw it.
    Tls(Box<TlsHandshake>),
    /// A program on a host wrote a line.
    Output {
        /// Where to.
        stream: OutputStream,
        /// The line without its end; what is no UTF-8 is replaced, what is too long is cut.
        text: String,
    },
    /// A program on a host was started, or ended.
    Process {
        /// Its name in a word, such as `curl`.
        program: String,
        /// Its process id in the original namespace.
        pid: u32,
        /// What became of it.
        #[serde(rename = "became")]
        state: ProcessState,
    },
    /// A host lost its power, or came back with an empty stack.
    Power {
        /// Which one.
        host: HostName,
        /// Whether it works from now on.
        on: bool,
        /// `script` or `user`.
        by: String,
    },
    /// A line of the key log that lets the run's TLS records be decrypted, as NSS writes it.
    Secret {
        /// Such as `CLIENT_TRAFFIC_SECRET_0 <client random> <secret>`.
        line: String,
    },
    /// A middlebox made, forgot or closed its entry for a connection.
    Flow {
        /// The middlebox, such as `firewall` or `nat`.
        middlebox: String,
        /// What became of the entry.
        state: FlowState,
        /// The connection's end that opened it.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        inside: SocketAddr,
        /// Its other end.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        outside: SocketAddr,
        /// What the outside takes `inside` for, where the middlebox rewrites addresses.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        mapped: Option<SocketAddr>,
    },
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
        /// What it looks for and does, in words; empty where the name says it all.
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
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
        /// The span that theory gives, in microseconds, counted from where the measurement begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        predicted_us: Option<u64>,
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
}
