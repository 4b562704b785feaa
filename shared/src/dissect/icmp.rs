//! ICMP messages (RFC 792) and those of ICMPv6 (RFC 4443).
//!
//! An error quotes the packet that caused it; [`Icmp::quoted`] is that packet's beginning, for the
//! IP dissectors to read.

use super::{Stopped, be16, be32, short};

/// Length of the header, in bytes.
pub const HEADER: usize = 8;

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// ICMP for IPv4.
    V4,
    /// ICMPv6.
    V6,
}

/// An ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Whose types these are.
    pub version: Version,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// What the bytes behind the checksum say.
    pub body: Body,
    /// What follows the header: an echo's data, or the packet that an error quotes.
    pub payload: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

/// The second half of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Of an echo request or reply.
    Echo {
        /// Tells one sender's echoes from another's.
        identifier: u16,
        /// Counts them.
        sequence: u16,
    },
    /// Of a packet that was too big: the next link's MTU in bytes (RFC 1191, section 4; RFC 4443,
    /// section 3.2). Routers older than RFC 1191 leave 0.
    Mtu(u32),
    /// Of a redirect: the better gateway (RFC 792).
    Gateway(std::net::Ipv4Addr),
    /// Where in the quoted packet the trouble is, in bytes (parameter problem).
    Pointer(u32),
    /// Nothing that means something.
    Unused,
}

impl<'a> Icmp<'a> {
    /// Reads an ICMP message of IPv4.
    ///
    /// # Errors
    /// [`Stopped`] where type and code are not there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        Self::of(Version::V4, bytes)
    }

    /// Reads an ICMPv6 message.
    ///
    /// # Errors
    /// [`Stopped`] where type and code are not there.
    pub fn parse_v6(bytes: &'a [u8]) -> Result<Self, Stopped> {
        Self::of(Version::V6, bytes)
    }

    fn of(version: Version, bytes: &'a [u8]) -> Result<Self, Stopped> {
        let &[kind, code, ..] = bytes else {
            return Err(short(bytes, 2));
        };
        let rest = be32(bytes, 4);
        let body = match (version, kind, code, rest) {
            (_, _, _, None) => Body::Unused,
            (Version::V4, 0 | 8, _, _) | (Version::V6, 128 | 129, _, _) => Body::Echo {
                identifier: be16(bytes, 4).unwrap_or_default(),
                sequence: be16(bytes, 6).unwrap_or_default(),
            },
            (Version::V4, 3, 4, Some(rest)) => Body::Mtu(rest & 0xffff),
            (Version::V6, 2, _, Some(rest)) => Body::Mtu(rest),
            (Version::V4, 5, _, Some(rest)) => Body::Gateway(rest.into()),
            (Version::V4, 12, _, Some(rest)) => Body::Pointer(rest >> 24),
            (Version::V6, 4, _, Some(rest)) => Body::Pointer(rest),
            _ => Body::Unused,
        };
        Ok(Self {
            version,
            kind,
            code,
            body,
            payload: bytes.get(HEADER..).unwrap_or_default(),
            stopped: (bytes.len() < HEADER).then(|| short(bytes, HEADER)),
        })
    }

    /// What it says, where that is well known (IANA, ICMP Parameters and ICMPv6 Parameters; codes
    /// of RFC 792, RFC 1812 section 5.2.7.1, and RFC 4443).
    pub const fn meaning(&self) -> Option<&'static str> {
        match self.version {
            Version::V4 => meaning(self.kind, self.code),
            Version::V6 => meaning_v6(self.kind, self.code),
        }
    }

    /// The packet that an error quotes, as much of it as came along; `None` where the message is
    /// no error.
    pub fn quoted(&self) -> Option<&'a [u8]> {
        let is_error = match self.version {
            Version::V4 => matches!(self.kind, 3 | 4 | 5 | 11 | 12),
            // Of ICMPv6 every type below 128 is an error (RFC 4443, section 2.1).
            Version::V6 => self.kind < 128,
        };
        (is_error && !self.payload.is_empty()).then_some(self.payload)
    }
}

