//! Runs in memory: for a process that is not to record, or cannot.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use linger_shared::{event::Header, protocol::RunState};
use tokio::sync::watch;

use super::{Batch, Bounds, End, Entry, Kept, NewRun, Store, StoreError};

/// Runs in memory. The texts are shared with whoever else holds them.
#[derive(Default)]
pub struct MemoryStore {
    runs: Mutex<HashMap<Arc<str>, Record>>,
}

struct Record {
    header: Header,
    lines: Vec<Arc<str>>,
    bytes: u64,
    last_us: u64,
    state: RunState,
    kept: watch::Sender<Kept>,
}

impl MemoryStore {
    fn runs(&self) -> MutexGuard<'_, HashMap<Arc<str>, Record>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn entry(&self, id: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            experiment: self.header.experiment.clone(),
            state: self.state,
            started_unix_ms: self.header.started_unix_ms,
            events: self.lines.len() as u64,
            bytes: self.bytes,
            stored: self.bytes,
            last_us: self.last_us,
        }
    }
}

impl Store for MemoryStore {
    fn create(&self, run: NewRun) -> watch::Receiver<Kept> {
        let kept = watch::Sender::new(Kept::default());
        let told = kept.subscribe();
        let record = Record {
            header: run.header,
            lines: Vec::new(),
            bytes: 0,
            last_us: 0,
            state: RunState::Running,
            kept,
        };
        self.runs().insert(run.id, record);
        told
    }

    fn append(&self, run: &Arc<str>, batch: Batch) {
        if let Some(record) = self.runs().get_mut(run) {
            record.bytes += batch
                .lines
                .iter()
                .map(|line| line.len() as u64)
                .sum::<u64>();
            record.lines.extend(batch.lines);
            record.last_us = batch.last_us;
            let next = record.lines.len() as u64;
            record.kept.send_modify(|kept| kept.next = next);
        }
    }

    fn finish(&self, run: &Arc<str>, end: End) {
        if let Some(record) = self.runs().get_mut(run) {
            record.state = end.state;
            record.last_us = end.last_us;
            record.kept.send_modify(|kept| kept.finished = true);
        }
    }

    fn subscribe(&self, run: &str) -> Option<watch::Receiver<Kept>> {
        let runs = self.runs();
        let record = runs.get(run)?;
        (!record.state.is_over()).then(|| record.kept.subscribe())
    }

    fn read(&self, run: &str, from: u64, most: Bounds) -> Result<Vec<Arc<str>>, StoreError> {
        let runs = self.runs();
        let record = runs
            .get(run)
            .ok_or_else(|| StoreError::Gone(run.to_owned()))?;
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = record.lines.get(start..).unwrap_or_default();
        Ok(super::within(most, rest.iter().map(Arc::clone)))
    }

    fn entry(&self, run: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.runs().get(run).map(|record| record.entry(run)))
    }

    fn header(&self, run: &str) -> Result<Option<Header>, StoreError> {
        Ok(self.runs().get(run).map(|record| record.header.clone()))
    }

    fn list(&self, most: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries: Vec<Entry> = self
            .runs()
            .iter()
            .map(|(id, record)| record.entry(id))
            .collect();
        entries.sort_by(|a, b| (b.started_unix_ms, &b.id).cmp(&(a.started_unix_ms, &a.id)));
        entries.truncate(most);
        Ok(entries)
    }

    fn delete(&self, ids: &[&str]) -> Result<usize, StoreError> {
        let mut runs = self.runs();
        let before = runs.len();
        for id in ids {
            if runs.get(*id).is_some_and(|record| record.state.is_over()) {
                runs.remove(*id);
            }
        }
        Ok(before - runs.len())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use linger_shared::event::Mode;

    use super::*;

    pub(in super::super) fn header(id: &str, started_unix_ms: u64) -> Header {
        Header {
            protocol_version: 1,
            run: id.to_owned(),
            experiment: "test".to_owned(),
            title: String::new(),
            params: BTreeMap::new(),
            seed: 0,
            mode: Mode::Relay,
            started_unix_ms,
            kernel: String::new(),
            hosts: Vec::new(),
            links: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Records a run with these texts as events.
    pub(in super::super) fn record(
        store: &dyn Store,
        id: &str,
        started_unix_ms: u64,
        lines: &[String],
        state: RunState,
    ) -> watch::Receiver<Kept> {
        let id: Arc<str> = id.into();
        let kept = store.create(NewRun {
            id: Arc::clone(&id),
            header: header(&id, started_unix_ms),
        });
        let lines: Vec<Arc<str>> = lines.iter().map(|line| line.as_str().into()).collect();
        if !lines.is_empty() {
            store.append(
                &id,
                Batch {
                    first: 0,
                    lines,
                    last_us: 7,
                },
            );
        }
        if state.is_over() {
            store.finish(&id, End { state, last_us: 7 });
        }
        kept
    }

    fn texts(lines: &[Arc<str>]) -> Vec<&str> {
        lines.iter().map(|line| &**line).collect()
    }

    #[test]
    fn events_are_read_by_position_within_bounds() {
        let store = MemoryStore::default();
        let lines = ["aa", "bb", "cc", "dd"].map(str::to_owned);
        record(&store, "r", 0, &lines, RunState::Running);
        let read = |from, events, bytes| store.read("r", from, Bounds { events, bytes }).unwrap();
        assert_eq!(texts(&read(1, 2, 100)), ["bb", "cc"]);
        assert_eq!(texts(&read(0, 9, 5)), ["aa", "bb"]);
        assert_eq!(texts(&read(3, 9, 0)), ["dd"], "one at least");
        assert!(read(4, 9, 9).is_empty());
        assert!(read(u64::MAX, 9, 9).is_empty());
        let nobody = store.read(
            "s",
            0,
            Bounds {
                events: 1,
                bytes: 1,
            },
        );
        assert!(matches!(nobody, Err(StoreError::Gone(id)) if id == "s"));
    }

    #[test]
    fn what_is_at_work_is_not_deleted() {
        let store = MemoryStore::default();
        record(&store, "r", 0, &[], RunState::Running);
        assert_eq!(store.delete(&["r"]).unwrap(), 0);
        assert!(store.subscribe("r").is_some());
        store.finish(
            &"r".into(),
            End {
                state: RunState::Finished,
                last_us: 0,
            },
        );
        assert!(store.subscribe("r").is_none());
        assert_eq!(store.delete(&["r", "s"]).unwrap(), 1);
        assert_eq!(store.entry("r").unwrap(), None);
    }
}
