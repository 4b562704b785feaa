//! Runs on disk: one JSON Lines file each, the header first, then an event a line.
//!
//! A file is only ever appended to, a batch at a time, so a kill loses at most the batch that was
//! not yet written; a damaged tail is cut when the file is read again. When the disk is full the
//! run goes on in memory, and the reason is told once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use linger_shared::{
    event::{Event, Fact, Header},
    protocol::RunState,
};
use thiserror::Error;

use super::log::EventLog;

/// A file or folder of the recordings could not be used.
#[derive(Debug, Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct StoreError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A folder of recordings.
pub(super) struct Store {
    folder: PathBuf,
    recorded: Vec<Recorded>,
}

/// A run that was recorded before.
#[derive(Clone)]
pub(super) struct Recorded {
    pub(super) id: String,
    pub(super) log: Arc<EventLog>,
}

impl Store {
    /// Makes the folder if need be and reads what is in it, the oldest first.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let fail = |operation, source| StoreError {
            operation,
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(|error| fail("make the data folder", error))?;
        let mut recorded = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| fail("read the data folder", error))? {
            let path = entry
                .map_err(|error| fail("read the data folder", error))?
                .path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                match read(&path) {
                    Ok(Some(run)) => recorded.push(run),
                    Ok(None) => eprintln!("linger: {} holds no run; left alone", path.display()),
                    Err(error) => eprintln!("linger: {error}; left out"),
                }
            }
        }
        recorded.sort_by_key(|(started, _)| *started);
        Ok(Self {
            folder: folder.to_owned(),
            recorded: recorded.into_iter().map(|(_, run)| run).collect(),
        })
    }

    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.recorded.clone()
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

    pub(super) fn close(&mut self, state: RunState) {
        if state == RunState::Cancelled
            && let Some(file) = &self.file
            && file.metadata().is_ok_and(|meta| meta.len() == 0)
        {
            // It was stopped while it waited for its turn: there is nothing to keep.
            let _ = fs::remove_file(&self.path);
        }
        self.file = None;
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

/// Reads a recording and cuts a damaged tail. `None` where the file has no header.
fn read(path: &Path) -> Result<Option<(u64, Recorded)>, StoreError> {
    let fail = |operation, source| StoreError {
        operation,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| fail("open the recording", error))?;
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut good = 0_u64;
    let mut header: Option<Header> = None;
    let mut lines: Vec<Arc<str>> = Vec::new();
    let mut last_us = 0;
    let mut state = RunState::Cancelled;
    loop {
        text.clear();
        let length = reader
            .read_until(b'\n', &mut text)
            .map_err(|error| fail("read the recording", error))?;
        if length == 0 || text.last() != Some(&b'\n') {
            break;
        }
        let Ok(line) = std::str::from_utf8(&text) else {
            break;
        };
        let line = line.trim_end();
        if header.is_none() {
            match serde_json::from_str(line) {
                Ok(parsed) => header = Some(parsed),
                Err(_) => return Ok(None),
            }
        } else {
            match serde_json::from_str::<Event>(line) {
                Ok(event) if event.seq == lines.len() as u64 => {
                    last_us = last_us.max(event.at_us);
                    match event.fact {
                        Fact::Verdict(_) if state != RunState::Failed => {
                            let stopped = lines
                                .last()
                                .is_some_and(|line| line.contains("\"kind\":\"stopped\""));
                            state = if stopped {
                                RunState::Cancelled
                            } else {
                                RunState::Finished
                            };
                        }
                        Fact::Failure { .. } => state = RunState::Failed,
                        _ => {}
                    }
                    lines.push(line.into());
                }
                _ => break,
            }
        }
        good += length as u64;
    }
    let Some(header) = header else {
        return Ok(None);
    };
    let size = fs::metadata(path).map_or(good, |meta| meta.len());
    if size > good {
        eprintln!(
            "linger: {}: cut {} damaged bytes at the end",
            path.display(),
            size - good
        );
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(good))
            .map_err(|error| fail("cut the damaged end of", error))?;
    }
    let id = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let started = header.started_unix_ms;
    let log = Arc::new(EventLog::recorded(header, lines, last_us, state));
    Ok(Some((started, Recorded { id, log })))
}
