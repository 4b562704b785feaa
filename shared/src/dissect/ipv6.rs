//! IPv6 headers (RFC 8200, section 3) and the extension headers behind them (section 4).
//!
//! Extension headers are walked to the protocol that they carry; what they say is named, not
//! interpreted. Fragments are not put together again.

use std::net::Ipv6Addr;

use super::{Reason, Stopped, be16, be32, short};

/// Length of the header without extensions, in bytes.
pub const FIXED_HEADER: usize = 40;

/// Extension headers that are walked; a packet with more is shown as far as that.
const MOST_EXTENSIONS: usize = 16;

/// Next header: none follows.
pub const NO_NEXT_HEADER: u8 = 59;
/// Next header: ICMPv6.
pub const ICMPV6: u8 = 58;

/// An extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Its number, as the header before it names it.
    pub kind: u8,
    /// Where it begins, counted from the packet's first byte.
    pub at: usize,
    /// Its length in bytes.
    pub length: usize,
}

impl Extension {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            0 => "hop-by-hop options",
            43 => "routing",
            44 => "fragment",
            51 => "authentication",
            60 => "destination options",
            135 => "mobility",
            139 => "host identity",
            140 => "shim6",
            _ => "extension",
        }
    }
}

/// An IPv6 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv6<'a> {
    /// Sender.
    pub src: Ipv6Addr,
    /// Receiver.
    pub dst: Ipv6Addr,
    /// Traffic class: six bits of DSCP, two of ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Hops that are left.
    pub hop_limit: u8,
    /// The protocol behind the last extension header that was walked.
    pub protocol: u8,
    /// The extension headers, in order.
    pub extensions: Vec<Extension>,
    /// Length of the header with its extensions, in bytes, at least 40.
    pub header_length: usize,
    /// Length of the packet as its header tells it, in bytes; at least `header_length`.
    pub total_length: usize,
    /// Whether fragments follow.
    pub more_fragments: bool,
    /// Where this fragment's payload belongs, in bytes; 0 for what is whole.
    pub fragment_offset: usize,
    /// The payload behind the extension headers, as much of it as is there.
    pub payload: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

