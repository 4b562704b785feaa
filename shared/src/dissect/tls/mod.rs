//! TLS records (RFC 8446, section 5; RFC 5246, section 6) and what they carry in the clear.
//!
//! Nothing is decrypted. A record of which only the outside can be read is called encrypted; in
//! TLS 1.3 the outside does not even tell handshake from data or alert.

mod alert;
mod extension;
mod handshake;
mod hello;
pub mod names;

pub use self::{
    alert::Alert,
    extension::{Extension, Value},
    handshake::{Body, Handshake},
    hello::{ClientHello, ServerHello},
};
use super::{Stopped, reader::Reader, short};

/// Length of a record's header, in bytes.
pub const RECORD_HEADER: usize = 5;

/// The longest fragment that a record may have: 2^14 bytes, and 2,048 more where it is encrypted
/// (RFC 5246, section 6.2.3).
pub const MAX_FRAGMENT: usize = 16_384 + 2_048;

/// What a record carries, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// From here on the sender uses the new keys; in TLS 1.3 it means nothing.
    ChangeCipherSpec,
    /// An alert.
    Alert,
    /// Handshake messages.
    Handshake,
    /// Application data; in TLS 1.3 everything that is encrypted.
    ApplicationData,
    /// Heartbeat (RFC 6520).
    Heartbeat,
}

impl Content {
    /// By its number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            24 => Self::Heartbeat,
            _ => return None,
        })
    }

    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangeCipherSpec => "ChangeCipherSpec",
            Self::Alert => "alert",
            Self::Handshake => "handshake",
            Self::ApplicationData => "application data",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it carries.
    pub content: Content,
    /// The version in its header, which TLS 1.3 leaves at 0x0303.
    pub version: u16,
    /// Length of its fragment as the header tells it, in bytes; at most [`MAX_FRAGMENT`].
    pub length: usize,
    /// The fragment, as much of it as is there.
    pub fragment: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

impl<'a> Record<'a> {
    /// Reads a record that begins with its header.
    ///
    /// # Errors
    /// [`Stopped`] where the header is not all there, or is none: an unknown content type, a
    /// version that does not begin with 3, a length past [`MAX_FRAGMENT`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        let mut reader = Reader::new(bytes);
        let Some(content) = Content::from_number(reader.u8()?) else {
            return Err(Stopped::invalid(0, "no content type of a TLS record"));
        };
        let version = reader.u16()?;
        if !(0x0300..=0x0304).contains(&version) {
            return Err(Stopped::invalid(1, "no version of a TLS record"));
        }
        let length = usize::from(reader.u16()?);
        if length > MAX_FRAGMENT {
            return Err(Stopped::invalid(3, "a TLS record longer than 18,432 bytes"));
        }
        let fragment = bytes.get(RECORD_HEADER..).unwrap_or_default();
        let whole = RECORD_HEADER + length;
        Ok(Self {
            content,
            version,
            length,
            fragment: fragment.get(..length).unwrap_or(fragment),
            stopped: (bytes.len() < whole).then(|| short(bytes, whole)),
        })
    }
}

#[cfg(test)]
mod tests;
