use super::*;
use crate::dissect::testing::{
    Talk, client_hello, handshake, http1_talk, http2_talk, masked, record, server_hello,
    tls12_talk, tls13_talk, websocket_talk,
};

/// Sequence numbers of both sides' first bytes; the client's stream soon wraps around.
const FIRST: [u32; 2] = [u32::MAX - 20, 1_000];

/// Feeds a conversation cut into segments.
struct Feed {
    conversation: Conversation,
    sent: [usize; 2],
    found: Vec<(usize, Found)>,
}

impl Feed {
    fn new() -> Self {
        let mut conversation = Conversation::default();
        for side in [0, 1] {
            conversation.segment(side, part(side, 0, b"", true, false));
        }
        Self {
            conversation,
            sent: [0; 2],
            found: Vec::new(),
        }
    }

    fn send(&mut self, side: usize, bytes: &[u8]) -> Vec<String> {
        let found = self
            .conversation
            .segment(side, part(side, self.sent[side], bytes, false, false));
        self.sent[side] += bytes.len();
        let lines = found.iter().map(Found::line).collect();
        self.found
            .extend(found.into_iter().map(|found| (side, found)));
        lines
    }

    fn lose(&mut self, side: usize, count: usize) {
        self.sent[side] += count;
        // The receiver says that it has them, so they are not waited for.
        let ack = FIRST[side].wrapping_add(self.sent[side] as u32 + 1_000_000);
        let ack = Part {
            ack: Some(ack),
            ..part(1 - side, self.sent[1 - side], b"", false, false)
        };
        self.conversation.segment(1 - side, ack);
    }

    fn end(&mut self, side: usize) -> Vec<String> {
        let found = self
            .conversation
            .segment(side, part(side, self.sent[side], b"", false, true));
        found.iter().map(Found::line).collect()
    }
}

fn part(side: usize, at: usize, bytes: &[u8], syn: bool, fin: bool) -> Part<'_> {
    Part {
        seq: FIRST[side].wrapping_add(at as u32),
        syn,
        fin,
        bytes,
        ack: None,
    }
}

/// The lines on a talk's messages, packet by packet.
fn lines(talk: &Talk) -> Vec<Vec<String>> {
    let mut feed = Feed::new();
    talk.iter()
        .map(|(side, bytes)| feed.send(*side, bytes))
        .collect()
}

/// Sends a talk in segments of at most `size` bytes, and gives every message.
fn cut(talk: &Talk, size: usize) -> Vec<(usize, Found)> {
    let mut feed = Feed::new();
    for (side, bytes) in talk {
        for segment in bytes.chunks(size) {
            feed.send(*side, segment);
        }
    }
    feed.found
}

#[test]
fn http1_exchanges_are_told_head_by_head_and_body_by_body() {
    assert_eq!(
        lines(&http1_talk()),
        [
            vec!["GET /1 HTTP/1.1"],
            vec!["HTTP/1.1 200 OK", "HTTP/1.1 body 5 B"],
            vec!["POST /2 HTTP/1.1"],
            vec!["HTTP/1.1 body 300 B"],
            vec!["HTTP/1.1 100 Continue"],
            vec![
                "HTTP/1.1 200 OK",
                "HTTP/1.1 chunk 3 B",
                "HTTP/1.1 chunk 16 B",
                "HTTP/1.1 last chunk (body 19 B in 2 chunks)",
            ],
            vec!["HEAD /3 HTTP/1.1", "GET /4 HTTP/1.1"],
            vec!["HTTP/1.1 200 OK"],
            vec!["HTTP/1.1 200 OK"],
        ]
    );
}

#[test]
fn an_upgrade_leads_to_websocket_frames_in_both_directions() {
    assert_eq!(
        lines(&websocket_talk()),
        [
            ["GET /chat HTTP/1.1"],
            ["HTTP/1.1 101 Switching Protocols"],
            ["WS text 5 B"],
            ["WS text 5 B"],
            ["WS binary 256 B"],
            ["WS ping 2 B"],
            ["WS pong 2 B"],
            ["WS close 1000 bye"],
            ["WS close 1000"],
        ]
    );
    let mut feed = Feed::new();
    for (side, bytes) in &websocket_talk()[..3] {
        feed.send(*side, bytes);
    }
    let details = &feed.found[2].1.details;
    let text = details.iter().find(|detail| detail.name == "Text").unwrap();
    assert_eq!(text.value, "Hello");
}

#[test]
fn a_refused_upgrade_leaves_the_connection_to_http() {
    let talk = websocket_talk();
    let mut feed = Feed::new();
    feed.send(0, &talk[0].1);
    feed.send(1, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        feed.send(0, b"GET /again HTTP/1.1\r\n\r\n"),
        ["GET /again HTTP/1.1"]
    );
}

