//! A frame's payload (RFC 9113, section 6).

use super::{FRAME_HEADER, FrameHeader, flag, kind, names};
use crate::dissect::{
    Field, Stopped,
    field::Fields,
    reader::Reader,
    text::{hex, list, utf8},
};

/// Settings of one frame that are kept.
const MOST_SETTINGS: usize = 64;

/// Characters of a GOAWAY's debug data that are kept.
const MAX_DEBUG: usize = 120;

/// A frame whose payload has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its payload.
    pub payload: Payload<'a>,
    /// Where in the payload the dissection ended early, and why.
    pub stopped: Option<Stopped>,
}

/// On what a stream depends. Deprecated, and still sent (RFC 9113, section 5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// Whether it alone depends on that stream.
    pub exclusive: bool,
    /// The stream it depends on.
    pub parent: u32,
    /// Its weight, 1 to 256.
    pub weight: u16,
}

/// The payload of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// DATA.
    Data {
        /// Length of the data, padding not included.
        length: usize,
    },
    /// HEADERS.
    Headers {
        /// A priority, if there is one.
        priority: Option<Priority>,
        /// The beginning of the header block.
        block: &'a [u8],
    },
    /// PRIORITY.
    Priority(Priority),
    /// RST_STREAM.
    Reset {
        /// The error code.
        error: u32,
    },
    /// SETTINGS, by number.
    Settings(Vec<(u16, u32)>),
    /// PUSH_PROMISE.
    Push {
        /// The stream that is promised.
        stream: u32,
        /// The beginning of the header block.
        block: &'a [u8],
    },
    /// PING: eight bytes that mean something to their sender alone.
    Ping([u8; 8]),
    /// GOAWAY.
    GoAway {
        /// The last stream that the sender may have acted on.
        last_stream: u32,
        /// The error code.
        error: u32,
        /// Whatever the sender has to say, as text.
        debug: String,
    },
    /// WINDOW_UPDATE: by how many bytes.
    WindowUpdate(u32),
    /// CONTINUATION: more of the header block.
    Continuation(&'a [u8]),
    /// A frame that is not interpreted here, or whose payload is not what its type has.
    Other,
}

impl<'a> Frame<'a> {
    /// Reads a frame's payload, which is all there.
    pub fn parse(header: FrameHeader, payload: &'a [u8]) -> Self {
        let (payload, stopped) = match read(header, payload) {
            Ok(payload) => (payload, None),
            Err(stopped) => (Payload::Other, Some(stopped)),
        };
        Self {
            header,
            payload,
            stopped,
        }
    }

    /// The part of a header block that it carries.
    pub const fn block(&self) -> Option<&'a [u8]> {
        match self.payload {
            Payload::Headers { block, .. }
            | Payload::Push { block, .. }
            | Payload::Continuation(block) => Some(block),
            _ => None,
        }
    }

    /// One line on what it is.
    pub fn summary(&self) -> String {
        let name = self.header.name();
        match &self.payload {
            Payload::Data { length } => format!("{name} {length} B"),
            Payload::Settings(_) | Payload::Ping(_) if self.header.has(flag::ACK) => {
                format!("{name} ACK")
            }
            Payload::Reset { error } => format!("{name} {}", names::error(*error)),
            Payload::GoAway {
                last_stream, error, ..
            } => format!("{name} {} last stream {last_stream}", names::error(*error)),
            Payload::WindowUpdate(by) => format!("{name} +{by}"),
            Payload::Push { stream, .. } => format!("{name} stream {stream}"),
            Payload::Other if self.stopped.is_some() => format!("{name} (malformed)"),
            Payload::Other => format!("{name} {} B", self.header.length),
            _ => name,
        }
    }

    /// What it says; ranges count from the first byte of its header.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = self.header.fields();
        let body = FRAME_HEADER;
        let length = self.header.length as usize;
        match &self.payload {
            Payload::Data { length: data } if *data != length => {
                fields.at("Data", format!("{data} bytes"), body, length);
            }
            Payload::Headers {
                priority: Some(priority),
                ..
            } => {
                let at = body + usize::from(self.header.has(flag::PADDED));
                fields.at("Priority", priority.words(), at, 5);
            }
            Payload::Priority(priority) => fields.at("Priority", priority.words(), body, 5),
            Payload::Reset { error } => fields.at("Error", names::error(*error), body, 4),
            Payload::Settings(settings) => {
                for (index, (number, value)) in settings.iter().enumerate() {
                    fields.at(names::setting(*number), value, body + 6 * index, 6);
                }
            }
            Payload::Push { stream, .. } => {
                let at = body + usize::from(self.header.has(flag::PADDED));
                fields.at("Promised stream", stream, at, 4);
            }
            Payload::Ping(opaque) => fields.at("Opaque data", hex(opaque, 8), body, 8),
            Payload::GoAway {
                last_stream,
                error,
                debug,
            } => {
                fields.at("Last stream", last_stream, body, 4);
                fields.at("Error", names::error(*error), body + 4, 4);
                if !debug.is_empty() {
                    fields.at("Debug data", debug, body + 8, length.saturating_sub(8));
                }
            }
            Payload::WindowUpdate(by) => fields.at("Increment", format!("{by} bytes"), body, 4),
            _ => {}
        }
        if let Some(stopped) = self.stopped {
            fields.at("Not all read", stopped, body + stopped.at, 0);
        }
        fields.into_vec()
    }
}

