//! WebSocket frames (RFC 6455, section 5).

use super::{Field, Stopped, field::Fields, reader::Reader, text::utf8};

/// The longest header: two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// Characters of a payload that are shown.
const PREVIEW: usize = 80;

/// Of a payload, the bytes that a preview is made of.
pub const PREVIEWED: usize = 4 * PREVIEW + 4;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether it is the last frame of its message.
    pub fin: bool,
    /// The three reserved bits; 4 is RSV1, by which a message is compressed (RFC 7692).
    pub rsv: u8,
    /// What it is.
    pub opcode: u8,
    /// By what its payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of its payload, in bytes.
    pub payload: u64,
    /// Length of the header itself, 2 to 14 bytes.
    pub length: usize,
}

impl Header {
    /// Reads a frame's header.
    ///
    /// # Errors
    /// [`Stopped`] where it is not all there, the opcode is reserved, the length has its highest
    /// bit set, or a control frame is longer than 125 bytes or not the last of its message: then
    /// these are no frames.
    pub fn parse(bytes: &[u8]) -> Result<Self, Stopped> {
        let mut reader = Reader::new(bytes);
        let (first, second) = (reader.u8()?, reader.u8()?);
        let opcode = first & 15;
        let fin = first & 0x80 != 0;
        if matches!(opcode, 3..=7 | 11..=15) {
            return Err(Stopped::invalid(0, "a reserved opcode"));
        }
        let payload = match second & 127 {
            126 => u64::from(reader.u16()?),
            127 => reader.u64()?,
            short => u64::from(short),
        };
        if payload >> 63 != 0 {
            return Err(Stopped::invalid(2, "a length of 2^63 bytes or more"));
        }
        if opcode >= 8 && (payload > 125 || !fin) {
            return Err(Stopped::invalid(
                0,
                "a control frame that is long or fragmented",
            ));
        }
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(reader.u32()?.to_be_bytes()),
        };
        Ok(Self {
            fin,
            rsv: first >> 4 & 7,
            opcode,
            mask,
            payload,
            length: reader.at(),
        })
    }

    /// What its opcode is called.
    pub const fn name(&self) -> &'static str {
        match self.opcode {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        }
    }

    /// Takes the mask off the first bytes of the payload.
    pub fn unmasked(&self, payload: &[u8]) -> Vec<u8> {
        let Some(mask) = self.mask else {
            return payload.to_vec();
        };
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect()
    }

    /// One line on what it is. `start` is the beginning of its payload, unmasked.
    pub fn summary(&self, start: &[u8]) -> String {
        let name = self.name();
        if let (8, Some(close)) = (self.opcode, Close::parse(start)) {
            return match close.reason.is_empty() {
                true => format!("close {}", close.code),
                false => format!("close {} {}", close.code, close.reason),
            };
        }
        let size = match (self.opcode, self.payload) {
            (8..=10, 0) => String::new(),
            (_, length) => format!(" {length} B"),
        };
        let part = match (self.opcode, self.fin) {
            (1 | 2, false) => " (begins)",
            (0, true) => " (last)",
            _ => "",
        };
        format!("{name}{size}{part}")
    }

    /// What it says. `start` is the beginning of its payload, unmasked. Ranges count from the
    /// frame's first byte.
    pub fn fields(&self, start: &[u8]) -> Vec<Field> {
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let mut fields = Fields::new();
        fields.at("Opcode", format!("{} ({})", self.opcode, self.name()), 0, 1);
        fields.at("Last frame of its message", yes(self.fin), 0, 1);
        if self.rsv != 0 {
            let meaning = match self.rsv {
                4 => "RSV1 (compressed)".to_owned(),
                bits => format!("{bits:03b}"),
            };
            fields.at("Reserved bits", meaning, 0, 1);
        }
        fields.at("Masked", yes(self.mask.is_some()), 1, 1);
        let payload = format!("{} bytes", self.payload);
        fields.at("Payload length", payload, 1, self.length.saturating_sub(1));
        let there = start.len();
        match (self.opcode, Close::parse(start)) {
            (8, Some(close)) => {
                fields.at("Close code", close.name(), self.length, 2);
                if !close.reason.is_empty() {
                    fields.at("Reason", close.reason, self.length + 2, there - 2);
                }
            }
            (1 | 8..=10, _) if self.rsv == 0 && there > 0 => {
                fields.at("Text", utf8(start, PREVIEW), self.length, there);
            }
            _ => {}
        }
        fields.into_vec()
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Why the connection is closed.
    pub code: u16,
    /// The same in words, of which 80 characters are kept.
    pub reason: String,
}

