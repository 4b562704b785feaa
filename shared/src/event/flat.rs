//! How an event is read: as one flat object with the fields of every kind, of which its kind takes
//! the ones that it has.
//!
//! Deriving this from [`Fact`] would buffer each event's fields before their kind is known, which
//! costs the page time and a tenth of its size. The compiler sees to it that a new field is read;
//! the test below, that a new kind is.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};
use thiserror::Error;

use super::{
    Call, Chunk, ChunkContent, Ending, Event, Fact, HandshakeKind, HostName, HttpExchange,
    Measurement, Observer, Origin, OutputStream, Packet, ProcessState, Side, SocketSnapshot,
    TcpInfo, TcpState, Timer, TlsHandshake, Verdict,
};
use crate::dissect::Message;

/// An object that is no event.
#[derive(Debug, Error)]
pub(super) enum NoEvent {
    #[error("`{0}` is no kind of event")]
    Kind(String),
    #[error("an event of this kind has a field `{0}`")]
    Lacks(&'static str),
    #[error("`{0}` is no state")]
    State(String),
}

macro_rules! flat {
    ($($field:ident: $type:ty,)*) => {
        /// The fields of every kind of event.
        #[derive(Deserialize)]
        pub(super) struct Flat {
            seq: u64,
            at_us: u64,
            seen_by: Observer,
            kind: String,
            $(#[serde(default)] $field: Option<$type>,)*
        }
    };
}

flat! {
    active: bool,
    alpn: String,
    args: String,
    backoff: u8,
    became: ProcessState,
    because: String,
    began_us: u64,
    body: u64,
    by: String,
    bytes: String,
    bytes_acked: u64,
    bytes_received: u64,
    call: String,
    cipher_suite: String,
    connection: u32,
    content: ChunkContent,
    counts: BTreeMap<String, u64>,
    cwnd: u32,
    detail: String,
    ended_by: String,
    endings: Vec<Ending>,
    errno: String,
    error: String,
    from: HostName,
    group: String,
    handshake: HandshakeKind,
    host: HostName,
    how: String,
    id: u64,
    inside: SocketAddr,
    last_state: TcpState,
    length: u32,
    line: String,
    local: SocketAddr,
    mapped: SocketAddr,
    measured_us: u64,
    measurements: Vec<Measurement>,
    message: String,
    messages: Vec<Message>,
    middlebox: String,
    min_rtt_us: u32,
    name: String,
    on: bool,
    on_behalf_of: SocketAddr,
    opener: SocketAddr,
    origin: Origin,
    orphan: bool,
    outcomes: BTreeMap<String, String>,
    outside: SocketAddr,
    peer: SocketAddr,
    pid: u32,
    place: f64,
    predicted_at_us: u64,
    predicted_us: u64,
    program: String,
    reason: String,
    recv_queue: u32,
    remote: SocketAddr,
    request: u32,
    result: String,
    retransmitted: u32,
    retries: u8,
    reused: bool,
    rewritten: String,
    rto_us: u32,
    rtt_us: u32,
    rule: String,
    send_queue: u32,
    server_name: String,
    sides: Vec<Side>,
    ssthresh: u32,
    state: String,
    status: u16,
    stream: OutputStream,
    summary: String,
    tcp: TcpInfo,
    text: String,
    timer: Timer,
    title: String,
    to: HostName,
    version: String,
}

impl TryFrom<Flat> for Event {
    type Error = NoEvent;

    fn try_from(flat: Flat) -> Result<Self, NoEvent> {
        let (seq, at_us, seen_by) = (flat.seq, flat.at_us, flat.seen_by);
        Ok(Self {
            seq,
            at_us,
            seen_by,
            fact: flat.fact()?,
        })
    }
}

/// Takes a field that the kind must have.
macro_rules! need {
    ($flat:ident.$field:ident) => {
        $flat.$field.ok_or(NoEvent::Lacks(stringify!($field)))?
    };
}

impl Flat {
    fn fact(self) -> Result<Fact, NoEvent> {
        Ok(match self.kind.as_str() {
            "packet_departed" => Fact::PacketDeparted(Packet {
                id: need!(self.id),
                from: need!(self.from),
                to: need!(self.to),
                length: need!(self.length),
                tcp: self.tcp,
                summary: need!(self.summary),
                messages: self.messages.unwrap_or_default(),
                bytes: need!(self.bytes),
                rewritten: self.rewritten,
                origin: self.origin,
            }),
            "packet_arrived" => Fact::PacketArrived { id: need!(self.id) },
            "packet_dropped" => Fact::PacketDropped {
                id: need!(self.id),
                rule: need!(self.rule),
                reason: need!(self.reason),
                place: need!(self.place),
            },
            "chunk_departed" => Fact::ChunkDeparted(Chunk {
                id: need!(self.id),
                connection: need!(self.connection),
                from: need!(self.from),
                to: need!(self.to),
                content: need!(self.content),
                summary: need!(self.summary),
                bytes: need!(self.bytes),
                opener: self.opener,
            }),
            "chunk_arrived" => Fact::ChunkArrived { id: need!(self.id) },
            "chunk_dropped" => Fact::ChunkDropped {
                id: need!(self.id),
                rule: need!(self.rule),
                reason: need!(self.reason),
                place: need!(self.place),
            },
            "socket" => Fact::Socket(Box::new(SocketSnapshot {
                local: need!(self.local),
                remote: need!(self.remote),
                state: named(need!(self.state))?,
                timer: self.timer,
                retries: need!(self.retries),
                recv_queue: need!(self.recv_queue),
                send_queue: need!(self.send_queue),
                orphan: need!(self.orphan),
                cwnd: self.cwnd,
                ssthresh: self.ssthresh,
                rtt_us: self.rtt_us,
                rto_us: self.rto_us,
                backoff: self.backoff,
                min_rtt_us: self.min_rtt_us,
                bytes_acked: self.bytes_acked,
                bytes_received: self.bytes_received,
                retransmitted: self.retransmitted,
            })),
            "socket_gone" => Fact::SocketGone {
                local: need!(self.local),
                remote: need!(self.remote),
                last_state: need!(self.last_state),
            },
            "call" => Fact::Call(Call {
                call: need!(self.call),
                args: need!(self.args),
                result: need!(self.result),
                errno: self.errno,
                began_us: self.began_us,
                local: self.local,
                remote: self.remote,
                on_behalf_of: self.on_behalf_of,
            }),
            "http" => Fact::Http(HttpExchange {
                request: need!(self.request),
                line: need!(self.line),
                status: self.status,
                error: self.error,
                began_us: need!(self.began_us),
                body: need!(self.body),
                local: self.local,
                reused: need!(self.reused),
            }),
            "tls" => Fact::Tls(Box::new(TlsHandshake {
                version: self.version,
                cipher_suite: self.cipher_suite,
                group: self.group,
                handshake: self.handshake,
                alpn: self.alpn,
                server_name: self.server_name,
                error: self.error,
                began_us: need!(self.began_us),
                local: self.local,
                peer: self.peer,
            })),
            "output" => Fact::Output {
                stream: need!(self.stream),
                text: need!(self.text),
            },
            "process" => Fact::Process {
                program: need!(self.program),
                pid: need!(self.pid),
                state: need!(self.became),
            },
            "power" => Fact::Power {
                host: need!(self.host),
                on: need!(self.on),
                by: need!(self.by),
            },
            "secret" => Fact::Secret {
                line: need!(self.line),
            },
            "flow" => Fact::Flow {
                middlebox: need!(self.middlebox),
                state: named(need!(self.state))?,
                inside: need!(self.inside),
                outside: need!(self.outside),
                mapped: self.mapped,
            },
            "rule" => Fact::Rule {
                rule: need!(self.rule),
                from: need!(self.from),
                active: need!(self.active),
                by: need!(self.by),
                detail: self.detail.unwrap_or_default(),
            },
            "chapter" => Fact::Chapter {
                title: need!(self.title),
            },
            "expectation" => Fact::Expectation {
                name: need!(self.name),
                predicted_at_us: need!(self.predicted_at_us),
                predicted_us: self.predicted_us,
                because: need!(self.because),
            },
            "measurement" => Fact::Measurement(Measurement {
                name: need!(self.name),
                predicted_us: self.predicted_us,
                measured_us: self.measured_us,
            }),
            "remark" => Fact::Remark {
                text: need!(self.text),
            },
            "stopped" => Fact::Stopped {
                reason: need!(self.reason),
            },
            "failure" => Fact::Failure {
                message: need!(self.message),
            },
            "verdict" => Fact::Verdict(Verdict {
                ended_by: need!(self.ended_by),
                how: need!(self.how),
                outcomes: need!(self.outcomes),
                measurements: need!(self.measurements),
                counts: need!(self.counts),
                summary: need!(self.summary),
                sides: self.sides.unwrap_or_default(),
                endings: self.endings.unwrap_or_default(),
            }),
            _ => return Err(NoEvent::Kind(self.kind)),
        })
    }
}

/// A state by its written name.
fn named<T: DeserializeOwned>(name: String) -> Result<T, NoEvent> {
    let text: StrDeserializer<'_, serde::de::value::Error> = name.as_str().into_deserializer();
    T::deserialize(text).map_err(|_| NoEvent::State(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dissect::{Detail, Protocol},
        event::{FlowState, Role, TimerKind},
    };

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn tcp() -> TcpInfo {
        TcpInfo {
            connection: 1,
            src: address(1),
            dst: address(2),
            flags: "SYN,ACK".to_owned(),
            seq: 1,
            seq_raw: 2,
            ack: 3,
            ack_raw: 4,
            window: 5,
            options: vec!["MSS 1460".to_owned()],
            payload: 6,
            role: Role::KeepAliveProbe { nth: 2 },
        }
    }

    fn side() -> Side {
        Side {
            host: HostName::Client,
            towards: HostName::Proxy,
            saw: "ETIMEDOUT".to_owned(),
            how: "gave up".to_owned(),
            at_us: Some(1),
            saw_at_us: Some(2),
            state: "gone".to_owned(),
        }
    }

    /// One fact of each kind with every field set. The match makes the compiler ask for a new one.
    fn every_fact() -> Vec<Fact> {
        let text = || "text".to_owned();
        let dropped = (text(), text(), 0.5);
        let facts = vec![
            Fact::PacketDeparted(Packet {
                id: 1,
                from: HostName::Client,
                to: HostName::Proxy,
                length: 40,
                tcp: Some(tcp()),
                summary: text(),
                messages: vec![Message {
                    protocol: Protocol::Http2,
                    summary: text(),
                    details: vec![Detail {
                        name: "Stream".into(),
                        value: text(),
                    }],
                    offset: 3,
                    length: 4,
                    from: 1,
                    to: 2,
                }],
                bytes: "00".to_owned(),
                rewritten: Some("01".to_owned()),
                origin: Some(Origin {
                    rule: text(),
                    because_of: Some(9),
                    place: 0.25,
                }),
            }),
            Fact::PacketArrived { id: 1 },
            Fact::PacketDropped {
                id: 1,
                rule: dropped.0.clone(),
                reason: dropped.1.clone(),
                place: dropped.2,
            },
            Fact::ChunkDeparted(Chunk {
                id: 1,
                connection: 2,
                from: HostName::Client,
                to: HostName::Server,
                content: ChunkContent::Reset,
                summary: text(),
                bytes: text(),
                opener: Some(address(3)),
            }),
            Fact::ChunkArrived { id: 1 },
            Fact::ChunkDropped {
                id: 1,
                rule: dropped.0,
                reason: dropped.1,
                place: dropped.2,
            },
            Fact::Socket(Box::new(SocketSnapshot {
                local: address(1),
                remote: address(2),
                state: TcpState::FinWait2,
                timer: Some(Timer {
                    timer: TimerKind::WindowProbe,
                    left_us: 5,
                }),
                retries: 1,
                recv_queue: 2,
                send_queue: 3,
                orphan: true,
                cwnd: Some(4),
                ssthresh: Some(5),
                rtt_us: Some(6),
                rto_us: Some(7),
                backoff: Some(8),
                min_rtt_us: Some(9),
                bytes_acked: Some(10),
                bytes_received: Some(11),
                retransmitted: Some(12),
            })),
            Fact::SocketGone {
                local: address(1),
                remote: address(2),
                last_state: TcpState::TimeWait,
            },
            Fact::Call(Call {
                call: text(),
                args: text(),
                result: text(),
                errno: Some(text()),
                began_us: Some(1),
                local: Some(address(1)),
                remote: Some(address(2)),
                on_behalf_of: Some(address(3)),
            }),
            Fact::Http(HttpExchange {
                request: 1,
                line: text(),
                status: Some(200),
                error: Some(text()),
                began_us: 2,
                body: 3,
                local: Some(address(1)),
                reused: true,
            }),
            Fact::Tls(Box::new(TlsHandshake {
                version: Some(text()),
                cipher_suite: Some(text()),
                group: Some(text()),
                handshake: Some(HandshakeKind::Resumed),
                alpn: Some(text()),
                server_name: Some(text()),
                error: Some(text()),
                began_us: 1,
                local: Some(address(1)),
                peer: Some(address(2)),
            })),
            Fact::Output {
                stream: OutputStream::Stderr,
                text: text(),
            },
            Fact::Process {
                program: text(),
                pid: 1,
                state: ProcessState::Killed {
                    signal: text(),
                    by: text(),
                },
            },
            Fact::Power {
                host: HostName::Server,
                on: false,
                by: text(),
            },
            Fact::Secret { line: text() },
            Fact::Flow {
                middlebox: text(),
                state: FlowState::Expired,
                inside: address(1),
                outside: address(2),
                mapped: Some(address(3)),
            },
            Fact::Rule {
                rule: text(),
                from: HostName::Client,
                active: true,
                by: text(),
                detail: text(),
            },
            Fact::Chapter { title: text() },
            Fact::Expectation {
                name: text(),
                predicted_at_us: 1,
                predicted_us: Some(2),
                because: text(),
            },
            Fact::Measurement(Measurement {
                name: text(),
                predicted_us: Some(1),
                measured_us: Some(2),
            }),
            Fact::Remark { text: text() },
            Fact::Stopped { reason: text() },
            Fact::Failure { message: text() },
            Fact::Verdict(Verdict {
                ended_by: text(),
                how: text(),
                outcomes: BTreeMap::from([(text(), text())]),
                measurements: vec![Measurement {
                    name: text(),
                    predicted_us: None,
                    measured_us: None,
                }],
                counts: BTreeMap::from([(text(), 1)]),
                summary: text(),
                sides: vec![side()],
                endings: vec![Ending {
                    connection: 1,
                    ended_by: text(),
                    how: text(),
                    at_us: Some(2),
                    because: text(),
                    sides: vec![side()],
                }],
            }),
        ];
        for fact in &facts {
            match fact {
                Fact::PacketDeparted(_)
                | Fact::PacketArrived { .. }
                | Fact::PacketDropped { .. }
                | Fact::ChunkDeparted(_)
                | Fact::ChunkArrived { .. }
                | Fact::ChunkDropped { .. }
                | Fact::Socket(_)
                | Fact::SocketGone { .. }
                | Fact::Call(_)
                | Fact::Http(_)
                | Fact::Tls(_)
                | Fact::Output { .. }
                | Fact::Process { .. }
                | Fact::Power { .. }
                | Fact::Secret { .. }
                | Fact::Flow { .. }
                | Fact::Rule { .. }
                | Fact::Chapter { .. }
                | Fact::Expectation { .. }
                | Fact::Measurement(_)
                | Fact::Remark { .. }
                | Fact::Stopped { .. }
                | Fact::Failure { .. }
                | Fact::Verdict(_) => {}
            }
        }
        facts
    }

    #[test]
    fn every_kind_of_event_reads_back_as_written() {
        for fact in every_fact() {
            let event = Event {
                seq: 7,
                at_us: 8,
                seen_by: Observer::Wire,
                fact,
            };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<Event>(&text).unwrap(),
                event,
                "{text}"
            );
        }
    }

    #[test]
    fn every_role_and_every_state_of_a_program_reads_back_as_written() {
        for role in [
            Role::Ordinary,
            Role::Retransmission { nth: 1 },
            Role::KeepAliveProbe { nth: 2 },
            Role::KeepAliveAck,
        ] {
            let text = serde_json::to_string(&role).unwrap();
            assert_eq!(serde_json::from_str::<Role>(&text).unwrap(), role);
        }
        for state in [
            ProcessState::Started {
                command: "curl".to_owned(),
            },
            ProcessState::Exited { code: -1 },
            ProcessState::Killed {
                signal: "SIGKILL".to_owned(),
                by: "user".to_owned(),
            },
        ] {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<ProcessState>(&text).unwrap(), state);
        }
    }

    #[test]
    fn what_is_no_event_is_said_to_be_none() {
        for (text, complaint) in [
            (r#""kind":"wish""#, "`wish` is no kind of event"),
            (r#""kind":"packet_arrived""#, "has a field `id`"),
            (
                r#""kind":"flow","middlebox":"nat","state":"LISTEN""#,
                "`LISTEN` is no state",
            ),
        ] {
            let text = format!(r#"{{"seq":0,"at_us":0,"seen_by":"wire",{text}}}"#);
            let error = serde_json::from_str::<Event>(&text).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }
}
