//! How long records are kept: by count, age and size, whichever is reached first.
//!
//! The oldest go first, and none that is still at work.

use std::{fs, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// The file beside the recordings that says how much of them is kept.
const FILE: &str = "keep.json";

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// At most so many runs.
    pub runs: usize,
    /// None that was started longer ago.
    pub age: Duration,
    /// At most so many bytes of events, as they are stored.
    pub size: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            runs: 1_000,
            age: Duration::from_secs(90 * 24 * 3_600),
            size: 2 << 30,
        }
    }
}

impl Retention {
    /// What a process keeps that has nothing but its memory.
    pub const IN_MEMORY: Self = Self {
        runs: 100,
        age: Duration::MAX,
        size: 256 << 20,
    };
}

/// How much of the recordings in a folder is kept: what `told` says, which is noted there, or else
/// what was noted last, so that a command that is told nothing deletes nothing that a server keeps.
/// `None` where the note cannot be read: then everything is kept.
pub fn agree(data: &Path, told: Option<Retention>) -> Option<Retention> {
    let path = data.join(FILE);
    if let Some(told) = told {
        let noted = serde_json::to_vec(&told)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&path, json));
        if let Err(error) = noted {
            eprintln!(
                "linger: cannot note in {} what is kept: {error}",
                path.display()
            );
        }
        return Some(told);
    }
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .inspect_err(|error| {
                eprintln!(
                    "linger: {} is not understood ({error}), so no recording is removed; \
                     `linger serve` writes it again",
                    path.display()
                );
            })
            .ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Retention::default()),
        Err(_) => None,
    }
}

/// Removes what is not to be kept, as of `now_unix_ms`; gives how many runs that were.
///
/// # Errors
/// [`StoreError`] where the store cannot be read or written.
pub fn retain(store: &dyn Store, keep: Retention, now_unix_ms: u64) -> Result<usize, StoreError> {
    let age_ms = u64::try_from(keep.age.as_millis()).unwrap_or(u64::MAX);
    let oldest = now_unix_ms.saturating_sub(age_ms);
    let mut size = 0_u64;
    let entries = store.list(usize::MAX)?;
    let old: Vec<&str> = entries
        .iter()
        .enumerate()
        .filter(|(index, entry)| {
            size = size.saturating_add(entry.stored);
            let exceeds = *index >= keep.runs || size > keep.size;
            entry.state.is_over() && (exceeds || entry.started_unix_ms < oldest)
        })
        .map(|(_, entry)| entry.id.as_str())
        .collect();
    if old.is_empty() {
        return Ok(0);
    }
    store.delete(&old)
}

#[cfg(test)]
mod tests {
    use linger_shared::protocol::RunState;

    use super::{
        super::{MemoryStore, memory::tests::record},
        *,
    };

    /// Runs `a` (the oldest, started at 1,000 ms) to `e` (5,000 ms), 100 bytes each; `b` is at work.
    fn store() -> MemoryStore {
        let store = MemoryStore::default();
        for (index, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let state = if id == "b" {
                RunState::Running
            } else {
                RunState::Finished
            };
            record(
                &store,
                id,
                (index as u64 + 1) * 1_000,
                &["x".repeat(100)],
                state,
            );
        }
        store
    }

    fn left(keep: Retention) -> Vec<String> {
        let store = store();
        let before = store.list(usize::MAX).unwrap().len();
        let removed = retain(&store, keep, 6_000).unwrap();
        let left: Vec<_> = store
            .list(9)
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(before - removed, left.len());
        left
    }

    #[test]
    fn who_is_told_nothing_keeps_what_was_noted_last() {
        let folder = std::env::temp_dir().join(format!("linger-keep-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(agree(&folder, None), Some(Retention::default()));
        let told = Retention {
            runs: 5_000,
            age: Duration::from_secs(365 * 24 * 3_600),
            size: 17,
        };
        assert_eq!(agree(&folder, Some(told)), Some(told));
        assert_eq!(agree(&folder, None), Some(told));
        fs::write(folder.join(FILE), "{\"runs\":").unwrap();
        assert_eq!(agree(&folder, None), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    const ALL: Retention = Retention {
        runs: usize::MAX,
        age: Duration::MAX,
        size: u64::MAX,
    };

    #[test]
    fn the_oldest_go_first_by_count_age_and_size_and_none_that_is_at_work() {
        assert_eq!(left(ALL), ["e", "d", "c", "b", "a"]);
        assert_eq!(left(Retention { runs: 2, ..ALL }), ["e", "d", "b"]);
        let age = Duration::from_millis(2_500);
        assert_eq!(left(Retention { age, ..ALL }), ["e", "d", "b"]);
        assert_eq!(left(Retention { size: 350, ..ALL }), ["e", "d", "c", "b"]);
        assert_eq!(left(Retention { runs: 0, ..ALL }), ["b"]);
    }
}