impl Close {
    /// Reads the payload of a close frame; `None` where it has no code.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (code, reason) = payload.split_first_chunk::<2>()?;
        Some(Self {
            code: u16::from_be_bytes(*code),
            reason: utf8(reason, PREVIEW),
        })
    }

    /// The code and its name (IANA, WebSocket Close Code Number Registry).
    pub fn name(&self) -> String {
        let name = match self.code {
            1000 => "normal closure",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1005 => "no status received",
            1006 => "abnormal closure",
            1007 => "invalid payload data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "mandatory extension",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            1015 => "TLS handshake failed",
            code => return code.to_string(),
        };
        format!("{} ({name})", self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::mutations;

    fn read(bytes: &[u8]) -> (Header, Vec<u8>) {
        let header = Header::parse(bytes).unwrap();
        let payload = header.unmasked(&bytes[header.length..]);
        (header, payload)
    }

    /// The examples of RFC 6455, section 5.7.
    #[test]
    fn the_standards_own_examples_are_understood() {
        let (header, payload) = read(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(
            (header.summary(&payload), &payload[..]),
            ("text 5 B".to_owned(), &b"Hello"[..])
        );
        let masked = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let (header, payload) = read(&masked);
        assert_eq!((header.mask.is_some(), &payload[..]), (true, &b"Hello"[..]));
        let (header, payload) = read(&[0x01, 0x03, 0x48, 0x65, 0x6c]);
        assert_eq!(header.summary(&payload), "text 3 B (begins)");
        let (header, payload) = read(&[0x80, 0x02, 0x6c, 0x6f]);
        assert_eq!(header.summary(&payload), "continuation 2 B (last)");
        let (header, payload) = read(&[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(header.summary(&payload), "ping 5 B");
        assert_eq!(read(&[0x82, 0x7e, 1, 0]).0.payload, 256);
        let (header, _) = read(&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((header.payload, header.length), (65_536, 10));
    }

    #[test]
    fn a_close_frame_tells_its_code_and_reason() {
        let (header, payload) = read(b"\x88\x05\x03\xe9bye");
        assert_eq!(header.summary(&payload), "close 1001 bye");
        let fields = header.fields(&payload);
        let field = |name: &str| fields.iter().find(|f| f.name == name).unwrap();
        assert_eq!(field("Close code").value, "1001 (going away)");
        assert_eq!(field("Reason").range, 4..7);
        assert_eq!(read(&[0x88, 0]).0.summary(&[]), "close");
        assert_eq!(read(&[0x8a, 0]).0.summary(&[]), "pong");
    }

    #[test]
    fn compressed_text_is_not_shown_as_text() {
        let (header, payload) = read(&[0xc1, 2, 0x4a, 0]);
        let fields = header.fields(&payload);
        assert!(fields.iter().all(|field| field.name != "Text"));
        assert!(
            fields
                .iter()
                .any(|field| field.value == "RSV1 (compressed)")
        );
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Header::parse(&[0x83, 0]).unwrap_err().at, 0);
        assert_eq!(Header::parse(&[0x09, 0]).unwrap_err().at, 0);
        assert_eq!(Header::parse(&[0x89, 126, 0, 126]).unwrap_err().at, 0);
        assert!(Header::parse(&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(Header::parse(&[0x81, 0x85, 1]).unwrap_err().at, 2);
    }

    #[test]
    fn whatever_the_bytes_a_header_is_within_them() {
        mutations(
            b"\x88\x85\x01\x02\x03\x04\x02\xeaabc",
            20_000,
            |bytes| match Header::parse(bytes) {
                Err(stopped) => assert!(stopped.at <= bytes.len()),
                Ok(header) => {
                    assert!((2..=MAX_HEADER).contains(&header.length));
                    let payload = header.unmasked(&bytes[header.length..]);
                    assert!(!header.summary(&payload).is_empty());
                    header.fields(&payload);
                }
            },
        );
    }
}
