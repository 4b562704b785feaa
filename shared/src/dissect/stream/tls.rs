//! TLS records in a stream, and the handshake messages in them.

use super::{
    Found,
    machine::{Front, Step},
};
use crate::dissect::{
    Protocol, Reason,
    tls::{Alert, Body, Content, Handshake, RECORD_HEADER, Record, names},
};

/// Of a handshake message, what is kept; of a longer one, its beginning.
const MAX_HANDSHAKE: usize = 65_536;

/// What both directions know.
#[derive(Debug, Default)]
pub(super) struct TlsShared {
    /// The highest version that the client offers.
    offered: Option<u16>,
    /// The version that the server chose.
    version: Option<u16>,
}

impl TlsShared {
    fn label(&self) -> String {
        match self.version.or(self.offered) {
            Some(version) => names::version(version),
            None => "TLS".to_owned(),
        }
    }
}

/// The records of one direction.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// Whether records are encrypted from here on although their headers do not say so.
    encrypted: bool,
    /// Whether a ChangeCipherSpec came whose meaning depends on a version that is not known.
    changed: bool,
    /// An encrypted record that is being passed over.
    opaque: Option<Opaque>,
    /// A handshake message whose end has not come.
    message: Partial,
}

#[derive(Debug)]
struct Opaque {
    content: Content,
    start: u64,
    length: usize,
    left: usize,
}

#[derive(Debug, Default)]
struct Partial {
    start: u64,
    bytes: Vec<u8>,
    /// Bytes of it that came, those that were not kept included.
    seen: usize,
}

impl Tls {
    /// In the middle of a stream of which the beginning was not seen.
    pub(super) fn taken_up() -> Self {
        Self {
            changed: true,
            ..Self::default()
        }
    }

    pub(super) fn held(&self) -> usize {
        self.message.bytes.capacity()
    }

    pub(super) fn step(
        &mut self,
        front: &Front<'_>,
        shared: &mut TlsShared,
        out: &mut Vec<Found>,
    ) -> Step {
        if let Some(opaque) = &mut self.opaque {
            let took = opaque.left.min(front.bytes.len());
            opaque.left -= took;
            if opaque.left == 0 {
                out.extend(self.opaque_is_over(front.at + took as u64, shared));
            }
            return Step::Took(took);
        }
        let record = match Record::parse(front.bytes) {
            Ok(record) => record,
            Err(stopped) => {
                return match stopped.reason {
                    Reason::Short { .. } => Step::Need(front.bytes.len() + 1),
                    Reason::Invalid(what) => Step::Lost(what),
                    _ => Step::Lost("no record"),
                };
            }
        };
        let whole = RECORD_HEADER + record.length;
        match self.is_opaque(&record, shared) {
            None => return Step::Need(RECORD_HEADER + 1),
            Some(true) => {
                self.opaque = Some(Opaque {
                    content: record.content,
                    start: front.at,
                    length: record.length,
                    left: record.length,
                });
                if record.length == 0 {
                    let end = front.at + RECORD_HEADER as u64;
                    out.extend(self.opaque_is_over(end, shared));
                }
                return Step::Took(RECORD_HEADER);
            }
            Some(false) if front.bytes.len() < whole => return Step::Need(whole),
            Some(false) => {}
        }
        let found = |text: String| {
            let mut found = Found::new(Protocol::Tls, text, front.at, front.at + whole as u64);
            found.label = shared.label().into();
            found
        };
        match record.content {
            Content::ChangeCipherSpec => {
                out.push(found("ChangeCipherSpec".to_owned()));
                match shared.version {
                    // It means nothing in TLS 1.3 (RFC 8446, section 5).
                    Some(0x0304) => {}
                    Some(_) => self.encrypted = true,
                    None => self.changed = true,
                }
            }
            Content::Alert => {
                if let Ok(alert) = Alert::parse(record.fragment) {
                    let text = format!("alert {}", alert.name());
                    out.push(found(text).detail("Level", alert.level()));
                }
            }
            Content::Handshake => self.handshake(front.at, record.fragment, shared, out),
            Content::ApplicationData | Content::Heartbeat => {}
        }
        Step::Took(whole)
    }

