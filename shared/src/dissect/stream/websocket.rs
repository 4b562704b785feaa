//! WebSocket frames in a stream.

use super::{
    Found,
    machine::{Front, Step},
};
use crate::dissect::{
    Protocol, Reason,
    websocket::{Header, PREVIEWED},
};

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// The frame whose payload is being passed over.
    frame: Option<Frame>,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    start: u64,
    left: u64,
    /// The beginning of the payload, still masked.
    preview: Vec<u8>,
    /// How long the preview may become; nothing is added behind a gap.
    room: usize,
}

impl WebSocket {
    pub(super) fn held(&self) -> usize {
        self.frame
            .as_ref()
            .map_or(0, |frame| frame.preview.capacity())
    }

    pub(super) fn step(&mut self, front: &Front<'_>, out: &mut Vec<Found>) -> Step {
        let Some(frame) = &mut self.frame else {
            return self.begin(front, out);
        };
        let took = usize::try_from(frame.left)
            .unwrap_or(usize::MAX)
            .min(front.bytes.len());
        let more = frame.room.min(took);
        frame
            .preview
            .extend_from_slice(front.bytes.get(..more).unwrap_or_default());
        frame.room -= more;
        frame.left -= took as u64;
        if frame.left == 0 {
            out.extend(self.is_over(front.at + took as u64));
        }
        Step::Took(took)
    }

    fn begin(&mut self, front: &Front<'_>, out: &mut Vec<Found>) -> Step {
        let header = match Header::parse(front.bytes) {
            Ok(header) => header,
            Err(stopped) => {
                return match stopped.reason {
                    Reason::Short { .. } => Step::Need(front.bytes.len() + 1),
                    Reason::Invalid(what) => Step::Lost(what),
                    _ => Step::Lost("no frame"),
                };
            }
        };
        self.frame = Some(Frame {
            header,
            start: front.at,
            left: header.payload,
            preview: Vec::new(),
            room: PREVIEWED,
        });
        if header.payload == 0 {
            out.extend(self.is_over(front.at + header.length as u64));
        }
        Step::Took(header.length)
    }

    fn is_over(&mut self, end: u64) -> Option<Found> {
        let frame = self.frame.take()?;
        let start = frame.header.unmasked(&frame.preview);
        let text = frame.header.summary(&start);
        let found = Found::new(Protocol::WebSocket, text, frame.start, end);
        Some(found.fields(frame.header.fields(&start)))
    }

    pub(super) fn pass_over(&mut self, length: u64) -> bool {
        match &mut self.frame {
            Some(frame) if frame.left > length => {
                frame.left -= length;
                frame.room = 0;
                true
            }
            _ => {
                self.frame = None;
                false
            }
        }
    }

    pub(super) fn finish(&mut self, at: u64) -> Option<Found> {
        let frame = self.frame.take()?;
        let (name, payload) = (frame.header.name(), frame.header.payload);
        let text = format!("{name} cut off: {} of {payload} B", payload - frame.left);
        Some(Found::new(Protocol::WebSocket, text, frame.start, at))
    }
}
