//! Which protocol a stream speaks, from its first bytes; and where one may be taken up again.

use super::{
    http2::Http2,
    machine::{Front, Machine, Step},
    tls::Tls,
};
use crate::dissect::{
    Protocol,
    http1::{Recognised, recognise},
    http2::{FRAME_HEADER, FrameHeader, PREFACE, kind},
    tls::Record,
};

/// Looks at the first bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Recognise;

impl Recognise {
    /// Decides as soon as the bytes allow. What is decided depends on them alone, not on how they
    /// were cut into segments.
    pub(super) fn step(&self, front: &Front<'_>) -> Step {
        let bytes = front.bytes;
        let candidates = [tls(bytes), http2(bytes), recognise(bytes)];
        for (index, candidate) in candidates.into_iter().enumerate() {
            if candidate == Recognised::Yes {
                return Step::Become(match index {
                    0 => Machine::Tls(Box::default()),
                    1 => Machine::Http2(Box::new(Http2::new(bytes[0] == PREFACE[0]))),
                    _ => Machine::Http1(Box::default()),
                });
            }
        }
        if candidates.contains(&Recognised::Undecided) {
            return Step::Need(bytes.len() + 1);
        }
        Step::Become(Machine::Unknown)
    }
}

/// A handshake record with a hello in it, or an alert, which is what a refused hello gets.
fn tls(bytes: &[u8]) -> Recognised {
    let fits = match bytes {
        [22, 3, minor, _, _, hello, ..] => *minor <= 4 && matches!(hello, 1 | 2),
        [21, 3, minor, high, low, ..] => *minor <= 4 && (*high, *low) == (0, 2),
        [21 | 22] | [21 | 22, 3] => return Recognised::Undecided,
        [21 | 22, 3, minor, ..] if *minor <= 4 => return Recognised::Undecided,
        _ => false,
    };
    if fits {
        Recognised::Yes
    } else {
        Recognised::No
    }
}

/// The client's preface, or the SETTINGS with which a server begins.
fn http2(bytes: &[u8]) -> Recognised {
    if bytes.starts_with(PREFACE) {
        return Recognised::Yes;
    }
    if PREFACE.starts_with(bytes) {
        return Recognised::Undecided;
    }
    let start: [(u8, u8); FRAME_HEADER] = [
        (0, 0),
        (0, 0),
        (0, 252),
        (4, 4),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
    ];
    let fits = bytes
        .iter()
        .zip(start)
        .all(|(byte, (low, high))| (low..=high).contains(byte));
    let whole = bytes.get(2).is_none_or(|length| length % 6 == 0);
    match fits && whole {
        false => Recognised::No,
        true if bytes.len() < FRAME_HEADER => Recognised::Undecided,
        true => Recognised::Yes,
    }
}

/// The machine that may take a stream up at the front of a segment, where the bytes before are
/// missing or were not understood. `protocol` is what the stream spoke, where that is known.
pub(super) fn beginning(protocol: Option<Protocol>, segment: &[u8]) -> Option<Machine> {
    let is = |candidate| protocol.is_none_or(|protocol| protocol == candidate);
    // Five bytes decide, so they are compared more strictly than a stream's first record.
    if is(Protocol::Tls)
        && let Ok(record) = Record::parse(segment)
        && record.length > 0
        && (record.stopped.is_none() || segment.len() > 5)
    {
        return Some(Machine::Tls(Box::new(Tls::taken_up())));
    }
    if is(Protocol::Http2) {
        if segment.starts_with(PREFACE) {
            return Some(Machine::Http2(Box::new(Http2::new(true))));
        }
        if protocol.is_some() && is_frames(segment) {
            return Some(Machine::Http2(Box::new(Http2::taken_up())));
        }
    }
    if is(Protocol::Http1) && recognise(segment) == Recognised::Yes {
        return Some(Machine::Http1(Box::default()));
    }
    None
}

/// Whether a segment is made of nothing but whole frames of HTTP/2.
fn is_frames(segment: &[u8]) -> bool {
    let mut rest = segment;
    while !rest.is_empty() {
        let Ok(header) = FrameHeader::parse(rest) else {
            return false;
        };
        let on_connection = matches!(header.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        let on_stream = !on_connection && header.kind != kind::WINDOW_UPDATE;
        let fits = header.kind <= kind::CONTINUATION
            && !(on_connection && header.stream != 0)
            && !(on_stream && header.stream == 0);
        let Some(after) = rest.get(FRAME_HEADER + header.length as usize..) else {
            return false;
        };
        if !fits {
            return false;
        }
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{client_hello, frame, record};

    #[test]
    fn hellos_and_settings_are_recognised_byte_by_byte() {
        let hello = record(22, &client_hello(&[]));
        let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]);
        for (bytes, of, enough) in [
            (&hello[..], tls as fn(&[u8]) -> Recognised, 6),
            (PREFACE, http2, PREFACE.len()),
            (&settings, http2, 9),
        ] {
            for end in 1..bytes.len() {
                let expected = match end < enough {
                    true => Recognised::Undecided,
                    false => Recognised::Yes,
                };
                assert_eq!(of(&bytes[..end]), expected, "{end}");
            }
        }
        assert_eq!(tls(&[22, 3, 1, 0, 5, 11]), Recognised::No);
        assert_eq!(http2(&[0, 0, 7]), Recognised::No);
        assert_eq!(http2(b"PRI * HTTP/1"), Recognised::No);
    }

    #[test]
    fn a_lost_stream_is_taken_up_only_where_its_own_protocol_begins() {
        let data = record(23, b"secret");
        assert!(beginning(Some(Protocol::Tls), &data).is_some());
        assert!(beginning(Some(Protocol::Http1), &data).is_none());
        assert!(beginning(None, b"GET / HTTP/1.1\r\n").is_some());
        let ping = frame(6, 0, 0, b"12345678");
        assert!(beginning(Some(Protocol::Http2), &ping).is_some());
        assert!(beginning(Some(Protocol::Http2), &ping[1..]).is_none());
        assert!(beginning(None, &ping).is_none());
        assert!(beginning(Some(Protocol::WebSocket), &[0x89, 0]).is_none());
    }
}
