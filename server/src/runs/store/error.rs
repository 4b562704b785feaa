//! Why a store cannot be used, or a record not be read.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// A store could not be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder cannot be used.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The database refused something.
    #[error("cannot {operation} {}: {source}", path.display())]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The database's file.
        path: PathBuf,
        /// What happened.
        source: rusqlite::Error,
    },
    /// The file is another program's.
    #[error(
        "{} is not a database of Linger's: {found}. It was left as it is; move it away, or choose \
         another folder with --data", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The file was written by a later version.
    #[error(
        "{} was written by a later version of Linger (format {version}, this one knows {known}). It \
         was left as it is; use that version, or choose another folder with --data", path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: i64,
        /// The format that this version knows.
        known: i64,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged: {found}. It was left as it is; move it away, or choose another folder with \
         --data", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it does not hold together.
        found: String,
    },
    /// The record is not there, or not any more.
    #[error("there is no record of `{0}`, or not any more")]
    Gone(String),
}

impl StoreError {
    /// A failure of the database, told as what it means.
    pub(super) fn database(
        operation: &'static str,
        path: &std::path::Path,
        source: rusqlite::Error,
    ) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign {
                path,
                found: "it is no SQLite database".to_owned(),
            },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                found: source.to_string(),
            },
            _ => Self::Database {
                operation,
                path,
                source,
            },
        }
    }

    /// Whether the machine cannot write there now, so that runs had better go on in memory: no
    /// rights, no room, a folder that is read-only. A file that is somebody else's or damaged is
    /// none of these, and wants a decision.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
            ),
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::ReadOnly
                        | ErrorCode::DiskFull
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::SystemIoFailure
                )
            ),
            _ => false,
        }
    }
}
