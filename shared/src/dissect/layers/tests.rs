use super::*;
use crate::dissect::testing::{Segment, client_hello, frame, ip, ipv6, masked, mutations, record};

/// The tree as indented lines.
fn lines(tree: &[Layer], depth: usize) -> Vec<String> {
    tree.iter()
        .flat_map(|layer| {
            let line = format!("{}{}: {}", "  ".repeat(depth), layer.name, layer.summary);
            std::iter::once(line).chain(lines(&layer.inner, depth + 1))
        })
        .collect()
}

fn check(bytes: &[u8], protocol: Option<Protocol>, expected: &[&str]) {
    assert_eq!(lines(&layers(bytes, protocol), 0), expected);
}

fn segment(data: &[u8]) -> Vec<u8> {
    Segment::new(1, 1).flags("PA").data(data).packet()
}

const IP: &str = "IPv4: 192.0.2.1 to 198.51.100.1";

#[test]
fn a_syn_is_told_field_by_field_with_the_bytes_of_each() {
    let bytes = Segment::new(7, 0)
        .flags("S")
        .option(&[2, 4, 5, 180])
        .option(&[3, 3, 7])
        .packet();
    check(&bytes, None, &[IP, "TCP: 40000 to 7654, SYN, 0 B"]);
    let tree = layers(&bytes, None);
    let field = |layer: usize, name: &str, nth: usize| {
        let all = &tree[layer].fields;
        all.iter()
            .filter(|field| field.name == name)
            .nth(nth)
            .unwrap()
            .clone()
    };
    assert_eq!(field(0, "Source", 0).value, "192.0.2.1");
    assert_eq!(field(0, "Source", 0).range, 12..16);
    assert_eq!(field(0, "Protocol", 0).value, "6 (TCP)");
    assert_eq!(field(1, "Sequence number", 0).range, 24..28);
    assert_eq!(
        (
            field(1, "Option", 0).value.as_str(),
            field(1, "Option", 0).range
        ),
        ("MSS 1460", 40..44)
    );
    assert_eq!(
        (
            field(1, "Option", 1).value.as_str(),
            field(1, "Option", 1).range
        ),
        ("WS 7", 44..47)
    );
    assert_eq!(tree[1].range, 20..48);
}

#[test]
fn an_icmp_error_has_the_packet_that_it_quotes_within_it() {
    let quoted = Segment::new(9, 9).data(b"lost").packet();
    let mut error = vec![3, 4, 0, 0, 0, 0, 5, 120];
    error.extend_from_slice(&quoted[..28]);
    let bytes = ip(1, &error);
    check(
        &bytes,
        None,
        &[
            IP,
            "ICMP: fragmentation needed, MTU 1400",
            "  IPv4: 192.0.2.1 to 198.51.100.1",
            "  TCP: stopped at byte 8: 20 bytes are needed, 8 are there",
        ],
    );
    let tree = layers(&bytes, None);
    assert_eq!(tree[1].inner[0].range, 28..48);
    assert_eq!(
        tree[1].inner[0]
            .fields
            .iter()
            .find(|f| f.name == "Source")
            .unwrap()
            .range,
        40..44
    );
}

#[test]
fn ipv6_udp_and_echoes_are_told() {
    check(
        &ipv6(58, &[128, 0, 0, 0, 0, 1, 0, 2, b'h', b'i']),
        None,
        &[
            "IPv6: 2001:db8::1 to 2001:db8::2",
            "ICMPv6: echo request 2",
            "Data: hi",
        ],
    );
    check(
        &ip(17, &[0, 1, 0, 2, 0, 10, 0, 0, 0xff, 0]),
        None,
        &[IP, "UDP: 1 to 2", "Data: 2 B"],
    );
}

#[test]
fn the_beginnings_of_messages_are_recognised_without_history() {
    let hello = segment(&record(22, &client_hello(&[(0, b"\x00\x04\x00\x00\x01a")])));
    let tree = lines(&layers(&hello, None), 0);
    assert_eq!(
        tree[2..],
        ["TLS record: ClientHello", "  TLS handshake: ClientHello"]
    );
    check(
        &segment(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"),
        None,
        &[
            IP,
            "TCP: 40000 to 7654, PSH,ACK, 31 B",
            "HTTP/1.1: GET / HTTP/1.1",
            "Data: body",
        ],
    );
    check(
        &segment(&record(23, b"secret")),
        None,
        &[
            IP,
            "TCP: 40000 to 7654, PSH,ACK, 11 B",
            "TLS record: encrypted application data 6 B",
        ],
    );
}

#[test]
fn what_only_the_connection_tells_is_read_as_what_it_speaks() {
    let ping = segment(&frame(6, 0, 0, b"12345678"));
    assert_eq!(
        lines(&layers(&ping, Some(Protocol::Http2)), 0)[2],
        "HTTP/2: PING"
    );
    assert!(lines(&layers(&ping, None), 0)[2].starts_with("Data"));
    let text = segment(&masked(0x81, b"hello"));
    assert_eq!(
        lines(&layers(&text, Some(Protocol::WebSocket)), 0)[2],
        "WebSocket: text 5 B"
    );
    assert!(lines(&layers(&text, None), 0)[2].starts_with("Data"));
    let chunk = payload_layers(b"HTTP/1.1 200 OK\r\n\r\n", None);
    assert_eq!(lines(&chunk, 0), ["HTTP/1.1: HTTP/1.1 200 OK"]);
}

#[test]
fn whatever_the_bytes_every_range_is_within_them() {
    fn within(tree: &[Layer], end: usize) {
        for layer in tree {
            assert!(layer.range.start <= layer.range.end && layer.range.end <= end);
            for field in &layer.fields {
                assert!(field.range.start <= field.range.end && field.range.end <= end);
            }
            within(&layer.inner, end);
        }
    }
    let mut error = vec![3, 4, 0, 0, 0, 0, 5, 120];
    error.extend_from_slice(&segment(b"GET / HTTP/1.1\r\n\r\n"));
    for model in [
        ip(1, &error),
        segment(&record(22, &client_hello(&[(43, &[2, 3, 4])]))),
        segment(&frame(7, 0, 0, b"\0\0\0\x05\0\0\0\x0bdebug")),
        segment(&masked(0x88, b"\x03\xe8bye")),
    ] {
        mutations(&model, 8_000, |bytes| {
            for protocol in [
                None,
                Some(Protocol::Http2),
                Some(Protocol::WebSocket),
                Some(Protocol::Tls),
            ] {
                within(&layers(bytes, protocol), bytes.len());
            }
        });
    }
}
