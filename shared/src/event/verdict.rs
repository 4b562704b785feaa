//! What a run amounts to: measurements, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
