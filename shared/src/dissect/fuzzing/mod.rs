//! What fuzzing asks of the dissectors, as functions of bytes that panic where a promise is broken.
//!
//! `cargo xtask fuzz` drives them with libFuzzer; the tests drive the same functions with the
//! corpus that is kept in `fuzz/corpus`, so that an input which once broke something stays tried.

mod packets;
mod reassembly;
mod stream;

use super::{
    Field, Stopped,
    http1::{self, Framing, Head, chunk_size, first_line},
    http2::{FRAME_HEADER, Frame, FrameHeader, hpack::Decoder},
    icmp::Icmp,
    ip::Ip,
    layers::{Layer, layers, payload_layers},
    message::Protocol,
    tcp::Tcp,
    tls::{Alert, Handshake, RECORD_HEADER, Record},
    udp::Udp,
    websocket::{Close, Header},
};

/// What is asked of one dissector.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its program in `fuzz/fuzz_targets` and of its
/// corpus.
pub const TARGETS: [(&str, Target); 13] = [
    ("flow", packets::flow),
    ("hpack", hpack),
    ("http1", http1),
    ("http2", http2),
    ("icmp", icmp),
    ("ip", ip),
    ("layers", tree),
    ("reassembly", reassembly::same_as_naive),
    ("stream", stream::same_however_cut),
    ("tcp", tcp),
    ("tls", tls),
    ("udp", udp),
    ("websocket", websocket),
];

/// Gives the bytes to the target of that name.
///
/// # Panics
/// Where there is no such target, or the bytes break a promise.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no target is called {name}"));
    target(bytes);
}

/// A place where a dissector stopped lies within the bytes or at their end.
fn check_stopped(stopped: Option<Stopped>, bytes: &[u8]) {
    if let Some(stopped) = stopped {
        assert!(stopped.at <= bytes.len(), "{stopped}");
        assert!(!stopped.to_string().is_empty());
    }
}

/// Whether a part was really cut from the whole.
fn check_part(part: &[u8], whole: &[u8]) {
    assert!(part.len() <= whole.len());
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    assert!(part.is_empty() || (whole.start <= part.start && part.end <= whole.end));
}

fn check_fields(fields: &[Field]) {
    for field in fields {
        assert!(!field.name.is_empty() || field.range.start < field.range.end);
        assert!(field.range.start <= field.range.end);
        assert!(!field.value.contains('\x1b'), "{field:?}");
    }
}

fn ip(bytes: &[u8]) {
    match Ip::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(packet) => {
            check_stopped(packet.stopped(), bytes);
            check_part(packet.payload(), bytes);
            assert!(packet.payload().len() <= packet.payload_length());
            assert!(packet.header_length() >= 20);
        }
    }
}

fn tcp(bytes: &[u8]) {
    match Tcp::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(tcp) => {
            check_stopped(tcp.stopped, bytes);
            check_part(tcp.payload, bytes);
            assert!((20..=60).contains(&tcp.header_length));
            assert_eq!(tcp.options.len(), tcp.option_places.len());
            let mut at = 20;
            for (option, place) in tcp.options.iter().zip(&tcp.option_places) {
                assert!(at <= place.start && place.end <= tcp.header_length);
                at = place.end;
                assert!(!option.to_string().is_empty());
            }
            assert!(tcp.window_scale().is_none_or(|shift| shift <= 14));
        }
    }
}

fn udp(bytes: &[u8]) {
    match Udp::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(udp) => {
            check_stopped(udp.stopped, bytes);
            check_part(udp.payload, bytes);
            assert!(udp.payload.len() <= usize::from(udp.payload_length));
        }
    }
}

fn icmp(bytes: &[u8]) {
    for parsed in [Icmp::parse(bytes), Icmp::parse_v6(bytes)] {
        match parsed {
            Err(stopped) => check_stopped(Some(stopped), bytes),
            Ok(icmp) => {
                check_stopped(icmp.stopped, bytes);
                check_part(icmp.payload, bytes);
                assert!(icmp.quoted().is_none_or(|quoted| quoted == icmp.payload));
                assert!(icmp.meaning().is_none_or(|meaning| !meaning.is_empty()));
            }
        }
    }
}

