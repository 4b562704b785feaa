//! Messages between the server and its viewers: run states, the event stream, the doctor's report.
//!
//! The stream is `/api/runs/{id}/events?from=N` as a WebSocket: a [`StreamMessage`] per text
//! message, [`StreamMessage::Hello`] first, then batches of events in order from N, and
//! [`StreamMessage::End`] after the last. A viewer that lost its connection comes back with the
//! number of the next event that it lacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Header, HostName, Mode},
    experiment::{Claim, Descriptor, Param, Preset, Reference, Value},
    rule::RuleSpec,
};

/// Changes whenever a message or an event changes in a way that an older reader would misread.
pub const PROTOCOL_VERSION: u32 = 1;

/// Where the event stream of a run also is, with the run's id behind it. A development proxy tells
/// WebSockets from other requests by the beginning of their path, which the runs' own paths share.
pub const STREAM_PATH: &str = "/api/stream";

/// A viewer that has heard nothing for this long, in milliseconds, may take the server for dead:
/// a quiet run still sends [`StreamMessage::Alive`] every [`ALIVE_INTERVAL_MS`].
pub const SILENCE_LIMIT_MS: u32 = 15_000;

/// How often a quiet stream sends [`StreamMessage::Alive`], in milliseconds.
pub const ALIVE_INTERVAL_MS: u32 = 5_000;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunState {
    /// Waits for its turn.
    Queued,
    /// Its script is at work.
    Running,
    /// Its script is done.
    Finished,
    /// It was stopped before its script was done: by a user, its time limit or a shutdown.
    Cancelled,
    /// The laboratory failed; nothing may be concluded from it.
    Failed,
}

impl RunState {
    /// Whether no further event will come.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }

    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// `POST /api/runs`: what to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRequest {
    /// The experiment's id.
    pub experiment: String,
    /// Values that differ from the defaults.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, crate::experiment::ParamValue>))]
    pub params: BTreeMap<String, Value>,
    /// What every random choice is derived from; chosen by the server where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Packets or relay; the best that the machine can do where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// `GET /api/runs/{id}` and the answer to `POST /api/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunInfo {
    /// The run's id.
    pub id: String,
    /// The experiment's id.
    pub experiment: String,
    /// Where it stands.
    pub state: RunState,
    /// Runs that are before it in the queue; 0 unless it is queued.
    pub queue_position: usize,
    /// How many events it has so far: the number of the next one.
    pub events: u64,
    /// Bytes of JSON of these events.
    #[serde(default)]
    pub bytes: u64,
    /// Microseconds since its start; the end's time once it is over.
    pub now_us: u64,
    /// When its hosts were up, in milliseconds since 1970; 0 before.
    #[serde(default)]
    pub started_unix_ms: u64,
    /// Whether it is recorded where a restart of the server finds it.
    #[serde(default)]
    pub recorded: bool,
    /// Present as soon as the hosts are up; a listing leaves it out where the run is over.
    pub header: Option<Header>,
}

/// `POST /api/runs/{id}/actions`: what a viewer may do to a live run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Action {
    /// Drop every packet silently.
    Cut {
        /// Only those that this host sends; both directions where it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<HostName>,
    },
    /// Undo everything that a user did to the wire: cuts and armed rules.
    Heal,
    /// Arm a rule of the wire.
    Arm {
        /// What it looks for and does.
        rule: RuleSpec,
    },
    /// Disarm a rule that a user armed.
    Disarm {
        /// Its name, as its `rule` event has it.
        rule: String,
    },
    /// Take a host's power away: it is silent from then on, and its sockets are gone.
    PowerOff {
        /// Which one.
        host: HostName,
    },
    /// Give a host its power back: the same address, an empty stack. Off and on is a reboot.
    PowerOn {
        /// Which one.
        host: HostName,
    },
    /// Kill the programs that the run has started on a host, with SIGKILL.
    Kill {
        /// Which one.
        host: HostName,
    },
}

/// What the server sends on the event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", try_from = "FlatMessage")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StreamMessage {
    /// The first message of every stream, and again when the header of a queued run is there.
    Hello {
        /// [`PROTOCOL_VERSION`] of the server.
        protocol_version: u32,
        /// The run as it stands.
        run: Box<RunInfo>,
    },
    /// Events in order, the first one numbered as asked for or as the last batch ended.
    Events {
        /// One or more.
        events: Vec<Event>,
        /// The run's clock when the batch was sent, in microseconds.
        now_us: u64,
    },
    /// Nothing new, but the run and the server live; or the state changed.
    Alive {
        /// Where the run stands.
        state: RunState,
        /// Its place in the queue.
        queue_position: usize,
        /// The run's clock, in microseconds.
        now_us: u64,
    },
    /// The run is over and every event was sent; the server closes the stream.
    End {
        /// How it stands for good.
        state: RunState,
    },
}