#[test]
fn frames_that_overtake_the_answer_to_an_upgrade_are_understood() {
    let talk = websocket_talk();
    let mut feed = Feed::new();
    feed.send(0, &talk[0].1);
    assert_eq!(feed.send(0, &masked(0x89, b"")), ["WS ping"]);
}

#[test]
fn http2_frames_are_told_with_their_header_fields() {
    assert_eq!(
        lines(&http2_talk()),
        [
            vec!["HTTP/2 preface", "HTTP/2 SETTINGS"],
            vec!["HTTP/2 SETTINGS"],
            vec!["HTTP/2 HEADERS GET /"],
            vec!["HTTP/2 SETTINGS ACK"],
            vec!["HTTP/2 HEADERS 302", "HTTP/2 DATA 120 B"],
            vec!["HTTP/2 HEADERS", "HTTP/2 CONTINUATION GET /"],
            vec!["HTTP/2 DATA 3 B", "HTTP/2 DATA 0 B"],
            vec!["HTTP/2 WINDOW_UPDATE +5"],
            vec!["HTTP/2 HEADERS 307"],
            vec!["HTTP/2 PING"],
            vec!["HTTP/2 PING ACK"],
            vec!["HTTP/2 RST_STREAM CANCEL"],
            vec!["HTTP/2 GOAWAY NO_ERROR last stream 3"],
        ]
    );
    let mut feed = Feed::new();
    for (side, bytes) in &http2_talk() {
        feed.send(*side, bytes);
    }
    let details: Vec<_> = feed
        .found
        .iter()
        .flat_map(|(_, found)| &found.details)
        .collect();
    let has = |name: &str, value: &str| {
        details
            .iter()
            .any(|detail| detail.name == name && detail.value == value)
    };
    assert!(has(":authority", "www.example.com") && has("cache-control", "no-cache"));
    assert!(has("location", "https://www.example.com") && has("Debug data", "bye"));
}

#[test]
fn a_handshake_of_tls_13_is_told_as_far_as_it_is_in_the_clear() {
    assert_eq!(
        lines(&tls13_talk()),
        [
            ["TLS 1.3 ClientHello"],
            ["TLS 1.3 HelloRetryRequest"],
            ["TLS 1.3 ChangeCipherSpec"],
            ["TLS 1.3 ChangeCipherSpec"],
            ["TLS 1.3 ClientHello"],
            ["TLS 1.3 ServerHello"],
            ["TLS 1.3 encrypted record 900 B"],
            ["TLS 1.3 encrypted record 58 B"],
            ["TLS 1.3 encrypted record 0 B"],
        ]
    );
}

#[test]
fn a_handshake_of_tls_12_is_encrypted_behind_change_cipher_spec() {
    assert_eq!(
        lines(&tls12_talk()),
        [
            vec!["TLS 1.2 ClientHello"],
            vec![
                "TLS 1.2 ServerHello",
                "TLS 1.2 Certificate",
                "TLS 1.2 ServerHelloDone"
            ],
            vec!["TLS 1.2 ClientKeyExchange"],
            vec!["TLS 1.2 ChangeCipherSpec"],
            vec!["TLS 1.2 encrypted handshake 40 B"],
            vec!["TLS 1.2 NewSessionTicket"],
            vec!["TLS 1.2 ChangeCipherSpec"],
            vec!["TLS 1.2 encrypted handshake 40 B"],
            vec!["TLS 1.2 encrypted application data 100 B"],
            vec!["TLS 1.2 encrypted alert 26 B"],
        ]
    );
    let mut feed = Feed::new();
    feed.send(0, &tls12_talk()[0].1);
    assert_eq!(
        feed.send(1, &record(21, &[2, 40])),
        ["TLS 1.2 alert handshake_failure"]
    );
}

#[test]
fn the_messages_do_not_depend_on_how_a_stream_is_cut() {
    for talk in [
        http1_talk(),
        http2_talk(),
        tls12_talk(),
        tls13_talk(),
        websocket_talk(),
    ] {
        let whole = cut(&talk, usize::MAX);
        for size in [1, 2, 3, 5, 7, 11, 64, 100] {
            let mut cut = cut(&talk, size);
            assert_eq!(cut.len(), whole.len());
            cut.sort_by_key(|(side, found)| (*side, found.start, found.end));
            let mut whole = whole.clone();
            whole.sort_by_key(|(side, found)| (*side, found.start, found.end));
            assert_eq!(cut, whole, "{size}");
        }
    }
}

