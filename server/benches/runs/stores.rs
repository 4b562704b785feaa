//! The store alone: how fast it takes events for good, and how fast it gives them back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use linger::runs::store::{Batch, Bounds, End, Kept, NewRun, SqliteStore, Store};
use linger_shared::{event::Event, protocol::RunState};
use tokio::runtime::Runtime;

use crate::{
    figures::row,
    ground::{Ground, Scratch},
};

/// How many events are appended.
const EVENTS: usize = 400_000;

/// How many come at once, as from a busy run's recorder.
const BATCH: usize = 500;

/// How many batches may be under way: the store is to work all the time, not to fill memory.
const AHEAD: u64 = 40 * BATCH as u64;

/// Measures both; the events are those of a real run, again and again.
pub(crate) fn rates(runtime: &Runtime) {
    let (header, events) = model(runtime);
    let data = Scratch::new("store");
    let store = SqliteStore::open(&data.0).expect("a folder can be made");
    let id: Arc<str> = "bench".into();
    let mut header = header;
    header.run = id.to_string();
    let mut kept = store.create(NewRun {
        id: Arc::clone(&id),
        header,
    });
    let lines: Vec<Arc<str>> = (0_u64..)
        .zip(events.iter().cycle())
        .take(EVENTS)
        .map(|(seq, event)| {
            let event = Event {
                seq,
                ..event.clone()
            };
            serde_json::to_string(&event)
                .expect("an event is plain")
                .into()
        })
        .collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let mut reached = |next: u64| -> Kept {
        let reached = kept.wait_for(|kept| kept.next >= next || kept.broken.is_some());
        let kept = runtime
            .block_on(reached)
            .expect("the store is there")
            .clone();
        assert_eq!(kept.broken, None);
        kept
    };
    let began = Instant::now();
    let mut first = 0_u64;
    for batch in lines.chunks(BATCH) {
        store.append(
            &id,
            Batch {
                first,
                lines: batch.to_vec(),
                last_us: first,
            },
        );
        first += batch.len() as u64;
        reached(first.saturating_sub(AHEAD));
    }
    reached(first);
    say("recorded", EVENTS, bytes, began.elapsed());
    store.finish(
        &id,
        End {
            state: RunState::Finished,
            last_us: first,
        },
    );
    let stored = loop {
        let entry = store
            .entry(&id)
            .expect("it can be read")
            .expect("it is there");
        if entry.state.is_over() {
            break entry.stored;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let most = Bounds {
        events: 256,
        bytes: 256 * 1_024,
    };
    let began = Instant::now();
    let mut next = 0;
    loop {
        let read = store.read(&id, next, most).expect("it can be read");
        if read.is_empty() {
            break;
        }
        next += read.len() as u64;
    }
    assert_eq!(next, first);
    say(
        "read again, in a viewer's batches",
        EVENTS,
        bytes,
        began.elapsed(),
    );
    row(
        "events on disk beside their JSON",
        format!("{:.2} x", stored as f64 / bytes as f64),
        format!("{} B each", stored / first),
    );
}

/// Events of a run between namespaces.
fn model(runtime: &Runtime) -> (linger_shared::event::Header, Vec<Event>) {
    let ground = Ground::new(runtime, 1);
    let run = ground.start(
        "http-sequential",
        &[("requests", "200"), ("pause", "0s"), ("delay", "0s")],
    );
    let log = ground
        .manager
        .log(&run)
        .expect("it is kept")
        .expect("it is there");
    ground.over(&run);
    let header = log.header().expect("its hosts were up");
    let lines = log.read(0, usize::MAX, usize::MAX).expect("it is kept");
    let events = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("a recorded event reads back"))
        .collect();
    (header, events)
}

fn say(what: &str, events: usize, bytes: usize, took: Duration) {
    row(
        &format!("{events} events of {} bytes {what}", bytes / events),
        format!("{:.0} k/s", events as f64 / took.as_secs_f64() / 1e3),
        format!("{:.0} MB/s", bytes as f64 / took.as_secs_f64() / 1e6),
    );
}