/// How a [`StreamMessage`] is read: with the fields of every kind. Deriving it from the enum would
/// buffer each batch of events before the kind of the message is known.
#[derive(Deserialize)]
struct FlatMessage {
    message: String,
    #[serde(default)]
    protocol_version: Option<u32>,
    #[serde(default)]
    run: Option<Box<RunInfo>>,
    #[serde(default)]
    events: Option<Vec<Event>>,
    #[serde(default)]
    now_us: Option<u64>,
    #[serde(default)]
    state: Option<RunState>,
    #[serde(default)]
    queue_position: Option<usize>,
}

impl TryFrom<FlatMessage> for StreamMessage {
    type Error = &'static str;

    fn try_from(flat: FlatMessage) -> Result<Self, &'static str> {
        let message = match flat.message.as_str() {
            "hello" => flat
                .protocol_version
                .zip(flat.run)
                .map(|(protocol_version, run)| Self::Hello {
                    protocol_version,
                    run,
                }),
            "events" => flat
                .events
                .zip(flat.now_us)
                .map(|(events, now_us)| Self::Events { events, now_us }),
            "alive" => flat.state.zip(flat.queue_position).zip(flat.now_us).map(
                |((state, queue_position), now_us)| Self::Alive {
                    state,
                    queue_position,
                    now_us,
                },
            ),
            "end" => flat.state.map(|state| Self::End { state }),
            _ => return Err("the stream has no message of that kind"),
        };
        message.ok_or("the stream's message lacks a field of its kind")
    }
}

/// An experiment as `GET /api/experiments` lists it: the descriptor and whether it can run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FlatEntry")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogueEntry {
    /// What is asked.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// The mode in which this server would run it; null where it cannot.
    pub runs_as: Option<Mode>,
    /// Why it cannot run here, and what would provide it; null where it can.
    pub unavailable: Option<String>,
}

/// How a [`CatalogueEntry`] is read; see [`FlatMessage`] for why.
#[derive(Deserialize)]
struct FlatEntry {
    id: String,
    title: String,
    question: String,
    family: String,
    modes: Vec<Mode>,
    explanation: Vec<String>,
    look_for: Vec<String>,
    misconception: String,
    params: Vec<Param>,
    presets: Vec<Preset>,
    #[serde(default)]
    claims: Vec<Claim>,
    references: Vec<Reference>,
    runs_as: Option<Mode>,
    unavailable: Option<String>,
}

impl From<FlatEntry> for CatalogueEntry {
    fn from(flat: FlatEntry) -> Self {
        Self {
            descriptor: Descriptor {
                id: flat.id,
                title: flat.title,
                question: flat.question,
                family: flat.family,
                modes: flat.modes,
                explanation: flat.explanation,
                look_for: flat.look_for,
                misconception: flat.misconception,
                params: flat.params,
                presets: flat.presets,
                claims: flat.claims,
                references: flat.references,
            },
            runs_as: flat.runs_as,
            unavailable: flat.unavailable,
        }
    }
}

/// What a machine can do, as `linger doctor` and `GET /api/doctor` tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Doctor {
    /// The server's version.
    pub version: String,
    /// Operating system and kernel release.
    pub system: String,
    /// The best mode that this machine can do.
    pub mode: Mode,
    /// Each thing that was tried.
    pub checks: Vec<Check>,
}

/// One thing that the doctor tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// What was tried, such as `network namespaces`.
    pub name: String,
    /// Whether it worked.
    pub ok: bool,
    /// What was seen: a version, or the error with its errno's name.
    pub found: String,
    /// What is lost without it, and what would provide it; empty where it worked.
    pub remedy: String,
}

/// An error of the API, as RFC 9457 writes it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI reference that names the kind of problem, such as `/problems/unknown-experiment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time: the name, the bound, the value.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_the_stream_reads_back_as_written() {
        let run = RunInfo {
            id: "r".to_owned(),
            experiment: "x".to_owned(),
            state: RunState::Running,
            queue_position: 0,
            events: 1,
            bytes: 100,
            now_us: 2,
            started_unix_ms: 3,
            recorded: true,
            header: None,
        };
        for message in [
            StreamMessage::Hello {
                protocol_version: 1,
                run: Box::new(run),
            },
            StreamMessage::Events {
                events: Vec::new(),
                now_us: 3,
            },
            StreamMessage::Alive {
                state: RunState::Queued,
                queue_position: 4,
                now_us: 5,
            },
            StreamMessage::End {
                state: RunState::Failed,
            },
        ] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(
                serde_json::from_str::<StreamMessage>(&text).unwrap(),
                message
            );
        }
        for text in [r#"{"message":"wish"}"#, r#"{"message":"end"}"#, "{}", "[]"] {
            assert!(
                serde_json::from_str::<StreamMessage>(text).is_err(),
                "{text}"
            );
        }
    }
}
