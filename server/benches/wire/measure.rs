//! The measurements themselves, each a few lines of the table.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use linger::runs::EventLog;
use linger_shared::{
    event::{Event, Fact},
    units::human,
};
use tokio::runtime::Runtime;

use crate::{
    cores,
    ground::{Ground, Watched},
    traffic::{FLOOD, chatter, echo, flood, ping, stop},
};

/// The configured delay whose error is measured.
const DELAY: Duration = Duration::from_millis(20);

/// How often each run's client asks its server where many runs are measured.
const PAUSE: Duration = Duration::from_millis(20);

/// How long many runs talk.
const LASTING: Duration = Duration::from_secs(4);

/// A group of figures, and what measures it.
type Figures = (&'static str, fn(&Runtime));

/// All of them, in the order of the table.
const FIGURES: [Figures; 6] = [
    ("hosts", hosts),
    ("round-trip", round_trip),
    ("throughput", throughput),
    ("delay-1", |runtime| delay_error(runtime, 1)),
    ("delay-50", |runtime| delay_error(runtime, 50)),
    ("delay-200", |runtime| delay_error(runtime, 200)),
];

/// Measures what `wanted` names a part of; everything where it is empty.
pub(crate) fn table(wanted: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let _inside = runtime.enter();
    println!("{:56} {:>12} {:>12}", "figure", "p50", "p99");
    for (name, measure) in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            measure(&runtime);
        }
    }
}

/// Prints a line of the table; gives the median.
fn row(name: &str, mut micros: Vec<u64>) -> u64 {
    if micros.is_empty() {
        println!("{name:56} {:>12}", "no packet");
        return 0;
    }
    micros.sort_unstable();
    let at = |share: usize| micros[(micros.len() - 1) * share / 100];
    println!("{name:56} {:>12} {:>12}", human(at(50)), human(at(99)));
    at(50)
}

pub(crate) fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn hosts(_: &Runtime) {
    let mut up = Vec::new();
    let mut down = Vec::new();
    for _ in 0..30 {
        let began = Instant::now();
        let ground = Ground::wire(Duration::ZERO, Watched::Recorded);
        up.push(micros(began));
        let began = Instant::now();
        drop(ground);
        down.push(micros(began));
    }
    row("two hosts and a wire, up", up);
    row("two hosts and a wire, down", down);
}

/// Once wherever the scheduler puts the threads, and once with all of them on one core: there the
/// difference is the wire's own work, and elsewhere also what it costs to wake a core that sleeps,
/// four times in a round trip over the wire.
fn round_trip(_: &Runtime) {
    round_trips("");
    let cores = cores::mine();
    cores::keep_to(&cores[..1]);
    round_trips(", one core");
    cores::keep_to(&cores);
    if let [one, other, ..] = cores[..] {
        row(
            "waking a thread on another core, and back",
            cores::wake(one, other),
        );
        cores::keep_to(&cores);
    }
}

/// Beside each other over a veth pair and over the wire. The wire's thread starts with the first
/// link and keeps to the cores of who starts it.
fn round_trips(place: &str) {
    // Alternating in short turns, so that both see the same machine.
    let grounds = [
        Ground::veth(),
        Ground::wire(Duration::ZERO, Watched::Recorded),
    ];
    let pairs = grounds.each_ref().map(|ground| {
        let (client, server) = ground.sockets();
        (client, echo(server))
    });
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..100 {
        for ((client, _), times) in pairs.iter().zip(&mut times) {
            for _ in 0..50 {
                let began = Instant::now();
                ping(client);
                times.push(micros(began));
            }
        }
    }
    for (client, echo) in pairs {
        stop(&client);
        echo.join().expect("the echo ends");
    }
    let [veth, wire] = times;
    let veth = row(&format!("round trip over a veth pair{place}"), veth);
    let wire = row(&format!("round trip over the wire, recorded{place}"), wire);
    println!(
        "{:56} {:>12} {:>12}",
        format!("the wire's round trip beside a veth pair's{place}"),
        format!("{:.1} x", wire as f64 / veth.max(1) as f64),
        format!("+ {}", human(wire.saturating_sub(veth))),
    );
}

fn throughput(_: &Runtime) {
    type Kind = (&'static str, fn() -> Ground);
    let kinds: [Kind; 3] = [
        ("a veth pair", Ground::veth),
        ("the wire, recorded", || {
            Ground::wire(Duration::ZERO, Watched::Recorded)
        }),
        ("the wire, unrecorded", || {
            Ground::wire(Duration::ZERO, Watched::Not)
        }),
    ];
    // The fastest of a few: what the machine does when nothing else wants it.
    let mut fastest = [Duration::MAX; 3];
    for _ in 0..5 {
        for ((_, make), fastest) in kinds.iter().zip(&mut fastest) {
            *fastest = flood(&make()).min(*fastest);
        }
    }
    for ((name, _), took) in kinds.iter().zip(fastest) {
        let rate = FLOOD as f64 / took.as_secs_f64();
        println!(
            "{:56} {:>12} {:>12}",
            format!("1,500 bytes one way over {name}"),
            format!("{:.2} Gbit/s", rate * 1_500.0 * 8.0 / 1e9),
            format!("{:.0} /ms", rate / 1e3),
        );
    }
    let veth = fastest[0].as_secs_f64();
    println!(
        "{:56} {:>12}",
        "the wire's throughput, recorded, beside a veth pair's",
        format!("{:.2} x", veth / fastest[1].as_secs_f64()),
    );
}

/// How much later than its link says each packet arrived, with so many runs at once.
fn delay_error(runtime: &Runtime, runs: usize) {
    let grounds: Vec<Ground> = (0..runs)
        .map(|_| Ground::wire(DELAY, Watched::Sampled))
        .collect();
    runtime.block_on(chatter(&grounds, PAUSE, LASTING));
    let late = thread::scope(|scope| {
        // Taking hosts down waits for the kernel; the waits overlap.
        let ends: Vec<_> = grounds
            .into_iter()
            .map(|ground| scope.spawn(|| lateness(&runtime.block_on(ground.recorded()))))
            .collect();
        ends.into_iter()
            .flat_map(|end| end.join().expect("a run ends"))
            .collect()
    });
    let delay = human(u64::try_from(DELAY.as_micros()).unwrap_or(u64::MAX));
    let named = if runs == 1 {
        format!("error of a delay of {delay}, one run")
    } else {
        format!("error of a delay of {delay}, {runs} runs at once")
    };
    row(&named, late);
}

/// How much longer than [`DELAY`] each packet was on its way, from the wire's own stamps.
fn lateness(log: &EventLog) -> Vec<u64> {
    let mut departed = HashMap::new();
    let mut late = Vec::new();
    for line in log
        .read(0, usize::MAX, usize::MAX)
        .expect("events are in memory")
    {
        let event: Event = serde_json::from_str(&line).expect("a recorded event reads back");
        match event.fact {
            Fact::PacketDeparted(packet) => {
                departed.insert(packet.id, event.at_us);
            }
            Fact::PacketArrived { id } => {
                let delay = u64::try_from(DELAY.as_micros()).unwrap_or(u64::MAX);
                late.extend(
                    departed
                        .get(&id)
                        .map(|since| (event.at_us - since).abs_diff(delay)),
                );
            }
            _ => {}
        }
    }
    late
}
