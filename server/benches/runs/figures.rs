//! The table.

use std::time::{Duration, Instant};

use linger::runs::Config;
use tokio::runtime::Runtime;

use crate::{
    ground::{Ground, Speech, resident},
    stores,
    viewers::Viewers,
};

/// A group of figures, and what measures it.
type Figures = (&'static str, fn(&Runtime));

/// All of them, in the order of the table.
const FIGURES: [Figures; 4] = [
    ("store", stores::rates),
    ("rate", rate),
    ("viewers", viewers),
    ("memory", memory),
];

/// Measures what `wanted` names a part of; everything where it is empty.
pub(crate) fn table(wanted: &[String]) {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let _inside = runtime.enter();
    println!("{:52} {:>14} {:>14}", "figure", "", "");
    for (name, measure) in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            measure(&runtime);
        }
    }
}

/// Prints a line of the table.
pub(crate) fn row(name: &str, figure: String, other: String) {
    println!("{name:52} {figure:>14} {other:>14}");
}

/// The shortest run that has everything: hosts, wire, handshake, data, both closes, verdict.
fn short_run(ground: &Ground<'_>) -> String {
    ground.start("tcp-lifecycle", &[("delay", "0s")])
}

/// Short runs a minute, one after the other and as many at once as a server allows.
fn rate(runtime: &Runtime) {
    for concurrent in [1, Config::default().concurrent] {
        let ground = Ground::new(runtime, concurrent);
        let last = short_run(&ground);
        ground.over(&last);
        let count = 100;
        let began = Instant::now();
        let runs: Vec<String> = (0..count).map(|_| short_run(&ground)).collect();
        for run in &runs {
            ground.over(run);
        }
        let took = began.elapsed();
        row(
            &format!("tcp-lifecycle without delay, {concurrent} at once"),
            format!("{:.0} /min", f64::from(count) / took.as_secs_f64() * 60.0),
            format!("{:.1} ms each", took.as_secs_f64() / f64::from(count) * 1e3),
        );
    }
}

/// Events a second over WebSockets.
fn viewers(runtime: &Runtime) {
    let ground = Ground::new(runtime, 8);
    for (count, remarks) in [(1_usize, 200_000_u64), (1_000, 2_000)] {
        // It says up to 100,000 a second: a single viewer's figure is close to that where it keeps up.
        let speech = Speech {
            remarks,
            at_once: 1_000,
            pause: Duration::from_millis(10),
            // Until the viewers have come.
            first: Duration::from_secs(if count == 1 { 1 } else { 10 }),
        };
        let run = ground.speak(speech);
        ground.begun(&run);
        let told = Viewers::start(ground.address, &run, count).ended();
        let events = (remarks * count as u64) as f64;
        let seconds = told.took.as_secs_f64();
        row(
            &match count {
                1 => "events to one viewer".to_owned(),
                _ => format!("events to {count} viewers, all together"),
            },
            format!("{:.0} k/s", events / seconds / 1e3),
            format!("{:.0} MB/s", told.bytes as f64 / seconds / 1e6),
        );
    }
}

/// What a run at work and a viewer cost the process.
fn memory(runtime: &Runtime) {
    const RUNS: usize = 100;
    const VIEWERS: usize = 1_000;
    let ground = Ground::new(runtime, 2 * RUNS);
    let start = || {
        let watch = ("watch", "1h");
        ground.start("tcp-dead-peer", &[("keepalive", "off"), watch])
    };
    let idle = Duration::from_secs(1);
    // The first ones bring what all of them share.
    for run in (0..10).map(|_| start()).collect::<Vec<_>>() {
        ground.begun(&run);
    }
    std::thread::sleep(idle);
    let before = resident();
    let runs: Vec<String> = (0..RUNS).map(|_| start()).collect();
    for run in &runs {
        ground.begun(run);
    }
    std::thread::sleep(idle);
    let with_runs = resident();
    let per =
        |bytes: u64, count: usize| format!("{:.1} KiB", bytes as f64 / count as f64 / 1_024.0);
    row(
        &format!("memory per run, {RUNS} idle connections' runs"),
        per(with_runs.saturating_sub(before), RUNS),
        "two hosts each".to_owned(),
    );
    let some = Viewers::start(ground.address, &runs[0], 50);
    std::thread::sleep(idle);
    let before = resident();
    let all = Viewers::start(ground.address, &runs[0], VIEWERS);
    std::thread::sleep(idle);
    let with_viewers = resident();
    row(
        &format!("memory per viewer, {VIEWERS} of one run"),
        per(with_viewers.saturating_sub(before), VIEWERS),
        String::new(),
    );
    all.end();
    some.end();
}
