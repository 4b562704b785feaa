//! Where runs are recorded.
//!
//! A [`Store`] takes batches of a run's events, tells what it has of them for good, and gives them
//! back by position. [`SqliteStore`] keeps them on disk, [`MemoryStore`] as long as the process
//! lives; whoever writes a third one need not look at anything else. What the events mean, who may
//! see them and how many a run may have is others' business.

mod error;
mod memory;
mod place;
mod retention;
mod sqlite;

use std::sync::Arc;

use linger_shared::{
    event::Header,
    protocol::{RunInfo, RunState},
};
use tokio::sync::watch;

pub use self::{
    error::StoreError,
    memory::MemoryStore,
    place::default_folder,
    retention::{Retention, agree, retain},
    sqlite::SqliteStore,
};

/// Runs and their events. Its methods are called from many threads.
///
/// [`create`](Self::create), [`append`](Self::append) and [`finish`](Self::finish) never wait for a
/// disk: they hand over, and [`Kept`] tells later what has arrived. The others may wait, so async
/// code calls them on a thread that may.
pub trait Store: Send + Sync + 'static {
    /// Begins the record of a run. What is told of it afterwards is what [`subscribe`] tells.
    ///
    /// [`subscribe`]: Self::subscribe
    fn create(&self, run: NewRun) -> watch::Receiver<Kept>;

    /// Adds events that are numbered on from the last ones. Ignored where the record is broken.
    fn append(&self, run: &Arc<str>, batch: Batch);

    /// Ends a record: nothing is appended any more.
    fn finish(&self, run: &Arc<str>, end: End);

    /// Tells what is kept of a run that is being recorded by this store; `None` where there is no
    /// such run, or its record has ended.
    fn subscribe(&self, run: &str) -> Option<watch::Receiver<Kept>>;

    /// Events from number `from` on as JSON texts: at least one where there is one, and then as
    /// many as the bounds allow.
    ///
    /// # Errors
    /// [`StoreError`] where the record cannot be read; [`StoreError::Gone`] where there is none.
    fn read(&self, run: &str, from: u64, most: Bounds) -> Result<Vec<Arc<str>>, StoreError>;

    /// What is known of a run; `None` where there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn entry(&self, run: &str) -> Result<Option<Entry>, StoreError>;

    /// A run's header; `None` where there is no run of that id.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn header(&self, run: &str) -> Result<Option<Header>, StoreError>;

    /// Runs, the one that was started last first, at most `most`.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    fn list(&self, most: usize) -> Result<Vec<Entry>, StoreError>;

    /// Removes runs that are over, and gives back their space. Gives how many there were; one that
    /// is still at work is left alone.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be written.
    fn delete(&self, runs: &[&str]) -> Result<usize, StoreError>;

    /// Whether what it keeps outlives the process.
    fn is_durable(&self) -> bool;
}

/// A run whose record begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id; no other run of the store has it.
    pub id: Arc<str>,
    /// Its header, which names experiment, parameters and start.
    pub header: Header,
}

/// Events of one run that follow each other.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The number of the first one.
    pub first: u64,
    /// One or more, as JSON texts without line breaks.
    pub lines: Vec<Arc<str>>,
    /// The latest time of any event so far, in microseconds since the run's start.
    pub last_us: u64,
}

/// How a record ends.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// How the run ended.
    pub state: RunState,
    /// The latest time of any event, in microseconds since the run's start.
    pub last_us: u64,
}

/// What a store has of a run that is being recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The number of the first event that is not kept yet: those before it survive a kill.
    pub next: u64,
    /// Whether the end is kept, too.
    pub finished: bool,
    /// Why nothing more will be kept of it, in words.
    pub broken: Option<Arc<str>>,
}

impl Kept {
    /// Whether this will not change any more.
    pub fn is_settled(&self) -> bool {
        self.finished || self.broken.is_some()
    }
}

/// How much is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At most so many events, at least one.
    pub events: usize,
    /// At most so many bytes of JSON, unless a single event is larger.
    pub bytes: usize,
}

/// A run as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The run's id.
    pub id: String,
    /// The experiment's id.
    pub experiment: String,
    /// Where it stands. One that is not over is at work in this process or in another.
    pub state: RunState,
    /// When it was started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How many events are kept.
    pub events: u64,
    /// Bytes of JSON of these events.
    pub bytes: u64,
    /// Bytes that they take up in the store.
    pub stored: u64,
    /// The latest time of any event, in microseconds since the run's start.
    pub last_us: u64,
}

impl Entry {
    /// The entry as the API tells of runs; `recorded` where it is kept beyond the process.
    pub fn info(&self, recorded: bool, header: Option<Header>) -> RunInfo {
        RunInfo {
            id: self.id.clone(),
            experiment: self.experiment.clone(),
            state: self.state,
            queue_position: 0,
            events: self.events,
            bytes: self.bytes,
            now_us: self.last_us,
            started_unix_ms: self.started_unix_ms,
            recorded,
            header,
        }
    }
}

/// The first of these lines, as many as the bounds allow.
pub(super) fn within(most: Bounds, lines: impl Iterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let mut bytes = 0;
    lines
        .take(most.events.max(1))
        .enumerate()
        .take_while(|(index, line)| {
            bytes += line.len();
            *index == 0 || bytes <= most.bytes
        })
        .map(|(_, line)| line)
        .collect()
}
