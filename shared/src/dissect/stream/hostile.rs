//! Peers that want the dissectors to be slow or to fill the memory.
//!
//! Times are those that the test has computed for, whatever else the machine did, and are compared
//! with each other: the bytes at the end of a long message may cost what those at its beginning
//! cost, and where the work is quadratic they cost ten times that and more.

use std::time::Duration;

use super::*;
use crate::dissect::{
    flow::FlowTracker,
    http1::Head,
    http2::PREFACE,
    testing::{Random, Segment, frame, handshake, record},
};

/// The sequence number of a stream's first byte; the stream soon wraps around.
const FIRST: u32 = u32::MAX - 20;

fn part(at: usize, bytes: &[u8]) -> Part<'_> {
    Part {
        seq: FIRST.wrapping_add(at as u32),
        syn: false,
        fin: false,
        bytes,
        ack: None,
    }
}

/// A conversation of which one direction begins.
fn open() -> Conversation {
    let mut conversation = Conversation::default();
    let syn = Part {
        syn: true,
        ..part(0, b"")
    };
    conversation.segment(0, syn);
    conversation
}

/// What this thread has computed for so far.
#[cfg(target_os = "linux")]
fn computed() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.map_or(Duration::ZERO, Duration::from)
}

/// Elsewhere the time that went by, with others' work in it.
#[cfg(not(target_os = "linux"))]
fn computed() -> Duration {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// The shortest of a few tries: caches are cold and clocks are slow now and then.
fn shortest(mut took: impl FnMut() -> Duration) -> Duration {
    (0..5).map(|_| took()).min().unwrap_or_default()
}

/// How many times as long the last of sixteen parts of a message takes as the second, when it comes
/// byte by byte behind `before`.
fn growth(before: &[u8], message: &[u8]) -> f64 {
    let parts: Vec<&[u8]> = message.chunks(message.len().div_ceil(16)).collect();
    assert_eq!(parts.len(), 16);
    let mut best = [Duration::MAX; 16];
    for _ in 0..3 {
        let mut conversation = open();
        conversation.segment(0, part(0, before));
        let mut at = before.len();
        for (best, bytes) in best.iter_mut().zip(&parts) {
            let begun = computed();
            for byte in bytes.chunks(1) {
                conversation.segment(0, part(at, byte));
                at += 1;
            }
            *best = (computed() - begun).min(*best);
        }
    }
    best[15].as_secs_f64() / best[1].as_secs_f64()
}

/// What comes before, and a message of nearly 64 KiB whose end never comes, for each protocol.
fn endless() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let filler = |begin: &[u8], unit: &[u8]| {
        let mut bytes = begin.to_vec();
        while bytes.len() < 65_000 {
            bytes.extend_from_slice(unit);
        }
        bytes
    };
    let header = |kind: u8, length: u32| {
        let mut frame = frame(kind, 0, 1, b"");
        frame[..3].copy_from_slice(&length.to_be_bytes()[1..]);
        frame
    };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".to_vec();
    // A handshake message of 16 MB in the smallest records.
    let fragments = [record(22, &[1, 255, 255, 255]), record(22, &[0])].concat();
    vec![
        ("head", Vec::new(), filler(b"GET / HTTP/1.1\r\nA: ", b"a")),
        (
            "head of many lines",
            Vec::new(),
            filler(b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        ),
        ("trailer", chunked.clone(), filler(b"A: ", b"a")),
        ("trailers", chunked, filler(b"", b"A: b\r\n")),
        (
            "handshake record",
            Vec::new(),
            filler(b"\x16\x03\x03\xff\xff\x01\x00\xff\xfb", b"a"),
        ),
        (
            "handshake fragments",
            fragments,
            filler(b"", &record(22, &[0])),
        ),
        (
            "HEADERS",
            PREFACE.to_vec(),
            filler(&header(1, 65_535), &[0x82]),
        ),
        (
            "CONTINUATION",
            [PREFACE, &frame(1, 0, 1, &[0x82])].concat(),
            filler(b"", &frame(9, 0, 1, &[0x82])),
        ),
        (
            "SETTINGS",
            PREFACE.to_vec(),
            filler(&header(4, 65_535), b"a"),
        ),
        ("no known protocol", Vec::new(), filler(b"\xff", b"a")),
    ]
}

#[test]
fn the_bytes_of_a_long_message_cost_the_same_from_first_to_last() {
    for (name, before, message) in endless() {
        let growth = growth(&before, &message);
        assert!(growth < 5.0, "{name}: {growth:.1}");
    }
}

#[test]
fn a_head_costs_time_by_its_length_whatever_its_lines_are() {
    for unit in [&b" \r\n"[..], b"\t\n", b"a\n", b"A:\n", b"\r\n\r"] {
        let head = |length: usize| {
            let mut bytes = b"GET / HTTP/1.1\r\nA: b\r\n".to_vec();
            while bytes.len() < length {
                bytes.extend_from_slice(unit);
            }
            bytes.extend_from_slice(b"x: y\r\n\r\n");
            bytes
        };
        let took = |bytes: &[u8]| {
            shortest(|| {
                let begun = computed();
                let head = Head::parse(bytes);
                assert!(head.is_ok_and(|head| !head.details().is_empty()));
                computed() - begun
            })
        };
        let (short, long) = (took(&head(4_096)), took(&head(65_536)));
        let growth = long.as_secs_f64() / short.as_secs_f64();
        // Sixteen times the length; the square would be 256.
        assert!(growth < 80.0, "{unit:?}: {growth:.0}");
    }
}

#[test]
fn a_flood_of_bytes_out_of_order_costs_the_same_from_first_to_last() {
    let mut random = Random(3);
    // Every other byte, so that nothing joins; then in any order, so that nothing has its turn.
    let orders: [(&str, Vec<usize>); 3] = [
        ("upwards", (0..48_000).map(|n| 1 + 2 * n).collect()),
        ("downwards", (0..48_000).rev().map(|n| 1 + 2 * n).collect()),
        (
            "anywhere",
            (0..48_000).map(|_| 1 + random.below(100_000)).collect(),
        ),
    ];
    for (name, places) in orders {
        let mut best = [Duration::MAX; 16];
        for _ in 0..3 {
            let mut conversation = open();
            conversation.segment(0, part(0, b""));
            for (best, places) in best.iter_mut().zip(places.chunks(3_000)) {
                let begun = computed();
                for place in places {
                    conversation.segment(0, part(*place, b"x"));
                    assert!(conversation.held() <= Conversation::MAX_HELD);
                }
                *best = (computed() - begun).min(*best);
            }
        }
        // The first parts find little that waits; from the third on there is all that may.
        let growth = best[15].as_secs_f64() / best[3].as_secs_f64();
        assert!(growth < 5.0, "{name}: {growth:.1}");
    }
}

#[test]
fn what_is_kept_of_one_connection_is_bounded_whatever_its_peer_sends() {
    let mut most = 0;
    for (name, before, message) in endless() {
        for size in [1, 1_448, 65_000] {
            let mut conversation = open();
            conversation.segment(0, part(0, &before));
            let mut at = before.len();
            // The same again and again: most of it belongs to the message that has begun.
            for _ in 0..if size == 1 { 1 } else { 10 } {
                for bytes in message.chunks(size) {
                    conversation.segment(0, part(at, bytes));
                    at += bytes.len();
                    let held = conversation.held();
                    assert!(held <= Conversation::MAX_HELD, "{name}: {held}");
                    most = most.max(held);
                }
                // And what waits behind a gap.
                for bytes in message.chunks(size).take(100) {
                    conversation.segment(0, part(at + 1 + size * 2, bytes));
                    most = most.max(conversation.held());
                }
                assert!(conversation.held() <= Conversation::MAX_HELD, "{name}");
            }
        }
    }
    // The bound is not far beyond what can be had.
    assert!(most > Conversation::MAX_HELD / 16, "{most}");
}

#[test]
fn continuations_without_end_are_given_up_and_their_bytes_let_go() {
    let mut conversation = open();
    let begin = [PREFACE, &frame(1, 0, 1, &[0x82])].concat();
    conversation.segment(0, part(0, &begin));
    let mut at = begin.len();
    let more = frame(9, 0, 1, &[0x82; 16_384]);
    let mut last = Vec::new();
    for _ in 0..1_000 {
        last = conversation.segment(0, part(at, &more));
        at += more.len();
        assert!(conversation.held() <= Conversation::MAX_HELD);
    }
    let said = &last[0].details[last[0].details.len() - 1];
    assert_eq!(said.value, "cannot be decoded");
    assert!(conversation.held() < 65_536, "{}", conversation.held());
}

#[test]
fn one_byte_for_each_large_field_does_not_make_a_large_message() {
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x1e];
    block.extend_from_slice(&[b'\n'; 3_968]);
    let first = frame(1, 4, 1, &block);
    let bomb = frame(1, 4, 3, &[0xbe; 200]);
    let mut conversation = open();
    conversation.segment(0, part(0, &[PREFACE, &first].concat()));
    let found = conversation.segment(0, part(PREFACE.len() + first.len(), &bomb));
    let shown: usize = found[0]
        .details
        .iter()
        .map(|detail| detail.name.len() + detail.value.len())
        .sum();
    assert!(shown < 17_000, "{shown}");
    let said = |name: &str| {
        let mut details = found[0].details.iter();
        details
            .find(|detail| detail.name == name)
            .map(|detail| detail.value.as_str())
    };
    assert_eq!(said("Header fields"), Some("2 are not shown"));
    assert_eq!(said("Header block"), Some("not all decoded"));
}

