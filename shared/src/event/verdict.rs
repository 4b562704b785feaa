//! What a run amounts to: measurements, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::HostName;

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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// `client`, `proxy`, `server`, `both`, `middlebox` or `nobody`: of several connections, what
    /// most of them have; of two that a proxy joins, the one that ended first.
    pub ended_by: String,
    /// `fin`, `rst`, `timeout`, `icmp`, `power` or `silence`.
    pub how: String,
    /// Host to what its application saw last, errno names as `ETIMEDOUT`.
    pub outcomes: BTreeMap<String, String>,
    /// Predicted beside measured, in the order in which they were measured.
    pub measurements: Vec<Measurement>,
    /// `connections`, `packets`, `bytes`, `dropped`, ... and `time_wait:client` and the like.
    pub counts: BTreeMap<String, u64>,
    /// The outcome in a few short sentences for people.
    pub summary: String,
    /// What each side of the connection met, in the order of the lanes. Of several connections
    /// between the same hosts, those of one that ended as most of them did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides: Vec<Side>,
    /// How each connection ended, in the order in which they were opened: the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endings: Vec<Ending>,
}

/// How one connection ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ending {
    /// Which connection of the run, as its packets have it.
    pub connection: u32,
    /// As in the verdict, of this connection alone.
    pub ended_by: String,
    /// As in the verdict, of this connection alone.
    pub how: String,
    /// When the first packet left or the first thing happened that ended it, in microseconds on the
    /// run's clock; absent where nobody ended it.
    pub at_us: Option<u64>,
    /// What explains it, in words, such as `3 keep-alive probes without an answer`; may be empty.
    pub because: String,
    /// Both ends, the opener's first.
    pub sides: Vec<Side>,
}

/// What one end of a connection met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Side {
    /// The host.
    pub host: HostName,
    /// Who is at the other end.
    pub towards: HostName,
    /// What its application learnt: an errno's name, `end of stream`, `HTTP 504`, `still waiting
    /// in read()`; empty where it said nothing.
    pub saw: String,
    /// What ended it here first: `sent FIN`, `received RST`, `gave up`, `lost power`, ...;
    /// `nothing` where nothing did.
    pub how: String,
    /// When that was, on the run's clock, in microseconds.
    pub at_us: Option<u64>,
    /// When its application learnt of it, on the run's clock, in microseconds.
    pub saw_at_us: Option<u64>,
    /// The socket's state as its kernel last told it, such as `ESTABLISHED`; `gone` where the
    /// kernel no longer knows it; empty where it was never told.
    pub state: String,
}
