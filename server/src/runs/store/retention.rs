//! How long records are kept: by count, age and size, whichever is reached first.
//!
//! The oldest go first, and none that is still at work.

use std::time::Duration;

use super::{Store, StoreError};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
