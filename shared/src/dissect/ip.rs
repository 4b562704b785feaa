//! IPv4 or IPv6: what the layer above needs of either.

use std::net::IpAddr;

use super::{Reason, Stopped, ipv4::Ipv4, ipv6::Ipv6};

/// A packet of either version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ip<'a> {
    /// Version 4.
    V4(Ipv4<'a>),
    /// Version 6.
    V6(Ipv6<'a>),
}

impl<'a> Ip<'a> {
    /// Reads a packet that begins with its IP header.
    ///
    /// # Errors
    /// [`Stopped`] where the version is neither, or the header's fixed part is not there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) | None => Ipv4::parse(bytes).map(Self::V4),
            Some(6) => Ipv6::parse(bytes).map(Self::V6),
            Some(version) => Err(Stopped {
                at: 0,
                reason: Reason::Version(version),
            }),
        }
    }

    /// Sender.
    pub const fn src(&self) -> IpAddr {
        match self {
            Self::V4(packet) => IpAddr::V4(packet.src),
            Self::V6(packet) => IpAddr::V6(packet.src),
        }
    }

    /// Receiver.
    pub const fn dst(&self) -> IpAddr {
        match self {
            Self::V4(packet) => IpAddr::V4(packet.dst),
            Self::V6(packet) => IpAddr::V6(packet.dst),
        }
    }

    /// Protocol number of the payload, behind any extension headers.
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.protocol,
            Self::V6(packet) => packet.protocol,
        }
    }

    /// Where the payload begins, in bytes from the packet's first.
    pub const fn header_length(&self) -> usize {
        match self {
            Self::V4(packet) => packet.header_length,
            Self::V6(packet) => packet.header_length,
        }
    }

    /// The payload, as much of it as is there.
    pub const fn payload(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.payload,
            Self::V6(packet) => packet.payload,
        }
    }

    /// Length of the payload as the header tells it, in bytes.
    pub const fn payload_length(&self) -> usize {
        match self {
            Self::V4(packet) => packet.payload_length(),
            Self::V6(packet) => packet.payload_length(),
        }
    }

    /// Where this fragment's payload belongs, in bytes; 0 for what is whole or comes first.
    pub const fn fragment_offset(&self) -> usize {
        match self {
            Self::V4(packet) => packet.fragment_offset,
            Self::V6(packet) => packet.fragment_offset,
        }
    }

    /// Where and why the dissection ended early.
    pub const fn stopped(&self) -> Option<Stopped> {
        match self {
            Self::V4(packet) => packet.stopped,
            Self::V6(packet) => packet.stopped,
        }
    }
}

/// The name of a protocol number (IANA, Assigned Internet Protocol Numbers), where it is one that
/// is dissected here.
pub const fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{ip, ipv6};

    #[test]
    fn the_version_decides() {
        let bytes = ip(17, b"four");
        let packet = Ip::parse(&bytes).unwrap();
        assert_eq!((packet.protocol(), packet.payload()), (17, &b"four"[..]));
        assert_eq!(packet.src().to_string(), "192.0.2.1");
        let bytes = ipv6(58, b"six");
        let packet = Ip::parse(&bytes).unwrap();
        assert_eq!((packet.protocol(), packet.payload()), (58, &b"six"[..]));
        assert_eq!((packet.header_length(), packet.payload_length()), (40, 3));
        assert_eq!(Ip::parse(&[0x50]).unwrap_err().reason, Reason::Version(5));
        assert!(Ip::parse(&[]).is_err());
    }
}
