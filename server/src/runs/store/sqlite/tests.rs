//! The database against what happens to databases: reopening, damage, other programs' files, a full
//! disk, two processes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    super::memory::tests::{header, record},
    *,
};

/// A folder of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linger-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Events as the log writes them, so long that a few hundred fill a pack.
fn lines(range: std::ops::Range<u64>) -> Vec<Arc<str>> {
    range
        .map(|seq| {
            let event = linger_shared::event::Event {
                seq,
                at_us: seq * 10,
                seen_by: linger_shared::event::Observer::Experiment,
                fact: linger_shared::event::Fact::Remark {
                    text: "x".repeat(200),
                },
            };
            serde_json::to_string(&event).unwrap().into()
        })
        .collect()
}

fn append(store: &SqliteStore, run: &str, range: std::ops::Range<u64>) {
    let batch = Batch {
        first: range.start,
        last_us: range.end * 10,
        lines: lines(range),
    };
    store.append(&run.into(), batch);
}

fn create(store: &SqliteStore, run: &str) -> watch::Receiver<Kept> {
    store.create(NewRun {
        id: run.into(),
        header: header(run, 1_000),
    })
}

fn finish(store: &SqliteStore, run: &str) {
    let end = End {
        state: RunState::Finished,
        last_us: 7,
    };
    store.finish(&run.into(), end);
}

/// Waits for the writer.
fn until(kept: &mut watch::Receiver<Kept>, wanted: impl FnMut(&Kept) -> bool) -> Kept {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(kept.wait_for(wanted)).unwrap().clone()
}

/// All of a run's events, read in steps.
fn all(store: &SqliteStore, run: &str) -> Vec<Arc<str>> {
    let mut found = Vec::new();
    loop {
        let most = Bounds {
            events: 100,
            bytes: 1 << 20,
        };
        let more = store.read(run, found.len() as u64, most).unwrap();
        if more.is_empty() {
            return found;
        }
        assert!(more.len() <= 100);
        found.extend(more);
    }
}

#[test]
fn events_are_there_again_after_a_restart_whatever_their_packs() {
    let folder = Scratch::new();
    {
        let store = SqliteStore::open(&folder).unwrap();
        let mut kept = create(&store, "r");
        let mut other = create(&store, "s");
        for start in (0..2_000).step_by(50) {
            append(&store, "r", start..start + 50);
        }
        append(&store, "s", 0..3);
        finish(&store, "s");
        assert_eq!(until(&mut kept, |kept| kept.next == 2_000).broken, None);
        assert!(store.subscribe("r").is_some());
        until(&mut other, |kept| kept.finished);
        assert!(store.subscribe("s").is_none());
        finish(&store, "r");
    }
    let store = SqliteStore::open(&folder).unwrap();
    assert_eq!(all(&store, "r"), lines(0..2_000));
    assert_eq!(all(&store, "s"), lines(0..3));
    let entry = store.entry("r").unwrap().unwrap();
    assert_eq!((entry.state, entry.events), (RunState::Finished, 2_000));
    let bytes: usize = lines(0..2_000).iter().map(|line| line.len()).sum();
    assert_eq!(entry.bytes, bytes as u64);
    assert!(entry.stored > 0 && entry.stored < entry.bytes);
    assert_eq!(store.header("r").unwrap(), Some(header("r", 1_000)));
    let ids: Vec<_> = store
        .list(9)
        .unwrap()
        .into_iter()
        .map(|run| run.id)
        .collect();
    assert_eq!(ids, ["s", "r"], "the later one first");
}

#[test]
fn events_are_read_from_any_position_within_bounds() {
    let folder = Scratch::new();
    let store = SqliteStore::open(&folder).unwrap();
    let mut kept = create(&store, "r");
    append(&store, "r", 0..700);
    until(&mut kept, |kept| kept.next == 700);
    append(&store, "r", 700..1_000);
    until(&mut kept, |kept| kept.next == 1_000);
    let read = |from, events, bytes| {
        let lines = store.read("r", from, Bounds { events, bytes }).unwrap();
        lines.len()
    };
    for from in [0, 1, 249, 699, 700, 999] {
        let found = store.read(
            "r",
            from,
            Bounds {
                events: 3,
                bytes: 9_999,
            },
        );
        assert_eq!(found.unwrap(), lines(from..(from + 3).min(1_000)));
    }
    assert_eq!(read(5, 1_000, 0), 1, "one at least");
    assert_eq!(read(1_000, 9, 9), 0);
    assert_eq!(read(u64::MAX, 9, 9), 0);
    let nobody = store.read(
        "s",
        0,
        Bounds {
            events: 1,
            bytes: 1,
        },
    );
    assert!(matches!(nobody, Err(StoreError::Gone(_))));
}

