//! Moves what was committed from the write-ahead log into the database, on a thread of its own.
//!
//! A checkpoint waits for the disk, which may take longer than a record may wait; the writer goes
//! on meanwhile. Only a log that has grown long stops it for the moment that it takes to begin it
//! anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;

/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// From which size on the log is moved, and from which on it is begun anew, in bytes.
const WORTH_MOVING: u64 = 2 << 20;
const TOO_LONG: u64 = 32 << 20;

/// How long the start of a new log may wait for readers, with the writer waiting behind it.
const PATIENCE: Duration = Duration::from_millis(20);

/// The thread, which ends with it.
pub(super) struct Checkpoints {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(connection: Connection, database: &Path) -> io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || {
                // Without a bound on waiting it would only be slower.
                let _ = connection.busy_timeout(PATIENCE);
                while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    move_what_is_worth_it(&connection, &log);
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What cannot be moved now is moved later; a disk that refuses is the writer's to tell.
fn move_what_is_worth_it(connection: &Connection, log: &Path) {
    let length = || fs::metadata(log).map_or(0, |meta| meta.len());
    if length() < WORTH_MOVING {
        return;
    }
    let run = |mode: &str| {
        let _ = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    };
    run("PASSIVE");
    if length() >= TOO_LONG {
        // Little is left to move after the first, so that the writer hardly waits.
        run("TRUNCATE");
    }
}
