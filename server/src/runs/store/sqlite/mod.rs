//! Runs on disk, in one SQLite database that several processes may use at once.
//!
//! Write-ahead logging gives what a record needs: a commit is there after a kill at any moment, a
//! torn one is not, and readers do not wait for the writer. One thread writes for all runs
//! ([`writer`]), another moves what was written into the database proper ([`checkpoint`]), and
//! readers have connections of their own.

mod checkpoint;
mod owner;
mod pack;
mod readers;
mod recover;
mod schema;
mod writer;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use linger_shared::{event::Header, protocol::RunState};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;

use self::{
    checkpoint::Checkpoints,
    owner::Owner,
    pack::unpack,
    readers::Readers,
    writer::{Order, Writer},
};
use super::{Batch, Bounds, End, Entry, Kept, NewRun, Store, StoreError};

/// How many packs of a record are removed in one transaction, and pages given back in another: the
/// writer waits for it.
const AT_ONCE: i64 = 256;

const ENTRY: &str =
    "SELECT id, experiment, state, started_unix_ms, events, bytes, stored, last_us, owner FROM run";

/// Runs in a database on disk.
pub struct SqliteStore {
    path: PathBuf,
    data: PathBuf,
    /// Before the owner: what is ordered is written while the records are still owned.
    writer: Writer,
    _checkpoints: Checkpoints,
    owner: Owner,
    readers: Readers,
    /// Held while records are removed: one at a time is enough, each with a connection of its own.
    removing: Mutex<()>,
    recording: Mutex<HashMap<Arc<str>, watch::Receiver<Kept>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a pack of a run lies: runs one after the other, events in their order.
fn key(number: i64, first: i64) -> i64 {
    (number << 32) | first
}

/// The bytes of a column.
fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_blob()?)
}

/// Makes a folder that is the user's alone: secrets of TLS and command lines are recorded. One that
/// is there already stays as it is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

impl SqliteStore {
    /// Opens the database in a folder; makes both where they are not there. Records that were cut
    /// off get an end that says so.
    ///
    /// # Errors
    /// [`StoreError`]; nothing that was there has been changed then.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let fail = |operation| {
            move |source| StoreError::File {
                operation,
                path: data.to_owned(),
                source,
            }
        };
        make_folder(data).map_err(fail("make the data folder"))?;
        let path = data.join(schema::FILE);
        let mut connection = schema::open(&path)?;
        let owner = Owner::new(data).map_err(fail("write to the data folder"))?;
        recover::end_the_abandoned(&mut connection, &path, data)?;
        owner::forget_the_gone(data);
        let checkpoints = Checkpoints::start(schema::open(&path)?, &path)
            .map_err(fail("start the thread that keeps"))?;
        let writer = Writer::start(connection, path.clone(), owner.name().to_owned())
            .map_err(fail("start the thread that writes to"))?;
        Ok(Self {
            readers: Readers::new(path.clone()),
            path,
            data: data.to_owned(),
            writer,
            _checkpoints: checkpoints,
            owner,
            removing: Mutex::default(),
            recording: Mutex::default(),
        })
    }

    /// As [`open`](Self::open), but makes nothing: `None` where there is no database.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_existing(data: &Path) -> Result<Option<Self>, StoreError> {
        if !data.join(schema::FILE).exists() {
            return Ok(None);
        }
        Self::open(data).map(Some)
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        move |error| StoreError::database(operation, &path, error)
    }

    /// Ends the records that other processes were killed over, if one of these entries looks so.
    /// Gives whether it did.
    fn looks_abandoned(&self, owners: &[(RunState, String)]) -> bool {
        owners.iter().any(|(state, owner)| {
            *state == RunState::Running
                && owner != self.owner.name()
                && !owner::is_there(&self.data, owner)
        })
    }

    fn end_the_abandoned(&self) -> Result<(), StoreError> {
        recover::end_the_abandoned(&mut schema::open(&self.path)?, &self.path, &self.data)
    }

    /// Entries with their owners.
    fn entries(
        &self,
        condition: &str,
        value: impl rusqlite::ToSql,
    ) -> Result<Vec<Entry>, StoreError> {
        let fail = self.failed("read");
        let read = || {
            self.readers.lend(|connection| {
                let mut rows = connection
                    .prepare_cached(&format!("{ENTRY} {condition}"))
                    .map_err(&fail)?;
                let rows: Vec<(Entry, String)> = rows
                    .query_map([&value], |row| Ok((entry(row)?, row.get(8)?)))
                    .and_then(Iterator::collect)
                    .map_err(&fail)?;
                Ok(rows)
            })
        };
        let mut rows = read()?;
        let owners: Vec<_> = rows
            .iter()
            .map(|(entry, owner)| (entry.state, owner.clone()))
            .collect();
        if self.looks_abandoned(&owners) {
            self.end_the_abandoned()?;
            rows = read()?;
        }
        Ok(rows.into_iter().map(|(entry, _)| entry).collect())
    }

    fn number(&self, connection: &Connection, run: &str) -> Result<Option<i64>, StoreError> {
        connection
            .prepare_cached("SELECT number FROM run WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([run], |row| row.get(0)).optional())
            .map_err(self.failed("read"))
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Entry {
        id: row.get(0)?,
        experiment: row.get(1)?,
        state: match row.get_ref(2)?.as_str()? {
            "running" => RunState::Running,
            "finished" => RunState::Finished,
            "cancelled" => RunState::Cancelled,
            _ => RunState::Failed,
        },
        started_unix_ms: number(3)?,
        events: number(4)?,
        bytes: number(5)?,
        stored: number(6)?,
        last_us: number(7)?,
    })
}