#[test]
fn a_record_that_just_ends_is_given_an_end_that_says_so() {
    let folder = Scratch::new();
    {
        let store = SqliteStore::open(&folder).unwrap();
        create(&store, "r");
        append(&store, "r", 0..3);
        create(&store, "empty");
    }
    let store = SqliteStore::open(&folder).unwrap();
    let events = all(&store, "r");
    assert_eq!(events[..3], lines(0..3));
    let last: linger_shared::event::Event = serde_json::from_str(&events[3]).unwrap();
    assert_eq!((last.seq, last.at_us), (3, 30));
    assert!(matches!(
        last.fact,
        linger_shared::event::Fact::Failure { message } if message == recover::CUT_OFF
    ));
    let entry = store.entry("r").unwrap().unwrap();
    assert_eq!((entry.state, entry.events), (RunState::Failed, 4));
    assert_eq!(all(&store, "empty").len(), 1);
    drop(store);
    let again = SqliteStore::open(&folder).unwrap();
    assert_eq!(all(&again, "r").len(), 4, "it is ended once");
}

#[test]
fn a_record_that_lacks_only_its_end_tells_how_its_run_ended() {
    use linger_shared::event::{Event, Fact, Observer, Verdict};
    let verdict = Fact::Verdict(Verdict::default());
    let stopped = Fact::Stopped {
        reason: "a test".to_owned(),
    };
    let remark = Fact::Remark {
        text: String::new(),
    };
    let failure = Fact::Failure {
        message: String::new(),
    };
    let cases = [
        (vec![remark.clone(), verdict.clone()], RunState::Finished, 2),
        // What settles after a stop is recorded between it and the verdict.
        (
            vec![stopped.clone(), remark, verdict],
            RunState::Cancelled,
            3,
        ),
        (vec![failure], RunState::Failed, 1),
        (vec![stopped], RunState::Failed, 2),
    ];
    for (facts, state, events) in cases {
        let folder = Scratch::new();
        let texts: Vec<String> = facts
            .into_iter()
            .zip(0..)
            .map(|(fact, seq)| {
                let event = Event {
                    seq,
                    at_us: 7,
                    seen_by: Observer::Experiment,
                    fact,
                };
                serde_json::to_string(&event).unwrap()
            })
            .collect();
        let store = SqliteStore::open(&folder).unwrap();
        record(&store, "r", 0, &texts, RunState::Running);
        drop(store);
        let store = SqliteStore::open(&folder).unwrap();
        let entry = store.entry("r").unwrap().unwrap();
        assert_eq!((entry.state, entry.events), (state, events));
    }
}

#[test]
fn another_process_reads_writes_and_deletes_beside_the_first() {
    let folder = Scratch::new();
    let first = SqliteStore::open(&folder).unwrap();
    let mut kept = create(&first, "first");
    append(&first, "first", 0..10);
    until(&mut kept, |kept| kept.next == 10);
    let second = SqliteStore::open(&folder).unwrap();
    let entry = second.entry("first").unwrap().unwrap();
    assert_eq!(entry.state, RunState::Running, "its owner is there");
    assert_eq!(all(&second, "first"), lines(0..10));
    assert_eq!(second.delete(&["first"]).unwrap(), 0, "it is at work");
    let mut other = create(&second, "second");
    append(&second, "second", 0..5);
    finish(&second, "second");
    until(&mut other, |kept| kept.finished);
    append(&first, "first", 10..20);
    until(&mut kept, |kept| kept.next == 20);
    assert_eq!(first.list(9).unwrap().len(), 2);
    finish(&first, "first");
    until(&mut kept, |kept| kept.finished);
    assert_eq!(second.delete(&["first"]).unwrap(), 1);
    assert_eq!(first.entry("first").unwrap(), None);
    assert_eq!(all(&first, "second"), lines(0..5));
}

#[test]
fn many_may_make_the_database_at_the_same_moment() {
    for _ in 0..10 {
        let folder = Scratch::new();
        std::thread::scope(|scope| {
            for number in 0..6 {
                let folder = &folder;
                scope.spawn(move || {
                    let store = SqliteStore::open(folder).unwrap();
                    let run = format!("r{number}");
                    let mut kept = create(&store, &run);
                    append(&store, &run, 0..1);
                    finish(&store, &run);
                    assert_eq!(until(&mut kept, Kept::is_settled).broken, None);
                });
            }
        });
        assert_eq!(
            SqliteStore::open(&folder).unwrap().list(9).unwrap().len(),
            6
        );
    }
}

