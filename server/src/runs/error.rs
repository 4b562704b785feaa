//! Why a run was not started, or an action not carried out.

use std::{net::IpAddr, time::Duration};

use linger_shared::{experiment::ParamError, protocol::RunState};
use thiserror::Error;

use super::store::StoreError;

/// Why a run was not started.
#[derive(Debug, Error)]
pub enum StartError {
    /// No experiment has that id.
    #[error("there is no experiment `{name}`{}", suggest(.nearest))]
    UnknownExperiment {
        /// The id that was given.
        name: String,
        /// The id that may have been meant.
        nearest: Option<&'static str>,
    },
    /// A parameter is unknown, malformed or out of bounds.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// This machine cannot carry the experiment.
    #[error("{experiment} cannot run here: {reason}")]
    Unavailable {
        /// The experiment's id.
        experiment: String,
        /// What is missing, and what would provide it.
        reason: String,
    },
    /// As many runs wait as may.
    #[error("{limit} runs are waiting already; try again when one of them has ended")]
    QueueFull {
        /// The bound.
        limit: usize,
    },
    /// The visitor's address has as many runs as one may have.
    #[error(
        "{address} has {limit} runs at work or waiting, as many as one address may have; stop one \
         of them, or try again when one has ended"
    )]
    TooManyRuns {
        /// The address, or the IPv6 network that is counted as one.
        address: IpAddr,
        /// The bound.
        limit: usize,
    },
    /// The visitor's address has started as many runs within a minute as one may.
    #[error(
        "{address} has started {limit} runs within a minute, as many as one address may; try again \
         in {} s", seconds(*.retry_after)
    )]
    TooManyStarts {
        /// The address, or the IPv6 network that is counted as one.
        address: IpAddr,
        /// The bound.
        limit: usize,
        /// When the next start is counted again.
        retry_after: Duration,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl StartError {
    /// After which time the same request may be accepted, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyStarts { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Whole seconds, rounded up: who comes back then is not refused again.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn suggest(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(
        || "; `linger experiments` lists them".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

/// Why an action was not carried out.
#[derive(Debug, Error)]
pub enum ActError {
    /// No run has that id.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// The run is not at work.
    #[error("the run is {}, and only a running one can be acted on", .0.as_str())]
    NotRunning(RunState),
    /// The run cannot do this.
    #[error("{0}")]
    Unsupported(String),
    /// Another process runs it.
    #[error("the run `{0}` is at work in another process, and only that can act on it")]
    Elsewhere(String),
    /// The recordings cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was not removed.
#[derive(Debug, Error)]
pub enum DeleteError {
    /// No run has that id.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// The run is at work, or about to be, or its last events are on their way to the disk.
    #[error("the run `{id}` is {}, and only one that is over and recorded can be removed", .state.as_str())]
    NotOver {
        /// The run's id.
        id: String,
        /// Where it stands.
        state: RunState,
    },
    /// The recordings cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
