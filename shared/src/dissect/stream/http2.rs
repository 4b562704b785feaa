//! HTTP/2 frames in a stream, and the header fields in them.

use super::{
    Found,
    machine::{Front, Step},
};
use crate::dissect::{
    Detail, Protocol,
    http2::{
        FRAME_HEADER, Frame, FrameHeader, PREFACE, Payload, flag,
        hpack::{Decoder, Entry},
        kind,
    },
    text::ascii,
};

/// The longest frame of which the payload is kept until it is all there, in bytes; of a longer
/// one only the header is read. DATA is never kept.
const MAX_KEPT: usize = 65_536;

/// The longest header block that is decoded, in bytes.
const MAX_BLOCK: usize = 131_072;

/// The longest name and value that are shown, in characters.
const MAX_TEXT: usize = 256;

/// What the shown names and values of one block may come to, in bytes; what follows is counted.
/// An index of one byte can stand for a field of 256.
const MAX_SHOWN: usize = 16_384;

/// The frames of one direction.
#[derive(Debug)]
pub(super) struct Http2 {
    /// Whether the client's preface comes first.
    preface: bool,
    /// The table of header fields; `None` once it cannot be known any more.
    decoder: Option<Decoder>,
    /// A header block whose end has not come.
    block: Option<Block>,
    /// A frame whose payload is being passed over.
    passing: Option<Passing>,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Passing {
    header: FrameHeader,
    start: u64,
    left: u64,
    /// The first byte of the payload, which tells the length of padding.
    first: Option<u8>,
}

impl Http2 {
    pub(super) fn new(preface: bool) -> Self {
        Self {
            preface,
            decoder: Some(Decoder::new()),
            block: None,
            passing: None,
        }
    }

    /// In the middle of a stream of which something was not seen.
    pub(super) fn taken_up() -> Self {
        Self {
            preface: false,
            decoder: None,
            block: None,
            passing: None,
        }
    }

    pub(super) fn held(&self) -> usize {
        let table = self.decoder.as_ref().map_or(0, Decoder::held);
        let block = self
            .block
            .as_ref()
            .map_or(0, |block| block.bytes.capacity());
        table + block
    }

    pub(super) fn step(&mut self, front: &Front<'_>, out: &mut Vec<Found>) -> Step {
        if self.preface {
            if front.bytes.len() < PREFACE.len() {
                return Step::Need(PREFACE.len());
            }
            self.preface = false;
            let end = front.at + PREFACE.len() as u64;
            out.push(Found::new(Protocol::Http2, "preface", front.at, end));
            return Step::Took(PREFACE.len());
        }
        if let Some(passing) = &mut self.passing {
            let took = usize::try_from(passing.left)
                .unwrap_or(usize::MAX)
                .min(front.bytes.len());
            passing.first = passing.first.or(front.bytes.first().copied());
            passing.left -= took as u64;
            if passing.left == 0 {
                out.extend(self.passed(front.at + took as u64));
            }
            return Step::Took(took);
        }
        let Ok(header) = FrameHeader::parse(front.bytes) else {
            return Step::Need(FRAME_HEADER);
        };
        let length = header.length as usize;
        if header.kind == kind::DATA || header.kind > kind::CONTINUATION || length > MAX_KEPT {
            self.passing = Some(Passing {
                header,
                start: front.at,
                left: header.length.into(),
                first: None,
            });
            if length == 0 {
                out.extend(self.passed(front.at + FRAME_HEADER as u64));
            }
            return Step::Took(FRAME_HEADER);
        }
        let Some(payload) = front.bytes.get(FRAME_HEADER..FRAME_HEADER + length) else {
            return Step::Need(FRAME_HEADER + length);
        };
        let frame = Frame::parse(header, payload);
        let end = front.at + (FRAME_HEADER + length) as u64;
        let fields = self.fields(&frame);
        let mut text = frame.summary();
        if let Some(line) = fields.as_ref().and_then(first_line) {
            text = format!("{text} {line}");
        }
        let mut found = Found::new(Protocol::Http2, text, front.at, end).fields(frame.fields());
        match &fields {
            Some(Fields::Known(fields, complete)) => {
                found = show(found, fields);
                if !complete {
                    found = found.detail("Header block", "not all decoded");
                }
            }
            Some(Fields::Lost) => found = found.detail("Header block", "cannot be decoded"),
            Some(Fields::GoesOn) => found = found.detail("Header block", "goes on"),
            None => {}
        }
        out.push(found);
        Step::Took(FRAME_HEADER + length)
    }

