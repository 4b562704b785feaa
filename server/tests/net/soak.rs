//! A thousand runs, started and stopped at random: what the server holds afterwards is what it held
//! before.

use std::{
    collections::VecDeque,
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::serving::{Holdings, Random, Scratch, Server, entries, until};

/// Runs before the first count. The allocator and the database's caches keep what the first ones
/// needed, and the others find it there.
const WARM_UP: u64 = 1_000;

/// glibc gives threads heaps of their own, sixteen on two cores, and the free space between what
/// lives in them goes on growing for thousands of runs (by a fiftieth from the 2,000th to the
/// 4,000th) while what lives there does not. With one heap, what is counted is the server's doing:
/// it stays within a hundredth from the 1,000th run to the 3,000th (mallopt(3), `M_ARENA_MAX`).
const ONE_HEAP: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// Runs between the counts.
const RUNS: u64 = 1_000;

/// Memory is counted so often, with so many runs between: what the allocator happens to hold at one
/// moment differs by a fiftieth from the next, and the median does not.
const COUNTS: usize = 5;
const BETWEEN: u64 = 50;

/// At most so many are at work or wait at once.
const AT_ONCE: usize = 8;

/// Connections of a server to its recordings: one that writes, one that tidies up, and four for
/// readers, which are opened when so many read at once.
const CONNECTIONS: usize = 6;

/// A bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server holds when no run is at work.
#[derive(Debug)]
struct Rest {
    holdings: Holdings,
    /// Descriptors by what they are: files by name, the others by kind.
    descriptors: Vec<String>,
    threads: usize,
    resident_kib: u64,
}

impl Rest {
    fn of(server: &Server) -> Self {
        let pid = server.pid();
        let mut descriptors: Vec<String> = entries(&format!("/proc/{pid}/fd"))
            .iter()
            .filter_map(|fd| fs::read_link(fd).ok())
            .map(|target| target.to_string_lossy().into_owned())
            // A number tells one socket from another, not one kind from another.
            .map(|name| match name.split_once(":[") {
                Some((kind, _)) => kind.to_owned(),
                None => name,
            })
            .collect();
        descriptors.sort();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let figure = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|text| text.parse().ok()).expect(key)
        };
        Self {
            holdings: server.holdings(),
            descriptors,
            threads: usize::try_from(figure("Threads:")).expect("few"),
            resident_kib: figure("VmRSS:"),
        }
    }
}

/// What may be started: each takes hosts, wire, sampler and endpoints of another kind.
fn request(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({"experiment": "tcp-lifecycle", "params": {"delay": "1ms"}}),
        1 => json!({
            "experiment": "http-sequential",
            "params": {"requests": 5, "pause": "5ms", "delay": "1ms"},
        }),
        2 => json!({
            "experiment": "http-sequential",
            "mode": "relay",
            "params": {"requests": 5, "pause": "5ms", "delay": "1ms", "persistent": false},
        }),
        _ => json!({
            "experiment": "tcp-dead-peer",
            "params": {"keepalive": false, "watch": "1h"},
        }),
    }
}

/// Runs so many; each is stopped at a random moment unless it is over before. Returns when all of
/// them are.
fn run(server: &Server, count: u64, random: &mut Random) {
    let stop = |(moment, run): (Instant, String)| {
        std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        let (status, body) = server.exchange("POST", &format!("/api/runs/{run}/stop"), "");
        // The retention may have taken one that was over long ago.
        assert!(status == 200 || status == 404, "{status}: {body}");
    };
    let mut open = VecDeque::new();
    for _ in 0..count {
        let run = server.run(&request(random));
        // Some before their hosts are up.
        let after = Duration::from_millis(random.below(400));
        open.push_back((Instant::now() + after, run));
        if open.len() == AT_ONCE {
            stop(open.pop_front().expect("there are some"));
        }
    }
    open.into_iter().for_each(stop);
    let began = Instant::now();
    loop {
        let runs = server.ask("GET", "/api/runs?limit=50", "");
        let over = |run: &Value| run["state"] != "running" && run["state"] != "queued";
        if runs.as_array().expect("a list").iter().all(over) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "runs do not end: {runs}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Many who read at once.
fn crowd(server: &Server) {
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| server.ask("GET", "/api/runs?limit=1000", ""));
        }
    });
}

/// What there is once the connection of the last question is closed: the same descriptors three times.
fn settled(server: &Server) -> Rest {
    let mut seen: Vec<Rest> = Vec::new();
    until("descriptors stay as they are", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = Rest::of(server);
        if seen
            .last()
            .is_some_and(|last| last.descriptors != now.descriptors)
        {
            seen.clear();
        }
        seen.push(now);
        seen.len() >= 3
    });
    seen.pop().expect("there are some")
}

/// How many threads there are when those that the runtime lends have gone, which it keeps for 10 s.
fn least_threads(server: &Server) -> usize {
    (0..60)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(200));
            Rest::of(server).threads
        })
        .min()
        .expect("some counts")
}

/// Resident memory as it is at the median of a few counts between runs, in KiB, and what there is
/// at the last of them.
fn counted(server: &Server, random: &mut Random) -> (u64, Rest) {
    let mut counts: Vec<Rest> = (0..COUNTS)
        .map(|_| {
            run(server, BETWEEN, random);
            until("hosts, wires and samplers are gone", || {
                let holdings = server.holdings();
                holdings.threads.is_empty() && holdings.namespaces.len() == 1
            });
            settled(server)
        })
        .collect();
    let last = counts.pop().expect("there are some");
    let mut resident: Vec<u64> = counts.iter().map(|rest| rest.resident_kib).collect();
    resident.push(last.resident_kib);
    resident.sort_unstable();
    println!("{resident:?} KiB");
    (resident[COUNTS / 2], last)
}

#[test]
fn a_thousand_runs_leave_counts_and_memory_where_they_were() {
    let folder = Scratch::new("soak");
    let server = Server::start_with(&[ONE_HEAP], &["--data", folder.text(), "--keep-runs", "50"]);
    let mut random = Random(3);
    run(&server, WARM_UP, &mut random);
    until("all connections to the recordings are open", || {
        crowd(&server);
        let descriptors = Rest::of(&server).descriptors;
        let database = descriptors
            .iter()
            .filter(|name| name.ends_with("linger.db"));
        database.count() == CONNECTIONS
    });
    let (resident_before, mut before) = counted(&server, &mut random);
    before.threads = least_threads(&server);
    run(&server, RUNS - BETWEEN * COUNTS as u64, &mut random);
    let (resident_after, after) = counted(&server, &mut random);
    assert_eq!(after.holdings, before.holdings);
    assert_eq!(after.holdings.tun_devices, 0);
    assert_eq!(after.descriptors, before.descriptors);
    // Threads that the runtime lends to whoever waits for a disk stay for 10 s.
    until("no more threads are there than before", || {
        Rest::of(&server).threads <= before.threads
    });
    assert!(
        resident_after <= resident_before + resident_before / 50,
        "{resident_before} KiB, then {resident_after}"
    );
}