    /// Whether only a record's outside can be read; `None` where one more byte is needed to tell.
    fn is_opaque(&mut self, record: &Record<'_>, shared: &TlsShared) -> Option<bool> {
        Some(match record.content {
            Content::ApplicationData | Content::Heartbeat => true,
            Content::ChangeCipherSpec => record.length != 1,
            Content::Alert => self.encrypted || record.length != Alert::LENGTH,
            Content::Handshake => {
                if self.changed && self.message.seen == 0 && shared.version != Some(0x0304) {
                    // Behind a ChangeCipherSpec in the clear there can only be the ClientHello
                    // that answers a HelloRetryRequest.
                    let first = match record.length {
                        0 => 1,
                        _ => *record.fragment.first()?,
                    };
                    self.encrypted |= !matches!(first, 1 | 2);
                }
                self.changed = false;
                self.encrypted
            }
        })
    }

    fn opaque_is_over(&mut self, end: u64, shared: &TlsShared) -> Option<Found> {
        let opaque = self.opaque.take()?;
        let size = opaque.length;
        // TLS 1.3 hides what a record is behind the type of application data.
        let text = match (opaque.content, shared.version) {
            (Content::ApplicationData, Some(0x0304)) => format!("encrypted record {size} B"),
            (Content::ApplicationData, _) => format!("encrypted application data {size} B"),
            (content, _) => format!("encrypted {} {size} B", content.as_str()),
        };
        let mut found = Found::new(Protocol::Tls, text, opaque.start, end)
            .detail("Record", opaque.content.as_str())
            .detail("Encrypted", format!("{size} bytes"));
        found.label = shared.label().into();
        Some(found)
    }

    /// Takes a handshake record's fragment, whose messages need not begin or end with it.
    fn handshake(
        &mut self,
        record: u64,
        fragment: &[u8],
        shared: &mut TlsShared,
        out: &mut Vec<Found>,
    ) {
        let mut rest = fragment;
        while !rest.is_empty() {
            let done = fragment.len() - rest.len();
            let message = &mut self.message;
            if message.seen == 0 {
                message.start = record;
                if done > 0 {
                    message.start += (RECORD_HEADER + done) as u64;
                }
            }
            let total = match message.bytes.first_chunk::<4>() {
                Some(header) => Handshake::HEADER + length(header),
                None => Handshake::HEADER,
            };
            let (now, later) = rest.split_at((total - message.seen).min(rest.len()));
            let room = MAX_HANDSHAKE.saturating_sub(message.bytes.len());
            message.bytes.extend_from_slice(&now[..now.len().min(room)]);
            message.seen += now.len();
            rest = later;
            let total = match message.bytes.first_chunk::<4>() {
                Some(header) => Handshake::HEADER + length(header),
                None => continue,
            };
            if message.seen == total {
                let end = record + (RECORD_HEADER + fragment.len() - rest.len()) as u64;
                out.extend(self.message_is_over(end, shared));
            }
        }
    }

    fn message_is_over(&mut self, end: u64, shared: &mut TlsShared) -> Option<Found> {
        let partial = std::mem::take(&mut self.message);
        let message = Handshake::parse(&partial.bytes, shared.version).ok()?;
        match &message.body {
            Body::Client(hello) => shared.offered = Some(hello.version()),
            Body::Server(hello) => shared.version = Some(hello.version()),
            _ => {}
        }
        let found = Found::new(Protocol::Tls, message.summary(), partial.start, end);
        let mut found = found.fields(message.fields());
        found.label = shared.label().into();
        Some(found)
    }

    pub(super) fn pass_over(&mut self, length: u64) -> bool {
        match &mut self.opaque {
            // A gap that ends with the record may as well go on behind it.
            Some(opaque) if (opaque.left as u64) > length => {
                opaque.left -= length as usize;
                true
            }
            _ => {
                self.opaque = None;
                self.message = Partial::default();
                false
            }
        }
    }

    pub(super) fn finish(&mut self, at: u64) -> Option<Found> {
        if let Some(opaque) = self.opaque.take() {
            let there = opaque.length - opaque.left;
            let text = format!("record cut off: {there} of {} B", opaque.length);
            return Some(Found::new(Protocol::Tls, text, opaque.start, at));
        }
        let partial = std::mem::take(&mut self.message);
        let text = format!("handshake message cut off after {} B", partial.seen);
        (partial.seen > 0).then(|| Found::new(Protocol::Tls, text, partial.start, at))
    }
}

/// The length in a handshake message's header.
const fn length(header: &[u8; 4]) -> usize {
    u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize
}