impl<'a> Ipv6<'a> {
    /// Reads a packet that begins with its IP header.
    ///
    /// # Errors
    /// [`Stopped`] where this is no IPv6 header or less than its fixed part.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        if let Some(first) = bytes.first()
            && first >> 4 != 6
        {
            return Err(Stopped {
                at: 0,
                reason: Reason::Version(first >> 4),
            });
        }
        let Some(fixed) = bytes.first_chunk::<FIXED_HEADER>() else {
            return Err(short(bytes, FIXED_HEADER));
        };
        let first = be32(fixed, 0).unwrap_or_default();
        let claimed = FIXED_HEADER + usize::from(be16(fixed, 4).unwrap_or_default());
        let end = claimed.min(bytes.len());
        let mut packet = Self {
            src: address(fixed, 8),
            dst: address(fixed, 24),
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0xf_ffff,
            hop_limit: fixed[7],
            protocol: fixed[6],
            extensions: Vec::new(),
            header_length: FIXED_HEADER,
            total_length: claimed,
            more_fragments: false,
            fragment_offset: 0,
            payload: &[],
            stopped: None,
        };
        packet.stopped = packet.walk(bytes.get(..end).unwrap_or_default()).err();
        packet.total_length = packet.total_length.max(packet.header_length);
        if packet.stopped.is_none() && bytes.len() < claimed {
            packet.stopped = Some(short(bytes, claimed));
        }
        packet.payload = bytes.get(packet.header_length..end).unwrap_or_default();
        Ok(packet)
    }

    /// Passes over the extension headers (RFC 8200, sections 4.1 and 4.5; RFC 4302, section 2.2).
    fn walk(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        while matches!(self.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
            // Behind a later fragment's header there is no other: its payload begins elsewhere.
            if self.fragment_offset > 0 {
                break;
            }
            let at = self.header_length;
            if self.extensions.len() == MOST_EXTENSIONS {
                return Err(Stopped::invalid(
                    at,
                    "more extension headers than are walked",
                ));
            }
            let Some(&[next, size]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>())
            else {
                return Err(short(bytes, at + 2));
            };
            let length = match self.protocol {
                44 => 8,
                51 => (usize::from(size) + 2) * 4,
                _ => (usize::from(size) + 1) * 8,
            };
            if bytes.len() < at + length {
                return Err(short(bytes, at + length));
            }
            if self.protocol == 44 {
                let field = be16(bytes, at + 2).unwrap_or_default();
                self.fragment_offset = usize::from(field & 0xfff8);
                self.more_fragments = field & 1 != 0;
            }
            self.extensions.push(Extension {
                kind: self.protocol,
                at,
                length,
            });
            self.protocol = next;
            self.header_length = at + length;
        }
        Ok(())
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

fn address(header: &[u8; FIXED_HEADER], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    for (octet, byte) in octets.iter_mut().zip(header.iter().skip(at)) {
        *octet = *byte;
    }
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{ipv6, mutations};

    #[test]
    fn a_plain_packet_is_read_field_by_field() {
        let mut bytes = ipv6(6, b"payload");
        bytes[0] = 0x6a;
        bytes[1] = 0xb1;
        bytes[3] = 9;
        let packet = Ipv6::parse(&bytes).unwrap();
        assert_eq!(packet.src, "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(packet.dst, "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!((packet.traffic_class, packet.flow_label), (0xab, 0x1_0009));
        assert_eq!((packet.protocol, packet.hop_limit), (6, 64));
        assert_eq!((packet.header_length, packet.total_length), (40, 47));
        assert_eq!((packet.payload, packet.stopped), (&b"payload"[..], None));
    }

    #[test]
    fn extension_headers_are_walked_to_the_protocol_behind_them() {
        let mut chain = vec![43, 0, 1, 4, 0, 0, 0, 0];
        chain.extend_from_slice(&[51, 0, 0, 0, 0, 0, 0, 0]);
        chain.extend_from_slice(&[60, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        chain.extend_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0]);
        chain.extend_from_slice(&[17, 0, 0, 1, 0, 0, 0, 7]);
        chain.extend_from_slice(b"udp");
        let bytes = ipv6(0, &chain);
        let packet = Ipv6::parse(&bytes).unwrap();
        let names: Vec<_> = packet
            .extensions
            .iter()
            .map(|e| (e.name(), e.length))
            .collect();
        assert_eq!(
            names,
            [
                ("hop-by-hop options", 8),
                ("routing", 8),
                ("authentication", 12),
                ("destination options", 8),
                ("fragment", 8),
            ]
        );
        assert_eq!((packet.protocol, packet.payload), (17, &b"udp"[..]));
        assert!(packet.more_fragments && !packet.is_later_fragment());
    }

    #[test]
    fn behind_a_later_fragment_no_header_is_looked_for() {
        let bytes = ipv6(44, &[0, 0, 5, 0x78, 0, 0, 0, 7, 1, 2, 3]);
        let packet = Ipv6::parse(&bytes).unwrap();
        assert_eq!((packet.fragment_offset, packet.protocol), (1_400, 0));
        assert_eq!(packet.payload, [1, 2, 3]);
    }

    #[test]
    fn a_chain_that_runs_out_of_the_packet_stops_where_it_does() {
        let bytes = ipv6(0, &[6, 3, 0, 0, 0, 0, 0, 0]);
        let packet = Ipv6::parse(&bytes).unwrap();
        assert_eq!(packet.stopped, Some(short(&bytes, 72)));
        assert_eq!((packet.protocol, packet.header_length), (0, 40));
        let endless: Vec<u8> = [0, 0, 0, 0, 0, 0, 0, 0].repeat(20);
        let bytes = ipv6(0, &endless);
        let packet = Ipv6::parse(&bytes).unwrap();
        assert_eq!(packet.extensions.len(), 16);
        assert_eq!(packet.stopped.unwrap().at, 40 + 16 * 8);
    }

    #[test]
    fn whatever_the_bytes_every_offset_is_within_them() {
        let model = ipv6(0, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1, 9, 9]);
        mutations(&model, 20_000, |bytes| match Ipv6::parse(bytes) {
            Err(stopped) => assert!(stopped.at <= bytes.len()),
            Ok(packet) => {
                assert!(packet.header_length <= packet.total_length);
                assert!(packet.payload.len() <= packet.payload_length());
                assert!(
                    packet
                        .stopped
                        .is_none_or(|stopped| stopped.at <= bytes.len())
                );
            }
        });
    }
}