#[test]
fn what_a_stream_leaves_unfinished_is_told_with_its_end() {
    let mut feed = Feed::new();
    for (side, bytes) in &http1_talk() {
        feed.send(*side, bytes);
    }
    assert_eq!(feed.end(1), ["HTTP/1.1 body 13 B (until the end)"]);
    assert_eq!(feed.end(0), [""; 0]);
    let mut feed = Feed::new();
    feed.send(1, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(feed.end(1), ["HTTP/1.1 body cut off: 3 of 9 B"]);
    let mut feed = Feed::new();
    feed.send(0, &tls13_talk()[0].1);
    feed.send(0, &record(23, &[1; 50])[..30]);
    assert_eq!(feed.end(0), ["TLS record cut off: 25 of 50 B"]);
    let mut feed = Feed::new();
    feed.send(0, b"GET / HTT");
    assert_eq!(feed.end(0), ["HTTP/1.1 message cut off after 9 B"]);
}

#[test]
fn a_gap_within_a_body_is_told_and_the_next_message_is_found() {
    let mut feed = Feed::new();
    feed.send(
        1,
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789",
    );
    feed.lose(1, 10);
    assert_eq!(
        feed.send(
            1,
            b"0123456789HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        ),
        [
            "HTTP/1.1 10 B missing",
            "HTTP/1.1 body 30 B",
            "HTTP/1.1 404 Not Found"
        ]
    );
}

#[test]
fn behind_a_gap_the_next_recognisable_beginning_is_taken_up() {
    let mut feed = Feed::new();
    feed.send(0, &tls13_talk()[0].1);
    feed.send(0, &record(23, &[1; 50])[..30]);
    feed.lose(0, 100);
    assert_eq!(
        feed.send(0, b"in the middle of a record"),
        ["TLS 100 B missing"]
    );
    assert_eq!(
        feed.send(0, &record(23, &[1; 50])),
        ["TLS 1.3 encrypted application data 50 B"]
    );

    let mut feed = Feed::new();
    for (side, bytes) in &http2_talk()[..4] {
        feed.send(*side, bytes);
    }
    feed.lose(0, 9);
    let talk = http2_talk();
    let found = feed.send(0, &talk[5].1);
    assert_eq!(found[..2], ["HTTP/2 9 B missing", "HTTP/2 HEADERS"]);
    let details = &feed.found.last().unwrap().1.details;
    assert!(
        details
            .iter()
            .any(|detail| detail.value == "cannot be decoded"),
        "{details:?}"
    );
}

#[test]
fn bytes_of_no_known_protocol_make_no_messages() {
    let mut feed = Feed::new();
    assert_eq!(feed.send(0, b"hello"), [""; 0]);
    assert_eq!(feed.send(0, b" world\n"), [""; 0]);
    assert_eq!(feed.send(0, b"GET / HTTP/1.1\r\n\r\n"), [""; 0]);
    assert_eq!(feed.conversation.protocol(0), None);
}

#[test]
fn nonsense_within_a_protocol_is_said_to_be_not_understood() {
    let mut feed = Feed::new();
    feed.send(1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        feed.send(1, b"no size\r\n"),
        ["HTTP/1.1 not understood: no size of a chunk"]
    );
    assert_eq!(
        feed.send(1, b"HTTP/1.1 200 OK\r\n\r\n"),
        ["HTTP/1.1 200 OK"]
    );
}

#[test]
fn a_handshake_message_longer_than_what_is_kept_of_it_is_told_and_followed() {
    let mut feed = Feed::new();
    feed.send(0, &record(22, &client_hello(&[])));
    // A chain of certificates of 80 kB, and the message behind it in its last record.
    let mut chain = handshake(11, &[0; 80_000]);
    chain.extend(handshake(14, &[]));
    let mut lines = feed.send(1, &record(22, &server_hello(false, &[])));
    for fragment in chain.chunks(16_384) {
        lines.extend(feed.send(1, &record(22, fragment)));
    }
    assert_eq!(
        lines,
        [
            "TLS 1.2 ServerHello",
            "TLS 1.2 Certificate",
            "TLS 1.2 ServerHelloDone"
        ]
    );
}

#[test]
fn what_is_kept_stays_within_its_bound() {
    let mut feed = Feed::new();
    feed.send(0, b"GET / HTTP/1.1\r\n");
    for _ in 0..500 {
        feed.send(0, &[b'a'; 1_000]);
        assert!(feed.conversation.held() <= Conversation::MAX_HELD);
    }
    assert!(
        feed.found
            .iter()
            .any(|(_, found)| found.text.contains("too long to be kept"))
    );
    let mut feed = Feed::new();
    feed.sent[0] = 1;
    for _ in 0..500 {
        feed.send(0, &[b'a'; 1_000]);
        assert!(feed.conversation.held() <= Conversation::MAX_HELD);
    }
}

#[test]
fn a_segment_that_is_sent_again_is_remembered_and_brings_nothing_new() {
    let mut feed = Feed::new();
    let talk = http1_talk();
    feed.send(0, &talk[0].1);
    let again = part(0, 0, &talk[0].1, false, false);
    assert_eq!(feed.conversation.segment(0, again), []);
    let line = feed.conversation.remembered(0, again.seq, talk[0].1.len());
    assert_eq!(line, Some("GET /1 HTTP/1.1"));
}
