//! UDP headers (RFC 768).

use super::{Stopped, be16, short};

/// Length of the header, in bytes.
pub const HEADER: usize = 8;

/// A UDP datagram's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Length of the payload as the header tells it, in bytes.
    pub payload_length: u16,
}

impl Udp {
    /// Reads a datagram that begins with its UDP header.
    ///
    /// # Errors
    /// [`Stopped`] where the header is not all there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Stopped> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Err(short(bytes, HEADER));
        };
        Ok(Self {
            src_port: be16(header, 0).unwrap_or_default(),
            dst_port: be16(header, 2).unwrap_or_default(),
            payload_length: be16(header, 4).unwrap_or_default().saturating_sub(8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_a_part_of_one_is_refused() {
        let bytes = [0x9c, 0x40, 0, 53, 0, 13, 0, 0];
        let udp = Udp::parse(&bytes).unwrap();
        assert_eq!(
            (udp.src_port, udp.dst_port, udp.payload_length),
            (40_000, 53, 5)
        );
        for end in 0..HEADER {
            assert_eq!(Udp::parse(&bytes[..end]), Err(short(&bytes[..end], 8)));
        }
    }
}
