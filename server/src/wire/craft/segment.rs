//! TCP segments: their headers read without allocating, and segments of the wire's own.

use std::net::SocketAddrV4;

use linger_shared::dissect::{
    ipv4::{self, Ipv4},
    tcp::{FIXED_HEADER, Flags},
};

use super::checksum;

/// What the wire looks at in a TCP segment. Whatever costs more than reading fixed places is read
/// when it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Sender's address and port.
    pub src: SocketAddrV4,
    /// Receiver's address and port.
    pub dst: SocketAddrV4,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; means something only with ACK.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window as it stands in the header, unscaled.
    pub window: u16,
    /// The payload.
    pub payload: &'a [u8],
    options: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads the headers of an IPv4 packet that carries a whole TCP segment; `None` for anything
    /// else.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let ip = Ipv4::parse(packet).ok()?;
        let whole = ip.stopped.is_none() && !ip.more_fragments && !ip.is_later_fragment();
        if ip.protocol != ipv4::TCP || !whole {
            return None;
        }
        let fixed = ip.payload.first_chunk::<FIXED_HEADER>()?;
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let header = usize::from(fixed[12] >> 4) * 4;
        Some(Self {
            src: SocketAddrV4::new(ip.src, half(0)),
            dst: SocketAddrV4::new(ip.dst, half(2)),
            seq: word(4),
            ack: word(8),
            flags: Flags::from_bits(half(12)),
            window: half(14),
            options: ip.payload.get(FIXED_HEADER..header)?,
            payload: ip.payload.get(header..)?,
        })
    }

    /// How much of the sequence space it takes: its payload, and one each for SYN and FIN
    /// (RFC 9293, section 3.3.1).
    pub fn length(&self) -> u32 {
        // An IPv4 packet is below 64 KiB.
        self.payload.len() as u32
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }

    /// The sequence number after it.
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }

    /// The timestamps option (RFC 7323, section 3.2): the sender's clock, and the peer's, echoed.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let mut options = self.options;
        loop {
            options = match options {
                [1, rest @ ..] => rest,
                [8, 10, value @ ..] => {
                    let (clock, rest) = value.split_first_chunk::<4>()?;
                    let echo = rest.first_chunk::<4>()?;
                    return Some((u32::from_be_bytes(*clock), u32::from_be_bytes(*echo)));
                }
                [kind, length, ..] if *kind > 1 && *length > 1 => {
                    options.get(usize::from(*length)..)?
                }
                _ => return None,
            };
        }
    }
}

/// A segment that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// In whose name.
    pub from: SocketAddrV4,
    /// Who gets it.
    pub to: SocketAddrV4,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; ACK is set where there is one.
    pub ack: Option<u32>,
    /// The control bits besides ACK.
    pub flags: Flags,
    /// The window, unscaled.
    pub window: u16,
    /// The timestamps option, where the connection uses it: without it, a segment other than an
    /// RST may be ignored (RFC 7323, section 3.2).
    pub timestamps: Option<(u32, u32)>,
    /// The payload.
    pub payload: &'a [u8],
}