#[test]
fn a_hello_of_nothing_but_empty_extensions_keeps_a_bounded_number() {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[0; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&60_000_u16.to_be_bytes());
    body.extend_from_slice(&[0; 60_000]);
    let hello = handshake(1, &body);
    let mut conversation = open();
    let mut found = Vec::new();
    let mut at = 0;
    for fragment in hello.chunks(16_384) {
        let record = record(22, fragment);
        found.extend(conversation.segment(0, part(at, &record)));
        at += record.len();
    }
    let details = &found[0].details;
    assert!(details.len() < 200, "{}", details.len());
    let last = &details[details.len() - 1].value;
    assert!(last.ends_with("more extensions than are kept"), "{last}");
}

#[test]
fn of_very_many_messages_in_one_packet_the_rest_is_told_together() {
    let mut tracker = FlowTracker::new();
    let syn = Segment::new(0, 0).flags("S");
    tracker.observe(&syn.packet());
    let upgrade = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    tracker.observe(&Segment::new(1, 0).data(upgrade).packet());
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let answered = Segment::new(1, 1 + upgrade.len() as u32)
        .data(answer)
        .back();
    tracker.observe(&answered.packet());
    // The shortest frames there are: empty pings.
    let pings = [0x89, 0].repeat(32_000);
    let flood = Segment::new(1 + upgrade.len() as u32, 0).data(&pings);
    let observed = tracker.observe(&flood.packet());
    assert_eq!(observed.messages.len(), 1_025);
    let last = &observed.messages[1_024];
    assert_eq!(last.summary, "WS 30976 more messages");
    assert_eq!((last.from, last.to), (2_048, 64_000));
    assert!(observed.summary.ends_with("+ 31997 more"));
}

#[test]
fn lines_and_methods_that_are_remembered_count_as_kept() {
    let mut conversation = open();
    let request = b"GET /of/some/length HTTP/1.1\r\n\r\n";
    for n in 0..1_000 {
        conversation.segment(0, part(n * request.len(), request));
    }
    // Sixteen lines, and 256 methods that wait for their responses.
    let least = 16 * 28 + 256 * 32;
    assert!(conversation.held() > least, "{}", conversation.held());
    conversation.forget();
    assert_eq!(conversation.held(), 0);
}
