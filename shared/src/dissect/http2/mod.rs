//! HTTP/2 frames (RFC 9113, sections 4 and 6) and the header compression under them.

mod frame;
pub mod hpack;
pub mod names;

pub use self::frame::{Frame, Payload, Priority};
use super::{Stopped, reader::Reader};

/// With what a client begins (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame's header, in bytes.
pub const FRAME_HEADER: usize = 9;

/// Types of frames.
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 5;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames. ACK and END_STREAM share a bit.
pub mod flag {
    /// The answer to SETTINGS or PING.
    pub const ACK: u8 = 0x1;
    /// The last frame of its direction of the stream.
    pub const END_STREAM: u8 = 0x1;
    /// The header block ends here.
    pub const END_HEADERS: u8 = 0x4;
    /// Padding follows the payload.
    pub const PADDED: u8 = 0x8;
    /// A priority comes first.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload, in bytes, below 2^24.
    pub length: u32,
    /// Its type, such as [`kind::DATA`].
    pub kind: u8,
    /// Its flags, such as [`flag::ACK`].
    pub flags: u8,
    /// The stream it belongs to; 0 is the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads a frame's header.
    ///
    /// # Errors
    /// [`Stopped`] where it is not all there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Stopped> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            length: reader.u24()?,
            kind: reader.u8()?,
            flags: reader.u8()?,
            stream: reader.u32()? & 0x7fff_ffff,
        })
    }

    /// Whether every flag of `flags` is set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// What its type is called.
    pub fn name(&self) -> String {
        match names::frame(self.kind) {
            Some(name) => name.to_owned(),
            None => format!("frame of type {}", self.kind),
        }
    }

    /// The flags that mean something for its type, in words.
    pub fn flag_names(&self) -> Vec<&'static str> {
        let known: &[(u8, &'static str)] = match self.kind {
            kind::DATA => &[(flag::END_STREAM, "END_STREAM"), (flag::PADDED, "PADDED")],
            kind::HEADERS => &[
                (flag::END_STREAM, "END_STREAM"),
                (flag::END_HEADERS, "END_HEADERS"),
                (flag::PADDED, "PADDED"),
                (flag::PRIORITY, "PRIORITY"),
            ],
            kind::SETTINGS | kind::PING => &[(flag::ACK, "ACK")],
            kind::PUSH_PROMISE => &[(flag::END_HEADERS, "END_HEADERS"), (flag::PADDED, "PADDED")],
            kind::CONTINUATION => &[(flag::END_HEADERS, "END_HEADERS")],
            _ => &[],
        };
        known
            .iter()
            .filter(|(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests;
