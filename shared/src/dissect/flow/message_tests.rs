use super::*;
use crate::dissect::{
    Protocol,
    testing::{
        Segment, Talk, http1_talk, http2_talk, ipv6, tls12_talk, tls13_talk, websocket_talk,
    },
};

/// Initial sequence numbers; the client's stream soon wraps around.
const ISN: [u32; 2] = [u32::MAX - 30, 5_000];

fn segment(side: usize, at: usize, data: &[u8]) -> Segment {
    let seq = ISN[side].wrapping_add(1 + at as u32);
    let segment = Segment::new(seq, 0).flags("P").data(data);
    if side == 1 { segment.back() } else { segment }
}

/// A tracker that has seen both SYNs.
fn open() -> FlowTracker {
    let mut tracker = FlowTracker::new();
    tracker.observe(&Segment::new(ISN[0], 0).flags("S").packet());
    let answer = Segment::new(ISN[1], ISN[0].wrapping_add(1));
    tracker.observe(&answer.back().flags("SA").packet());
    tracker
}

/// The summaries of a talk's packets.
fn summaries(talk: &Talk) -> Vec<String> {
    let mut tracker = open();
    let mut sent = [0; 2];
    let observe = |(side, bytes): &(usize, Vec<u8>)| {
        let packet = segment(*side, sent[*side], bytes).packet();
        sent[*side] += bytes.len();
        tracker.observe(&packet).summary
    };
    talk.iter().map(observe).collect()
}

#[test]
fn a_packets_line_tells_the_messages_that_it_completed() {
    let http2 = summaries(&http2_talk());
    assert_eq!(http2[0], "HTTP/2 preface + SETTINGS");
    assert_eq!(http2[4], "HTTP/2 HEADERS 302 + DATA 120 B");
    let http1 = summaries(&http1_talk());
    assert_eq!(http1[1], "HTTP/1.1 200 OK + body 5 B");
    assert_eq!(http1[3], "HTTP/1.1 body 300 B");
    assert_eq!(
        http1[5],
        "HTTP/1.1 200 OK + chunk 3 B + chunk 16 B + 1 more"
    );
    assert_eq!(http1[6], "HEAD /3 HTTP/1.1 + GET /4 HTTP/1.1");
    assert_eq!(
        summaries(&tls12_talk())[1],
        "TLS 1.2 ServerHello + Certificate + ServerHelloDone"
    );
    assert_eq!(summaries(&tls13_talk())[5], "TLS 1.3 ServerHello");
    assert_eq!(
        summaries(&websocket_talk())[2..6],
        [
            "WS text 5 B",
            "WS text 5 B",
            "WS binary 256 B",
            "WS ping 2 B"
        ]
    );
}

#[test]
fn a_message_is_told_with_the_packet_that_completes_it() {
    let mut tracker = open();
    let first = tracker.observe(&segment(0, 0, b"GET /long HTT").packet());
    assert_eq!(
        (first.summary.as_str(), first.messages.len()),
        ("GET /long HTT…", 0)
    );
    let second = tracker.observe(&segment(0, 13, b"P/1.1\r\nA: b\r\n\r\nGET /").packet());
    assert_eq!(second.summary, "GET /long HTTP/1.1");
    let message = &second.messages[0];
    assert_eq!(message.protocol, Protocol::Http1);
    assert_eq!((message.offset, message.length), (0, 28));
    assert_eq!((message.from, message.to), (0, 15));
    assert_eq!(
        (&*message.details[1].name, message.details[1].value.as_str()),
        ("A", "b")
    );
}

#[test]
fn a_retransmission_names_the_message_again_and_reports_it_once() {
    let mut tracker = open();
    let packet = segment(0, 0, b"GET / HTTP/1.1\r\n\r\n").packet();
    assert_eq!(tracker.observe(&packet).messages.len(), 1);
    let again = tracker.observe(&packet);
    assert_eq!(
        (again.summary.as_str(), again.messages),
        ("GET / HTTP/1.1", vec![])
    );
    assert_eq!(again.tcp.unwrap().role, Role::Retransmission { nth: 1 });
}

