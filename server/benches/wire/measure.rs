//! The measurements themselves.

use std::{
    collections::HashMap,
    hint::black_box,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use linger_shared::{
    event::{Event, Fact},
    units::human,
};

use crate::ground::Ground;

/// Packets of one flood: enough for a steady state, few enough to keep every one in memory.
const FLOOD: u64 = 50_000;

/// Bytes of payload in a flooded packet: with IP and UDP headers, an MTU of 1,500.
const PAYLOAD: usize = 1_472;

/// How many packets may be under way unanswered in a flood: as many as a socket's default receive
/// buffer takes.
const WINDOW: u64 = 64;

/// The configured delay whose error is measured, and how many packets it is measured with.
const DELAY: Duration = Duration::from_millis(20);
const DELAYED: usize = 1_000;

pub(crate) fn all() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let _inside = runtime.enter();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();

    criterion.bench_function("two_hosts/up_and_down", |bencher| {
        bencher.iter(|| black_box(Ground::wire(Duration::ZERO, true)));
    });

    let mut round_trip = criterion.benchmark_group("round_trip");
    for (name, ground) in [
        ("veth", Ground::veth()),
        ("wire_recorded", Ground::wire(Duration::ZERO, true)),
        ("wire_unrecorded", Ground::wire(Duration::ZERO, false)),
    ] {
        let (client, server) = ground.sockets();
        let echo = echo(server);
        round_trip.bench_function(name, |bencher| bencher.iter(|| ping(&client)));
        stop(&client);
        echo.join().expect("the echo ends");
    }
    round_trip.finish();

    let mut flood = criterion.benchmark_group("one_way_1500_bytes");
    flood
        .throughput(Throughput::Elements(FLOOD))
        .sample_size(10);
    for (name, recorded) in [("recorded", true), ("unrecorded", false)] {
        flood.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| flood_once(recorded)).sum());
        });
    }
    flood.finish();
    criterion.final_summary();

    figures(&runtime);
}

/// The figures to quote, measured side by side.
fn figures(runtime: &tokio::runtime::Runtime) {
    println!("\n{:44} {:>14} {:>14}", "figure", "p50", "p99");
    let row = |name: &str, mut micros: Vec<u64>| {
        micros.sort_unstable();
        let at = |share: usize| micros[(micros.len() - 1) * share / 100];
        println!("{name:44} {:>14} {:>14}", human(at(50)), human(at(99)));
        at(50)
    };
    let mut up = Vec::new();
    let mut down = Vec::new();
    for _ in 0..30 {
        let began = Instant::now();
        let ground = Ground::wire(Duration::ZERO, true);
        up.push(micros(began));
        let began = Instant::now();
        drop(ground);
        down.push(micros(began));
    }
    row("two hosts and a wire, up", up);
    row("two hosts and a wire, down", down);

    // Alternating in short turns, so that both see the same machine.
    let grounds = [Ground::veth(), Ground::wire(Duration::ZERO, true)];
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
    let veth = row("round trip over a veth pair", veth);
    let wire = row("round trip over the wire, recorded", wire);
    println!(
        "{:44} {:>14}   {:.2} x veth",
        "added round-trip time",
        human(wire.saturating_sub(veth)),
        wire as f64 / veth.max(1) as f64
    );

    row(
        &format!("error of a delay of {}", human(DELAY.as_micros() as u64)),
        delay_errors(runtime),
    );

    for recorded in [true, false] {
        let took = (0..5)
            .map(|_| flood_once(recorded))
            .min()
            .unwrap_or_default();
        let rate = FLOOD as f64 / took.as_secs_f64();
        println!(
            "{:44} {:>9.0} packets/s {:.2} Gbit/s",
            format!(
                "one way, 1,500 bytes, {}",
                if recorded { "recorded" } else { "unrecorded" }
            ),
            rate,
            rate * 1_500.0 * 8.0 / 1e9
        );
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Answers every packet until an empty one comes.
fn echo(server: UdpSocket) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok(length) = server.recv(&mut buffer) {
            if length == 0 {
                return;
            }
            server.send(&buffer[..length]).expect("an answer is sent");
        }
    })
}

fn stop(client: &UdpSocket) {
    client.send(&[]).expect("the last packet is sent");
}

fn ping(client: &UdpSocket) {
    let mut buffer = [0; 64];
    client.send(b"ping").expect("a ping is sent");
    client.recv(&mut buffer).expect("a ping is answered");
}

/// Sends [`FLOOD`] packets one way, at most [`WINDOW`] unacknowledged; the time until the last one
/// was read.
fn flood_once(recorded: bool) -> Duration {
    let ground = Ground::wire(Duration::ZERO, recorded);
    let (client, server) = ground.sockets();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 2_048];
        for number in 1..=FLOOD {
            server.recv(&mut buffer).expect("no packet is lost");
            if number % (WINDOW / 2) == 0 || number == FLOOD {
                server.send(&[1]).expect("an acknowledgment is sent");
            }
        }
    });
    let payload = [0x5a; PAYLOAD];
    let mut acknowledgment = [0; 8];
    let mut allowed = WINDOW;
    let began = Instant::now();
    for number in 0..FLOOD {
        if number == allowed {
            client
                .recv(&mut acknowledgment)
                .expect("the reader goes on");
            allowed += WINDOW / 2;
        }
        client.send(&payload).expect("a packet is sent");
    }
    reader.join().expect("the reader ends");
    began.elapsed()
}

/// How much longer than configured each packet was on its way, from the wire's own stamps.
fn delay_errors(runtime: &tokio::runtime::Runtime) -> Vec<u64> {
    let ground = Ground::wire(DELAY, true);
    let (client, server) = ground.sockets();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 64];
        for _ in 0..DELAYED {
            server.recv(&mut buffer).expect("a delayed packet comes");
        }
    });
    for _ in 0..DELAYED {
        client.send(b"delayed").expect("a packet is sent");
        thread::sleep(Duration::from_micros(700));
    }
    reader.join().expect("the reader ends");
    let log = runtime.block_on(ground.recorded());
    let mut departed = HashMap::new();
    let mut errors = Vec::new();
    for line in log.read(0, usize::MAX, usize::MAX) {
        let event: Event = serde_json::from_str(&line).expect("a recorded event reads back");
        match event.fact {
            Fact::PacketDeparted(packet) => {
                departed.insert(packet.id, event.at_us);
            }
            Fact::PacketArrived { id } => {
                let configured = u64::try_from(DELAY.as_micros()).unwrap_or(u64::MAX);
                errors.extend(
                    departed
                        .get(&id)
                        .map(|since| (event.at_us - since).abs_diff(configured)),
                );
            }
            _ => {}
        }
    }
    errors
}
