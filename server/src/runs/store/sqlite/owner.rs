//! Which process a record belongs to, and whether it is still there.
//!
//! Each process that records holds a lock on a file of its own beside the database. The kernel
//! gives the lock back however the process ends, so that a record without an end whose owner's
//! lock is free was cut off, and one whose owner's lock is held is still at work.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder of the locks.
const FOLDER: &str = "at-work";

/// A file that is not locked yet ends so, and nobody looks at it.
const UNREADY: &str = "new";

/// This process as the owner of records, until it is dropped.
pub(super) struct Owner {
    name: String,
    path: PathBuf,
    /// Locked for as long as the owner is there.
    _lock: File,
}

impl Owner {
    /// Makes a name of its own and locks it, in the folder of the database.
    pub(super) fn new(data: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = data.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let micros = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{micros:x}-{number}", process::id());
        let path = folder.join(&name);
        let unready = path.with_extension(UNREADY);
        let lock = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&unready)?;
        lock.lock()?;
        // Under its name it is there only when it is locked.
        fs::rename(&unready, &path)?;
        Ok(Self {
            name,
            path,
            _lock: lock,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A file that stays means nothing: it is not locked any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the owner of that name is still there. Where that cannot be found out, it is: nobody ends
/// the records of one who may be at work.
pub(super) fn is_there(data: &Path, name: &str) -> bool {
    match File::open(data.join(FOLDER).join(name)) {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Removes the files of owners that are gone.
pub(super) fn forget_the_gone(data: &Path) {
    let Ok(files) = fs::read_dir(data.join(FOLDER)) else {
        return;
    };
    for file in files.flatten() {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.ends_with(UNREADY) && !is_there(data, name) {
            let _ = fs::remove_file(file.path());
        }
    }
}
