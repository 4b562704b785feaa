//! How fast packets are dissected.
//!
//! `cargo bench -p linger-shared --bench dissect`. Each stream is a sequence of IPv4 packets as a
//! run records it: a handshake, then segments of at most 1,448 bytes of payload with timestamps,
//! each acknowledged. Throughput is given in bytes on the wire; the packets per second are printed
//! before each measurement, as there is one throughput to a measurement.
//!
//! First come the same streams beside tshark, where it is installed; see [`tshark`].

mod streams;
mod tshark;

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linger_shared::dissect::{flow::FlowTracker, layers::layers};

use streams::streams;

/// How much one stream carries, in bytes.
const VOLUME: usize = 4 << 20;

fn observe(packets: &[Vec<u8>]) -> usize {
    let mut tracker = FlowTracker::new();
    packets
        .iter()
        .map(|packet| black_box(tracker.observe(packet)).messages.len())
        .sum()
}

fn dissect(c: &mut Criterion) {
    tshark::compare(observe);
    let all = streams(VOLUME);
    for stream in &all {
        let (name, packets, bytes) = (stream.name, &stream.packets, stream.bytes());
        observe(packets);
        let begun = Instant::now();
        let messages = observe(packets);
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{name}: {} packets, {messages} messages; once: {:.0} MB/s, {:.0} packets/s",
            packets.len(),
            bytes as f64 / took / 1e6,
            packets.len() as f64 / took
        );
        let mut group = c.benchmark_group("follow");
        group.sample_size(10);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |b| b.iter(|| observe(packets)));
        group.finish();
    }
    let frames = &all[3];
    let mut group = c.benchmark_group("layers");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(frames.bytes() as u64));
    group.bench_function(frames.name, |b| {
        b.iter(|| {
            let trees = frames.packets.iter().map(|packet| layers(packet, None));
            trees.map(|tree| black_box(tree).len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, dissect);
criterion_main!(benches);