fn tls(bytes: &[u8]) {
    match Record::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(record) => {
            check_stopped(record.stopped, bytes);
            check_part(record.fragment, bytes);
            assert!(record.fragment.len() <= record.length);
            assert_eq!(
                record.stopped.is_some(),
                bytes.len() < RECORD_HEADER + record.length
            );
        }
    }
    for version in [None, Some(0x0303), Some(0x0304)] {
        match Handshake::parse(bytes, version) {
            Err(stopped) => check_stopped(Some(stopped), bytes),
            Ok(message) => {
                check_stopped(message.stopped, bytes);
                check_fields(&message.fields());
                assert!(!message.summary().is_empty());
            }
        }
    }
    if let Ok(alert) = Alert::parse(bytes) {
        assert!(!alert.name().is_empty() && !alert.level().is_empty());
    }
}

fn http1(bytes: &[u8]) {
    if let Some(line) = first_line(bytes) {
        assert!(line.chars().count() <= http1::MAX_LINE);
        assert!(line.chars().all(|c| c == '…' || (' '..='~').contains(&c)));
    }
    // Once decided, more bytes change nothing.
    let decision = http1::recognise(bytes);
    for end in 0..bytes.len().min(64) {
        let early = http1::recognise(&bytes[..end]);
        assert!(early == http1::Recognised::Undecided || early == decision);
    }
    match Head::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(head) => {
            check_stopped(head.stopped, bytes);
            assert!(head.length <= bytes.len());
            let again = Head::parse(&bytes[..head.length]);
            assert_eq!(again.as_ref(), Ok(&head));
            for field in head.details() {
                assert!(bytes.get(field.range.clone()).is_some());
            }
            check_fields(&head.details());
            Framing::of(&head, None);
            Framing::of(&head, Some(b"HEAD"));
            Framing::of(&head, Some(b"CONNECT"));
            assert!(!head.summary().is_empty());
        }
    }
    chunk_size(bytes);
}

fn http2(bytes: &[u8]) {
    let Ok(header) = FrameHeader::parse(bytes) else {
        assert!(bytes.len() < FRAME_HEADER);
        return;
    };
    let payload = &bytes[FRAME_HEADER..];
    let frame = Frame::parse(header, payload);
    check_stopped(frame.stopped, payload);
    check_fields(&frame.fields());
    if let Some(block) = frame.block() {
        check_part(block, payload);
    }
    assert!(!frame.summary().is_empty());
}

fn hpack(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    // Blocks follow each other behind a length, for what one leaves to the next.
    let mut rest = bytes;
    while let [length, after @ ..] = rest {
        let (block, later) = after.split_at(after.len().min(usize::from(*length)));
        let (fields, stopped) = decoder.decode(block);
        check_stopped(stopped, block);
        assert!(fields.len() <= 256);
        assert!(decoder.size() <= 65_536);
        assert!(decoder.held() <= 4 * decoder.size());
        rest = later;
    }
}

fn websocket(bytes: &[u8]) {
    match Header::parse(bytes) {
        Err(stopped) => check_stopped(Some(stopped), bytes),
        Ok(header) => {
            assert!((2..=14).contains(&header.length) && header.length <= bytes.len());
            let payload = &bytes[header.length..];
            let unmasked = header.unmasked(payload);
            assert_eq!(header.unmasked(&unmasked), payload);
            check_fields(&header.fields(&unmasked));
            assert!(!header.summary(&unmasked).is_empty());
        }
    }
    if let Some(close) = Close::parse(bytes) {
        assert!(!close.name().is_empty());
    }
}

fn tree(bytes: &[u8]) {
    fn within(tree: &[Layer], end: usize) {
        for layer in tree {
            assert!(layer.range.start <= layer.range.end && layer.range.end <= end);
            assert!(!layer.name.is_empty());
            check_fields(&layer.fields);
            for field in &layer.fields {
                assert!(field.range.end <= end, "{field:?}");
            }
            within(&layer.inner, end);
        }
    }
    let protocols = [
        None,
        Some(Protocol::Tls),
        Some(Protocol::Http1),
        Some(Protocol::Http2),
        Some(Protocol::WebSocket),
    ];
    let [choice, bytes @ ..] = bytes else {
        return;
    };
    let protocol = protocols[usize::from(*choice) % protocols.len()];
    match choice & 0x80 {
        0 => within(&layers(bytes, protocol), bytes.len()),
        _ => within(&payload_layers(bytes, protocol), bytes.len()),
    }
}

#[cfg(test)]
mod tests;