#[test]
fn a_run_whose_process_is_gone_is_found_by_those_that_are_there() {
    let folder = Scratch::new();
    let first = SqliteStore::open(&folder).unwrap();
    let mut kept = create(&first, "r");
    append(&first, "r", 0..3);
    until(&mut kept, |kept| kept.next == 3);
    let second = SqliteStore::open(&folder).unwrap();
    drop(first);
    assert_eq!(second.list(9).unwrap()[0].state, RunState::Failed);
    assert_eq!(all(&second, "r").len(), 4);
}

#[cfg(target_os = "linux")]
#[test]
fn a_crowd_of_readers_holds_no_crowd_of_files() {
    let folder = Scratch::new();
    let store = SqliteStore::open(&folder).unwrap();
    let mut kept = create(&store, "r");
    append(&store, "r", 0..1_000);
    until(&mut kept, |kept| kept.next == 1_000);
    // Other tests have files of their own open meanwhile.
    let files = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter(|file| file.starts_with(&*folder))
            .count()
    };
    let before = files();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| assert_eq!(all(&store, "r").len(), 1_000));
        }
    });
    // The database and its log for each; the log's index is shared.
    let after = files();
    assert!(after <= before + 2 * readers::MOST, "{before} then {after}");
}

#[test]
fn deleting_gives_back_space() {
    let folder = Scratch::new();
    let size = || fs::metadata(folder.join(schema::FILE)).unwrap().len();
    let checkpoint = |store: &SqliteStore| {
        let connection = schema::open(store.path()).unwrap();
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    };
    let store = SqliteStore::open(&folder).unwrap();
    // Texts that do not repeat themselves, so that packing does not make them small.
    let mut seed = 1_u64;
    let texts: Vec<String> = (0..5_000)
        .map(|_| {
            (0..20)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    format!("{seed:016x}")
                })
                .collect()
        })
        .collect();
    let mut kept = record(&store, "large", 0, &texts, RunState::Finished);
    until(&mut kept, |kept| kept.finished);
    let mut kept = record(&store, "small", 0, &["{}".to_owned()], RunState::Finished);
    until(&mut kept, |kept| kept.finished);
    checkpoint(&store);
    let before = size();
    assert!(before > 1_000_000, "{before}");
    assert_eq!(store.delete(&["large", "nobody"]).unwrap(), 1);
    checkpoint(&store);
    assert!(size() < before / 4, "{} of {before}", size());
    assert_eq!(all(&store, "small").len(), 1);
}

#[test]
fn other_programs_files_are_refused_and_left_as_they_are() {
    let folder = Scratch::new();
    fs::create_dir_all(&*folder).unwrap();
    let path = folder.join(schema::FILE);
    let foreign = |contents: &[u8]| {
        fs::write(&path, contents).unwrap();
        let error = SqliteStore::open(&folder).err().unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents);
        assert!(!error.is_unwritable());
        error
    };
    let text = b"this is no database, but a text that somebody wants to keep".repeat(40);
    let error = foreign(&text);
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("left as it is"), "{error}");

    fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let error = foreign(&fs::read(&path).unwrap());
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    fs::remove_file(&path).unwrap();
    drop(SqliteStore::open(&folder).unwrap());
    let ours = Connection::open(&path).unwrap();
    ours.pragma_update(None, "user_version", 99).unwrap();
    drop(ours);
    let error = foreign(&fs::read(&path).unwrap());
    assert!(
        matches!(error, StoreError::Later { version: 99, .. }),
        "{error}"
    );
}

/// A database whose log has six hundred events of a run, thirty commits: both files' bytes.
fn database_and_log() -> (Vec<u8>, Vec<u8>) {
    let folder = Scratch::new();
    let store = SqliteStore::open(&folder).unwrap();
    let mut kept = create(&store, "r");
    for start in (0..600).step_by(20) {
        append(&store, "r", start..start + 20);
        until(&mut kept, |kept| kept.next == start + 20);
    }
    let database = fs::read(folder.join(schema::FILE)).unwrap();
    let log = fs::read(folder.join("linger.db-wal")).unwrap();
    assert!(log.len() > 100_000, "what was written is in the log");
    (database, log)
}

/// How many of the run's events there are with such a log, besides the end that says that it was
/// cut off; `None` where not even its beginning is there.
fn left(database: &[u8], log: &[u8]) -> Option<u64> {
    let copy = Scratch::new();
    fs::create_dir_all(&*copy).unwrap();
    fs::write(copy.join(schema::FILE), database).unwrap();
    fs::write(copy.join("linger.db-wal"), log).unwrap();
    let store = SqliteStore::open(&copy).unwrap();
    let entry = store.entry("r").unwrap()?;
    let events = all(&store, "r");
    let kept = events.len() as u64 - 1;
    assert_eq!(entry.events, kept + 1);
    assert_eq!(events[..events.len() - 1], lines(0..kept));
    assert_eq!(entry.state, RunState::Failed);
    Some(kept)
}

