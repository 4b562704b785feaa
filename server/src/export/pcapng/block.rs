//! Blocks of a pcapng file, byte by byte (draft-ietf-opsawg-pcapng).
//!
//! Everything is little-endian. Fields and options are padded to four bytes, and a block's length
//! stands before and after its body, which [`Block`] sees to.

use std::io::{self, Write};

/// Section Header Block.
pub(super) const SECTION: u32 = 0x0A0D_0D0A;
/// Interface Description Block.
pub(super) const INTERFACE: u32 = 1;
/// Enhanced Packet Block.
pub(super) const PACKET: u32 = 6;
/// Decryption Secrets Block.
pub(super) const SECRETS: u32 = 0x0A;

/// A comment, in every block; may be there several times.
pub(super) const COMMENT: u16 = 1;

/// The longest text of an option, in bytes: what is longer is cut, and says so.
const LONGEST_TEXT: usize = 8 * 1024;

/// A block that is being put together.
pub(super) struct Block {
    bytes: Vec<u8>,
    has_options: bool,
}

impl Block {
    pub(super) fn new(kind: u32) -> Self {
        let mut block = Self {
            bytes: Vec::with_capacity(128),
            has_options: false,
        };
        // The length's place is kept; it is known at the end.
        block.u32(kind).u32(0);
        block
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Bytes, with zeros up to a multiple of four.
    pub(super) fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// An option; `value` has at most 65,535 bytes.
    pub(super) fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.has_options = true;
        self.u16(code)
            .u16(length)
            .padded(&value[..usize::from(length)])
    }

    /// An option that is a text.
    pub(super) fn text(&mut self, code: u16, text: &str) -> &mut Self {
        if text.len() <= LONGEST_TEXT {
            return self.option(code, text.as_bytes());
        }
        let end = (0..=LONGEST_TEXT)
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or(0);
        self.option(code, format!("{} [cut]", &text[..end]).as_bytes())
    }

    /// Ends the block and writes it.
    pub(super) fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.has_options {
            // opt_endofopt.
            self.u32(0);
        }
        let length = u32::try_from(self.bytes.len() + 4).map_err(io::Error::other)?;
        self.u32(length);
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        out.write_all(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(block: &mut Block) -> Vec<u8> {
        let mut bytes = Vec::new();
        block.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_block_says_its_length_at_both_ends() {
        let bytes = written(Block::new(SECRETS).padded(b"12345"));
        assert_eq!(bytes.len(), 20);
        assert_eq!(bytes[..8], [0x0A, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(bytes[8..], *b"12345\0\0\0\x14\0\0\0");
    }

    #[test]
    fn options_are_padded_and_ended() {
        let bytes = written(Block::new(PACKET).text(COMMENT, "hi"));
        assert_eq!(bytes[8..16], [1, 0, 2, 0, b'h', b'i', 0, 0]);
        assert_eq!(bytes[16..20], [0; 4]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let bytes = written(Block::new(PACKET).text(COMMENT, &"é".repeat(40_000)));
        assert!(bytes.len() < LONGEST_TEXT + 64);
        let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let text = std::str::from_utf8(&bytes[12..12 + length]).unwrap();
        assert!(text.ends_with("é [cut]"));
    }
}