    /// The header fields of the block that ends with this frame, if the frame has part of one.
    fn fields(&mut self, frame: &Frame<'_>) -> Option<Fields> {
        let part = frame.block();
        let continues = matches!(frame.payload, Payload::Continuation(_));
        // Between a block's frames there may be no other (RFC 9113, section 6.10).
        let fits = match &self.block {
            Some(block) => continues && block.stream == frame.header.stream,
            None => !continues,
        };
        let malformed =
            part.is_none() && matches!(frame.header.kind, kind::HEADERS | kind::PUSH_PROMISE);
        if !fits || malformed {
            self.block = None;
            self.decoder = None;
        }
        let part = part?;
        let mut bytes = match self.block.take() {
            Some(block) => block.bytes,
            None => Vec::new(),
        };
        bytes.extend_from_slice(part);
        if bytes.len() > MAX_BLOCK {
            self.decoder = None;
        }
        let Some(decoder) = &mut self.decoder else {
            return Some(Fields::Lost);
        };
        if !frame.header.has(flag::END_HEADERS) {
            self.block = Some(Block {
                stream: frame.header.stream,
                bytes,
            });
            return Some(Fields::GoesOn);
        }
        let (fields, stopped) = decoder.decode(&bytes);
        if stopped.is_some() {
            self.decoder = None;
        }
        Some(Fields::Known(fields, stopped.is_none()))
    }

    /// A frame whose payload was not kept is over.
    fn passed(&mut self, end: u64) -> Option<Found> {
        let Passing {
            header,
            start,
            first,
            ..
        } = self.passing.take()?;
        if self.block.take().is_some()
            || matches!(
                header.kind,
                kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
            )
        {
            self.decoder = None;
        }
        let length = header.length as usize;
        let payload = match header.kind {
            kind::DATA => {
                let padding = match header.has(flag::PADDED) {
                    true => 1 + usize::from(first.unwrap_or_default()),
                    false => 0,
                };
                Payload::Data {
                    length: length.saturating_sub(padding),
                }
            }
            _ => Payload::Other,
        };
        let frame = Frame {
            header,
            payload,
            stopped: None,
        };
        let found = Found::new(Protocol::Http2, frame.summary(), start, end);
        Some(found.fields(frame.fields()))
    }

    pub(super) fn pass_over(&mut self, length: u64) -> bool {
        match &mut self.passing {
            Some(passing) if passing.left > length => {
                passing.first = passing.first.or(Some(0));
                passing.left -= length;
                true
            }
            _ => {
                *self = Self::taken_up();
                false
            }
        }
    }

    pub(super) fn finish(&mut self, at: u64) -> Option<Found> {
        let passing = self.passing.take()?;
        let length = u64::from(passing.header.length);
        let there = length - passing.left;
        let text = format!("{} cut off: {there} of {length} B", passing.header.name());
        Some(Found::new(Protocol::Http2, text, passing.start, at))
    }
}

/// What became of a header block.
enum Fields {
    /// Its fields, and whether these are all.
    Known(Vec<Entry>, bool),
    /// It goes on in the next frame.
    GoesOn,
    /// The table that it needs is not known.
    Lost,
}

/// Method and path of a request, or the status of a response.
fn first_line(fields: &Fields) -> Option<String> {
    let Fields::Known(fields, _) = fields else {
        return None;
    };
    let value = |name: &[u8]| {
        let field = fields.iter().find(|field| *field.0 == *name);
        field.map(|field| ascii(&field.1, 60))
    };
    if let Some(status) = value(b":status") {
        return Some(status);
    }
    match (
        value(b":method"),
        value(b":path").or_else(|| value(b":authority")),
    ) {
        (Some(method), Some(path)) => Some(format!("{method} {path}")),
        (Some(method), None) => Some(method),
        _ => None,
    }
}

/// Adds the header fields, as many of them as are shown.
fn show(mut found: Found, fields: &[Entry]) -> Found {
    let mut length = 0;
    for (index, (name, value)) in fields.iter().enumerate() {
        let (name, value) = (ascii(name, MAX_TEXT), ascii(value, MAX_TEXT));
        length += name.len() + value.len();
        if length > MAX_SHOWN {
            let more = format!("{} are not shown", fields.len() - index);
            return found.detail("Header fields", more);
        }
        found.details.push(Detail {
            name: name.into(),
            value,
        });
    }
    found
}