#[test]
fn a_log_that_was_cut_anywhere_leaves_a_record_without_gaps() {
    let (database, log) = database_and_log();
    let mut counts = std::collections::BTreeSet::new();
    for part in 0..=40 {
        let cut = log.len() * part / 40 + usize::from(part % 3 == 1) * 7;
        counts.extend(left(&database, &log[..cut.min(log.len())]));
    }
    assert!(counts.len() > 20, "{counts:?}");
    assert_eq!(counts.last(), Some(&600));
}

#[test]
fn a_log_that_was_damaged_anywhere_is_cut_there() {
    let (database, log) = database_and_log();
    let mut before = None;
    let mut counts = std::collections::BTreeSet::new();
    for part in 0..40 {
        let place = log.len() * part / 40 + part * 11;
        // One bit; and a sector that a disk has given back as zeros.
        let mut flipped = log.clone();
        flipped[place] ^= 0x10;
        let mut zeroed = log.clone();
        let sector = place / 512 * 512;
        let end = (sector + 512).min(zeroed.len());
        zeroed[sector..end].fill(0);
        for damaged in [flipped, zeroed] {
            if damaged == log {
                continue; // Nothing but zeros was there.
            }
            let kept = left(&database, &damaged);
            assert!(kept.is_none_or(|kept| kept < 600), "{place}: {kept:?}");
            counts.extend(kept);
        }
        // What comes before the damage is not lost with it: the further back, the more is left.
        let cut = left(&database, &log[..sector]);
        assert!(cut >= before, "{place}: {before:?}, then {cut:?}");
        before = cut;
    }
    assert!(counts.len() > 20, "{counts:?}");
    // And what follows a whole log means nothing.
    let followed = [&log[..], &[0x5a; 9_000]].concat();
    assert_eq!(left(&database, &followed), Some(600));
}

#[test]
fn a_full_disk_breaks_records_and_what_was_kept_stays() {
    let folder = Scratch::new();
    drop(SqliteStore::open(&folder).unwrap());
    let path = folder.join(schema::FILE);
    let connection = schema::open(&path).unwrap();
    let pages: i64 = connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    // What a full disk answers, a bound on the pages answers, too: SQLITE_FULL.
    connection
        .query_row(
            &format!("PRAGMA max_page_count = {}", pages + 12),
            [],
            |_| Ok(()),
        )
        .unwrap();
    let owner = Owner::new(&folder).unwrap();
    let writer = Writer::start(connection, path, owner.name().to_owned()).unwrap();
    let told = watch::Sender::new(Kept::default());
    let mut kept = told.subscribe();
    writer.order(Order::Create {
        id: "r".into(),
        header: Box::new(header("r", 0)),
        kept: told,
    });
    let mut seed = 1_u64;
    let mut next = 0;
    let broken = loop {
        let text: String = (0..500)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                format!("{seed:016x}")
            })
            .collect();
        let batch = Batch {
            first: next,
            lines: vec![text.into()],
            last_us: 7,
        };
        writer.order(Order::Append("r".into(), batch));
        next += 1;
        let kept = until(&mut kept, |kept| kept.next == next || kept.broken.is_some());
        if let Some(why) = kept.broken {
            break why;
        }
        assert!(next < 100, "the disk is never full");
    };
    assert!(broken.contains("full"), "{broken}");
    assert!(next > 2, "something was recorded before");
    drop((writer, owner));
    let store = SqliteStore::open(&folder).unwrap();
    let events = all(&store, "r");
    assert_eq!(
        events.len() as u64,
        next - 1 + 1,
        "what was kept, and the end"
    );
    assert_eq!(store.entry("r").unwrap().unwrap().state, RunState::Failed);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_from_a_wrong_one() {
    let folder = Scratch::new();
    fs::create_dir_all(&*folder).unwrap();
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    let error = SqliteStore::open(&file.join("data")).err().unwrap();
    assert!(!error.is_unwritable(), "{error}");
    for kind in [
        std::io::ErrorKind::PermissionDenied,
        std::io::ErrorKind::ReadOnlyFilesystem,
        std::io::ErrorKind::StorageFull,
    ] {
        let error = StoreError::File {
            operation: "make the data folder",
            path: file.clone(),
            source: kind.into(),
        };
        assert!(error.is_unwritable(), "{error}");
    }
}