const fn meaning(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (0, 0) => "echo reply",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "network unknown",
        (3, 7) => "host unknown",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, 11) => "network unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, _) => "destination unreachable",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (8, 0) => "echo request",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "time to live exceeded",
        (11, 1) => "fragment reassembly time exceeded",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        _ => return None,
    })
}

const fn meaning_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route to destination",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded",
        (3, 1) => "fragment reassembly time exceeded",
        (4, _) => "parameter problem",
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (130, _) => "multicast listener query",
        (131 | 143, _) => "multicast listener report",
        (132, _) => "multicast listener done",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbor solicitation",
        (136, _) => "neighbor advertisement",
        (137, _) => "redirect",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::mutations;

    #[test]
    fn well_known_messages_are_named_and_others_are_not() {
        let meaning = |bytes: &[u8]| Icmp::parse(bytes).unwrap().meaning();
        assert_eq!(meaning(&[3, 3, 0, 0]), Some("port unreachable"));
        assert_eq!(meaning(&[8, 0]), Some("echo request"));
        assert_eq!(meaning(&[8, 1]), None);
        assert_eq!(Icmp::parse(&[3]), Err(short(&[3], 2)));
        let meaning = |bytes: &[u8]| Icmp::parse_v6(bytes).unwrap().meaning();
        assert_eq!(meaning(&[1, 4]), Some("port unreachable"));
        assert_eq!(meaning(&[3, 0]), Some("hop limit exceeded"));
        assert_eq!(meaning(&[200, 0]), None);
    }

    #[test]
    fn fragmentation_needed_tells_the_mtu_and_quotes_the_packet() {
        let bytes = [3, 4, 0, 0, 0, 0, 0x05, 0x78, 0x45, 0];
        let icmp = Icmp::parse(&bytes).unwrap();
        assert_eq!(icmp.body, Body::Mtu(1_400));
        assert_eq!(icmp.quoted(), Some(&[0x45, 0][..]));
        let bytes = [2, 0, 0, 0, 0, 0, 0x05, 0, 0x60];
        let icmp = Icmp::parse_v6(&bytes).unwrap();
        assert_eq!(icmp.body, Body::Mtu(1_280));
        assert_eq!(icmp.quoted(), Some(&[0x60][..]));
    }

    #[test]
    fn echoes_tell_their_numbers_and_quote_nothing() {
        let bytes = [8, 0, 0, 0, 0, 7, 0, 2, b'x'];
        let icmp = Icmp::parse(&bytes).unwrap();
        let echo = Body::Echo {
            identifier: 7,
            sequence: 2,
        };
        assert_eq!(
            (icmp.body, icmp.payload, icmp.quoted()),
            (echo, &b"x"[..], None)
        );
        assert_eq!(
            Icmp::parse_v6(&[129, 0, 0, 0, 0, 7, 0, 2]).unwrap().body,
            echo
        );
    }

    #[test]
    fn other_errors_tell_what_their_header_holds() {
        let body = |bytes: &[u8]| Icmp::parse(bytes).unwrap().body;
        assert_eq!(
            body(&[5, 1, 0, 0, 192, 0, 2, 9]),
            Body::Gateway([192, 0, 2, 9].into())
        );
        assert_eq!(body(&[12, 0, 0, 0, 9, 0, 0, 0]), Body::Pointer(9));
        assert_eq!(body(&[11, 0, 0, 0, 0, 0, 0, 0]), Body::Unused);
        assert_eq!(
            Icmp::parse_v6(&[4, 0, 0, 0, 0, 0, 0, 40]).unwrap().body,
            Body::Pointer(40)
        );
    }

    #[test]
    fn whatever_the_bytes_what_is_missing_is_named() {
        mutations(&[3, 4, 0, 0, 0, 0, 5, 120, 69], 20_000, |bytes| {
            for parsed in [Icmp::parse(bytes), Icmp::parse_v6(bytes)] {
                match parsed {
                    Err(stopped) => assert!(stopped.at <= bytes.len()),
                    Ok(icmp) => assert_eq!(icmp.stopped.is_some(), bytes.len() < HEADER),
                }
            }
        });
    }
}