impl FrameHeader {
    /// What the header says; ranges count from its first byte.
    pub(in crate::dissect) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.at("Length", format!("{} bytes", self.length), 0, 3);
        fields.at("Type", self.name(), 3, 1);
        let mut flags = list(self.flag_names());
        if flags.is_empty() {
            flags = match self.flags {
                0 => "none".to_owned(),
                other => format!("0x{other:02x}"),
            };
        }
        fields.at("Flags", flags, 4, 1);
        fields.at("Stream", self.stream, 5, 4);
        fields
    }
}

impl Priority {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Stopped> {
        let parent = reader.u32()?;
        Ok(Self {
            exclusive: parent >> 31 == 1,
            parent: parent & 0x7fff_ffff,
            weight: u16::from(reader.u8()?) + 1,
        })
    }

    fn words(&self) -> String {
        let exclusive = if self.exclusive { ", exclusive" } else { "" };
        format!(
            "weight {}, depends on stream {}{exclusive}",
            self.weight, self.parent
        )
    }
}

fn read<'a>(header: FrameHeader, payload: &'a [u8]) -> Result<Payload<'a>, Stopped> {
    let mut reader = Reader::new(payload);
    let padded = matches!(header.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE)
        && header.has(flag::PADDED);
    if padded {
        let padding = usize::from(reader.u8()?);
        if padding > reader.left() {
            return Err(Stopped::invalid(0, "padding longer than the frame"));
        }
        let left = reader.left() - padding;
        reader = reader.part(left)?;
    }
    Ok(match header.kind {
        kind::DATA => Payload::Data {
            length: reader.left(),
        },
        kind::HEADERS => Payload::Headers {
            priority: match header.has(flag::PRIORITY) {
                true => Some(Priority::read(&mut reader)?),
                false => None,
            },
            block: reader.rest(),
        },
        kind::PRIORITY => Payload::Priority(Priority::read(&mut reader)?),
        kind::RST_STREAM => Payload::Reset {
            error: reader.u32()?,
        },
        kind::SETTINGS => {
            let mut settings = Vec::new();
            while !reader.is_empty() && settings.len() < MOST_SETTINGS {
                settings.push((reader.u16()?, reader.u32()?));
            }
            Payload::Settings(settings)
        }
        kind::PUSH_PROMISE => Payload::Push {
            stream: reader.u32()? & 0x7fff_ffff,
            block: reader.rest(),
        },
        kind::PING => Payload::Ping(reader.u64()?.to_be_bytes()),
        kind::GOAWAY => Payload::GoAway {
            last_stream: reader.u32()? & 0x7fff_ffff,
            error: reader.u32()?,
            debug: utf8(reader.rest(), MAX_DEBUG),
        },
        kind::WINDOW_UPDATE => Payload::WindowUpdate(reader.u32()? & 0x7fff_ffff),
        kind::CONTINUATION => Payload::Continuation(reader.rest()),
        _ => Payload::Other,
    })
}
