//! What bounds the runs of a process.

use std::{path::PathBuf, time::Duration};

use super::store::Retention;

/// What bounds the runs of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder in which runs are recorded; memory only where it is absent.
    pub data: Option<PathBuf>,
    /// How much of what was recorded there is kept; where it is absent, as the folder's last server
    /// was told. What is in memory alone is kept as [`Retention::IN_MEMORY`] says.
    pub retention: Option<Retention>,
    /// How many runs may be at work at once.
    pub concurrent: usize,
    /// How many may wait for their turn.
    pub queued: usize,
    /// How many runs of one address may be at work or waiting.
    pub per_address: usize,
    /// How many runs one address may start within a minute.
    pub starts_per_minute: usize,
    /// After which time a run is ended.
    pub time_limit: Duration,
    /// How many events a run may record before it is ended.
    pub event_limit: u64,
    /// How many bytes of JSON these events may take up before it is ended.
    pub byte_limit: u64,
    /// Linger's own program, which endpoints are started from that are programs of their own; the
    /// running one where it is absent.
    pub executable: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            retention: None,
            concurrent: 8,
            queued: 64,
            per_address: 32,
            starts_per_minute: 120,
            time_limit: Duration::from_secs(12 * 3600),
            event_limit: 500_000,
            byte_limit: 256 << 20,
            executable: None,
        }
    }
}
