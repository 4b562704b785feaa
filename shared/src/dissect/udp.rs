//! UDP headers (RFC 768).

use super::{Reason, Stopped, be16, short};

/// Length of the header, in bytes.
pub const HEADER: usize = 8;

/// A UDP datagram's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Length of the payload as the header tells it, in bytes.
    pub payload_length: u16,
    /// The payload, as much of it as is there.
    pub payload: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

impl<'a> Udp<'a> {
    /// Reads a datagram that begins with its UDP header.
    ///
    /// # Errors
    /// [`Stopped`] where the header is not all there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Err(short(bytes, HEADER));
        };
        let claimed = usize::from(be16(header, 4).unwrap_or_default());
        let stopped = if claimed < HEADER {
            Some(Stopped {
                at: 4,
                reason: Reason::TotalLength(claimed),
            })
        } else if bytes.len() < claimed {
            Some(short(bytes, claimed))
        } else {
            None
        };
        let end = claimed.clamp(HEADER, bytes.len());
        Ok(Self {
            src_port: be16(header, 0).unwrap_or_default(),
            dst_port: be16(header, 2).unwrap_or_default(),
            payload_length: be16(header, 4).unwrap_or_default().saturating_sub(8),
            payload: bytes.get(HEADER..end).unwrap_or_default(),
            stopped,
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
        assert_eq!(udp.stopped, Some(short(&bytes, 13)));
        for end in 0..HEADER {
            assert_eq!(Udp::parse(&bytes[..end]), Err(short(&bytes[..end], 8)));
        }
    }
    #[test]
    fn the_payload_ends_where_the_header_says() {
        let bytes = [0, 1, 0, 2, 0, 10, 0, 0, 7, 8, 9];
        let udp = Udp::parse(&bytes).unwrap();
        assert_eq!((udp.payload, udp.stopped), (&[7, 8][..], None));
        let bytes = [0, 1, 0, 2, 0, 3, 0, 0, 7];
        let udp = Udp::parse(&bytes).unwrap();
        assert!(udp.payload.is_empty());
        assert_eq!(udp.stopped.unwrap().reason, Reason::TotalLength(3));
    }
}
