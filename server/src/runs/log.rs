//! A run's events, written once and read by position.
//!
//! Each event is kept as the JSON text that every reader gets: it is serialised once, however many
//! watch. A reader that is behind reads on from where it was; it holds nobody up.

use std::sync::{Arc, Mutex, OnceLock};

use linger_shared::{
    event::{Event, Fact, Header, Observer},
    protocol::RunState,
};
use tokio::sync::watch;

use super::{lock, store::Sink};
use crate::journal::Journal;

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
    header: OnceLock<Header>,
    journal: OnceLock<Arc<Journal>>,
    lines: Mutex<Lines>,
    progress: watch::Sender<Progress>,
}

struct Lines {
    lines: Vec<Arc<str>>,
    last_us: u64,
    sink: Option<Sink>,
}

impl EventLog {
    /// An empty log. It goes to a file, too, if [`EventLog::begin`] is given one.
    pub fn in_memory() -> Self {
        Self {
            header: OnceLock::new(),
            journal: OnceLock::new(),
            lines: Mutex::new(Lines {
                lines: Vec::new(),
                last_us: 0,
                sink: None,
            }),
            progress: watch::Sender::new(Progress {
                next: 0,
                state: RunState::Queued,
                queue_position: 0,
                now_us: 0,
            }),
        }
    }

    /// A log as it was recorded before.
    pub(crate) fn recorded(
        header: Header,
        lines: Vec<Arc<str>>,
        last_us: u64,
        state: RunState,
    ) -> Self {
        let log = Self::in_memory();
        let next = lines.len() as u64;
        // The cell is empty, so this cannot fail.
        let _ = log.header.set(header);
        *lock(&log.lines) = Lines {
            lines,
            last_us,
            sink: None,
        };
        log.progress.send_modify(|progress| {
            progress.next = next;
            progress.state = state;
            progress.now_us = last_us;
        });
        log
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
        self.journal.get().map_or(0, |journal| journal.now_us())
    }

    /// Events from number `from` on as JSON texts: at least one where there is one, and then as
    /// many as `max_events` and `max_bytes` allow.
    pub fn read(&self, from: u64, max_events: usize, max_bytes: usize) -> Vec<Arc<str>> {
        let held = lock(&self.lines);
        let start = usize::try_from(from)
            .unwrap_or(usize::MAX)
            .min(held.lines.len());
        let mut bytes = 0;
        held.lines[start..]
            .iter()
            .take(max_events.max(1))
            .enumerate()
            .take_while(|(index, line)| {
                bytes += line.len();
                *index == 0 || bytes <= max_bytes
            })
            .map(|(_, line)| Arc::clone(line))
            .collect()
    }

    pub(crate) fn begin(&self, header: Header, journal: Option<Arc<Journal>>, sink: Option<Sink>) {
        let mut held = lock(&self.lines);
        held.sink = sink;
        if let Some(sink) = &mut held.sink {
            sink.header(&header);
        }
        drop(held);
        // A run begins once.
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

    /// Appends events that are numbered on from the last one.
    pub(crate) fn append(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let lines: Vec<Arc<str>> = events
            .iter()
            .map(|event| {
                // Every field is a plain value with text keys, so this cannot fail.
                serde_json::to_string(event).unwrap_or_default().into()
            })
            .collect();
        let mut held = lock(&self.lines);
        debug_assert_eq!(events[0].seq, held.lines.len() as u64);
        if let Some(sink) = &mut held.sink {
            sink.events(&lines);
        }
        held.lines.extend(lines);
        held.last_us = events
            .iter()
            .map(|event| event.at_us)
            .fold(held.last_us, u64::max);
        let next = held.lines.len() as u64;
        drop(held);
        self.progress.send_modify(|progress| progress.next = next);
    }

    /// Records that the laboratory failed before or outside of the recorder's reach.
    pub(crate) fn fail(&self, at_us: u64, message: &str) {
        let seq = self.progress().next;
        self.append(&[Event {
            seq,
            at_us,
            seen_by: Observer::Experiment,
            fact: Fact::Failure {
                message: message.to_owned(),
            },
        }]);
        self.finish(RunState::Failed);
    }

    /// The run is over; nothing is appended afterwards.
    pub(crate) fn finish(&self, state: RunState) {
        let mut held = lock(&self.lines);
        held.sink = None;
        let last_us = held.last_us;
        drop(held);
        self.progress.send_if_modified(|progress| {
            if progress.state.is_over() {
                return false;
            }
            progress.state = state;
            progress.queue_position = 0;
            progress.now_us = last_us;
            true
        });
    }
}
