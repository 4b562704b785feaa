//! A run's events, written once and read by position.
//!
//! Each event is kept as the JSON text that every reader gets: it is serialised once, however many
//! watch. A reader that is behind reads on from where it was; it holds nobody up.
//!
//! Where the run is recorded, memory holds a window of the latest events, and older ones are read
//! from the store: nothing leaves the window before the store has it, so that a reader at any
//! position finds what follows without a gap.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock},
};

use linger_shared::{
    event::{Event, Fact, Header, Observer},
    protocol::{RunInfo, RunState},
};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    lock,
    store::{Batch, Bounds, End, Entry, Kept, NewRun, Store, StoreError},
};
use crate::journal::Journal;

/// How many bytes of events stay in memory once the store has them.
const WINDOW_BYTES: usize = 2 << 20;

/// How many bytes of events may wait for the store before the run is ended: its disk is too slow,
/// or refuses.
const UNRECORDED_BYTES: usize = 32 << 20;

/// What an event costs in memory beside its text: a pointer with a length, the counts of its
/// sharers, and what an allocator adds.
const OVERHEAD: usize = 48;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of the next event.
    pub next: u64,
    /// Where the run stands. Once it is over, `next` grows no more.
    pub state: RunState,
    /// Runs that are before it in the queue.
    pub queue_position: usize,
    /// The run's clock when it ended; 0 before.
    pub now_us: u64,
}

/// A run's events.
pub struct EventLog {
    id: Arc<str>,
    experiment: String,
    header: OnceLock<Header>,
    journal: OnceLock<Arc<Journal>>,
    recording: OnceLock<Recording>,
    window: Mutex<Window>,
    progress: watch::Sender<Progress>,
}

/// Where a log's events are recorded.
struct Recording {
    store: Arc<dyn Store>,
    kept: watch::Receiver<Kept>,
}

/// The latest events.
#[derive(Default)]
struct Window {
    /// The number of the first of them.
    first: u64,
    lines: VecDeque<Arc<str>>,
    /// What they take up.
    held: usize,
    /// Bytes of all events so far, those that are not here any more included.
    bytes: u64,
    last_us: u64,
}

impl Window {
    fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn push(&mut self, line: Arc<str>) {
        self.held += line.len() + OVERHEAD;
        self.bytes += line.len() as u64;
        self.lines.push_back(line);
    }

    /// Lets go of the oldest events that are kept elsewhere, until the rest fits into `bytes`.
    fn shrink(&mut self, kept: u64, bytes: usize) {
        while self.held > bytes && self.first < kept {
            let Some(line) = self.lines.pop_front() else {
                break;
            };
            self.held -= line.len() + OVERHEAD;
            self.first += 1;
        }
    }

    /// Events from number `from` on; `None` where they are not here any more.
    fn read(&self, from: u64, most: Bounds) -> Option<Vec<Arc<str>>> {
        let start = usize::try_from(from.checked_sub(self.first)?).unwrap_or(usize::MAX);
        let rest = self.lines.iter().skip(start).map(Arc::clone);
        Some(super::store::within(most, rest))
    }
}

impl EventLog {
    /// An empty log of a run that nobody records: every event stays in memory.
    pub fn in_memory() -> Self {
        Self::new("".into(), String::new())
    }

    /// An empty log. It is recorded if [`EventLog::begin`] is given a store.
    pub(crate) fn new(id: Arc<str>, experiment: String) -> Self {
        Self {
            id,
            experiment,
            header: OnceLock::new(),
            journal: OnceLock::new(),
            recording: OnceLock::new(),
            window: Mutex::default(),
            progress: watch::Sender::new(Progress {
                next: 0,
                state: RunState::Queued,
                queue_position: 0,
                now_us: 0,
            }),
        }
    }

    /// A log as a store has it: read from there, event by event.
    pub(crate) fn recorded(store: Arc<dyn Store>, entry: &Entry, header: Header) -> Self {
        let log = Self::new(entry.id.as_str().into(), entry.experiment.clone());
        // Nobody sends: what a store lists is kept already.
        let (_, kept) = watch::channel(Kept {
            next: entry.events,
            finished: true,
            broken: None,
        });
        // The cells are empty, so neither can fail.
        let _ = log.header.set(header);
        let _ = log.recording.set(Recording { store, kept });
        log.catch_up(entry);
        log
    }

