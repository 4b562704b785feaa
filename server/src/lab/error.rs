//! Failures of the laboratory itself. They are never shown as a result of an experiment.

use std::io;

use thiserror::Error;

/// The laboratory could not do what the script asked of it.
#[derive(Debug, Error)]
pub enum LabError {
    /// A host could not be made or used.
    #[cfg(linger_packets)]
    #[error(transparent)]
    Host(#[from] crate::hosts::HostError),
    /// A program could not be started.
    #[cfg(linger_packets)]
    #[error(transparent)]
    Process(#[from] crate::hosts::ProcessError),
    /// The wire could not be made.
    #[cfg(linger_packets)]
    #[error(transparent)]
    Link(#[from] crate::wire::LinkError),
    /// A system call failed that has nothing to do with the experiment's question.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried, with which value.
        operation: String,
        /// What happened.
        source: io::Error,
    },
    /// A call of an application failed that nothing of the experiment makes fail. Where a user has
    /// disturbed the path, that is what the user wanted to see.
    #[error("the {host}'s {call} failed: {errno}")]
    Application {
        /// On which host.
        host: linger_shared::event::HostName,
        /// Which call.
        call: &'static str,
        /// What it returned.
        errno: String,
    },
    /// Something that must happen for the experiment to mean anything did not.
    #[error("{0}")]
    Unmet(String),
}

impl LabError {
    /// A failed system call.
    pub fn io(operation: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            operation: operation.into(),
            source,
        }
    }
}
