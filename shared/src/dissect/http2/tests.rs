use super::*;
use crate::dissect::testing::{frame, mutations};

fn parse(bytes: &[u8]) -> Frame<'_> {
    let header = FrameHeader::parse(bytes).unwrap();
    Frame::parse(header, &bytes[FRAME_HEADER..])
}

fn check(bytes: &[u8], summary: &str, fields: &[(&str, &str)]) {
    let frame = parse(bytes);
    assert_eq!(frame.summary(), summary);
    let all = frame.fields();
    for (name, value) in fields {
        let field = all.iter().find(|field| field.name == *name);
        assert_eq!(
            field.map(|field| field.value.as_str()),
            Some(*value),
            "{name}"
        );
    }
}

#[test]
fn every_type_of_frame_is_read() {
    check(
        &frame(0, 1, 1, b"hello"),
        "DATA 5 B",
        &[
            ("Length", "5 bytes"),
            ("Flags", "END_STREAM"),
            ("Stream", "1"),
        ],
    );
    check(
        &frame(0, 8, 1, b"\x03hello\0\0\0"),
        "DATA 5 B",
        &[("Flags", "PADDED"), ("Data", "5 bytes")],
    );
    check(
        &frame(1, 0x24, 3, b"\x80\0\0\x01\x0fblock"),
        "HEADERS",
        &[
            ("Flags", "END_HEADERS, PRIORITY"),
            ("Priority", "weight 16, depends on stream 1, exclusive"),
        ],
    );
    check(
        &frame(2, 0, 5, b"\0\0\0\0\xff"),
        "PRIORITY",
        &[("Priority", "weight 256, depends on stream 0")],
    );
    check(
        &frame(3, 0, 7, &[0, 0, 0, 8]),
        "RST_STREAM CANCEL",
        &[("Error", "CANCEL")],
    );
    check(
        &frame(
            4,
            0,
            0,
            &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0, 0, 99, 0, 0, 0, 1],
        ),
        "SETTINGS",
        &[
            ("MAX_CONCURRENT_STREAMS", "100"),
            ("INITIAL_WINDOW_SIZE", "65536"),
            ("setting 99", "1"),
        ],
    );
    check(&frame(4, 1, 0, &[]), "SETTINGS ACK", &[("Flags", "ACK")]);
    check(
        &frame(5, 4, 1, &[0, 0, 0, 2, 0x82]),
        "PUSH_PROMISE stream 2",
        &[("Promised stream", "2")],
    );
    check(
        &frame(6, 0, 0, b"12345678"),
        "PING",
        &[("Opaque data", "3132333435363738")],
    );
    check(&frame(6, 1, 0, b"12345678"), "PING ACK", &[]);
    check(
        &frame(7, 0, 0, b"\0\0\0\x05\0\0\0\x0bslow down"),
        "GOAWAY ENHANCE_YOUR_CALM last stream 5",
        &[("Last stream", "5"), ("Debug data", "slow down")],
    );
    check(
        &frame(8, 0, 0, &[0, 0, 0x80, 0]),
        "WINDOW_UPDATE +32768",
        &[("Increment", "32768 bytes")],
    );
    check(
        &frame(9, 4, 1, b"rest"),
        "CONTINUATION",
        &[("Flags", "END_HEADERS")],
    );
    check(&frame(16, 0, 0, b"abc"), "PRIORITY_UPDATE 3 B", &[]);
    check(
        &frame(200, 7, 0, b""),
        "frame of type 200 0 B",
        &[("Flags", "0x07")],
    );
}

#[test]
fn a_payload_that_its_type_cannot_have_is_called_malformed() {
    for bytes in [
        frame(6, 0, 0, b"1234567"),
        frame(7, 0, 0, b"123"),
        frame(4, 0, 0, &[0, 1, 0]),
        frame(0, 8, 1, b"\x09hello"),
        frame(3, 0, 1, b""),
    ] {
        let frame = parse(&bytes);
        assert!(frame.stopped.is_some(), "{frame:?}");
        assert!(frame.summary().ends_with("(malformed)"));
    }
}

#[test]
fn header_blocks_are_found_behind_padding_and_priority() {
    let bytes = frame(1, 0x28, 1, b"\x02\0\0\0\0\x0fblock\0\0");
    assert_eq!(parse(&bytes).block(), Some(&b"block"[..]));
    let bytes = frame(5, 0, 1, b"\0\0\0\x02block");
    assert_eq!(parse(&bytes).block(), Some(&b"block"[..]));
    assert_eq!(FrameHeader::parse(&bytes[..8]).unwrap_err().at, 5);
}

#[test]
fn whatever_the_bytes_a_frame_is_read_without_complaint() {
    let model = frame(7, 8, 0, b"\0\0\0\x05\0\0\0\x0bdebug");
    mutations(&model, 20_000, |bytes| {
        if let Ok(header) = FrameHeader::parse(bytes) {
            let payload = &bytes[FRAME_HEADER..];
            let frame = Frame::parse(header, payload);
            assert!(
                frame
                    .stopped
                    .is_none_or(|stopped| stopped.at <= payload.len())
            );
            assert!(!frame.summary().is_empty());
            frame.fields();
        }
    });
}
