//! The database's file: its form, and how it is opened.
//!
//! A file that is not ours, or of a later form, is refused before anything in it is changed.

use std::{fs::File, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::super::StoreError;

/// The database's name within the data folder.
pub(super) const FILE: &str = "linger.db";

/// "LNGR": what tells our databases from those of other programs.
const APPLICATION: i64 = 0x4c4e_4752;

/// The form of the tables.
const VERSION: i64 = 1;

/// How long one process waits for another's transaction.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes per page: packs of events are some kilobytes, so that small pages would make long chains.
const PAGE: i64 = 8_192;

const TABLES: &str = "
    CREATE TABLE run (
        -- Never used again: what is left of a removed run belongs to nobody.
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        experiment TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        started_unix_ms INTEGER NOT NULL,
        events INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        stored INTEGER NOT NULL DEFAULT 0,
        last_us INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX run_started ON run (started_unix_ms);
    CREATE INDEX run_at_work ON run (state) WHERE state = 'running';
    CREATE TABLE header (run INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
    -- The key is the run's number in the upper half and the first event's in the lower.
    CREATE TABLE pack (key INTEGER PRIMARY KEY, count INTEGER NOT NULL, lines BLOB NOT NULL) STRICT;
";

/// How much of the file each connection keeps in memory, in KiB; what the system caches is enough.
const CACHE_KIB: i64 = 256;

/// Opens the database for writing; makes it where there is none.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let fail = |operation| move |error| StoreError::database(operation, path, error);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    if is_fresh(&mut connection, path)? {
        // Processes that start at the same moment make it one after the other.
        let turn = path.with_extension("making");
        let lock = File::create(&turn).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|source| StoreError::File {
            operation: "write",
            path: turn,
            source,
        })?;
        if is_fresh(&mut connection, path)? {
            make(&mut connection).map_err(fail("make"))?;
        }
        drop(lock);
    }
    connection
        .execute_batch(
            // Commits reach the disk at checkpoints, which have a thread of their own.
            "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;",
        )
        .map_err(fail("open"))?;
    Ok(connection)
}

/// Gives a file without tables its form.
fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    // These three cannot be changed later.
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
    ))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Opens a database that is there, for reading alone.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::empty())?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|error| StoreError::database("open", path, error))?;
    Ok(connection)
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| {
            connection.busy_timeout(PATIENCE)?;
            // Records are written once and mostly read once, from front to back.
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            Ok(connection)
        })
        .map_err(|error| StoreError::database("open", path, error))
}

/// Whether the file holds nothing yet; an error where it holds something that is not ours.
fn is_fresh(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let look = |connection: &mut Connection| {
        // All three as of one moment: another process may be making it.
        let moment = connection.transaction()?;
        let number = |query: &str| moment.query_row(query, [], |row| row.get::<_, i64>(0));
        Ok((
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT count(*) FROM sqlite_schema")?,
        ))
    };
    match look(connection).map_err(|error| StoreError::database("read", path, error))? {
        (0, 0, 0) => Ok(true),
        (APPLICATION, VERSION, _) => Ok(false),
        (APPLICATION, version, _) => Err(StoreError::Later {
            path: path.to_owned(),
            version,
            known: VERSION,
        }),
        (_, _, tables) => Err(StoreError::Foreign {
            path: path.to_owned(),
            found: format!("it is another program's SQLite database with {tables} tables"),
        }),
    }
}
