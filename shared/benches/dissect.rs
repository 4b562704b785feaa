//! How fast packets are dissected.
//!
//! `cargo bench -p linger-shared --bench dissect`. Each stream is a sequence of IPv4 packets as a
//! run records it: a handshake, then segments of at most 1,448 bytes of payload with timestamps,
//! each acknowledged. Throughput is given in bytes on the wire; the packets per second are printed
//! before each measurement, as there is one throughput to a measurement.

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linger_shared::dissect::{flow::FlowTracker, layers::layers};

/// Payload of a full segment on a link with an MTU of 1,500 bytes and timestamps.
const SEGMENT: usize = 1_448;

/// How much one stream carries, in bytes.
const VOLUME: usize = 4 << 20;

fn packet(from_server: bool, seq: u32, ack: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let hosts = [[192, 0, 2, 1], [198, 51, 100, 1]];
    let ports = [40_000_u16, 443];
    let (from, to) = (usize::from(from_server), usize::from(!from_server));
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&(52 + data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend_from_slice(&hosts[from]);
    bytes.extend_from_slice(&hosts[to]);
    bytes.extend_from_slice(&ports[from].to_be_bytes());
    bytes.extend_from_slice(&ports[to].to_be_bytes());
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&ack.to_be_bytes());
    bytes.extend_from_slice(&[0x80, flags, 1, 0xf6, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    bytes.extend_from_slice(data);
    bytes
}

/// The packets of a connection in which the client sends `request` and the server `response`.
fn stream(request: &[u8], response: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![
        packet(false, 0, 0, 2, b""),
        packet(true, 0, 1, 18, b""),
        packet(false, 1, 1, 16, b""),
        packet(false, 1, 1, 24, request),
    ];
    let acked = 1 + request.len() as u32;
    let mut sent = 1_u32;
    for segment in response.chunks(SEGMENT) {
        packets.push(packet(true, sent, acked, 24, segment));
        sent = sent.wrapping_add(segment.len() as u32);
        packets.push(packet(false, acked, sent, 16, b""));
    }
    packets
}

fn repeated(first: &[u8], unit: &[u8]) -> Vec<u8> {
    let mut bytes = first.to_vec();
    while bytes.len() < VOLUME {
        bytes.extend_from_slice(unit);
    }
    bytes
}

fn streams() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n";
    let responses = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 900\r\n\r\n";
    let responses = [&responses[..], &[b'x'; 900]].concat();

    let mut record = vec![23, 3, 3, 0x40, 0];
    record.extend_from_slice(&[0xaa; 16_384]);

    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    // HEADERS with `:status: 200` and a literal, then DATA of 1,000 bytes.
    let mut frames = b"\0\0\x0e\x01\x04\0\0\0\x01\x88\0\x04name\x06value1".to_vec();
    frames.extend_from_slice(b"\0\x03\xe8\0\0\0\0\0\x01");
    frames.extend_from_slice(&[b'd'; 1_000]);

    let upgrade = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let mut text = vec![0x81, 100];
    text.extend_from_slice(&[b't'; 100]);

    let mut records = b"\x16\x03\x03\0\x2c\x02\0\0\x28\x03\x03".to_vec();
    records.extend_from_slice(&[7; 32]);
    records.extend_from_slice(b"\0\x13\x01\0\0\0");
    vec![
        ("no known protocol", stream(b"send\n", &vec![0xff; VOLUME])),
        (
            "TLS records of 16 KiB",
            stream(b"", &repeated(&records, &record)),
        ),
        (
            "HTTP/1 responses of 900 bytes",
            stream(request, &repeated(b"", &responses)),
        ),
        (
            "HTTP/2 frames",
            stream(preface, &repeated(settings, &frames)),
        ),
        (
            "WebSocket frames of 100 bytes",
            stream(upgrade, &repeated(switching, &text)),
        ),
    ]
}

fn observe(packets: &[Vec<u8>]) -> usize {
    let mut tracker = FlowTracker::new();
    packets
        .iter()
        .map(|packet| black_box(tracker.observe(packet)).messages.len())
        .sum()
}

fn dissect(c: &mut Criterion) {
    for (name, packets) in streams() {
        let bytes: usize = packets.iter().map(Vec::len).sum();
        observe(&packets);
        let begun = Instant::now();
        let messages = observe(&packets);
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
        group.bench_function(name, |b| b.iter(|| observe(&packets)));
        group.finish();
    }
    let (name, packets) = &streams()[3];
    let bytes: usize = packets.iter().map(Vec::len).sum();
    let mut group = c.benchmark_group("layers");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(*name, |b| {
        b.iter(|| {
            packets
                .iter()
                .map(|packet| black_box(layers(packet, None)).len())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, dissect);
criterion_main!(benches);
