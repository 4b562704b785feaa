//! IPv4 headers (RFC 791, section 3.1).
//!
//! Options are skipped, fragments are not put together again: hosts of a run have one MTU between
//! them, so a fragment is something to be shown as what it is.

use std::net::Ipv4Addr;

use super::{Reason, Stopped, be16, short};

/// Length of the header without options, in bytes.
pub const FIXED_HEADER: usize = 20;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// An IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// Sender.
    pub src: Ipv4Addr,
    /// Receiver.
    pub dst: Ipv4Addr,
    /// Protocol number of the payload, such as [`TCP`].
    pub protocol: u8,
    /// Hops that are left.
    pub ttl: u8,
    /// Type of service: six bits of DSCP, two of ECN.
    pub tos: u8,
    /// Joins the fragments of one packet.
    pub identification: u16,
    /// The checksum as it stands in the header.
    pub checksum: u16,
    /// Length of the header with its options, 20 to 60 bytes.
    pub header_length: usize,
    /// Length of the packet as its header tells it, in bytes; at least `header_length`.
    pub total_length: usize,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether fragments follow.
    pub more_fragments: bool,
    /// Where this fragment's payload belongs, in bytes; 0 for what is whole.
    pub fragment_offset: usize,
    /// The payload, as much of it as is there; bytes after `total_length` are not part of it.
    pub payload: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

impl<'a> Ipv4<'a> {
    /// Reads a packet that begins with its IP header.
    ///
    /// # Errors
    /// [`Stopped`] where this is no IPv4 header or less than its fixed part. A packet that is cut
    /// off later is `Ok`, with the payload that is there and `stopped` set.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        let Some(fixed) = bytes.first_chunk::<FIXED_HEADER>() else {
            return match bytes.first() {
                Some(first) if first >> 4 != 4 => Err(version(*first)),
                _ => Err(short(bytes, FIXED_HEADER)),
            };
        };
        if fixed[0] >> 4 != 4 {
            return Err(version(fixed[0]));
        }
        let header_length = usize::from(fixed[0] & 15) * 4;
        if header_length < FIXED_HEADER {
            return Err(Stopped {
                at: 0,
                reason: Reason::HeaderLength(header_length),
            });
        }
        let claimed = usize::from(be16(fixed, 2).unwrap_or_default());
        let total_length = claimed.max(header_length);
        let stopped = if claimed < header_length {
            Some(Stopped {
                at: 2,
                reason: Reason::TotalLength(claimed),
            })
        } else if bytes.len() < total_length {
            Some(short(bytes, total_length))
        } else {
            None
        };
        let fragment = be16(fixed, 6).unwrap_or_default();
        let end = total_length.min(bytes.len());
        Ok(Self {
            src: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            dst: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            protocol: fixed[9],
            ttl: fixed[8],
            tos: fixed[1],
            identification: be16(fixed, 4).unwrap_or_default(),
            checksum: be16(fixed, 10).unwrap_or_default(),
            header_length,
            total_length,
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: usize::from(fragment & 0x1fff) * 8,
            payload: bytes.get(header_length..end).unwrap_or_default(),
            stopped,
        })
    }

    /// Length of the payload as the header tells it, in bytes, whether or not it is all there.
    pub const fn payload_length(&self) -> usize {
        self.total_length - self.header_length
    }

    /// Whether this is a part of a packet that begins elsewhere: its payload has no header.
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment_offset > 0
    }
}

fn version(first: u8) -> Stopped {
    Stopped {
        at: 0,
        reason: Reason::Version(first >> 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{CLIENT, SERVER, ip, mutations};

    #[test]
    fn a_header_is_read_field_by_field() {
        let bytes = ip(UDP, b"payload");
        let packet = Ipv4::parse(&bytes).unwrap();
        assert_eq!(packet.src, *CLIENT.ip());
        assert_eq!(packet.dst, *SERVER.ip());
        assert_eq!((packet.protocol, packet.ttl), (UDP, 64));
        assert_eq!((packet.header_length, packet.total_length), (20, 27));
        assert!(packet.dont_fragment && !packet.more_fragments && !packet.is_later_fragment());
        assert_eq!(packet.payload, b"payload");
        assert_eq!(packet.stopped, None);
    }

    #[test]
    fn options_are_skipped() {
        let mut bytes = ip(UDP, b"abcdpayload");
        bytes[0] = 0x46;
        let packet = Ipv4::parse(&bytes).unwrap();
        assert_eq!(packet.header_length, 24);
        assert_eq!(packet.payload, b"payload");
    }

    #[test]
    fn bytes_after_the_packet_are_not_its_payload() {
        let mut bytes = ip(UDP, b"payload");
        bytes.extend_from_slice(b"padding");
        assert_eq!(Ipv4::parse(&bytes).unwrap().payload, b"payload");
    }

    #[test]
    fn a_packet_that_is_cut_off_gives_what_is_there() {
        let bytes = ip(UDP, b"payload");
        let packet = Ipv4::parse(&bytes[..23]).unwrap();
        assert_eq!(packet.payload, b"pay");
        assert_eq!(packet.payload_length(), 7);
        assert_eq!(
            packet.stopped.unwrap().to_string(),
            "stopped at byte 23: 27 bytes are needed, 23 are there"
        );
    }

    #[test]
    fn impossible_lengths_are_named() {
        let mut bytes = ip(UDP, b"payload");
        bytes[0] = 0x44;
        assert_eq!(
            Ipv4::parse(&bytes).unwrap_err().reason,
            Reason::HeaderLength(16)
        );
        let mut bytes = ip(UDP, b"payload");
        bytes[2..4].copy_from_slice(&[0, 19]);
        let packet = Ipv4::parse(&bytes).unwrap();
        assert_eq!(packet.payload, b"");
        assert_eq!(packet.stopped.unwrap().reason, Reason::TotalLength(19));
    }

    #[test]
    fn what_is_no_ipv4_is_refused() {
        assert_eq!(Ipv4::parse(&[]).unwrap_err(), short(&[], 20));
        assert_eq!(Ipv4::parse(&[0x45]).unwrap_err(), short(&[0x45], 20));
        assert_eq!(Ipv4::parse(&[0x60]).unwrap_err().reason, Reason::Version(6));
        assert_eq!(
            Ipv4::parse(&[0; 40]).unwrap_err().reason,
            Reason::Version(0)
        );
    }

    #[test]
    fn fragments_are_recognised() {
        let mut bytes = ip(TCP, b"payload");
        bytes[6..8].copy_from_slice(&[0x20, 0xb9]);
        let packet = Ipv4::parse(&bytes).unwrap();
        assert!(packet.more_fragments && packet.is_later_fragment());
        assert_eq!(packet.fragment_offset, 1480);
    }

    #[test]
    fn whatever_the_bytes_every_offset_is_within_them() {
        mutations(&ip(TCP, b"payload"), 20_000, |bytes| {
            match Ipv4::parse(bytes) {
                Err(stopped) => assert!(stopped.at <= bytes.len()),
                Ok(packet) => {
                    assert!((20..=60).contains(&packet.header_length));
                    assert!(packet.total_length >= packet.header_length);
                    assert!(packet.payload.len() <= packet.payload_length());
                    assert!(
                        packet
                            .stopped
                            .is_none_or(|stopped| stopped.at <= bytes.len())
                    );
                }
            }
        });
    }
}
