//! Connections for those who read: a few, opened when they are first needed, and kept.
//!
//! Who comes when all of them are lent waits for one. A crowd of readers would otherwise hold a
//! crowd of files and caches, and those files for good: SQLite does not close a database's file
//! while another connection of the process has it locked.

use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, PoisonError},
};

use rusqlite::Connection;

use super::{super::StoreError, schema};

/// How many may read at once.
pub(super) const MOST: usize = 4;

/// The connections.
pub(super) struct Readers {
    path: PathBuf,
    /// One entry for each that may be lent now; empty where it has not been opened yet.
    free: Mutex<Vec<Option<Connection>>>,
    returned: Condvar,
}

/// One of them, until it is dropped.
struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Readers {
    /// Connections to the database at `path`; none is opened yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            free: Mutex::new((0..MOST).map(|_| None).collect()),
            returned: Condvar::new(),
        }
    }

    /// Lends a connection, on a thread that may wait.
    pub(super) fn lend<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lent = self.take();
        let connection = match lent.connection.take() {
            Some(connection) => connection,
            None => schema::open_to_read(&self.path)?,
        };
        read(lent.connection.insert(connection))
    }

    fn take(&self) -> Lent<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = free.pop() {
                return Lent {
                    readers: self,
                    connection,
                };
            }
            free = self
                .returned
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // What was opened comes to the end, from where it is taken first.
        let mut free = self
            .readers
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.push(self.connection.take());
        drop(free);
        self.readers.returned.notify_one();
    }
}