#[test]
fn messages_wait_for_a_segment_that_comes_late() {
    let mut tracker = open();
    let late = segment(0, 9, b"P/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!(tracker.observe(&late.packet()).messages, []);
    let filled = tracker.observe(&segment(0, 0, b"GET / HT").packet());
    assert_eq!(filled.messages, []);
    let filled = tracker.observe(&segment(0, 8, b"T").packet());
    let places: Vec<_> = filled
        .messages
        .iter()
        .map(|m| (m.offset, m.from, m.to))
        .collect();
    assert_eq!(places, [(0, 0, 1), (18, 1, 1)]);
}

#[test]
fn an_acknowledgment_of_what_was_never_sent_gives_no_byte_up() {
    let talk = http1_talk();
    let request = &talk[0].1;
    let (first, second) = request.split_at(10);
    for wild in [1, 5_000, 1 << 30] {
        let mut tracker = open();
        let sent = 1 + request.len() as u32;
        let bogus = Segment::new(ISN[1].wrapping_add(1), ISN[0].wrapping_add(sent + wild));
        tracker.observe(&bogus.back().packet());
        let early = tracker.observe(&segment(0, first.len(), second).packet());
        assert_eq!(early.messages, []);
        let late = tracker.observe(&segment(0, 0, first).packet());
        assert_eq!(late.summary, "GET /1 HTTP/1.1");
    }
}

#[test]
fn a_probe_with_a_byte_in_it_does_not_disturb_the_stream() {
    let mut tracker = open();
    tracker.observe(&segment(0, 0, b"GET / HTTP/1.1\r\n\r\n").packet());
    tracker.observe(
        &Segment::new(ISN[1].wrapping_add(1), ISN[0].wrapping_add(19))
            .back()
            .packet(),
    );
    let probe = tracker.observe(&segment(0, 17, b"?").packet());
    assert_eq!(
        (probe.summary.as_str(), probe.messages),
        ("keep-alive probe", vec![])
    );
    let next = tracker.observe(&segment(0, 18, b"GET /2 HTTP/1.1\r\n\r\n").packet());
    assert_eq!(next.summary, "GET /2 HTTP/1.1");
}

#[test]
fn describing_a_duplicate_changes_nothing() {
    let mut tracker = open();
    let packet = segment(0, 0, b"GET / HTTP/1.1\r\n\r\n").packet();
    let original = tracker.observe(&packet);
    let duplicate = tracker.describe(&packet);
    assert_eq!(duplicate.tcp, original.tcp);
    assert_eq!(duplicate.summary, original.summary);
    assert_eq!(duplicate.messages, []);
    let again = tracker.observe(&packet).tcp.unwrap();
    assert_eq!(again.role, Role::Retransmission { nth: 1 });
    let role = |tracker: &FlowTracker| tracker.describe(&packet).tcp.unwrap().role;
    assert_eq!(role(&tracker), again.role);
}

#[test]
fn describing_a_probes_duplicate_calls_it_a_probe() {
    let mut tracker = open();
    tracker.observe(&segment(0, 0, b"x").packet());
    let probe = Segment::new(ISN[0].wrapping_add(1), 0).packet();
    let original = tracker.observe(&probe);
    assert_eq!(original.summary, "keep-alive probe");
    assert_eq!(tracker.describe(&probe), original);
}

#[test]
fn describing_what_was_never_seen_opens_no_connection() {
    let tracker = FlowTracker::new();
    let described = tracker.describe(&segment(0, 0, b"GET / HTTP/1.1\r\n\r\n").packet());
    assert_eq!(described.summary, "GET / HTTP/1.1");
    assert_eq!(described.messages, []);
    assert_eq!(described.tcp.unwrap().connection, 0);
    assert!(tracker.connections.is_empty());
}

#[test]
fn connections_over_ipv6_are_followed_too() {
    let mut tracker = FlowTracker::new();
    let syn = Segment::new(7, 0).flags("S").tcp();
    let data = Segment::new(8, 0)
        .flags("P")
        .data(b"GET / HTTP/1.1\r\n\r\n")
        .tcp();
    assert_eq!(tracker.observe(&ipv6(6, &syn)).summary, "SYN");
    // Behind a header of destination options.
    let options = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &data].concat();
    let observed = tracker.observe(&ipv6(60, &options));
    assert_eq!(observed.summary, "GET / HTTP/1.1");
    let tcp = observed.tcp.unwrap();
    assert_eq!(
        (tcp.seq, tcp.src.to_string().as_str()),
        (1, "[2001:db8::1]:40000")
    );
}

#[test]
fn what_all_streams_keep_together_is_bounded() {
    let mut tracker = FlowTracker::new();
    let half = b"GET / HTTP/1.1\r\nA: ".to_vec();
    let filler = [half, vec![b'a'; 60_000]].concat();
    for port in 1..3_000 {
        let open = Segment::new(0, 0).flags("S").client_port(port);
        tracker.observe(&open.packet());
        let data = Segment::new(1, 0)
            .flags("P")
            .data(&filler)
            .client_port(port);
        tracker.observe(&data.packet());
        assert!(tracker.held() <= MAX_HELD);
    }
    let kept: usize = tracker
        .connections
        .values()
        .map(|c| c.conversation.held())
        .sum();
    assert_eq!(kept, tracker.held());
    assert!(kept > MAX_HELD / 4);
}
