//! What is left of runs whose server is killed: records without gaps that tell how far they go.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use linger_shared::{
    event::{Event, Fact},
    protocol::{RunState, StreamMessage},
};
use rusqlite::Connection;
use serde_json::json;
use tokio_tungstenite::tungstenite;

use crate::serving::{Random, Scratch, Server, entries};

/// So many servers are killed so often, and run so many experiments at a time.
const SERVERS: u64 = 2;
const KILLS: u64 = 50;
const RUNS: u64 = 4;

/// What a kill may cost.
const LOSS_US: u64 = 100_000;

/// For how long before a kill the machine is watched.
const WATCHED: Duration = Duration::from_millis(200);

/// How long a run may have been at work when its server is killed.
const LONGEST_MS: u64 = 600;

/// What a viewer had seen of a run when the server was killed.
#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    /// The run's clock at the kill, or a little before.
    killed_us: u64,
    /// For how long the machine had let those wait that record, shortly before.
    waited_us: u64,
}

/// For how long a server's recording threads were ready and had no processor, all in all, in
/// microseconds: what other programs of the machine cost a record is no fault of the store.
fn waited_us(pid: u32) -> u64 {
    entries(&format!("/proc/{pid}/task"))
        .iter()
        .filter(|task| {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            ["recording", "tokio-rt-worker"].contains(&name.trim())
        })
        .filter_map(|task| fs::read_to_string(task.join("schedstat")).ok())
        // Nanoseconds at work, nanoseconds waiting, turns (Linux, sched-stats).
        .filter_map(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .sum::<u64>()
        / 1_000
}

/// Watches a run until its end or its server's; gives every message with the moment at which it
/// came.
fn watch(address: &str, run: &str) -> Vec<(Instant, String)> {
    let mut heard = Vec::new();
    let url = format!("ws://{address}/api/runs/{run}/events");
    let Ok((mut socket, _)) = tungstenite::connect(url) else {
        return heard; // The server is gone already.
    };
    while let Ok(message) = socket.read() {
        if let tungstenite::Message::Text(text) = message {
            heard.push((Instant::now(), text.to_string()));
        }
    }
    heard
}

impl Seen {
    fn new(heard: &[(Instant, String)], killed: Instant, waited_us: u64) -> Self {
        let mut seen = Self {
            waited_us,
            ..Self::default()
        };
        // Messages tell the run's clock. The one that was fastest on its way tells best when the
        // run began, and never too early.
        let mut began: Option<Instant> = None;
        for (at, text) in heard {
            let message = serde_json::from_str(text).expect("the stream speaks the protocol");
            if let StreamMessage::Events { events, now_us } = message {
                seen.events.extend(events);
                let start = at.checked_sub(Duration::from_micros(now_us));
                began = began.min(start).or(start);
            }
        }
        if let Some(began) = began {
            let clock = killed.saturating_duration_since(began).as_micros();
            seen.killed_us = u64::try_from(clock).expect("runs are short");
        }
        seen
    }
}

/// A run's record.
struct Record {
    state: RunState,
    events: Vec<Event>,
}

impl Record {
    /// Reads it as every client does; `None` where there is none.
    fn of(server: &Server, run: &str) -> Option<Self> {
        let (status, info) = server.exchange("GET", &format!("/api/runs/{run}"), "");
        if status == 404 {
            return None;
        }
        assert_eq!(status, 200, "{info}");
        let info: linger_shared::protocol::RunInfo = serde_json::from_str(&info).unwrap();
        assert!(info.recorded);
        let (status, lines) = server.exchange("GET", &format!("/api/runs/{run}/events"), "");
        assert_eq!(status, 200, "{lines}");
        let mut lines = lines.lines();
        assert!(lines.next().unwrap().contains(r#""kind":"header""#));
        let events: Vec<Event> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(info.events, events.len() as u64);
        Some(Self {
            state: info.state,
            events,
        })
    }

    /// How many events the run itself had recorded: an end that was added says that it was.
    fn checked(&self) -> usize {
        for (number, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, number as u64);
        }
        let last = self.events.last().map(|event| &event.fact);
        match (self.state, last) {
            (RunState::Finished, Some(Fact::Verdict(_))) => self.events.len(),
            (RunState::Failed, Some(Fact::Failure { message })) => {
                assert!(message.contains("the server was killed"), "{message}");
                self.events.len() - 1
            }
            (state, last) => panic!("a {} run ends with {last:?}", state.as_str()),
        }
    }
}

/// Compares a record with what was seen; gives how far before the kill the first event happened
/// that was seen and is not in the record, in microseconds.
fn loss(record: Option<&Record>, seen: &Seen) -> u64 {
    let kept = record.map_or(0, Record::checked);
    if let Some(record) = record {
        let both = kept.min(seen.events.len());
        assert_eq!(record.events[..both], seen.events[..both]);
    }
    seen.events
        .get(kept)
        .map_or(0, |lost| seen.killed_us.saturating_sub(lost.at_us))
}

/// Starts runs of different lengths on a server, and kills it in the middle.
fn strike(server: Server, random: &mut Random) -> BTreeMap<String, Seen> {
    let viewers: Vec<_> = (0..RUNS)
        .map(|_| {
            let requests = [5, 50, 200][random.below(3) as usize];
            let run = server.run(&json!({
                "experiment": "http-sequential",
                "params": {
                    "requests": requests,
                    "persistent": random.below(2) == 0,
                    "pause": "2ms",
                    "delay": "0s",
                },
            }));
            let address = server.address.clone();
            thread::spawn(move || {
                let heard = watch(&address, &run);
                (run, heard)
            })
        })
        .collect();
    let moment = Instant::now() + Duration::from_millis(random.below(LONGEST_MS));
    thread::sleep(moment.saturating_duration_since(Instant::now() + WATCHED));
    let before = waited_us(server.pid());
    thread::sleep(moment.saturating_duration_since(Instant::now()));
    let waited_us = waited_us(server.pid()).saturating_sub(before);
    let killed = server.kill();
    viewers
        .into_iter()
        .map(|viewer| {
            let (run, heard) = viewer.join().expect("a viewer ends with its server");
            (run, Seen::new(&heard, killed, waited_us))
        })
        .collect()
}

/// What the hundred kills came to.
#[derive(Default)]
struct Tally {
    /// The loss of each run that was cut off.
    losses: Vec<u64>,
    finished: usize,
    /// Runs whose hosts were still being made.
    unborn: usize,
}

/// Kills one server again and again, each time a new one at the same recordings.
fn killed_again_and_again(seed: u64) -> Tally {
    let mut random = Random(seed);
    let folder = Scratch::new("killed");
    let arguments = ["--data", folder.text(), "--keep-runs", "40"];
    let mut tally = Tally::default();
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for round in 0..=KILLS {
        let server = Server::start(&arguments);
        for (run, seen) in &seen {
            let record = Record::of(&server, run);
            let loss = loss(record.as_ref(), seen);
            match record.map(|record| record.state) {
                None => tally.unborn += 1,
                Some(RunState::Finished) => tally.finished += 1,
                Some(_) => tally.losses.push(loss),
            }
            assert!(
                loss <= LOSS_US + seen.waited_us,
                "{run} has lost {loss} us, and its server waited {} us for a processor",
                seen.waited_us
            );
        }
        if round < KILLS {
            seen = strike(server, &mut random);
        } else {
            every_record_is_whole(&server);
        }
    }
    the_database_is_sound(folder.path());
    tally
}

/// Looks at all that the retention has left, of all kills.
fn every_record_is_whole(server: &Server) {
    let runs = server.ask("GET", "/api/runs?limit=1000", "");
    let runs = runs.as_array().expect("a list");
    assert!(runs.len() >= 40, "{} runs", runs.len());
    for run in runs {
        // The retention may have taken it meanwhile.
        if let Some(record) = Record::of(server, run["id"].as_str().unwrap()) {
            record.checked();
        }
    }
}

fn the_database_is_sound(folder: &Path) {
    let database = Connection::open(folder.join("linger.db")).expect("it is there");
    let found: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("it can be read");
    assert_eq!(found, "ok");
}

#[test]
fn a_hundred_kills_under_load_cost_less_than_100_ms_of_events_each() {
    let mut all = Tally::default();
    // Its end is waited for even if one of them fails: no server is left.
    thread::scope(|scope| {
        let servers: Vec<_> = (0..SERVERS)
            .map(|seed| scope.spawn(move || killed_again_and_again(seed)))
            .collect();
        for server in servers {
            let tally = server.join().expect("a record is not as it must be");
            all.losses.extend(tally.losses);
            all.finished += tally.finished;
            all.unborn += tally.unborn;
        }
    });
    all.losses.sort_unstable();
    let cut_off = all.losses.len();
    let at = |share: usize| all.losses[(cut_off - 1) * share / 100];
    println!(
        "{cut_off} runs cut off, {} finished before, {} not begun; lost {} us at p50, {} at p90, {} \
         at most",
        all.finished,
        all.unborn,
        at(50),
        at(90),
        at(100)
    );
    // The kills came when they should: in the middle of runs.
    assert!(cut_off as u64 > SERVERS * KILLS * RUNS / 3);
    assert!(all.finished > 0);
    // And waiting for a processor is no excuse for many of them.
    assert!(at(90) <= LOSS_US, "{:?}", all.losses);
}

#[test]
fn a_torn_log_costs_its_tail_alone() {
    let mut random = Random(7);
    for tear in [1, 5_000, 60_000] {
        let folder = Scratch::new("torn");
        let arguments = ["--data", folder.text()];
        let seen = loop {
            let server = Server::start(&arguments);
            let seen = strike(server, &mut random);
            if seen.values().any(|seen| seen.events.len() > 100) {
                break seen;
            }
        };
        // What a disk that lost power may make of the last pages that it was given.
        let path = folder.path().join("linger.db-wal");
        let length = fs::metadata(&path).expect("a log is there").len();
        let mut log = OpenOptions::new().write(true).open(&path).unwrap();
        log.seek(SeekFrom::Start(length.saturating_sub(tear)))
            .unwrap();
        log.write_all(&vec![0x5a; usize::try_from(tear).unwrap() + 3_000])
            .unwrap();
        drop(log);

        let server = Server::start(&arguments);
        let mut cut_off = 0;
        for (run, seen) in &seen {
            if let Some(record) = Record::of(&server, run) {
                loss(Some(&record), seen);
                cut_off += usize::from(record.state == RunState::Failed);
            }
        }
        assert!(cut_off > 0, "{tear} bytes");
        drop(server);
        the_database_is_sound(folder.path());
    }
}
