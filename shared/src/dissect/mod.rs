//! Bytes to layers. One file per protocol, no panic whatever the bytes: a dissector returns what it
//! understood and says where it stopped.
//!
//! A `parse` gives an `Err` only where nothing of the header could be read. Whatever is wrong
//! beyond that (a length that promises more than is there, a malformed option) is left in the
//! result's `stopped`, beside everything that was understood before it. Checksums are not verified:
//! the packets come from kernels, and a wire that damages them says so itself. Nothing is
//! decrypted: what is encrypted is called so.
//!
//! [`layers`] makes a tree of one packet by itself. What a segment means in the light of those
//! before it, and the messages that streams of segments carry, are [`flow`]'s business.

use thiserror::Error;

mod field;
pub mod flow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http1;
pub mod http2;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod layers;
mod message;
mod reader;
pub mod stream;
mod summary;
pub mod tcp;
#[cfg(test)]
mod testing;
mod text;
pub mod tls;
pub mod udp;
pub mod websocket;

pub use self::{
    field::Field,
    message::{Detail, Message, Protocol},
};

/// Where a dissector stopped, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stopped at byte {at}: {reason}")]
pub struct Stopped {
    /// Offset into the bytes that were given to the dissector, at most their length.
    pub at: usize,
    /// What was wrong there.
    pub reason: Reason,
}

/// Why a dissector stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reason {
    /// The bytes end before the field does.
    #[error("{needed} bytes are needed, {there} are there")]
    Short {
        /// Bytes that the field needs, counted from the beginning.
        needed: usize,
        /// Bytes that there are.
        there: usize,
    },
    /// The first four bits are not those of this protocol.
    #[error("version {0} where another is expected")]
    Version(u8),
    /// The header claims to be shorter than its fixed part.
    #[error("a header of {0} bytes is shorter than its fixed part")]
    HeaderLength(usize),
    /// The whole claims to be shorter than its header.
    #[error("a length of {0} bytes is shorter than the header")]
    TotalLength(usize),
    /// An option's length is impossible: below 2, past the header, or not what its kind has.
    #[error("option {kind} with a length of {length}")]
    OptionLength {
        /// The option's kind.
        kind: u8,
        /// The length that it claims.
        length: u8,
    },
    /// A value that the protocol does not allow there.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Stopped {
    /// Stopped at `at` because of a value that the protocol does not allow there.
    const fn invalid(at: usize, what: &'static str) -> Self {
        Self {
            at,
            reason: Reason::Invalid(what),
        }
    }
}

/// Reads a big-endian 16-bit number; `None` past the end.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// Reads a big-endian 32-bit number; `None` past the end.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
}

/// The error of a header whose fixed part is not all there.
fn short(bytes: &[u8], needed: usize) -> Stopped {
    Stopped {
        at: bytes.len(),
        reason: Reason::Short {
            needed,
            there: bytes.len(),
        },
    }
}
