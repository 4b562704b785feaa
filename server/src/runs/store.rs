//! Runs on disk: one JSON Lines file each, the header first, then an event a line.
//!
//! A file is only ever appended to, a batch at a time, by the server that made it, so a kill loses at
//! most the batch that was not yet written. What is read again ends before the first line that
//! cannot be read, and the file stays as it is. When the disk is full the run goes on in memory, and
//! the reason is told once.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use linger_shared::{
    event::{Event, Fact, Header, Observer},
    protocol::RunState,
};
use thiserror::Error;

use super::log::EventLog;

/// The file that keeps a second server out of the folder.
const LOCK: &str = "lock";

/// A file or folder of the recordings could not be used.
#[derive(Debug, Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct StoreError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A folder of recordings, for this process alone.
pub(super) struct Store {
    folder: PathBuf,
    /// Locked for as long as the store is there.
    _lock: File,
}

/// A run that was recorded before.
pub(super) struct Recorded {
    pub(super) id: String,
    pub(super) log: Arc<EventLog>,
}

impl Store {
    /// Makes the folder if need be and reads the newest recordings in it, at most `most`, the
    /// oldest of them first.
    pub(super) fn open(folder: &Path, most: usize) -> Result<(Self, Vec<Recorded>), StoreError> {
        let fail = |operation, source| StoreError {
            operation,
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(|error| fail("make the data folder", error))?;
        // Making the lock shows that the folder can be written to.
        let lock = File::create(folder.join(LOCK))
            .map_err(|error| fail("write to the data folder", error))?;
        lock.try_lock().map_err(|error| {
            let source = match error {
                TryLockError::WouldBlock => io::Error::other("another server is using it"),
                TryLockError::Error(error) => error,
            };
            fail("have the data folder", source)
        })?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| fail("read the data folder", error))? {
            let entry = entry.map_err(|error| fail("read the data folder", error))?;
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
                files.push((modified, path));
            }
        }
        files.sort();
        let newest = files.split_off(files.len().saturating_sub(most));
        let mut recorded = Vec::new();
        for (_, path) in newest {
            match read(&path) {
                Ok(Some(run)) => recorded.push(run),
                Ok(None) => eprintln!("linger: {} holds no run; left alone", path.display()),
                Err(error) => eprintln!("linger: {error}; left out"),
            }
        }
        recorded.sort_by_key(|(started, _)| *started);
        let store = Self {
            folder: folder.to_owned(),
            _lock: lock,
        };
        Ok((store, recorded.into_iter().map(|(_, run)| run).collect()))
    }

    pub(super) fn create(&self, id: &str) -> Result<Sink, StoreError> {
        let path = self.folder.join(format!("{id}.jsonl"));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|source| StoreError {
                operation: "begin the recording",
                path: path.clone(),
                source,
            })?;
        Ok(Sink {
            path,
            file: Some(file),
        })
    }
}

/// Where a run's lines go.
pub(crate) struct Sink {
    path: PathBuf,
    /// `None` after a write failed.
    file: Option<File>,
}

impl Sink {
    pub(super) fn header(&mut self, header: &Header) {
        let line = serde_json::to_string(header).unwrap_or_default();
        self.write(&format!("{line}\n"));
    }

    pub(super) fn events(&mut self, lines: &[Arc<str>]) {
        let mut batch = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            batch.push_str(line);
            batch.push('\n');
        }
        self.write(&batch);
    }

    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            eprintln!(
                "linger: cannot record to {}: {error}; the run goes on, and is kept in memory only",
                self.path.display()
            );
            self.file = None;
        }
    }
}

/// Reads a recording, up to the first line that is none of it. `None` where the file has no header.
fn read(path: &Path) -> Result<Option<(u64, Recorded)>, StoreError> {
    let fail = |operation, source| StoreError {
        operation,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| fail("open the recording", error))?;
    let mut lines = BufReader::new(file).lines();
    let Some(Ok(Ok(header))) = lines
        .next()
        .map(|line| line.map(|line| serde_json::from_str::<Header>(&line)))
    else {
        return Ok(None);
    };
    let mut past = Past::default();
    for line in lines {
        // A line that is no text ends what can be read, as one that is no event does.
        let Ok(line) = line else { break };
        match serde_json::from_str::<Event>(&line) {
            Ok(event) if event.seq == past.lines.len() as u64 => past.add(event, line),
            _ => break,
        }
    }
    let id = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let started = header.started_unix_ms;
    let state = past.ended();
    let log = Arc::new(EventLog::recorded(header, past.lines, past.last_us, state));
    Ok(Some((started, Recorded { id, log })))
}

/// The events of a recording as they are read.
#[derive(Default)]
struct Past {
    lines: Vec<Arc<str>>,
    last_us: u64,
    stopped: bool,
    /// How the run ended, as far as the events tell.
    state: Option<RunState>,
}

impl Past {
    fn add(&mut self, event: Event, line: String) {
        self.last_us = self.last_us.max(event.at_us);
        match event.fact {
            Fact::Stopped { .. } => self.stopped = true,
            Fact::Failure { .. } => self.state = Some(RunState::Failed),
            Fact::Verdict(_) if self.stopped => self.state = Some(RunState::Cancelled),
            Fact::Verdict(_) => self.state = Some(RunState::Finished),
            _ => {}
        }
        self.lines.push(line.into());
    }

    /// How the run ended. A recording that just ends is given an end that says so.
    fn ended(&mut self) -> RunState {
        if let Some(state) = self.state {
            return state;
        }
        let failure = Event {
            seq: self.lines.len() as u64,
            at_us: self.last_us,
            seen_by: Observer::Experiment,
            fact: Fact::Failure {
                message: "the recording ends here: the server was killed, or its disk was full"
                    .to_owned(),
            },
        };
        self.lines
            .push(serde_json::to_string(&failure).unwrap_or_default().into());
        RunState::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fact: Fact) -> Event {
        Event {
            seq: 0,
            at_us: 7,
            seen_by: Observer::Experiment,
            fact,
        }
    }

    fn stopped() -> Fact {
        Fact::Stopped {
            reason: "a test".to_owned(),
        }
    }

    fn verdict() -> Fact {
        Fact::Verdict(linger_shared::event::Verdict::default())
    }

    fn past(facts: Vec<Fact>) -> Past {
        let mut past = Past::default();
        for fact in facts {
            past.add(event(fact), String::new());
        }
        past
    }

    #[test]
    fn a_recording_tells_how_its_run_ended() {
        let remark = Fact::Remark {
            text: String::new(),
        };
        assert_eq!(past(vec![verdict()]).ended(), RunState::Finished);
        // What settles after a stop is recorded between it and the verdict.
        let settled_after_stop = vec![stopped(), remark, verdict()];
        assert_eq!(past(settled_after_stop).ended(), RunState::Cancelled);
    }

    #[test]
    fn a_recording_that_just_ends_says_so() {
        let mut past = past(vec![stopped()]);
        assert_eq!(past.ended(), RunState::Failed);
        let last: Event = serde_json::from_str(past.lines.last().unwrap()).unwrap();
        assert_eq!((last.seq, last.at_us), (1, 7));
        assert!(matches!(last.fact, Fact::Failure { .. }));
    }
}