impl Store for SqliteStore {
    fn create(&self, run: NewRun) -> watch::Receiver<Kept> {
        let kept = watch::Sender::new(Kept::default());
        let told = kept.subscribe();
        let mut recording = lock(&self.recording);
        recording.retain(|_, kept| !kept.borrow().is_settled());
        recording.insert(Arc::clone(&run.id), told.clone());
        drop(recording);
        self.writer.order(Order::Create {
            id: run.id,
            header: Box::new(run.header),
            kept,
        });
        told
    }

    fn append(&self, run: &Arc<str>, batch: Batch) {
        self.writer.order(Order::Append(Arc::clone(run), batch));
    }

    fn finish(&self, run: &Arc<str>, end: End) {
        self.writer.order(Order::Finish(Arc::clone(run), end));
    }

    fn subscribe(&self, run: &str) -> Option<watch::Receiver<Kept>> {
        let recording = lock(&self.recording);
        let kept = recording.get(run)?;
        (!kept.borrow().is_settled()).then(|| kept.clone())
    }

    fn read(&self, run: &str, from: u64, most: Bounds) -> Result<Vec<Arc<str>>, StoreError> {
        let fail = self.failed("read");
        self.readers.lend(|connection| {
            let number = self
                .number(connection, run)?
                .ok_or_else(|| StoreError::Gone(run.to_owned()))?;
            let Ok(from) = u32::try_from(from) else {
                return Ok(Vec::new());
            };
            let wanted = key(number, i64::from(from));
            // The pack that the first event is in, and those behind it.
            let mut packs = connection
                .prepare_cached(
                    "SELECT key, count, lines FROM pack WHERE key >= coalesce((SELECT max(key) \
                     FROM pack WHERE key BETWEEN ?1 AND ?2), ?2) AND key <= ?3 ORDER BY key",
                )
                .map_err(&fail)?;
            let last = key(number, i64::from(u32::MAX));
            let mut packs = packs
                .query(params![key(number, 0), wanted, last])
                .map_err(&fail)?;
            let mut found: Vec<Arc<str>> = Vec::new();
            let mut bytes = 0;
            while found.is_empty() || (found.len() < most.events && bytes < most.bytes) {
                let Some(row) = packs.next().map_err(&fail)? else {
                    break;
                };
                let at: i64 = row.get(0).map_err(&fail)?;
                let count: i64 = row.get(1).map_err(&fail)?;
                let lines = text(row, 2).map_err(&fail).and_then(|packed| {
                    unpack(packed, count.cast_unsigned()).map_err(|found| StoreError::Damaged {
                        path: self.path.clone(),
                        found: format!("the events of {run} at {at:x}: {found}"),
                    })
                })?;
                let skip = usize::try_from(wanted.saturating_sub(at)).unwrap_or(0);
                for line in lines.into_iter().skip(skip) {
                    bytes += line.len();
                    found.push(line);
                }
            }
            Ok(super::within(most, found.into_iter()))
        })
    }

    fn entry(&self, run: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries("WHERE id = ?1", run)?.pop())
    }

    fn header(&self, run: &str) -> Result<Option<Header>, StoreError> {
        let json: Option<String> = self.readers.lend(|connection| {
            connection
                .prepare_cached(
                    "SELECT json FROM header WHERE run = (SELECT number FROM run WHERE id = ?1)",
                )
                .and_then(|mut statement| statement.query_row([run], |row| row.get(0)).optional())
                .map_err(self.failed("read"))
        })?;
        json.map(|json| {
            serde_json::from_str(&json).map_err(|error| StoreError::Damaged {
                path: self.path.clone(),
                found: format!("the header of {run}: {error}"),
            })
        })
        .transpose()
    }

    fn list(&self, most: usize) -> Result<Vec<Entry>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.entries("ORDER BY started_unix_ms DESC, number DESC LIMIT ?1", most)
    }

    fn delete(&self, runs: &[&str]) -> Result<usize, StoreError> {
        let fail = self.failed("delete from");
        let _alone = lock(&self.removing);
        let connection = schema::open(&self.path)?;
        let mut deleted = 0;
        for run in runs {
            // Without its row it is gone for everyone at once; what it takes up goes piecemeal.
            let number: Option<i64> = connection
                .prepare_cached(
                    "DELETE FROM run WHERE id = ?1 AND state <> 'running' RETURNING number",
                )
                .and_then(|mut statement| statement.query_row([run], |row| row.get(0)).optional())
                .map_err(&fail)?;
            let Some(number) = number else { continue };
            deleted += 1;
            connection
                .execute("DELETE FROM header WHERE run = ?1", [number])
                .map_err(&fail)?;
        }
        sweep(&connection).map_err(&fail)?;
        Ok(deleted)
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// Removes the packs that no run has any more, and gives back their space, in small steps.
fn sweep(connection: &Connection) -> rusqlite::Result<()> {
    let mut next = connection.prepare("SELECT min(key) FROM pack WHERE key >= ?1")?;
    let mut has_run = connection.prepare("SELECT count(*) FROM run WHERE number = ?1")?;
    let mut remove = connection.prepare(
        "DELETE FROM pack WHERE key IN \
         (SELECT key FROM pack WHERE key BETWEEN ?1 AND ?2 LIMIT ?3)",
    )?;
    let mut from = 0_i64;
    while let Some(found) = next.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
        let number = found >> 32;
        let runs: i64 = has_run.query_row([number], |row| row.get(0))?;
        if runs == 0 {
            let last = key(number, i64::from(u32::MAX));
            while remove.execute([key(number, 0), last, AT_ONCE])? > 0 {}
        }
        from = key(number + 1, 0);
    }
    let free = || connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
    let mut pages = free()?;
    while pages > 0 {
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({AT_ONCE})"))?;
        let left = free()?;
        if left >= pages {
            break;
        }
        pages = left;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