    /// Takes over what another process has recorded meanwhile.
    pub(crate) fn catch_up(&self, entry: &Entry) {
        let mut window = lock(&self.window);
        window.first = entry.events;
        window.bytes = entry.bytes;
        window.last_us = entry.last_us;
        drop(window);
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            progress.next = entry.events;
            progress.state = entry.state;
            progress.now_us = entry.last_us;
            before != *progress
        });
    }

    /// The run as it stands.
    pub fn info(&self) -> RunInfo {
        let progress = self.progress();
        let header = self.header();
        RunInfo {
            id: self.id.to_string(),
            experiment: self.experiment.clone(),
            state: progress.state,
            queue_position: progress.queue_position,
            events: progress.next,
            bytes: self.bytes(),
            now_us: self.now_us(),
            started_unix_ms: header.as_ref().map_or(0, |header| header.started_unix_ms),
            recorded: self.is_recorded(),
            header,
        }
    }

    /// The run's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The header; `None` until the hosts are up.
    pub fn header(&self) -> Option<Header> {
        self.header.get().cloned()
    }

    /// How far the run is now.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Wakes a reader whenever there is something new: events, a state, a place in the queue.
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The run's clock, in microseconds: live while it runs, its end's time afterwards.
    pub fn now_us(&self) -> u64 {
        let progress = self.progress();
        if progress.state.is_over() {
            return progress.now_us;
        }
        self.journal
            .get()
            .map_or(progress.now_us, |journal| journal.now_us())
    }

    /// Bytes of JSON of all events so far.
    pub fn bytes(&self) -> u64 {
        lock(&self.window).bytes
    }

    /// Bytes of memory that the log's events take up now.
    pub fn held(&self) -> usize {
        lock(&self.window).held
    }

    /// Whether the run is recorded where a restart finds it, and nothing has come in between.
    pub fn is_recorded(&self) -> bool {
        self.recording
            .get()
            .is_some_and(|recording| recording.store.is_durable())
            && self.broken().is_none()
    }

    /// Why the run's record is incomplete, in words; `None` where it is not, or there is none.
    pub fn broken(&self) -> Option<Arc<str>> {
        self.recording.get()?.kept.borrow().broken.clone()
    }

    /// Tells what is kept of the run; `None` where it is not recorded.
    pub(crate) fn kept(&self) -> Option<watch::Receiver<Kept>> {
        self.recording.get().map(|recording| recording.kept.clone())
    }

    /// Why the run must end, if `most_bytes` of events or more are there, or more wait for the
    /// store than memory is meant for.
    pub(crate) fn excess(&self, most_bytes: u64) -> Option<String> {
        let window = lock(&self.window);
        if window.bytes >= most_bytes {
            return Some(format!(
                "it reached the limit of {most_bytes} bytes of events"
            ));
        }
        if self.recording.get().is_some() && window.held > UNRECORDED_BYTES {
            let why = self.broken().map_or_else(
                || "the disk does not keep up with it".to_owned(),
                |why| why.to_string(),
            );
            return Some(format!(
                "it reached the limit of {UNRECORDED_BYTES} bytes of events that are in memory \
                 alone: {why}"
            ));
        }
        None
    }

    /// Events from number `from` on as JSON texts: at least one where there is one, and then as
    /// many as `max_events` and `max_bytes` allow. Older events are read from the disk, on this
    /// thread; async code calls [`EventLog::fetch`].
    ///
    /// # Errors
    /// [`StoreError`] where the record cannot be read, or has been deleted.
    pub fn read(
        &self,
        from: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let most = Bounds {
            events: max_events,
            bytes: max_bytes,
        };
        if let Some(lines) = lock(&self.window).read(from, most) {
            return Ok(lines);
        }
        // What has left the window is in the store, or was never to be in it.
        match self.recording.get() {
            Some(recording) => past(&*recording.store, &self.id, from, most),
            None => Ok(Vec::new()),
        }
    }

    /// As [`EventLog::read`], without keeping an async thread waiting.
    ///
    /// # Errors
    /// [`StoreError`] where the record cannot be read, or has been deleted.
    pub async fn fetch(
        &self,
        from: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let most = Bounds {
            events: max_events,
            bytes: max_bytes,
        };
        if let Some(lines) = lock(&self.window).read(from, most) {
            return Ok(lines);
        }
        let Some(recording) = self.recording.get() else {
            return Ok(Vec::new());
        };
        let (store, id) = (Arc::clone(&recording.store), Arc::clone(&self.id));
        spawn_blocking(move || past(&*store, &id, from, most))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The run's hosts are up, and events may come.
    pub(crate) fn begin(
        &self,
        header: Header,
        journal: Option<Arc<Journal>>,
        store: Option<Arc<dyn Store>>,
    ) {
        // A run begins once, so that none of these cells is taken.
        if let Some(store) = store {
            let kept = store.create(NewRun {
                id: Arc::clone(&self.id),
                header: header.clone(),
            });
            let _ = self.recording.set(Recording { store, kept });
        }
        let _ = self.header.set(header);
        if let Some(journal) = journal {
            let _ = self.journal.set(journal);
        }
        self.progress.send_modify(|progress| {
            progress.state = RunState::Running;
            progress.queue_position = 0;
        });
    }

    pub(crate) fn set_queue_position(&self, place: usize) {
        self.progress.send_if_modified(|progress| {
            std::mem::replace(&mut progress.queue_position, place) != place
        });
    }

    /// Appends events that are numbered on from the last one; others, and what comes when the run is
    /// over, are left out. Gives whether they were appended.
    pub(crate) fn append(&self, events: &[Event]) -> bool {
        let Some(Event { seq, .. }) = events.first() else {
            return true;
        };
        let mut text = Vec::new();
        let lines: Vec<Arc<str>> = events
            .iter()
            .map(|event| {
                text.clear();
                // Every field is a plain value with text keys, and memory takes whatever is written,
                // so this cannot fail, and JSON is UTF-8.
                let _ = serde_json::to_writer(&mut text, event);
                std::str::from_utf8(&text).unwrap_or_default().into()
            })
            .collect();
        let mut window = lock(&self.window);
        let first = window.next();
        // Where a run's task panicked, its recorder may still be at work beside who says so.
        if *seq != first || self.progress().state.is_over() {
            return false;
        }
        for line in &lines {
            window.push(Arc::clone(line));
        }
        window.last_us = events
            .iter()
            .map(|event| event.at_us)
            .fold(window.last_us, u64::max);
        let (next, last_us) = (window.next(), window.last_us);
        if let Some(recording) = self.recording.get() {
            let batch = Batch {
                first,
                lines,
                last_us,
            };
            recording.store.append(&self.id, batch);
            let kept = recording.kept.borrow().next;
            window.shrink(kept, WINDOW_BYTES);
        }
        drop(window);
        self.progress.send_modify(|progress| progress.next = next);
        true
    }

    /// Records that the laboratory failed before or outside of the recorder's reach.
    pub(crate) fn fail(&self, at_us: u64, message: &str) {
        let mut event = Event {
            seq: 0,
            at_us,
            seen_by: Observer::Experiment,
            fact: Fact::Failure {
                message: message.to_owned(),
            },
        };
        loop {
            let Progress { next, state, .. } = self.progress();
            event.seq = next;
            if state.is_over() || self.append(std::slice::from_ref(&event)) {
                break;
            }
        }
        self.finish(RunState::Failed);
    }

    /// The run is over; nothing is appended afterwards.
    pub(crate) fn finish(&self, state: RunState) {
        let last_us = lock(&self.window).last_us;
        let first = self.progress.send_if_modified(|progress| {
            if progress.state.is_over() {
                return false;
            }
            progress.state = state;
            progress.queue_position = 0;
            progress.now_us = last_us;
            true
        });
        if let (true, Some(recording)) = (first, self.recording.get()) {
            recording.store.finish(&self.id, End { state, last_us });
        }
    }

    /// Lets go of what the store has: those who still read are few, and read from there.
    pub(crate) fn release(&self) {
        if let Some(recording) = self.recording.get() {
            let kept = recording.kept.borrow().next;
            lock(&self.window).shrink(kept, 0);
        }
    }
}

/// Events that the store has: an empty answer would make a reader wait for what is there.
fn past(store: &dyn Store, id: &str, from: u64, most: Bounds) -> Result<Vec<Arc<str>>, StoreError> {
    let lines = store.read(id, from, most)?;
    if lines.is_empty() {
        return Err(StoreError::Gone(id.to_owned()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(seq: u64) -> Event {
        Event {
            seq,
            at_us: seq,
            seen_by: Observer::Experiment,
            fact: Fact::Remark {
                text: format!("remark {seq}"),
            },
        }
    }

    #[test]
    fn no_number_is_given_twice_and_none_after_the_end() {
        let log = EventLog::in_memory();
        assert!(log.append(&[remark(0), remark(1)]));
        assert!(!log.append(&[remark(1)]), "that number is taken");
        assert!(!log.append(&[remark(3)]), "a number would be missing");
        log.fail(9, "the task ended");
        assert!(!log.append(&[remark(3)]), "the run is over");
        log.fail(9, "once more");
        let lines = log.read(0, usize::MAX, usize::MAX).unwrap();
        let numbers: Vec<u64> = lines
            .iter()
            .map(|line| serde_json::from_str::<Event>(line).unwrap().seq)
            .collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(log.progress().state, RunState::Failed);
    }
}