impl Draft<'_> {
    /// The whole packet; `None` where it would be longer than an IPv4 packet can be.
    pub fn packet(&self) -> Option<Box<[u8]>> {
        let header = FIXED_HEADER + self.timestamps.map_or(0, |_| 12);
        let flags = match self.ack {
            Some(_) => self.flags.with(Flags::ACK),
            None => self.flags,
        };
        let mut segment = Vec::with_capacity(header + self.payload.len());
        segment.extend_from_slice(&self.from.port().to_be_bytes());
        segment.extend_from_slice(&self.to.port().to_be_bytes());
        segment.extend_from_slice(&self.seq.to_be_bytes());
        segment.extend_from_slice(&self.ack.unwrap_or(0).to_be_bytes());
        // A header of 20 or 32 bytes, in words, in the upper half of the byte.
        let offset_and_flags = (header as u16 / 4) << 12 | flags.bits();
        segment.extend_from_slice(&offset_and_flags.to_be_bytes());
        segment.extend_from_slice(&self.window.to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        if let Some((clock, echo)) = self.timestamps {
            segment.extend_from_slice(&[1, 1, 8, 10]);
            segment.extend_from_slice(&clock.to_be_bytes());
            segment.extend_from_slice(&echo.to_be_bytes());
        }
        segment.extend_from_slice(self.payload);
        let (from, to) = (*self.from.ip(), *self.to.ip());
        let sum = checksum::with_pseudo_header(from, to, ipv4::TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        super::ipv4(from, to, ipv4::TCP, &segment)
    }
}

/// The RST that a host without such a connection would send in answer to a segment, in its
/// receiver's name: at the number that the segment acknowledges, or at 0 with an ACK of all of it
/// (RFC 9293, section 3.5.2, group 1). An RST is not answered.
pub fn reset_sender(segment: &Segment<'_>) -> Option<Box<[u8]>> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let acknowledges = segment.flags.has(Flags::ACK);
    Draft {
        from: segment.dst,
        to: segment.src,
        seq: if acknowledges { segment.ack } else { 0 },
        ack: (!acknowledges).then(|| segment.end()),
        flags: Flags::RST,
        window: 0,
        timestamps: None,
        payload: &[],
    }
    .packet()
}

/// An RST to a segment's receiver in its sender's name, at the segment's own place in the stream:
/// where nothing before it is missing, the one number that is accepted (RFC 9293, section 3.5.3).
/// In place of a SYN there is nothing to reset, and an RST is one already.
pub fn reset_receiver(segment: &Segment<'_>) -> Option<Box<[u8]>> {
    if segment.flags.has(Flags::RST) || segment.flags.has(Flags::SYN) {
        return None;
    }
    Draft {
        from: segment.src,
        to: segment.dst,
        seq: segment.seq,
        ack: segment.flags.has(Flags::ACK).then_some(segment.ack),
        flags: Flags::RST,
        window: 0,
        timestamps: None,
        payload: &[],
    }
    .packet()
}

/// Data in the name of a segment's receiver, next in the stream as the segment's sender knows it.
/// `None` for a segment that acknowledges nothing, opens a connection or resets it: there is no
/// stream then.
pub fn reply(segment: &Segment<'_>, payload: &[u8]) -> Option<Box<[u8]>> {
    let within_stream = segment.flags.has(Flags::ACK)
        && !segment.flags.has(Flags::SYN)
        && !segment.flags.has(Flags::RST);
    if !within_stream {
        return None;
    }
    Draft {
        from: segment.dst,
        to: segment.src,
        seq: segment.ack,
        ack: Some(segment.end()),
        flags: Flags::PSH,
        window: segment.window,
        // The sender's echo is the receiver's newest clock that the sender has seen, so it is
        // never taken for an old one.
        timestamps: segment.timestamps().map(|(clock, echo)| (echo, clock)),
        payload,
    }
    .packet()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use linger_shared::dissect::tcp::{Tcp, TcpOption};

    use super::*;
    use crate::wire::craft::testing::assert_valid;

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);
    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7654);

    fn draft(flags: Flags, ack: Option<u32>, payload: &[u8]) -> Box<[u8]> {
        Draft {
            from: CLIENT,
            to: SERVER,
            seq: u32::MAX - 1,
            ack,
            flags,
            window: 502,
            timestamps: Some((11, 22)),
            payload,
        }
        .packet()
        .expect("it fits")
    }

    #[test]
    fn a_segment_reads_back_as_it_was_drafted() {
        let packet = draft(Flags::PSH, Some(700), b"hello");
        assert_valid(&packet);
        let ip = Ipv4::parse(&packet).unwrap();
        let tcp = Tcp::parse(ip.payload).unwrap();
        assert_eq!((tcp.src_port, tcp.dst_port), (40_000, 7654));
        assert_eq!((tcp.seq, tcp.ack, tcp.window), (u32::MAX - 1, 700, 502));
        assert_eq!(tcp.flags.to_string(), "PSH,ACK");
        let stamps = TcpOption::Timestamps {
            value: 11,
            echo: 22,
        };
        assert_eq!(
            (tcp.options.as_slice(), tcp.payload),
            (&[stamps][..], &b"hello"[..])
        );

        let read = Segment::parse(&packet).unwrap();
        assert_eq!((read.src, read.dst), (CLIENT, SERVER));
        assert_eq!((read.seq, read.ack, read.window), (u32::MAX - 1, 700, 502));
        assert_eq!((read.flags, read.payload), (tcp.flags, &b"hello"[..]));
        assert_eq!((read.length(), read.end()), (5, 3));
        assert_eq!(read.timestamps(), Some((11, 22)));
    }

    #[test]
    fn timestamps_are_found_behind_other_options_and_never_past_the_header() {
        let mut packet = draft(Flags::SYN, None, b"").to_vec();
        // MSS, then what would be timestamps without the end of their echo.
        packet[40..52].copy_from_slice(&[2, 4, 5, 180, 8, 10, 0, 0, 0, 9, 0, 0]);
        assert_eq!(Segment::parse(&packet).unwrap().timestamps(), None);
        packet[40..52].copy_from_slice(&[4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 3]);
        assert_eq!(Segment::parse(&packet).unwrap().timestamps(), Some((9, 3)));
        packet[40..42].copy_from_slice(&[4, 1]);
        assert_eq!(Segment::parse(&packet).unwrap().timestamps(), None);
        packet[40..42].copy_from_slice(&[0, 0]);
        assert_eq!(Segment::parse(&packet).unwrap().timestamps(), None);
    }

    #[test]
    fn what_is_no_whole_segment_is_not_read() {
        let packet = draft(Flags::SYN, None, b"");
        for end in 0..packet.len() {
            assert!(Segment::parse(&packet[..end]).is_none(), "{end}");
        }
        let mut fragment = packet.to_vec();
        fragment[6] |= 0x20;
        assert!(Segment::parse(&fragment).is_none());
        let mut udp = packet.to_vec();
        udp[9] = ipv4::UDP;
        assert!(Segment::parse(&udp).is_none());
        let mut long = packet.to_vec();
        long[32] = 0xf0;
        assert!(Segment::parse(&long).is_none());
    }

    #[test]
    fn a_syn_is_refused_with_a_reset_at_zero_that_acknowledges_it() {
        let syn = draft(Flags::SYN, None, b"");
        let packet = reset_sender(&Segment::parse(&syn).unwrap()).unwrap();
        assert_valid(&packet);
        let reset = Segment::parse(&packet).unwrap();
        assert_eq!((reset.src, reset.dst), (SERVER, CLIENT));
        assert_eq!(reset.flags.to_string(), "RST,ACK");
        assert_eq!((reset.seq, reset.ack), (0, u32::MAX));
    }

    #[test]
    fn an_established_sender_is_reset_where_it_expects_the_next_byte() {
        let data = draft(Flags::PSH, Some(700), b"hello");
        let packet = reset_sender(&Segment::parse(&data).unwrap()).unwrap();
        assert_valid(&packet);
        let reset = Segment::parse(&packet).unwrap();
        assert_eq!((reset.src, reset.dst), (SERVER, CLIENT));
        assert_eq!((reset.flags, reset.seq), (Flags::RST, 700));
    }

    #[test]
    fn a_receiver_is_reset_at_the_segments_own_place() {
        let data = draft(Flags::PSH, Some(700), b"hello");
        let packet = reset_receiver(&Segment::parse(&data).unwrap()).unwrap();
        assert_valid(&packet);
        let reset = Segment::parse(&packet).unwrap();
        assert_eq!((reset.src, reset.dst), (CLIENT, SERVER));
        assert_eq!(reset.flags.to_string(), "RST,ACK");
        assert_eq!((reset.seq, reset.ack), (u32::MAX - 1, 700));
        let syn = draft(Flags::SYN, None, b"");
        assert!(reset_receiver(&Segment::parse(&syn).unwrap()).is_none());
    }

    #[test]
    fn a_reset_is_answered_with_nothing() {
        let rst = draft(Flags::RST, None, b"");
        let rst = Segment::parse(&rst).unwrap();
        assert!(reset_sender(&rst).is_none());
        assert!(reset_receiver(&rst).is_none());
        assert!(reply(&rst, b"x").is_none());
    }

    #[test]
    fn a_reply_continues_the_stream_that_the_sender_knows() {
        let data = draft(Flags::PSH, Some(700), b"hello");
        let packet = reply(&Segment::parse(&data).unwrap(), b"forged").unwrap();
        assert_valid(&packet);
        let forged = Segment::parse(&packet).unwrap();
        assert_eq!((forged.src, forged.dst), (SERVER, CLIENT));
        assert_eq!((forged.seq, forged.ack), (700, 3));
        assert_eq!(
            (forged.payload, forged.timestamps()),
            (&b"forged"[..], Some((22, 11)))
        );
        let syn = draft(Flags::SYN, None, b"");
        assert!(reply(&Segment::parse(&syn).unwrap(), b"x").is_none());
    }

    #[test]
    fn what_does_not_fit_into_a_packet_is_not_made() {
        let payload = vec![0; 65_535 - 52];
        let mut draft = Draft {
            from: CLIENT,
            to: SERVER,
            seq: 0,
            ack: Some(0),
            flags: Flags::PSH,
            window: 0,
            timestamps: Some((0, 0)),
            payload: &payload,
        };
        assert_valid(&draft.packet().unwrap());
        let longer = [payload.as_slice(), b"x"].concat();
        draft.payload = &longer;
        assert!(draft.packet().is_none());
    }
}
