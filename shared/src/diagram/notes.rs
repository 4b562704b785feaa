//! What applications did and saw, and what was done to the wire, as short texts sorted by time.

use std::collections::BTreeMap;

use crate::event::{Call, HostName, HttpExchange, Observer};

use super::{
    scene::NoteSource,
    words::{self, Happening},
};

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteFact {
    /// The event's number.
    pub seq: u64,
    /// When it was true, in microseconds.
    pub at_us: u64,
    /// Whose.
    pub host: HostName,
    /// Who speaks.
    pub source: NoteSource,
    /// The text.
    pub text: String,
    /// Whether it tells of a failure.
    pub error: bool,
}

/// Notes of every host, sorted by time.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// Sorted by time, then by event.
    notes: Vec<NoteFact>,
    /// Calls that have not come back, by time and event.
    pending: BTreeMap<(u64, u64), (NoteFact, Call)>,
}

impl Notes {
    /// Takes a call; a pending one is held back until it comes back, and drawn only while it has
    /// not.
    pub(super) fn call(&mut self, seq: u64, at_us: u64, seen_by: Observer, call: &Call) {
        let Observer::App(host) = seen_by else {
            return;
        };
        let note = NoteFact {
            seq,
            at_us,
            host,
            source: NoteSource::Application,
            text: words::call(call),
            error: call.errno.is_some(),
        };
        if call.result.is_empty() && call.errno.is_none() {
            self.pending.insert((at_us, seq), (note, call.clone()));
            return;
        }
        // The call that began when this one says it did, else the latest of its name.
        let same = |(fact, other): &(NoteFact, Call)| {
            fact.host == host && other.call == call.call && other.local == call.local
        };
        let began = self
            .pending
            .iter()
            .filter(|(key, _)| Some(key.0) == call.began_us)
            .find(|(_, (fact, other))| fact.host == host && other.call == call.call)
            .map(|(key, _)| *key)
            .or_else(|| {
                self.pending
                    .iter()
                    .rev()
                    .find(|(_, entry)| same(entry))
                    .map(|(key, _)| *key)
            });
        if let Some(key) = began {
            self.pending.remove(&key);
        }
        self.insert(note);
    }

    pub(super) fn exchange(
        &mut self,
        seq: u64,
        at_us: u64,
        seen_by: Observer,
        http: &HttpExchange,
    ) {
        let host = match seen_by {
            Observer::App(host) | Observer::Kernel(host) => host,
            Observer::Wire | Observer::Experiment => HostName::Client,
        };
        self.insert(NoteFact {
            seq,
            at_us,
            host,
            source: NoteSource::Application,
            text: words::exchange(http),
            error: http.error.is_some() || http.status.is_none(),
        });
    }

    /// Takes what happened beside the packets.
    pub(super) fn happening(&mut self, seq: u64, at_us: u64, host: HostName, what: Happening) {
        self.insert(NoteFact {
            seq,
            at_us,
            host,
            source: what.source,
            text: what.text,
            error: what.error,
        });
    }

    pub(super) fn wire(&mut self, seq: u64, at_us: u64, rule: &str, from: HostName, active: bool) {
        let what = if active { "begins" } else { "ends" };
        self.insert(NoteFact {
            seq,
            at_us,
            host: from,
            source: NoteSource::Wire,
            text: format!("wire: {rule} {what}"),
            error: false,
        });
    }

    fn insert(&mut self, note: NoteFact) {
        let at = self
            .notes
            .partition_point(|other| (other.at_us, other.seq) <= (note.at_us, note.seq));
        self.notes.insert(at, note);
    }

    /// Every note that is not pending.
    pub(super) fn all(&self) -> &[NoteFact] {
        &self.notes
    }

    /// Calls that have not come back, between two moments, the latest first.
    pub(super) fn pending(&self, first: u64, last: u64) -> impl Iterator<Item = &NoteFact> {
        self.pending
            .range((first, 0)..=(last.max(first), u64::MAX))
            .rev()
            .map(|(_, (note, _))| note)
    }
}
